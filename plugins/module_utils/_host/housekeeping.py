# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the host's own services on the reserved CPUs, by the cpusets of systemd's units for them.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import typing as t

from .._engine.cpuset import format_cpulist, parse_cpulist
from .._engine.errors import SettingError
from .files import Tree
from .hands import Hands, Unanswered
from .scope import CGROUP, Scope, read_scope, settled_scope

UNITS = ("system.slice", "user.slice", "init.scope")

Entry = t.Dict[str, t.Any]  # what is remembered of a unit, as in pinning_kept.Kept


def units_to_set(tree: Tree, wanted: t.Optional[int], remembered: t.Mapping[str, Entry]) -> t.Dict[str, int]:
    """The CPUs that units still have to be given: `wanted` to all; where that is None, to those `remembered` that have what they were
    given what their owner had asked for, all CPUs where that was nothing.

    Raises SettingError where not all of `wanted` are open to them.
    """
    everything = _everything(tree)
    if wanted is None:
        ours = [unit for unit in UNITS if unit in remembered and _has_ours(tree, unit, remembered[unit])]
        before = {unit: parse_cpulist(remembered[unit]["before"]) or everything for unit in ours}
        return {unit: cpus for unit, cpus in before.items() if cpus and _asked(tree, unit) != cpus}
    if wanted & ~everything:
        raise SettingError(
            f"CPUs {format_cpulist(wanted & ~everything)} are reserved and cannot be used now; bring them online, or plan again."
        )
    return {unit: wanted for unit in UNITS if not _has(tree, unit, wanted, remembered.get(unit))}


def note_units(tree: Tree, remembered: t.Dict[str, Entry], todo: t.Mapping[str, int], keep: bool) -> None:
    """Note in `remembered` what is about to be set: with `keep` what `todo` gives to units, and what their owner has asked for; without it
    only that the other units need no undoing (any more)."""
    if not keep:
        for unit in [unit for unit in remembered if unit not in todo]:
            del remembered[unit]
        return
    everything = _everything(tree)
    for unit, cpus in todo.items():
        entry, asked = remembered.setdefault(unit, {"before": "", "set": []}), _asked(tree, unit)
        if asked is not None and format_cpulist(asked) not in entry["set"]:
            entry["before"] = "" if asked == everything else format_cpulist(asked)
        entry["set"] = sorted({*entry["set"], format_cpulist(cpus)})


def _everything(tree: Tree) -> int:
    return read_scope(tree, "").effective or 0


def _asked(tree: Tree, unit: str) -> t.Optional[int]:
    """What somebody has asked for (0: nothing); None where the unit has no cgroup, which shows nothing then."""
    return (read_scope(tree, unit).asked or 0) if tree.exists(f"{CGROUP}/{unit}") else None


def _has_ours(tree: Tree, unit: str, entry: Entry) -> bool:
    """Whether a unit still has what it was given, and nobody (nor a boot) has changed it since; of one without a cgroup nobody knows."""
    asked = _asked(tree, unit)
    return asked is None or format_cpulist(asked) in entry["set"]


def _has(tree: Tree, unit: str, wanted: int, entry: t.Optional[Entry]) -> bool:
    """Whether a unit is kept on the wanted CPUs; of one without a cgroup, whether it was given them."""
    asked = _asked(tree, unit)
    return asked == wanted if asked is not None else entry is not None and entry["set"] == [format_cpulist(wanted)]


def shown_unit(tree: Tree, unit: str) -> t.Optional[str]:
    effective = read_scope(tree, unit).effective
    return None if effective is None else format_cpulist(effective)


def set_unit(tree: Tree, hands: Hands, unit: str, cpus: int, keep: bool) -> None:
    """Give a unit CPUs and read them back: with `keep` it has to have just these, without it they have to be asked for alone, as its
    owner's CPUs may be offline. Raises SettingError with the unit as it was."""
    before = read_scope(tree, unit)
    try:
        hands.set_property(unit, "AllowedCPUs", format_cpulist(cpus))
    except Unanswered:
        _put_back(hands, unit, before)  # systemd does it after what it may still do
        raise
    now = settled_scope(tree, unit, cpus, lambda: tree.exists(f"{CGROUP}/{unit}"))
    if tree.exists(f"{CGROUP}/{unit}") and (now.effective if keep else now.asked) != cpus:
        _put_back(hands, unit, before)
        raise SettingError(f"{unit} did not get CPUs {format_cpulist(cpus)}, because another cgroup has them; it was put back as it was.")


def _put_back(hands: Hands, unit: str, before: Scope) -> None:
    if before.to_restore:
        with contextlib.suppress(SettingError):
            hands.set_property(unit, "AllowedCPUs", format_cpulist(before.to_restore))
