# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to portion a guest's vCPUs over the zones of a set of NUMA nodes, as few zones as possible.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from itertools import combinations
from math import comb

from . import cores
from .cpuset import count
from .demand import Demand
from .topology import Host, NumaNode, Zone

# Beyond this many sets of zones only a tight one is tried.
MAX_L3_SETS = 64


class ZoneRoom(t.NamedTuple):
    """A zone with what may be given of it: `free` CPUs, of which `capacity` vCPUs' worth can be taken."""

    zone: Zone
    free: int
    capacity: int


class NodeRoom:
    """A NUMA node with what can be taken there in one way, and its free MiB (None = unknown)."""

    def __init__(self, host: Host, numa_node: NumaNode, free: int, way: str, memory_mib: t.Optional[int]) -> None:
        self.numa_node = numa_node
        self.memory_mib = memory_mib
        self._zones: t.Optional[t.List[ZoneRoom]] = None
        self._host, self._free, self._way = host, free & numa_node.cpus, way
        self.capacity = count(self._free) if way in cores.ALL_THREADS else sum(zone.capacity for zone in self.zones)

    @property
    def zones(self) -> t.List[ZoneRoom]:
        """The zones that have room; worked out only where somebody looks."""
        if self._zones is None:
            self._zones = []
            for zone in self._host.zones_of[self.numa_node.id] if self._free else ():
                free = zone.cpus & self._free
                capacity = cores.capacity(zone, free, self._way) if free else 0
                if capacity:
                    self._zones.append(ZoneRoom(zone, free, capacity))
        return self._zones


Picks = t.Tuple[t.Tuple[ZoneRoom, int], ...]


def picks(nodes: t.Sequence[NodeRoom], demand: Demand, way: str) -> t.Iterator[Picks]:
    """Ways to spread the vCPUs over zones of `nodes`, each NUMA node that has CPUs taking part where it can."""
    if way == "spread":
        yield from _over_all_cores([zone for node in nodes for zone in node.zones], demand.vcpus)
        return
    with_cpus = [node for node in nodes if node.capacity]
    if len(with_cpus) == 1:
        yield from _fill(with_cpus[0].zones, demand.vcpus)
        return
    for counts in _splits(with_cpus, demand):
        yield from _product_of_best([list(_fill(node.zones, number)) for node, number in zip(with_cpus, counts) if number])


def _product_of_best(options: t.Sequence[t.Sequence[Picks]]) -> t.Iterator[Picks]:
    """Each node's first option together, and each single deviation from it: enough to rank, and never a product."""
    if any(not option for option in options):
        return
    first = [option[0] for option in options]
    yield tuple(pick for picks in first for pick in picks)
    for position, option in enumerate(options):
        for other in option[1:4]:
            yield tuple(pick for i, picks in enumerate(first) for pick in (other if i == position else picks))


def _splits(nodes: t.Sequence[NodeRoom], demand: Demand) -> t.Iterator[t.Tuple[int, ...]]:
    """vCPUs per NUMA node: in equal parts, and with each node in turn taking what the others leave."""
    vcpus, number = demand.vcpus, len(nodes)
    share, extra = divmod(vcpus, number)
    if share and all(node.capacity >= share for node in nodes):
        roomiest = sorted(range(number), key=lambda i: (-nodes[i].capacity, i))
        counts = [share] * number
        for i in roomiest[:extra]:
            counts[i] += 1
        if all(node.capacity >= c for node, c in zip(nodes, counts)):
            yield tuple(counts)
    if demand.numa == "spread":
        return
    total = sum(node.capacity for node in nodes)
    for last in range(number):
        rest = vcpus - (total - nodes[last].capacity)
        if 0 < rest <= nodes[last].capacity:
            yield tuple(rest if i == last else node.capacity for i, node in enumerate(nodes))
    yield from _drained(nodes, vcpus)


def _drained(nodes: t.Sequence[NodeRoom], vcpus: int) -> t.Iterator[t.Tuple[int, ...]]:
    """The roomiest NUMA nodes filled one after the other, the last ones left with little or nothing."""
    counts = [0] * len(nodes)
    missing = vcpus
    for i in sorted(range(len(nodes)), key=lambda i: (-nodes[i].capacity, i)):
        counts[i] = min(missing, nodes[i].capacity)
        missing -= counts[i]
    if not missing:
        yield tuple(counts)


def _fill(zones: t.Sequence[ZoneRoom], vcpus: int) -> t.Iterator[Picks]:
    """Ways to take `vcpus` from as few `zones` as possible."""
    single = [zone for zone in zones if zone.capacity >= vcpus]
    if single:
        for zone in _distinct(single):
            yield ((zone, vcpus),)
        return
    for chosen in _zone_sets(zones, vcpus):
        left = sum(zone.capacity for zone in chosen) - vcpus
        seen = set()
        for last in chosen:
            kind = (last.capacity, last.free == last.zone.cpus)
            if last.capacity > left and kind not in seen:
                seen.add(kind)
                yield tuple((zone, zone.capacity - left if zone is last else zone.capacity) for zone in chosen)


def _over_all_cores(zones: t.Sequence[ZoneRoom], vcpus: int) -> t.Iterator[Picks]:
    """One vCPU on each core of `zones`, and those that are left on second threads, zone by zone."""
    counts = [min(cores.capacity(zone.zone, zone.free, "one_each"), zone.capacity) for zone in zones]
    left = vcpus - sum(counts)
    for i, zone in enumerate(zones):
        more = min(max(0, left), zone.capacity - counts[i])
        counts[i] += more
        left -= more
    if left == 0:
        yield tuple((zone, number) for zone, number in zip(zones, counts))


def _distinct(zones: t.Iterable[ZoneRoom]) -> t.Iterator[ZoneRoom]:
    """`zones` without those that are as free as an earlier one of the same size: they would rank behind it."""
    seen = set()
    for zone in zones:
        kind = (zone.capacity, len(zone.zone.cores))
        if zone.free != zone.zone.cpus or kind not in seen:
            seen.add(kind)
            yield zone


def _zone_sets(zones: t.Sequence[ZoneRoom], vcpus: int) -> t.Iterator[t.Tuple[ZoneRoom, ...]]:
    """The smallest sets of zones with room for `vcpus`: all of them, or where they are many a tight one."""
    roomiest = sorted(zones, key=lambda zone: -zone.capacity)
    total = number = 0
    for zone in roomiest:
        total += zone.capacity
        number += 1
        if total >= vcpus:
            break
    else:
        return
    if comb(len(zones), number) <= MAX_L3_SETS:
        for chosen in combinations(zones, number):
            if sum(zone.capacity for zone in chosen) >= vcpus:
                yield chosen
        return
    yield _tightened(roomiest, number, total - vcpus)


def _tightened(roomiest: t.Sequence[ZoneRoom], number: int, left: int) -> t.Tuple[ZoneRoom, ...]:
    """The `number` roomiest zones, each in turn exchanged for the smallest zone that still leaves enough room."""
    chosen = list(roomiest[:number])
    others = list(roomiest[number:])
    for position in range(number - 1, -1, -1):
        fitting = [zone for zone in others if chosen[position].capacity - zone.capacity <= left]
        if fitting and fitting[-1].capacity < chosen[position].capacity:
            smaller = fitting[-1]
            left -= chosen[position].capacity - smaller.capacity
            others[others.index(smaller)] = chosen[position]
            others.sort(key=lambda zone: -zone.capacity)
            chosen[position] = smaller
    return tuple(sorted(chosen, key=lambda zone: (zone.zone.numa_node, zone.zone.cores[0])))
