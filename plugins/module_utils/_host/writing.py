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

from .._engine.errors import SettingError
from .files import Tree


def replace_file(tree: Tree, path: str, text: str, mode: int = 0o644) -> None:
    """Put a file with `text` at `path` in one step, on the disk before the call returns. Raises SettingError."""
    full = tree.full(path)
    try:
        os.makedirs(os.path.dirname(full), exist_ok=True)
        _remove_leftovers(full)
        temporary = _temporary(full, os.getpid())
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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


def _temporary(full: str, pid: int) -> str:
    return os.path.join(os.path.dirname(full), f".corepin-{os.path.basename(full)}.{pid}")


def _remove_leftovers(full: str) -> None:
    """Remove what processes left that were killed while they wrote this file. Raises OSError."""
    start = os.path.basename(_temporary(full, 0))[:-1]
    for name in os.listdir(os.path.dirname(full)):
        pid = name[len(start) :] if name.startswith(start) else ""
        if pid.isdigit() and (int(pid) == os.getpid() or not os.path.exists(f"/proc/{pid}")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(os.path.dirname(full), name))


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
