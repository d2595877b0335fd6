# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking CPUs out of one zone: which cores, and which of their threads, by sibling policy.

Nothing here knows how many threads a core has: each core is its own mask, so that hybrids, offline siblings and SMT 8
are the same case as plain SMT 2.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cpuset import count, cpus_of, lowest
from .topology import Zone

# What a way of taking CPUs does with a core. `pack` and `require` come from the sibling policies, `isolate` from the
# class isolated, `one_each` from the policy spread while cores last, `spread` when they do not.
# The ways that can take every free CPU.
ALL_THREADS = ("pack", "spread")
WAYS = ("pack", "require", "one_each", "spread", "isolate")


@dataclass(frozen=True)
class Taken:
    """CPUs taken from one zone, in vCPU order, and the idle threads of their cores that are kept for them."""

    cpus: t.Tuple[int, ...]
    blocked: int = 0


def capacity(zone: Zone, free: int, way: str) -> int:
    """How many vCPUs `zone` can take when `free` CPUs may be given."""
    if way in ALL_THREADS:
        return count(zone.cpus & free)
    if way == "one_each":
        return sum(1 for core in zone.cores if core & free)
    whole = [core for core in zone.cores if core & free == core]
    return len(whole) if way == "isolate" else sum(count(core) for core in whole)


def take(zone: Zone, free: int, vcpus: int, way: str) -> t.Optional[Taken]:
    """Take `vcpus` CPUs from `zone`, or None where this way cannot make up the number."""
    if way == "isolate":
        return _take_isolated(zone, free, vcpus)
    if way == "one_each":
        return _take_one_each(zone, free, vcpus)
    if way == "spread":
        return _take_spread(zone, free, vcpus)
    return _take_packed(zone, free, vcpus, whole_only=way == "require")


def _take_isolated(zone: Zone, free: int, vcpus: int) -> t.Optional[Taken]:
    whole = [core for core in zone.cores if core & free == core][:vcpus]
    if len(whole) < vcpus:
        return None
    blocked = 0
    for core in whole:
        blocked |= core & (core - 1)
    return Taken(tuple(lowest(core) for core in whole), blocked)


def _take_one_each(zone: Zone, free: int, vcpus: int) -> t.Optional[Taken]:
    """One thread per core, wholly free cores first."""
    usable = sorted((core for core in zone.cores if core & free), key=lambda core: (core & free != core, lowest(core)))
    if len(usable) < vcpus:
        return None
    return Taken(tuple(sorted(lowest(core & free) for core in usable[:vcpus])))


def _take_spread(zone: Zone, free: int, vcpus: int) -> t.Optional[Taken]:
    """One thread of every core, then second threads, and so on: the first ones come first in vCPU order."""
    taken: t.List[int] = []
    left = free
    while len(taken) < vcpus and zone.cpus & left:
        got = _take_one_each(zone, left, min(vcpus - len(taken), capacity(zone, left, "one_each")))
        taken.extend(got.cpus if got else ())
        for cpu in got.cpus if got else ():
            left &= ~(1 << cpu)
    return Taken(tuple(taken)) if len(taken) == vcpus else None


def _take_packed(zone: Zone, free: int, vcpus: int, whole_only: bool) -> t.Optional[Taken]:
    """Whole cores first; then what is left over of part-used cores, and only then a wholly free core is broken."""
    if vcpus == count(zone.cpus & free) and not whole_only:
        return Taken(_in_core_order(zone, zone.cpus & free))
    whole = [core for core in zone.cores if core & free == core]
    taken, missing, unopened = _whole_cores(whole, vcpus)
    if missing and whole_only:
        return None
    if missing:
        part = [core & free for core in zone.cores if core & free and core & free != core]
        taken |= _left_over_threads(part, unopened, missing)
    return Taken(_in_core_order(zone, taken)) if count(taken) == vcpus else None


def _whole_cores(whole: t.Sequence[int], vcpus: int) -> t.Tuple[int, int, t.List[int]]:
    """Wholly free cores for up to `vcpus`: (CPUs taken, vCPUs still missing, wholly free cores left)."""
    taken, missing, unopened = 0, vcpus, []
    for core in whole:
        threads = count(core)
        if threads <= missing:
            taken |= core
            missing -= threads
        else:
            unopened.append(core)
    return taken, missing, unopened


def _left_over_threads(part: t.Sequence[int], unopened: t.Sequence[int], missing: int) -> int:
    """Free threads for the last `missing` vCPUs: of one part-used core, of several, then of a wholly free one."""
    exact = [threads for threads in part if count(threads) == missing]
    if exact:
        return exact[0]
    taken = 0
    if len(unopened) == 0 or missing <= sum(count(threads) for threads in part):
        for threads in sorted(part, key=lambda threads: (-count(threads), lowest(threads))):
            use = _first(threads, missing)
            taken |= use
            missing -= count(use)
    for core in unopened:
        use = _first(core, missing)
        taken |= use
        missing -= count(use)
    return taken


def _first(cpus: int, number: int) -> int:
    taken = 0
    for cpu in cpus_of(cpus):
        if not number:
            break
        taken |= 1 << cpu
        number -= 1
    return taken


def _in_core_order(zone: Zone, cpus: int) -> t.Tuple[int, ...]:
    """`cpus` core by core, thread siblings side by side: the order in which vCPUs get them."""
    return tuple(cpu for core in zone.cores if core & cpus for cpu in cpus_of(core & cpus))


def core_cost(zone: Zone, free: int, used: int, taken: int, blocked: int, shared_weight: int, orphan_weight: int) -> int:
    """What taking `taken` out of `zone` costs in cores shared with other guests and threads left idle beside them.

    `used` are the CPUs that other guests hold, `free` those still to give before taking. That idle threads beside
    other guests get used counts for nothing: it must not draw a guest away from whole cores.
    """
    cost = 0
    idle = free & ~taken & ~blocked
    for core in zone.cores:
        if core & taken:
            cost += (shared_weight if core & used else 0) + orphan_weight * count(core & idle)
    return cost
