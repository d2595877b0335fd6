# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choosing the CPUs and NUMA memory of one guest on one host.

The search goes from the widest border to the narrowest: the fewest NUMA nodes that hold the guest's CPUs and memory
together, among those the set with the best quality vector (packages, L3 domains, cores, part-used L3 domains), among
equals the tightest. Free threads are counted, not cores, so that a half-used core or L3 domain never pushes a guest
over a border that it could have stayed inside.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from itertools import combinations
from math import comb

from . import cores
from .cpuset import count, format_cpulist, mask_of, parse_ordered
from .errors import FactsError, PlacementError
from .score import DENSE, ISOLATING, Weights
from .topology import Host, NumaNode, Zone

SIBLINGS = ("pack", "spread", "require")
NUMA_MODES = ("single", "compact", "spread", "any")
CORE_TYPES = ("performance", "efficiency", "any", "mixed")
CPU_CLASSES = ("dedicated", "isolated")

# Beyond this many sets of NUMA nodes or L3 domains a few good ones are tried instead of all.
MAX_SETS = 5000
MAX_L3_SETS = 64


@dataclass(frozen=True)
class Demand:
    """What one guest asks for. `memory_mib` is to be bound to NUMA nodes, in multiples of `memory_step` MiB."""

    vcpus: int
    memory_mib: int = 0
    memory_step: int = 1
    siblings: str = "pack"
    isolated: bool = False
    numa: str = "compact"
    core_type: str = "any"
    near: int = 0
    near_required: bool = False
    latency: t.Optional[Latency] = None

    @property
    def weights(self) -> Weights:
        return ISOLATING if self.isolated or self.siblings in ("require", "spread") else DENSE


@dataclass(frozen=True)
class Latency:
    """Measured core-to-core latencies: `ns[i][j]` between the i-th and j-th CPU of `cpus`, in nanoseconds."""

    cpus: t.Tuple[int, ...]
    ns: t.Tuple[t.Tuple[float, ...], ...]

    @classmethod
    def from_mapping(cls, latency: t.Mapping[str, t.Any]) -> Latency:
        """Read {cpus: cpulist, ns: [[...]]}. Raises FactsError."""
        cpus = parse_ordered(str(latency.get("cpus") or ""))
        ns = latency.get("ns") or []
        if not cpus or len(ns) != len(cpus) or any(len(row) != len(cpus) for row in ns):
            raise FactsError(f"latency has {len(ns)} rows for {len(cpus)} CPUs; ns needs one row and one column for each CPU in cpus.")
        return cls(tuple(cpus), tuple(tuple(float(value or 0) for value in row) for row in ns))

    def mean(self, cpus: t.Sequence[int]) -> float:
        """The mean latency among `cpus` (0 where fewer than two of them were measured)."""
        index = {cpu: i for i, cpu in enumerate(self.cpus)}
        rows = [index[cpu] for cpu in cpus if cpu in index]
        pairs = [self.ns[a][b] for a, b in combinations(rows, 2)]
        return sum(pairs) / len(pairs) if pairs else 0.0


@dataclass(frozen=True)
class Room:
    """What a host has left. `used` are CPUs that guests hold; `memory_mib` free MiB by NUMA node id, None = unknown."""

    host: Host
    free: int
    used: int = 0
    memory_mib: t.Optional[t.Mapping[int, int]] = None

    def memory_of(self, numa_node: int) -> t.Optional[int]:
        return None if self.memory_mib is None else self.memory_mib.get(numa_node, 0)


@dataclass(frozen=True)
class Share:
    """A guest's part on one NUMA node: CPUs in vCPU order and MiB of memory."""

    numa_node: int
    cpus: t.Tuple[int, ...]
    memory_mib: int = 0


@dataclass(frozen=True)
class NodeMemory:
    """A NUMA node by id and the MiB that can still be bound there (None = unknown, taken as enough)."""

    id: int
    free_mib: t.Optional[int]


@dataclass(frozen=True)
class Choice:
    """What the allocator chose; `rank` compares choices for the same demand, less is better."""

    shares: t.Tuple[Share, ...]
    blocked: int
    rank: t.Tuple[t.Any, ...]

    @property
    def cpus(self) -> t.Tuple[int, ...]:
        """All CPUs in vCPU order."""
        return tuple(cpu for share in self.shares for cpu in share.cpus)

    @property
    def mask(self) -> int:
        return mask_of(self.cpus)

    @property
    def memory(self) -> t.Dict[int, int]:
        """MiB by NUMA node id."""
        return {share.numa_node: share.memory_mib for share in self.shares if share.memory_mib}


@dataclass(frozen=True)
class _ZoneRoom:
    """A zone with what may be given of it: `free` CPUs, of which `capacity` vCPUs' worth can be taken."""

    zone: Zone
    free: int
    capacity: int


@dataclass
class _NodeRoom:
    """A NUMA node with the zones that have room, and its free memory (None = unknown)."""

    numa_node: NumaNode
    memory_mib: t.Optional[int]
    zones: t.List[_ZoneRoom] = field(default_factory=list)

    @property
    def capacity(self) -> int:
        return sum(zone.capacity for zone in self.zones)


_Picks = t.Tuple[t.Tuple[_ZoneRoom, int], ...]


def choose(room: Room, demand: Demand) -> Choice:
    """The best choice for `demand` in `room`. Raises PlacementError with the reason when there is none."""
    _check(demand)
    if demand.vcpus == 0:
        return Choice((), 0, ())
    best = min(_candidates(room, demand), key=lambda choice: choice.rank, default=None)
    if best is None:
        raise _refusal(room, demand)
    return best


def alternatives(room: Room, demand: Demand, most: int) -> t.List[Choice]:
    """Up to `most` choices that share out the CPUs and the memory differently, the best first."""
    shapes: t.Dict[t.Any, Choice] = {}
    for choice in sorted(_candidates(room, demand), key=lambda choice: choice.rank):
        shape = tuple(sorted((len(share.cpus), share.memory_mib) for share in choice.shares))
        shapes.setdefault(shape, choice)
    return list(shapes.values())[:most]


def _candidates(room: Room, demand: Demand) -> t.Iterator[Choice]:
    """Choices on as few NUMA nodes as each set of allowed CPUs and each way of taking them makes possible."""
    for free in _allowed(room, demand):
        for way in _ways(demand):
            nodes = _node_rooms(room, free, way)
            found = False
            for number in _node_counts(demand, nodes):
                for choice in _choices(room, demand, nodes, number, way):
                    found = True
                    yield choice
                if found:
                    break
            if found and not _spreads(demand):
                break


def _check(demand: Demand) -> None:
    for what, value, allowed in (
        ("siblings", demand.siblings, SIBLINGS),
        ("numa", demand.numa, NUMA_MODES),
        ("core_type", demand.core_type, CORE_TYPES),
    ):
        if value not in allowed:
            raise PlacementError(f"{what} is {value!r}; allowed are {', '.join(allowed)}.", rule=what)
    if demand.vcpus < 0:
        raise PlacementError(f"{demand.vcpus} CPUs cannot be taken; ask for 0 or more.", rule="vcpus")


def _spreads(demand: Demand) -> bool:
    return demand.siblings == "spread" and not demand.isolated


def _ways(demand: Demand) -> t.Tuple[str, ...]:
    """The ways to take CPUs, in order of preference."""
    if demand.isolated:
        return ("isolate",)
    return {"pack": ("pack",), "require": ("require",), "spread": ("one_each", "spread")}[demand.siblings]


def _allowed(room: Room, demand: Demand) -> t.List[int]:
    """The sets of free CPUs to choose from: by core type (never mixed unless asked) and by device."""
    host = room.host
    free = room.free & host.online
    if demand.near and demand.near_required:
        nearest = 0
        for numa_node in host.numa_nodes_of(demand.near):
            nearest |= numa_node.cpus
        free &= nearest
    if not (host.performance and host.efficiency) or demand.core_type == "mixed":
        return [free]
    if demand.core_type == "performance":
        return [free & host.performance]
    if demand.core_type == "efficiency":
        return [free & host.efficiency]
    return [free & host.performance, free & host.efficiency]


def _choices(room: Room, demand: Demand, nodes: t.Sequence[_NodeRoom], number: int, way: str) -> t.Iterator[Choice]:
    for chosen in _node_sets(room.host, nodes, number, demand):
        for picks in _picks(chosen, demand, way):
            choice = _finish(room, demand, chosen, picks, way)
            if choice:
                yield choice


def _node_rooms(room: Room, free: int, way: str) -> t.List[_NodeRoom]:
    rooms = {n.id: _NodeRoom(n, room.memory_of(n.id)) for n in room.host.numa_nodes}
    for zone in room.host.zones:
        if zone.cpus & free:
            available = cores.capacity(zone, free, way)
            if available:
                rooms[zone.numa_node].zones.append(_ZoneRoom(zone, zone.cpus & free, available))
    return [node for node in rooms.values() if node.zones or node.memory_mib]


def _node_counts(demand: Demand, nodes: t.Sequence[_NodeRoom]) -> t.Iterable[int]:
    """How many NUMA nodes to try, in order of preference."""
    if demand.numa == "single":
        return (1,) if nodes else ()
    most = len(nodes)
    if demand.numa == "spread":
        with_cpus = sum(1 for node in nodes if node.zones)
        even = [k for k in range(min(with_cpus, demand.vcpus), 0, -1) if demand.vcpus % k == 0]
        return even + [k for k in range(1, most + 1) if k not in even]
    if demand.numa == "any":
        return range(most, 0, -1) if most == 1 else tuple(range(1, most + 1))
    return range(1, most + 1)


def _node_sets(host: Host, nodes: t.Sequence[_NodeRoom], number: int, demand: Demand) -> t.Iterator[t.Tuple[_NodeRoom, ...]]:
    """Sets of `number` NUMA nodes that together have the CPUs and the memory."""
    if number == 1:
        candidates: t.Iterable[t.Tuple[_NodeRoom, ...]] = ((node,) for node in nodes)
    elif comb(len(nodes), number) <= MAX_SETS:
        candidates = combinations(nodes, number)
    else:
        candidates = _grown_sets(host, nodes, number)
    for chosen in candidates:
        if sum(node.capacity for node in chosen) < demand.vcpus:
            continue
        if demand.memory_mib and _memory_room(chosen, demand) < demand.memory_mib:
            continue
        yield chosen


def _memory_room(nodes: t.Iterable[_NodeRoom], demand: Demand) -> float:
    """The MiB that `nodes` can hold together in whole steps; endless where a host does not tell its memory."""
    total = 0
    for node in nodes:
        if node.memory_mib is None:
            return float("inf")
        total += max(0, node.memory_mib) // demand.memory_step * demand.memory_step
    return total


def _grown_sets(host: Host, nodes: t.Sequence[_NodeRoom], number: int) -> t.Iterator[t.Tuple[_NodeRoom, ...]]:
    """From each NUMA node on, the roomiest among the nearest; and the roomiest of all."""
    for start in nodes:
        order = sorted(
            nodes,
            key=lambda node: (host.distance(start.numa_node.id, node.numa_node.id), -node.capacity, node.numa_node.id),
        )
        yield _by_id(order[:number])
    yield _by_id(sorted(nodes, key=lambda n: (-n.capacity, n.numa_node.id))[:number])
    yield _by_id(sorted(nodes, key=lambda n: (-(n.memory_mib or 0), n.numa_node.id))[:number])


def _by_id(nodes: t.Iterable[_NodeRoom]) -> t.Tuple[_NodeRoom, ...]:
    return tuple(sorted(nodes, key=lambda node: node.numa_node.id))


def _picks(nodes: t.Sequence[_NodeRoom], demand: Demand, way: str) -> t.Iterator[_Picks]:
    """Ways to spread the vCPUs over zones of `nodes`, each NUMA node that has CPUs taking part where it can."""
    if way == "spread":
        yield from _over_all_cores([zone for node in nodes for zone in node.zones], demand.vcpus)
        return
    with_cpus = [node for node in nodes if node.zones]
    if len(with_cpus) == 1:
        yield from _fill(with_cpus[0].zones, demand.vcpus)
        return
    for counts in _splits(with_cpus, demand):
        yield from _product_of_best([list(_fill(node.zones, number)) for node, number in zip(with_cpus, counts) if number])


def _product_of_best(options: t.Sequence[t.Sequence[_Picks]]) -> t.Iterator[_Picks]:
    """Each node's first option together, and each single deviation from it: enough to rank, and never a product."""
    if any(not option for option in options):
        return
    first = [option[0] for option in options]
    yield tuple(pick for picks in first for pick in picks)
    for position, option in enumerate(options):
        for other in option[1:4]:
            yield tuple(pick for i, picks in enumerate(first) for pick in (other if i == position else picks))


def _splits(nodes: t.Sequence[_NodeRoom], demand: Demand) -> t.Iterator[t.Tuple[int, ...]]:
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


def _drained(nodes: t.Sequence[_NodeRoom], vcpus: int) -> t.Iterator[t.Tuple[int, ...]]:
    """The roomiest NUMA nodes filled one after the other, the last ones left with little or nothing."""
    counts = [0] * len(nodes)
    missing = vcpus
    for i in sorted(range(len(nodes)), key=lambda i: (-nodes[i].capacity, i)):
        counts[i] = min(missing, nodes[i].capacity)
        missing -= counts[i]
    if not missing:
        yield tuple(counts)


def _fill(zones: t.Sequence[_ZoneRoom], vcpus: int) -> t.Iterator[_Picks]:
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


def _over_all_cores(zones: t.Sequence[_ZoneRoom], vcpus: int) -> t.Iterator[_Picks]:
    """One vCPU on each core of `zones`, and those that are left on second threads, zone by zone."""
    counts = [min(cores.capacity(zone.zone, zone.free, "one_each"), zone.capacity) for zone in zones]
    left = vcpus - sum(counts)
    for i, zone in enumerate(zones):
        more = min(max(0, left), zone.capacity - counts[i])
        counts[i] += more
        left -= more
    if left == 0:
        yield tuple((zone, number) for zone, number in zip(zones, counts))


def _distinct(zones: t.Iterable[_ZoneRoom]) -> t.Iterator[_ZoneRoom]:
    """`zones` without those that are as free as an earlier one of the same size: they would rank behind it."""
    seen = set()
    for zone in zones:
        kind = (zone.capacity, len(zone.zone.cores))
        if zone.free != zone.zone.cpus or kind not in seen:
            seen.add(kind)
            yield zone


def _zone_sets(zones: t.Sequence[_ZoneRoom], vcpus: int) -> t.Iterator[t.Tuple[_ZoneRoom, ...]]:
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


def _tightened(roomiest: t.Sequence[_ZoneRoom], number: int, left: int) -> t.Tuple[_ZoneRoom, ...]:
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


def _finish(room: Room, demand: Demand, nodes: t.Sequence[_NodeRoom], picks: _Picks, way: str) -> t.Optional[Choice]:
    """Take the CPUs, split the memory, and rank the result; None where either does not work out."""
    cpus_by_node: t.Dict[int, t.List[int]] = {node.numa_node.id: [] for node in nodes}
    taken = blocked = cost = 0
    weights = demand.weights
    for zone_room, vcpus in picks:
        zone = zone_room.zone
        got = cores.take(zone, zone_room.free, vcpus, way)
        if got is None:
            return None
        mine = mask_of(got.cpus)
        cost += cores.core_cost(zone, room.free, room.used, mine, got.blocked, weights.shared_core, weights.orphan)
        cpus_by_node[zone.numa_node].extend(got.cpus)
        taken |= mine
        blocked |= got.blocked
    memory = _memory_of(cpus_by_node, nodes, room.host, demand)
    if memory is None:
        return None
    shares = tuple(Share(i, tuple(cpus), memory.get(i, 0)) for i, cpus in sorted(cpus_by_node.items()) if cpus or memory.get(i))
    return Choice(shares, blocked, _rank(room, demand, nodes, picks, shares, taken | blocked, cost))


def _memory_of(
    cpus_by_node: t.Mapping[int, t.Sequence[int]], nodes: t.Sequence[_NodeRoom], host: Host, demand: Demand
) -> t.Optional[t.Dict[int, int]]:
    if len(nodes) == 1 and demand.memory_mib % demand.memory_step == 0:
        return {nodes[0].numa_node.id: demand.memory_mib}
    free_memory = [NodeMemory(node.numa_node.id, node.memory_mib) for node in nodes]
    return memory_split({i: len(cpus) for i, cpus in cpus_by_node.items()}, free_memory, host, demand)


def memory_split(vcpus: t.Mapping[int, int], nodes: t.Sequence[NodeMemory], host: Host, demand: Demand) -> t.Optional[t.Dict[int, int]]:
    """MiB by NUMA node id: in proportion to the vCPUs and where that does not fit, on the nearest one with room."""
    if not demand.memory_mib:
        return {}
    step = demand.memory_step
    room = {n.id: demand.memory_mib if n.free_mib is None else max(0, n.free_mib) for n in nodes}
    if demand.memory_mib % step or sum(free // step for free in room.values()) < demand.memory_mib // step:
        return None
    wanted = proportional(demand.memory_mib // step, vcpus)
    split = {i: min(steps, room[i] // step) for i, steps in wanted.items()}
    for i in sorted(wanted):
        missing = wanted[i] - min(wanted[i], room[i] // step)
        for other in sorted(room, key=lambda other: (host.distance(i, other), other)):
            more = min(missing, room[other] // step - split.get(other, 0))
            if more > 0:
                split[other] = split.get(other, 0) + more
                missing -= more
    return {i: steps * step for i, steps in split.items() if steps}


def proportional(total: int, weights: t.Mapping[int, int]) -> t.Dict[int, int]:
    """`total` split into whole parts in proportion to `weights`; the sum is exact, remainders go to the largest loss."""
    whole = sum(weights.values())
    parts = {key: total * weight // whole for key, weight in weights.items()}
    by_loss = sorted(weights, key=lambda key: (-(total * weights[key] % whole), key))
    for key in by_loss[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def _rank(
    room: Room,
    demand: Demand,
    nodes: t.Sequence[_NodeRoom],
    picks: _Picks,
    shares: t.Sequence[Share],
    taken: int,
    core_cost: int,
) -> t.Tuple[t.Any, ...]:
    """What is compared among choices, most important first.

    First the borders: NUMA nodes, nearness to the device, packages, L3 domains. Inside one NUMA node the tightest one
    and its tightest L3 domain come next, because they keep the large holes whole for later guests, and only then the
    price in cores and part-used L3 domains, which later guests can still make good. Across NUMA nodes that price comes
    first, and equal shares only between choices that cost the same.
    """
    host = room.host
    ids = tuple(share.numa_node for share in shares)
    zones = [zone_room.zone for zone_room, _vcpus in picks]
    l3_domains = {zone.l3 for zone in zones if zone.l3 is not None}
    opened = _opened_l3_domains(room, l3_domains, taken)
    return (
        len(ids),
        *_remoteness(host, shares, demand.near),
        len({zone.package for zone in zones}),
        _own_siblings(host, taken) if _spreads(demand) else 0,
        len(l3_domains),
        *((core_cost, opened) if len(ids) > 1 else (0, 0)),
        sum(host.distance(a, b) for a, b in combinations(ids, 2)),
        demand.latency.mean([cpu for share in shares for cpu in share.cpus]) if demand.latency else 0.0,
        len({len(share.cpus) for share in shares}) > 1,
        sum(node.capacity for node in nodes),
        opened,
        sum(count(zone_room.free) for zone_room, _vcpus in picks),
        core_cost,
        sum(node.memory_mib or 0 for node in nodes) if demand.memory_mib else 0,
        ids,
        tuple(cpu for share in shares for cpu in share.cpus),
    )


def _opened_l3_domains(room: Room, l3_domains: t.Iterable[int], taken: int) -> int:
    """How many empty L3 domains become part-used."""
    opened = 0
    for index in l3_domains:
        cpus = room.host.l3_domains[index].cpus
        if not cpus & room.used and cpus & room.free & ~taken:
            opened += 1
    return opened


def _remoteness(host: Host, shares: t.Sequence[Share], near: int) -> t.Tuple[int, int]:
    """How far the farthest share is from the nearest NUMA node that `near` touches, and how many vCPUs are not on one."""
    targets = {numa_node.id for numa_node in host.numa_nodes_of(near)} if near else ()
    if not targets:
        return 0, 0
    away = [share for share in shares if share.numa_node not in targets]
    farthest = max((min(host.distance(share.numa_node, target) for target in targets) for share in away), default=0)
    return farthest, sum(len(share.cpus) for share in away)


def _own_siblings(host: Host, taken: int) -> int:
    """How many vCPUs share a core with another vCPU of the same guest."""
    return sum(count(core & taken) - 1 for core in host.cores if core & taken)


def _refusal(room: Room, demand: Demand) -> PlacementError:
    """Why nothing was found, in one sentence with the numbers."""
    host = room.host
    sets = _allowed(room, demand)
    free = max(sets, key=count)
    where = f"host {host.node}" if host.node else "the host"
    if demand.near_required and not free:
        return PlacementError(
            f"No CPU is free on the NUMA node of the device ({format_cpulist(demand.near)}) of {where}; "
            "free some there, or set devices: prefer.",
            rule="device",
        )
    if count(free) < demand.vcpus:
        kind = "" if len(sets) == 1 else " of one core type"
        return PlacementError(
            f"{demand.vcpus} CPUs{kind} are asked for, but {where} has {count(free)} free "
            f"({format_cpulist(free) or 'none'}); free CPUs or ask for fewer.",
            rule="too_few_cpus",
        )
    if demand.isolated or demand.siblings == "require":
        whole = [core for core in host.cores if core & free == core]
        threads = len(whole) if demand.isolated else sum(count(core) for core in whole)
        if threads < demand.vcpus or (demand.siblings == "require" and demand.numa != "single"):
            return PlacementError(
                f"{demand.vcpus} CPUs on whole cores are asked for, but {where} has {len(whole)} wholly free cores, which "
                f"cannot make up that number; free cores, or use siblings: pack.",
                rule="no_whole_cores",
            )
    if demand.numa == "single":
        largest = max((count(n.cpus & free) for n in host.numa_nodes), default=0)
        return PlacementError(
            f"{demand.vcpus} CPUs{_with_memory(demand)} are asked for inside one NUMA node, but no NUMA node of {where} has "
            f"both (most free CPUs: {largest}{_most_memory(room, demand)}); use numa: compact, or free one.",
            rule="no_single_numa_node",
        )
    total = sum(max(0, room.memory_of(n.id) or 0) for n in host.numa_nodes)
    return PlacementError(
        f"{demand.memory_mib} MiB of NUMA memory are asked for, but {where} has {total} MiB left that can be bound; "
        "lower the guest's memory or free some.",
        rule="too_little_memory",
    )


def _with_memory(demand: Demand) -> str:
    return f" and {demand.memory_mib} MiB" if demand.memory_mib else ""


def _most_memory(room: Room, demand: Demand) -> str:
    if not demand.memory_mib or room.memory_mib is None:
        return ""
    return f", most free memory: {max(room.memory_mib.values(), default=0)} MiB"


def take_cpus(host: Host, available: t.Optional[int], demand: Demand) -> t.List[int]:
    """CPU numbers for `demand` in vCPU order. Online CPUs outside `available` (None = all) count as other guests'."""
    free = host.online if available is None else available & host.online
    room = Room(host, free, used=host.online & ~free)
    return list(choose(room, demand).cpus)
