# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links that corepin owns on a host, below the same root as those it reads.

Each is put there or taken away in one step. All raise SettingError where the host refuses.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

from .._engine.errors import SettingError
from .files import Tree


def replace_file(tree: Tree, path: str, text: str, mode: int = 0o644) -> None:
    """Put a file with `text` at `path` in one step, on the disk before the call returns. Raises SettingError."""
    full = tree.full(path)
    try:
        os.makedirs(os.path.dirname(full), exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(full), prefix=".corepin-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, full)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as e:
        raise SettingError(f"{full} could not be written ({e.strerror}); run as root on a host whose disk can be written to.") from None


def remove_file(tree: Tree, path: str) -> None:
    """Remove a file or link that may be gone already. Raises SettingError."""
    try:
        os.unlink(tree.full(path))
    except FileNotFoundError:
        pass
    except OSError as e:
        raise SettingError(f"{tree.full(path)} could not be removed ({e.strerror}); run as root.") from None


def make_link(tree: Tree, path: str, target: str) -> None:
    """Put a symbolic link to `target` at `path`, in place of whatever link is there. Raises SettingError."""
    if tree.link_target(path) == target:
        return
    remove_file(tree, path)
    try:
        os.makedirs(os.path.dirname(tree.full(path)), exist_ok=True)
        os.symlink(target, tree.full(path))
    except OSError as e:
        raise SettingError(f"{tree.full(path)} could not be linked to {target} ({e.strerror}); run as root.") from None
