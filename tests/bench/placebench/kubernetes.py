# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reference of Kubernetes' CPU manager (static policy, packed) and of the topology manager's NUMA hints.

Written from a description of what they do, for measuring against them; nothing of the collection uses it.
"""

from __future__ import annotations

import typing as t
from itertools import combinations

from .machines import Machine

Free = t.AbstractSet[int]


def packed(machine: Machine, free: Free, vcpus: int, align_l3: bool = False) -> t.FrozenSet[int]:
    """CPUs for one container: whole large domains, then (with `align_l3`) L3 domains, whole cores, single CPUs."""
    if vcpus > len(free):
        raise ValueError(f"{vcpus} CPUs asked for, {len(free)} free")
    take = _Take(machine, free, vcpus)
    for step in _steps(align_l3):
        if take.missing <= 0:
            break
        step(take)
    return frozenset(take.taken)


def hinted(machine: Machine, free: Free, vcpus: int) -> t.FrozenSet[int]:
    """The same under the best NUMA hint: preferred before not, then narrower, then the lowest mask."""
    hint = _best_hint(machine, free, vcpus)
    aligned = {cpu for cpu in free if machine.numa[cpu] in hint} if hint else set()
    first = packed(machine, aligned, min(len(aligned), vcpus), align_l3=True)
    return first | packed(machine, free - first, vcpus - len(first), align_l3=True)


def _best_hint(machine: Machine, free: Free, vcpus: int) -> t.FrozenSet[int]:
    nodes = sorted(machine.units["numa"])
    narrowest = None
    for width in range(1, len(nodes) + 1):
        masks = sorted(combinations(nodes, width), key=lambda chosen: sum(1 << node for node in chosen))
        if narrowest is None and any(_size(machine, chosen, machine.cpus) >= vcpus for chosen in masks):
            narrowest = width
        for chosen in masks:
            if _size(machine, chosen, free) >= vcpus:
                return frozenset(chosen)
    return frozenset()


def _size(machine: Machine, nodes: t.Sequence[int], cpus: Free) -> int:
    return sum(len(machine.units["numa"][node] & cpus) for node in nodes)


class _Take:
    def __init__(self, machine: Machine, free: Free, vcpus: int) -> None:
        self.machine = machine
        self.free = set(free)
        self.taken: t.Set[int] = set()
        self.missing = vcpus
        units = machine.units
        self.cpus_per_core = len(machine.cpus) // len(units["core"])
        self.cpus_per_l3 = len(machine.cpus) // len(units["l3"])
        self.numa_first = len(units["package"]) >= len(units["numa"])

    def take(self, cpus: t.AbstractSet[int]) -> None:
        self.taken |= cpus
        self.free -= cpus
        self.missing -= len(cpus)

    def free_in(self, level: str, unit: int) -> t.Set[int]:
        return self.free & self.machine.units[level][unit]

    def ordered(self, level: str, inside: t.Optional[t.AbstractSet[int]] = None) -> t.List[int]:
        """Units with a free CPU (of those that have one `inside`): fewest free CPUs first, then by id."""
        unit_of = getattr(self.machine, level)
        counts: t.Dict[int, int] = {}
        for cpu in self.free if inside is None else self.free & inside:
            counts[unit_of[cpu]] = counts.get(unit_of[cpu], 0) + 1
        return sorted(counts, key=lambda unit: (len(self.free_in(level, unit)), unit))

    def numa_nodes(self) -> t.List[int]:
        if self.numa_first:
            return self.ordered("numa")
        return self._nested("package", self.packages(), "numa")

    def packages(self) -> t.List[int]:
        if not self.numa_first:
            return self.ordered("package")
        return self._nested("numa", self.numa_nodes(), "package")

    def cores(self) -> t.List[int]:
        level, units = ("package", self.packages()) if self.numa_first else ("numa", self.numa_nodes())
        return self._nested(level, units, "core")

    def l3_domains(self) -> t.List[int]:
        return self._nested("numa", self.numa_nodes(), "l3")

    def _nested(self, level: str, units: t.Sequence[int], below: str) -> t.List[int]:
        found: t.List[int] = []
        for unit in units:
            found.extend(u for u in self.ordered(below, self.machine.units[level][unit]) if u not in found)
        return found

    def whole(self, level: str, units: t.Sequence[int]) -> None:
        """Take each wholly free unit that is no larger than what is missing."""
        for unit in units:
            cpus = self.machine.units[level][unit]
            if cpus <= self.free and len(cpus) <= self.missing:
                self.take(cpus)


def _steps(align_l3: bool) -> t.Iterator[t.Callable[[_Take], None]]:
    yield lambda take: _large(take, first=True)
    yield lambda take: _large(take, first=False)
    if align_l3:
        yield _l3_domains
    yield _whole_cores
    yield _single_cpus


def _large(take: _Take, first: bool) -> None:
    if take.numa_first == first:
        take.whole("numa", take.numa_nodes())
    else:
        take.whole("package", take.packages())


def _l3_domains(take: _Take) -> None:
    for l3 in take.l3_domains():
        if take.missing >= take.cpus_per_l3:
            take.whole("l3", take.l3_domains())
        if take.missing <= 0:
            return
        _part_of_l3(take, l3)
        if take.missing <= 0:
            return


def _part_of_l3(take: _Take, l3: int) -> None:
    """Its lowest cores with a free CPU, as many as the missing CPUs would fill; only when they give just that number."""
    free = take.free_in("l3", l3)
    number = -(-take.missing // take.cpus_per_core)
    chosen = set(sorted({take.machine.core[cpu] for cpu in free})[:number])
    cpus = {cpu for cpu in free if take.machine.core[cpu] in chosen}
    if take.missing % 2 and take.cpus_per_core > 1 and len(cpus) > take.missing:
        cpus.discard(max(cpus))
    if len(cpus) == take.missing:
        take.take(cpus)


def _whole_cores(take: _Take) -> None:
    for core in take.cores():
        if len(take.free_in("core", core)) == take.cpus_per_core <= take.missing:
            take.take(take.machine.units["core"][core])


def _single_cpus(take: _Take) -> None:
    for core in take.cores():
        for cpu in sorted(take.free_in("core", core)):
            if take.missing <= 0:
                return
            take.take({cpu})
