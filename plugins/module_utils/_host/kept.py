# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What corepin remembers on a host between runs: one JSON file per purpose below var/lib/corepin.

A file is replaced as a whole, so that a process killed at any moment leaves the old text or the new one. The folder itself is what
runs lock that must not work at once: that needs no file of its own, and is over when the process is.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._engine.errors import SettingError
from .files import Tree
from .locks import lock
from .writing import remove_file, replace_file

FOLDER = "var/lib/corepin"


def recall(tree: Tree, name: str) -> t.Dict[str, t.Any]:
    """What was remembered under `name`; {} where nothing was. Raises SettingError where the file is damaged."""
    path = f"{FOLDER}/{name}.json"
    text = tree.text(path)
    if not text:
        return {}
    try:
        memory = json.loads(text)
    except ValueError:
        memory = None
    if not isinstance(memory, dict):
        raise SettingError(f"{tree.full(path)} is damaged, so the earlier settings are not known; remove it to go on without them.")
    return memory


def remember(tree: Tree, name: str, memory: t.Dict[str, t.Any], on_disk: t.Optional[t.Dict[str, t.Any]] = None) -> None:
    """Remember `memory` under `name`; the empty dict removes the file. Raises SettingError where the disk refuses.

    `on_disk` is what the file is known to say: nothing is written where that is the same.
    """
    path = f"{FOLDER}/{name}.json"
    if memory == on_disk:
        return
    if memory:
        replace_file(tree, path, json.dumps(memory, indent=1, sort_keys=True) + "\n")
    else:
        remove_file(tree, path)


@contextlib.contextmanager
def alone(tree: Tree, wait_s: float) -> t.Iterator[None]:
    """Work while nobody else does who asks for this. Makes the folder where there is none.

    Raises SettingError where another one is still at work after `wait_s` seconds, or the folder cannot be had.
    """
    folder = tree.full(FOLDER)
    try:
        if not tree.exists(FOLDER):
            os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise SettingError(f"{folder} could not be opened ({e.strerror}); run as root on a host whose disk can be written to.") from None
    try:
        if not lock(descriptor, folder, wait_s):
            raise SettingError(f"Another run of corepin works on this host (it holds {folder}); run this again when it is done.")
        yield
    finally:
        os.close(descriptor)
