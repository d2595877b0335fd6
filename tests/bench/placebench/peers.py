# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain references: the ways of choosing CPUs that the engine has to beat, each written from its description.

A peer takes CPUs for one guest at a time from those that are free and looks at nothing else. None of this is used by
the collection.
"""

from __future__ import annotations

import typing as t
from itertools import combinations

from . import kubernetes
from .machines import Machine

Free = t.AbstractSet[int]


class Peer(t.Protocol):
    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        """CPUs for one more guest; the caller knows that enough are free."""


class FirstFit:
    """The lowest free CPU numbers."""

    def __init__(self, machine: Machine) -> None:
        pass

    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        return frozenset(sorted(free)[:vcpus])


class LatencyOrder:
    """A start CPU by round robin over all CPUs, and the free CPUs nearest to it: core, L3 domain, NUMA node, package."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._order = sorted(machine.cpus)
        self._next = 0

    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        start = self._order[self._next % len(self._order)]
        self._next += 1
        nearest = sorted(free, key=lambda cpu: (cpu != start, self._steps(start, cpu), cpu))
        return frozenset(nearest[:vcpus])

    def _steps(self, one: int, other: int) -> int:
        m = self._machine
        return sum(unit_of[one] != unit_of[other] for unit_of in (m.core, m.l3, m.numa, m.package))


class BestFit:
    """Siblings first, best fit: the tightest NUMA node that fits, in it the tightest L3 domain, in it whole cores.

    Among NUMA nodes the fewest L3 domains and the least harm to cores decide first. A guest that no NUMA node can hold
    gets the fewest that can, of one package where possible, the tightest; one that no L3 domain can hold the fullest.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        rooms = self._rooms("numa", free)
        choices = [(self._in_numa_node(room, vcpus), room) for room in rooms if len(room) >= vcpus]
        if choices:
            return frozenset(min(choices, key=lambda choice: self._badness(free, *choice))[0])
        taken: t.Set[int] = set()
        for room in sorted(self._fewest(rooms, vcpus), key=lambda room: (-len(room), min(room))):
            taken |= self._in_numa_node(room, min(len(room), vcpus - len(taken)))
        return frozenset(taken)

    def _rooms(self, level: str, free: Free) -> t.List[Free]:
        return [cpus & free for cpus in self._machine.units[level].values() if cpus & free]

    def _badness(self, free: Free, chosen: Free, room: Free) -> t.Tuple[int, int, int, int]:
        l3_domains = {self._machine.l3[cpu] for cpu in chosen}
        return len(l3_domains), self._harm(free, chosen), len(room), min(room)

    def _harm(self, free: Free, chosen: Free) -> int:
        """How many cores the guest would share, and how many threads it would leave idle that were not idle before."""
        harm = 0
        for core in {self._machine.core[cpu] for cpu in chosen}:
            cpus = self._machine.units["core"][core]
            shared = not cpus <= free
            harm += 10 * len((cpus & free) - chosen) + (5 - 10 * len(cpus & free) if shared else 0)
        return harm

    def _fewest(self, rooms: t.Sequence[Free], vcpus: int) -> t.Sequence[Free]:
        def badness(chosen: t.Sequence[Free]) -> t.Tuple[int, int]:
            packages = {self._machine.package[cpu] for room in chosen for cpu in room}
            return len(packages), sum(map(len, chosen))

        for number in range(2, len(rooms) + 1):
            fitting = [chosen for chosen in combinations(rooms, number) if sum(map(len, chosen)) >= vcpus]
            if fitting:
                return min(fitting, key=badness)
        return rooms

    def _in_numa_node(self, free: Free, vcpus: int) -> t.Set[int]:
        taken: t.Set[int] = set()
        while len(taken) < vcpus:
            missing = vcpus - len(taken)
            rooms = self._rooms("l3", free - taken)
            choices = [(self._cores(room, missing), room) for room in rooms if len(room) >= missing]
            if choices:
                best, _room = min(choices, key=lambda c: (self._harm(free, c[0]), len(c[1]), min(c[1])))
                return taken | best
            taken |= min(rooms, key=lambda room: (-len(room), min(room)))
        return taken

    def _cores(self, free: Free, vcpus: int) -> t.Set[int]:
        """Whole cores, then what is left over of part-used ones, and only then a thread of a whole one."""
        whole, part = [], []
        for cpus in self._machine.units["core"].values():
            if cpus & free:
                (whole if cpus <= free else part).append(sorted(cpus & free))
        taken: t.Set[int] = set()
        for cpus in whole:
            if len(taken) + len(cpus) <= vcpus:
                taken |= set(cpus)
        rest = [cpu for cpus in part + whole for cpu in cpus if cpu not in taken]
        return taken | set(rest[: vcpus - len(taken)])


class Packed:
    """Kubernetes' packed CPU manager."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        return kubernetes.packed(self._machine, free, vcpus)


class PackedL3(Packed):
    """The same with its option that aligns to L3 domains."""

    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        return kubernetes.packed(self._machine, free, vcpus, align_l3=True)


class PackedL3Hinted(Packed):
    """The same under the topology manager's NUMA hints (policy best-effort)."""

    def take(self, free: Free, vcpus: int) -> t.FrozenSet[int]:
        return kubernetes.hinted(self._machine, free, vcpus)


PEERS: t.Mapping[str, t.Callable[[Machine], Peer]] = {
    "first-fit": FirstFit,
    "latency-list": LatencyOrder,
    "k8s": Packed,
    "k8s+l3": PackedL3,
    "k8s+l3+tm": PackedL3Hinted,
    "sibling-first": BestFit,
}
