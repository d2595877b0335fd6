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
from itertools import combinations
from math import comb

from . import cores
from .cpuset import count, mask_of
from .demand import Choice, Demand, Room, Share, allowed, check
from .numa_memory import NodeMemory, memory_split
from .portions import NodeRoom, Picks, picks
from .refusal import refusal
from .topology import Host

# Beyond this many sets of NUMA nodes a few good ones are tried instead of all.
MAX_SETS = 5000


class _Draft(t.NamedTuple):
    """A choice that is not worked out yet; its rank begins with `bound` or with something larger."""

    bound: t.Tuple[t.Any, ...]
    position: int
    nodes: t.Tuple[NodeRoom, ...]
    picks: Picks


def choose(room: Room, demand: Demand) -> Choice:
    """The best choice for `demand` in `room`. Raises PlacementError with the reason when there is none."""
    check(demand)
    if demand.vcpus == 0:
        return Choice((), 0, ())
    best: t.Optional[Choice] = None
    for free in allowed(room, demand):
        for way in _ways(demand):
            found = _best_on_fewest(room, demand, free, way)
            if found and (best is None or found.rank < best.rank):
                best = found
            if found and not _spreads(demand):
                break
    if best is None:
        raise refusal(room, demand)
    return best


def _best_on_fewest(room: Room, demand: Demand, free: int, way: str) -> t.Optional[Choice]:
    """The best choice on as few NUMA nodes as possible. Drafts whose bound is beyond the best so far are not worked out."""
    nodes = _node_rooms(room, free, way)
    for number in _node_counts(demand, nodes):
        best: t.Optional[Choice] = None
        for draft in sorted(_drafts(room, demand, nodes, number, way)):
            if best is not None and draft.bound > best.rank:
                break
            choice = _finish(room, demand, draft.nodes, draft.picks, way)
            if choice is not None and (best is None or choice.rank < best.rank):
                best = choice
        if best is not None:
            return best
    return None


def alternatives(room: Room, demand: Demand, most: int, most_wider: int = 0) -> t.List[Choice]:
    """Up to `most` choices that share out the CPUs and the memory differently, on as few NUMA nodes as possible, the best first.

    After them up to `most_wider` on one NUMA node more.
    """
    found: t.List[Choice] = []
    for free in allowed(room, demand):
        for way in _ways(demand):
            nodes = _node_rooms(room, free, way)
            counts = list(_node_counts(demand, nodes))
            for position, number in enumerate(counts):
                few = _of_distinct_shapes(room, demand, nodes, number, way, most)
                if few:
                    wider = counts[position + 1 : position + 2] if most_wider else []
                    found += few + [c for more in wider for c in _of_distinct_shapes(room, demand, nodes, more, way, most_wider)]
                    break
    return found


def _of_distinct_shapes(room: Room, demand: Demand, nodes: t.Sequence[NodeRoom], number: int, way: str, most: int) -> t.List[Choice]:
    finished = [_finish(room, demand, draft.nodes, draft.picks, way) for draft in _drafts(room, demand, nodes, number, way)]
    shapes: t.Dict[t.Any, Choice] = {}
    for choice in sorted((choice for choice in finished if choice is not None), key=lambda choice: choice.rank):
        shape = tuple(sorted((len(share.cpus), share.memory_mib) for share in choice.shares))
        shapes.setdefault(shape, choice)
    return list(shapes.values())[:most]


def _spreads(demand: Demand) -> bool:
    return demand.siblings == "spread" and not demand.isolated


def _ways(demand: Demand) -> t.Tuple[str, ...]:
    """The ways to take CPUs, in order of preference."""
    if demand.isolated:
        return ("isolate",)
    return {"pack": ("pack",), "require": ("require",), "spread": ("one_each", "spread")}[demand.siblings]


def _drafts(room: Room, demand: Demand, nodes: t.Sequence[NodeRoom], number: int, way: str) -> t.Iterator[_Draft]:
    position = 0
    for chosen in _node_sets(room.host, nodes, number, demand):
        for picked in picks(chosen, demand, way):
            yield _Draft(_bound(room, demand, chosen, picked, way), position, chosen, picked)
            position += 1


def _bound(room: Room, demand: Demand, nodes: t.Sequence[NodeRoom], picked: Picks, way: str) -> t.Tuple[t.Any, ...]:
    """How the rank of these picks begins at least, as far as that is known before the CPUs are taken."""
    zones = [zone_room.zone for zone_room, _vcpus in picked]
    ids = {zone.numa_node for zone in zones}
    l3_domains = {zone.l3 for zone in zones if zone.l3 is not None}
    borders = (len(ids), *_nearest_remoteness(room.host, picked, demand.near), len({zone.package for zone in zones}), 0, len(l3_domains))
    if len(nodes) > 1:
        return borders
    opened = 0
    if len(picked) == 1 and l3_domains and way != "isolate":
        cpus = room.host.l3_domains[l3_domains.pop()].cpus
        opened = int(not cpus & room.used and count(cpus & room.free) > demand.vcpus)
    free = sum(count(zone_room.free) for zone_room, _vcpus in picked)
    return (*borders, 0, 0, 0, 0.0, False, nodes[0].capacity, opened, free)


def _nearest_remoteness(host: Host, picked: Picks, near: int) -> t.Tuple[int, int]:
    if not near:
        return 0, 0
    return _remoteness(host, [(zone_room.zone.numa_node, vcpus) for zone_room, vcpus in picked], near)


def _node_rooms(room: Room, free: int, way: str) -> t.List[NodeRoom]:
    rooms = (NodeRoom(room.host, numa_node, free, way, room.memory_of(numa_node.id)) for numa_node in room.host.numa_nodes)
    return [node for node in rooms if node.capacity or node.memory_mib]


def _node_counts(demand: Demand, nodes: t.Sequence[NodeRoom]) -> t.Iterable[int]:
    """How many NUMA nodes to try, in order of preference."""
    if demand.numa == "single":
        return (1,) if nodes else ()
    most = len(nodes)
    if demand.numa == "spread":
        with_cpus = sum(1 for node in nodes if node.capacity)
        even = [k for k in range(min(with_cpus, demand.vcpus), 0, -1) if demand.vcpus % k == 0]
        return even + [k for k in range(1, most + 1) if k not in even]
    if demand.numa == "any":
        return range(most, 0, -1) if most == 1 else tuple(range(1, most + 1))
    return range(1, most + 1)


def _node_sets(host: Host, nodes: t.Sequence[NodeRoom], number: int, demand: Demand) -> t.Iterator[t.Tuple[NodeRoom, ...]]:
    """Sets of `number` NUMA nodes that together have the CPUs and the memory."""
    if number == 1:
        candidates: t.Iterable[t.Tuple[NodeRoom, ...]] = ((node,) for node in nodes)
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


def _memory_room(nodes: t.Iterable[NodeRoom], demand: Demand) -> float:
    """The MiB that `nodes` can hold together in whole steps; endless where a host does not tell its memory."""
    total = 0
    for node in nodes:
        if node.memory_mib is None:
            return float("inf")
        total += max(0, node.memory_mib) // demand.memory_step * demand.memory_step
    return total


def _grown_sets(host: Host, nodes: t.Sequence[NodeRoom], number: int) -> t.Iterator[t.Tuple[NodeRoom, ...]]:
    """From each NUMA node on, the roomiest among the nearest; and the roomiest of all."""
    for start in nodes:
        order = sorted(
            nodes,
            key=lambda node: (host.distance(start.numa_node.id, node.numa_node.id), -node.capacity, node.numa_node.id),
        )
        yield _by_id(order[:number])
    yield _by_id(sorted(nodes, key=lambda n: (-n.capacity, n.numa_node.id))[:number])
    yield _by_id(sorted(nodes, key=lambda n: (-(n.memory_mib or 0), n.numa_node.id))[:number])


def _by_id(nodes: t.Iterable[NodeRoom]) -> t.Tuple[NodeRoom, ...]:
    return tuple(sorted(nodes, key=lambda node: node.numa_node.id))


def _finish(room: Room, demand: Demand, nodes: t.Sequence[NodeRoom], picked: Picks, way: str) -> t.Optional[Choice]:
    """Take the CPUs, split the memory, and rank the result; None where either does not work out."""
    cpus_by_node: t.Dict[int, t.List[int]] = {node.numa_node.id: [] for node in nodes}
    taken = blocked = cost = 0
    weights = demand.weights
    for zone_room, vcpus in picked:
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
    return Choice(shares, blocked, _rank(room, demand, nodes, picked, shares, taken | blocked, cost))


def _memory_of(
    cpus_by_node: t.Mapping[int, t.Sequence[int]], nodes: t.Sequence[NodeRoom], host: Host, demand: Demand
) -> t.Optional[t.Dict[int, int]]:
    if len(nodes) == 1 and demand.memory_mib % demand.memory_step == 0:
        return {nodes[0].numa_node.id: demand.memory_mib}
    free_memory = [NodeMemory(node.numa_node.id, node.memory_mib) for node in nodes]
    return memory_split({i: len(cpus) for i, cpus in cpus_by_node.items()}, free_memory, host, demand)


def _rank(
    room: Room,
    demand: Demand,
    nodes: t.Sequence[NodeRoom],
    picked: Picks,
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
    zones = [zone_room.zone for zone_room, _vcpus in picked]
    l3_domains = {zone.l3 for zone in zones if zone.l3 is not None}
    opened = _opened_l3_domains(room, l3_domains, taken)
    return (
        len(ids),
        *_remoteness(host, [(share.numa_node, len(share.cpus)) for share in shares], demand.near),
        len({zone.package for zone in zones}),
        _own_siblings(host, taken) if _spreads(demand) else 0,
        len(l3_domains),
        *((core_cost, opened) if len(ids) > 1 else (0, 0)),
        sum(host.distance(a, b) for a, b in combinations(ids, 2)),
        demand.latency.mean([cpu for share in shares for cpu in share.cpus]) if demand.latency else 0.0,
        len({len(share.cpus) for share in shares}) > 1,
        sum(node.capacity for node in nodes),
        opened,
        sum(count(zone_room.free) for zone_room, _vcpus in picked),
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


def _remoteness(host: Host, parts: t.Sequence[t.Tuple[int, int]], near: int) -> t.Tuple[int, int]:
    """How far the farthest of `parts` (NUMA node, vCPUs) is from a NUMA node that `near` touches, and how many vCPUs are on none."""
    targets = {numa_node.id for numa_node in host.numa_nodes_of(near)} if near else ()
    if not targets:
        return 0, 0
    away = [part for part in parts if part[0] not in targets]
    farthest = max((min(host.distance(numa_node, target) for target in targets) for numa_node, _vcpus in away), default=0)
    return farthest, sum(vcpus for _numa_node, vcpus in away)


def _own_siblings(host: Host, taken: int) -> int:
    """How many vCPUs share a core with another vCPU of the same guest."""
    return sum(count(core & taken) - 1 for core in host.cores if core & taken)


def take_cpus(host: Host, available: t.Optional[int], demand: Demand) -> t.List[int]:
    """CPU numbers for `demand` in vCPU order. Online CPUs outside `available` (None = all) count as other guests'."""
    free = host.online if available is None else available & host.online
    room = Room(host, free, used=host.online & ~free)
    return list(choose(room, demand).cpus)
