# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the host's own services on the reserved CPUs, by the cpusets of systemd's units for them.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._engine.cpuset import format_cpulist
from .._engine.errors import SettingError
from .files import Tree
from .hands import Hands, Unanswered
from .scope import CGROUP, Scope, read_scope, settled_scope

UNITS = ("system.slice", "user.slice", "init.scope")


def units_to_set(tree: Tree, wanted: t.Optional[int], remembered: t.Mapping[str, str]) -> t.Dict[str, int]:
    """The CPUs that units still have to be given: `wanted` to all, or all CPUs to those `remembered` where that is None.

    Raises SettingError where not all of `wanted` are open to them.
    """
    everything = read_scope(tree, "").effective or 0
    if wanted is None:
        return {unit: everything for unit in UNITS if unit in remembered}
    if wanted & ~everything:
        raise SettingError(
            f"CPUs {format_cpulist(wanted & ~everything)} are reserved and cannot be used now; bring them online, or plan again."
        )
    return {unit: wanted for unit in UNITS if _has(tree, unit, remembered) != format_cpulist(wanted)}


def _has(tree: Tree, unit: str, remembered: t.Mapping[str, str]) -> t.Optional[str]:
    """What the unit's cpuset is; of a unit without a cgroup, what it was given."""
    if not tree.exists(f"{CGROUP}/{unit}"):
        return remembered.get(unit)
    return format_cpulist(read_scope(tree, unit).asked or 0)


def shown_unit(tree: Tree, unit: str) -> t.Optional[str]:
    effective = read_scope(tree, unit).effective
    return None if effective is None else format_cpulist(effective)


def set_unit(tree: Tree, hands: Hands, unit: str, cpus: int) -> None:
    """Give a unit CPUs and read them back. Raises SettingError with the unit as it was."""
    before = read_scope(tree, unit)
    try:
        hands.set_property(unit, "AllowedCPUs", format_cpulist(cpus))
    except Unanswered:
        _put_back(hands, unit, before)  # systemd does it after what it may still do
        raise
    now = settled_scope(tree, unit, cpus, lambda: tree.exists(f"{CGROUP}/{unit}"))
    if tree.exists(f"{CGROUP}/{unit}") and now.effective != cpus:
        _put_back(hands, unit, before)
        raise SettingError(f"{unit} did not get CPUs {format_cpulist(cpus)}, because another cgroup has them; it was put back as it was.")


def _put_back(hands: Hands, unit: str, before: Scope) -> None:
    if before.to_restore:
        with contextlib.suppress(SettingError):
            hands.set_property(unit, "AllowedCPUs", format_cpulist(before.to_restore))
