# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arranging guests that are not running where they are to be yet: greedy first, then repair where it fell short.

Placing the hardest guest first is optimal on nearly every host with memory to spare. Where NUMA memory is tight it
leaves guests out or stretches them over NUMA nodes, and then exchanging a few guests between NUMA nodes finds room.
Everything is tried in a fixed order and within a number of trials, so that the same input gives the same plan.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from itertools import combinations

from .arrangement import Arrangement, Seat, State, hardest_first
from .cpuset import count, union

Order = t.Callable[[Seat], t.Tuple[t.Any, ...]]

MAX_EXCHANGED = 2
MAX_SHAPES = 12
TRIALS_AFTER_SHARING = 150
EXCHANGE_SIZES = ((1, 1), (1, 0), (0, 1), (2, 1), (1, 2), (2, 2), (2, 0), (0, 2), (3, 1), (1, 3))


def arrange(arrangement: Arrangement, trials: int) -> None:
    """Give every seat without a choice its place, as good as `trials` (guests placed on probation) allow.

    Guests that are to be spread over NUMA nodes stay where they were put first: exchanges would gather them.
    """
    waiting = [vmid for vmid in sorted(arrangement.seats) if vmid not in arrangement.choices]
    if not waiting:
        return
    _best_order(arrangement, waiting)
    _Search(arrangement, [vmid for vmid in waiting if arrangement.gathers(vmid)], trials).run()


def _orders(arrangement: Arrangement) -> t.Tuple[Order, ...]:
    cpus = max(1, count(arrangement.ledger.host.online))
    memory = max(1, sum(numa_node.memory_mib or 0 for numa_node in arrangement.ledger.host.numa_nodes))

    def by_largest_share(seat: Seat) -> t.Tuple[t.Any, ...]:
        return (-max(seat.demand.vcpus / cpus, seat.memory_mib / memory), seat.vmid)

    def by_memory(seat: Seat) -> t.Tuple[t.Any, ...]:
        return (-seat.memory_mib, -seat.demand.vcpus, seat.vmid)

    return (hardest_first, by_largest_share, by_memory)


def _best_order(arrangement: Arrangement, waiting: t.Sequence[int]) -> None:
    """Place `waiting` in the first order that leaves nothing to wish for, else in the best one."""
    start = arrangement.state()
    best: t.Optional[t.Tuple[t.Any, ...]] = None
    for order in _orders(arrangement):
        arrangement.restore(start)
        arrangement.put_all(sorted(waiting, key=lambda vmid: order(arrangement.seats[vmid])))
        quality = arrangement.quality()
        if best is None or quality < best[0]:
            best = (quality, arrangement.state())
        if not any(quality[:4]):
            break
    if best:
        arrangement.restore(best[1])


class _Search:
    """Repairs one arrangement by exchanging guests until nothing is left to wish for or the trials are used up."""

    def __init__(self, arrangement: Arrangement, movable: t.Sequence[int], trials: int) -> None:
        self.arrangement = arrangement
        self.movable = list(movable)
        self.last_trial = arrangement.trials + trials
        self.quality = arrangement.quality()
        self.seen: t.Set[t.FrozenSet[t.Tuple[int, int]]] = set()
        self.sideways = False

    def run(self) -> None:
        """Improve until nothing helps; then step sideways to arrangements as good that were not seen, and go on."""
        best = (self.quality, self.arrangement.state())
        while self._wanting() and not self._exhausted():
            self.sideways = False
            if any(step() for step in (self._relieve, self._regroup, self._share_out, self._swap, self._share_out_further)):
                best = min(best, (self.quality, self.arrangement.state()), key=lambda found: found[0])
                continue
            self.sideways = True
            if not any(step() for step in (self._relieve, self._swap)):
                break
        self.arrangement.restore(best[1])

    def _exhausted(self) -> bool:
        return self.arrangement.trials >= self.last_trial

    def _wanting(self) -> bool:
        """Whether something could be better: a border crossed, a guest left out, or more open than one L3 domain."""
        return any(self.quality[:4]) or self.quality[4] > self._least_core_cost() or self.quality[5] > 1

    def _least_core_cost(self) -> int:
        """What cores cost at least: guests with an odd number of vCPUs share cores in pairs, one may be left over."""
        host = self.arrangement.ledger.host
        if any(count(core) != 2 for core in host.cores):
            return 0
        odd = sum(holding.vcpus % 2 for holding in self.arrangement.ledger.holdings.values() if holding.cpus)
        return 5 * (odd // 2) + 10 * (odd % 2)

    def _accept(self, state: State) -> bool:
        """Keep what was just tried if it is better, else go back to `state`."""
        quality = self.arrangement.quality()
        if quality < self.quality or (self.sideways and quality <= self._tolerated() and self._is_new()):
            self.quality = quality
            return True
        self.arrangement.restore(state)
        return False

    def _tolerated(self) -> t.Tuple[int, ...]:
        return self.quality

    def _is_new(self) -> bool:
        """Whether the arrangement was not stepped to before."""
        key = frozenset((vmid, choice.mask) for vmid, choice in self.arrangement.choices.items())
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def _troubled(self) -> t.List[int]:
        """Guests left out, then guests that cross borders, the worst first."""
        arrangement = self.arrangement
        crossing = [(arrangement.excess(v), v) for v in self.movable if v in arrangement.choices]
        worst = sorted((pair for pair in crossing if any(pair[0])), key=lambda pair: (tuple(-e for e in pair[0]), pair[1]))
        return [v for v in self.movable if v in arrangement.refusals] + [v for _excess, v in worst]

    def _relieve(self) -> bool:
        """Make room for a troubled guest on as few NUMA nodes as it needs, by exchanging others with the rest."""
        for vmid in self._troubled():
            demand = self.arrangement.seats[vmid].demand
            nodes = [n.id for n in self.arrangement.ledger.host.numa_nodes]
            least, _packages, _l3 = self.arrangement.ledger.least.spans(demand.vcpus, demand.memory_mib)
            for target in combinations(nodes, min(least, len(nodes))):
                if self._make_room(vmid, target):
                    return True
        return False

    def _make_room(self, vmid: int, target: t.Tuple[int, ...]) -> bool:
        outside = [n.id for n in self.arrangement.ledger.host.numa_nodes if n.id not in target]
        for leaving, entering in self._exchanges(vmid, target, outside):
            if self._exhausted():
                return False
            state = self.arrangement.state()
            self.arrangement.take_out((vmid, *leaving, *entering))
            if self.arrangement.put(vmid, self._cpus_of(target)):
                self._put_back(leaving, outside)
                self._put_back(entering, target)
                if self._accept(state):
                    return True
            else:
                self.arrangement.restore(state)
        return False

    def _put_back(self, vmids: t.Iterable[int], preferred: t.Collection[int]) -> None:
        for vmid in sorted(vmids, key=lambda v: hardest_first(self.arrangement.seats[v])):
            if not self.arrangement.put(vmid, self._cpus_of(preferred)):
                self.arrangement.put(vmid)

    def _cpus_of(self, nodes: t.Collection[int]) -> int:
        return union(numa_node.cpus for numa_node in self.arrangement.ledger.host.numa_nodes if numa_node.id in nodes)

    def _exchanges(
        self, vmid: int, target: t.Collection[int], outside: t.Collection[int]
    ) -> t.Iterator[t.Tuple[t.Tuple[int, ...], t.Tuple[int, ...]]]:
        """(guests that leave `target`, guests that enter it) that by the numbers make room for `vmid`, few first."""
        arrangement = self.arrangement
        own = arrangement.numa_nodes(vmid) if vmid in arrangement.choices else frozenset()
        cpus, memory = self._missing(vmid, target, own)
        inside = self._fully_on(target, vmid)
        others = self._fully_on(outside, vmid)
        for size in range(MAX_EXCHANGED + 1):
            for back in range(MAX_EXCHANGED + 1 if size else 1):
                for leaving in combinations(inside, size):
                    leaving_cpus, leaving_memory = self._sizes(leaving)
                    for entering in combinations(others, back):
                        entering_cpus, entering_memory = self._sizes(entering)
                        if leaving_cpus - entering_cpus >= cpus and leaving_memory - entering_memory >= memory:
                            yield leaving, entering

    def _missing(self, vmid: int, target: t.Collection[int], own: t.Collection[int]) -> t.Tuple[int, int]:
        """CPUs and MiB that `target` lacks for the guest when the guest itself is taken out."""
        arrangement = self.arrangement
        demand = arrangement.seats[vmid].demand
        free_cpus = free_memory = 0
        memory = arrangement.ledger.memory_free_mib()
        for numa_node in arrangement.ledger.host.numa_nodes:
            if numa_node.id in target:
                free_cpus += count(arrangement.ledger.free & numa_node.cpus)
                free_memory += (memory or {}).get(numa_node.id, 0)
        for share in arrangement.choices[vmid].shares if own else ():
            if share.numa_node in target:
                free_cpus += len(share.cpus)
                free_memory += share.memory_mib
        return demand.vcpus - free_cpus, (demand.memory_mib - free_memory) if memory is not None else 0

    def _fully_on(self, nodes: t.Collection[int], but: int) -> t.List[int]:
        arrangement = self.arrangement
        allowed = set(nodes)
        return [v for v in self.movable if v != but and v in arrangement.choices and arrangement.numa_nodes(v) <= allowed]

    def _sizes(self, vmids: t.Iterable[int]) -> t.Tuple[int, int]:
        demands = [self.arrangement.seats[vmid].demand for vmid in vmids]
        return sum(demand.vcpus for demand in demands), sum(demand.memory_mib for demand in demands)

    def _kinds(self, vmids: t.Iterable[int]) -> t.Tuple[t.Tuple[int, int], ...]:
        """What exchanging these guests looks like: guests of the same size are interchangeable."""
        return tuple(sorted(self._sizes((vmid,)) for vmid in vmids))

    def _regroup(self) -> bool:
        """Take out all movable guests of one or two NUMA nodes and place them anew in another order."""
        nodes = [n.id for n in self.arrangement.ledger.host.numa_nodes]
        for size in (1, 2):
            for chosen in combinations(nodes, size):
                group = [v for v in self.movable if v in self.arrangement.refusals] + self._fully_on(chosen, -1)
                for order in _orders(self.arrangement):
                    if self._exhausted():
                        return False
                    state = self.arrangement.state()
                    self.arrangement.take_out(group)
                    self.arrangement.put_all(sorted(group, key=lambda vmid: order(self.arrangement.seats[vmid])))
                    if self._accept(state):
                        return True
        return False

    def _share_out(self) -> bool:
        """Share out a guest that spans NUMA nodes in another way, and place all others anew around it."""
        return any(self._shared_out(vmid, [v for v in self.movable if v != vmid], 0, self._accept) for vmid in self._stretched())

    def _share_out_further(self) -> bool:
        """The same, also beside other guests that span, on one NUMA node more, and with a few exchanges afterwards."""
        stretched = self._stretched()
        wider = MAX_SHAPES if any(self.quality[:2]) else 0
        for vmid in stretched:
            others = [v for v in self.movable if v != vmid]
            around = [v for v in others if v not in stretched]
            for loose in (others, around) if len(stretched) > 1 else (others,):
                if self._shared_out(vmid, loose, wider, self._accept_after_exchanges):
                    return True
        return False

    def _shared_out(self, vmid: int, loose: t.Sequence[int], wider: int, accept: t.Callable[[State], bool]) -> bool:
        state = self.arrangement.state()
        self.arrangement.take_out([vmid, *loose])
        shapes = self.arrangement.alternatives(vmid, MAX_SHAPES, wider)
        emptied = self.arrangement.state()
        for choice in shapes:
            for order in _orders(self.arrangement):
                if self._exhausted():
                    break
                self.arrangement.restore(emptied)
                self.arrangement.occupy(vmid, choice)
                self.arrangement.put_all(sorted(loose, key=lambda v: order(self.arrangement.seats[v])))
                if accept(state):
                    return True
        self.arrangement.restore(state)
        return False

    def _accept_after_exchanges(self, state: State) -> bool:
        """As `_accept`, with a few exchanges first where what was just tried is not better yet."""
        wanted, last_trial = self.quality, self.last_trial
        self.quality = self.arrangement.quality()
        self.last_trial = min(last_trial, self.arrangement.trials + TRIALS_AFTER_SHARING)
        while self.quality >= wanted and not self._exhausted() and (self._relieve() or self._swap()):
            pass
        self.last_trial = last_trial
        if self.quality < wanted:
            return True
        self.quality = wanted
        self.arrangement.restore(state)
        return False

    def _stretched(self) -> t.List[int]:
        """Guests that span NUMA nodes, or would have to, the largest first."""
        arrangement = self.arrangement
        wide = [v for v in self.movable if v in arrangement.refusals or len(arrangement.numa_nodes(v)) > 1]
        return sorted(wide, key=lambda v: hardest_first(arrangement.seats[v]))

    def _swap(self) -> bool:
        """Exchange two guests of different size between two NUMA nodes and pack both NUMA nodes anew."""
        nodes = [n.id for n in self.arrangement.ledger.host.numa_nodes]
        for a, b in combinations(nodes, 2):
            on_a, on_b = self._fully_on((a,), -1), self._fully_on((b,), -1)
            for from_a, from_b in self._swaps(a, b, on_a, on_b):
                if self._exhausted():
                    return False
                state = self.arrangement.state()
                self.arrangement.take_out(on_a + on_b)
                self._put_back([v for v in on_a if v not in from_a] + list(from_b), (a,))
                self._put_back([v for v in on_b if v not in from_b] + list(from_a), (b,))
                if self._accept(state):
                    return True
        return False

    def _swaps(
        self, a: int, b: int, on_a: t.Sequence[int], on_b: t.Sequence[int]
    ) -> t.Iterator[t.Tuple[t.Tuple[int, ...], t.Tuple[int, ...]]]:
        """Exchanges of up to two guests each way that fit by the numbers and change the number of CPUs used on each."""
        arrangement = self.arrangement
        memory = arrangement.ledger.memory_free_mib()
        free = {n.id: count(arrangement.ledger.free & n.cpus) for n in arrangement.ledger.host.numa_nodes}
        seen = set()
        for size_a, size_b in EXCHANGE_SIZES:
            for from_a in combinations(on_a, size_a):
                cpus_a, memory_a = self._sizes(from_a)
                for from_b in combinations(on_b, size_b):
                    cpus_b, memory_b = self._sizes(from_b)
                    cpus, mib = cpus_a - cpus_b, memory_a - memory_b
                    fits = -free[a] <= cpus <= free[b] and (memory is None or -memory.get(a, 0) <= mib <= memory.get(b, 0))
                    kind = (self._kinds(from_a), self._kinds(from_b))
                    if kind[0] != kind[1] and fits and kind not in seen:
                        seen.add(kind)
                        yield from_a, from_b
