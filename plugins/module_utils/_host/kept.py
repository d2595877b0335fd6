# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What corepin remembers on a host between runs: one JSON file per purpose below var/lib/corepin.

A file is replaced as a whole, so that a process killed at any moment leaves the old text or the new one.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import typing as t

from .._engine.errors import SettingError
from .files import Tree
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
