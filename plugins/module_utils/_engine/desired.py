# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stored config that a placement asks for, and how it differs from what is there.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .errors import GrammarError
from .guest import CELL_KEYS, Cell, Guest, format_affinity, format_cell, parse_cell, same_effect, truthy

Wanted = t.Dict[str, t.Optional[str]]


def pinned_keys(cpus: t.Sequence[int], cells: t.Sequence[Cell], guest: Guest, hugepages: t.Optional[str]) -> Wanted:
    """affinity, numa and numaN for a guest with CPUs of its own; None = the key has to go."""
    wanted: Wanted = {"affinity": format_affinity(cpus)}
    if cells:
        wanted["numa"] = "1"
        for index, cell in enumerate(cells):
            wanted[f"numa{index}"] = format_cell(cell)
        wanted.update({key: None for key in CELL_KEYS[len(cells) :] if key in guest.next_config})
    else:
        wanted.update(_without_binding(guest))
    if hugepages:
        wanted["hugepages"] = hugepages
    return wanted


def shared_keys(guest: Guest) -> Wanted:
    """A shared guest has nothing stored: no affinity and no cell that is bound to a NUMA node."""
    return {"affinity": None, **_without_binding(guest)}


def _without_binding(guest: Guest) -> Wanted:
    """Removal of the numaN keys that bind memory to NUMA nodes; all of them go, because ids must have no gaps."""
    present = [key for key in CELL_KEYS if key in guest.next_config]
    return dict.fromkeys(present) if any(_binds(guest.next_config[key]) for key in present) else {}


def _binds(text: str) -> bool:
    try:
        return bool(parse_cell(text).hostnodes)
    except GrammarError:
        return True


def differences(guest: Guest, wanted: Wanted) -> t.Tuple[Wanted, Wanted]:
    """(before, after) of the keys whose effect at the next start differs from what is wanted."""
    present = guest.next_config
    keys = [key for key in sorted(wanted) if not same_effect(key, present.get(key), wanted[key])]
    if "numa" in keys and wanted["numa"] is None and not truthy(present.get("numa")):
        keys.remove("numa")
    return {key: present.get(key) for key in keys}, {key: wanted[key] for key in keys}


def waiting(guest: Guest, wanted: Wanted) -> t.Tuple[Wanted, Wanted]:
    """(before, after) of the keys that are stored as wanted, but which the running guest was not started with: both are equal in effect."""
    if not guest.running:
        return {}, {}
    present = guest.next_config
    keys = [key for key in sorted(wanted) if key in guest.pending and not same_effect(key, guest.config.get(key), wanted[key])]
    return {key: present.get(key) for key in keys}, {key: wanted[key] for key in keys}
