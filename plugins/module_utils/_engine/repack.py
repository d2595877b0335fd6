# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-placing a few guests that already have their place, where that is worth it.

A move has to save a border: a vCPU without CPU, a NUMA node, a package or an L3 domain. Only an owner who allows more
than one gets moves that merely fill up cores and L3 domains, and several moves that save a border together. The
quality vector gets better with each step, and there is never a move more than asked for.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from .arrangement import Arrangement, State, hardest_first
from .cpuset import count, union
from .score import Vector, cost, rank

MAX_LEAVING = 3
BORDERS = 4  # the first parts of a rank: unplaced vCPUs, NUMA nodes, packages, L3 domains
WIDTH = 16  # how many unfinished sequences of steps are followed at once
BRANCHES = 6  # how many steps of one kind are followed from one arrangement


@dataclass(frozen=True)
class Move:
    """One guest re-placed: from which CPUs to which (masks)."""

    vmid: int
    before_cpus: int
    after_cpus: int


@dataclass(frozen=True)
class Step:
    """Moves that belong together, the host's vector before and after them, and the arrangement that results."""

    moves: t.Tuple[Move, ...]
    before: Vector
    after: Vector
    state: State

    @property
    def gain(self) -> int:
        return cost(self.before) - cost(self.after)


_Steps = t.Tuple[Step, ...]
_Tries = t.Callable[[Arrangement, int, State, t.Sequence[int]], t.Iterator[None]]


def best_steps(arrangement: Arrangement, settled: t.Collection[int], most: int) -> _Steps:
    """Steps of up to `most` re-placements in all of `settled` guests; guests that are not settled may follow freely.

    The arrangement is left as the steps make it. A few sequences are followed side by side, and the one wins that ends
    with the best vector, among equals with the fewest moves.
    """
    start = arrangement.state()
    open_sequences: t.List[_Steps] = [()]
    best: _Steps = ()
    while open_sequences:
        longer: t.Dict[t.Any, _Steps] = {}
        for steps in open_sequences:
            arrangement.restore(steps[-1].state if steps else start)
            for step in _next_steps(arrangement, settled, steps, most):
                key = frozenset((vmid, choice.mask) for vmid, choice in step.state[1].items())
                longer.setdefault(key, (*steps, step))
        open_sequences = sorted(longer.values(), key=_order)[: WIDTH if most > 1 else 1]
        if open_sequences:
            best = min(best, open_sequences[0], key=_order) if best else open_sequences[0]
    arrangement.restore(best[-1].state if best else start)
    return best


def _order(steps: _Steps) -> t.Tuple[t.Any, ...]:
    moves = [move for step in steps for move in step.moves]
    return rank(steps[-1].after), len(moves), [(move.vmid, move.after_cpus) for move in moves]


def _next_steps(arrangement: Arrangement, settled: t.Collection[int], steps: _Steps, most: int) -> t.List[Step]:
    """The best single steps from here; wider searches only where a narrower one finds nothing."""
    moved = {move.vmid for step in steps for move in step.moves}
    left = most - len(moved)
    if left <= 0:
        return []
    candidates = [vmid for vmid in sorted(settled) if vmid not in moved]
    found = _best(arrangement, candidates, _alone, fill_up=False)
    if left > 1:
        found += _best(arrangement, candidates, _with_another, fill_up=False)
    if not found and left > 2:
        found = _best(arrangement, candidates, partial(_after_clearing, most=left - 1), fill_up=False)
    if most > 1:
        for tries in (_into_l3_domains, _with_core_mates, partial(_emptying, most=left)):
            found += _best(arrangement, candidates, tries, fill_up=True)
    return [step for step in found if step.moves and len(step.moves) <= left]


def _best(arrangement: Arrangement, candidates: t.Sequence[int], tries: _Tries, fill_up: bool) -> t.List[Step]:
    """The best few arrangements that `tries` come to from here, each as a step."""
    before = arrangement.vector()
    bound = rank(before)
    if not any(bound[:BORDERS]) and not fill_up:
        return []
    start = arrangement.state()
    better: t.Dict[t.Any, Step] = {}
    for vmid in candidates:
        for _tried in tries(arrangement, vmid, start, candidates):
            after = arrangement.vector()
            quality = rank(after)
            if quality < bound if fill_up else quality[:BORDERS] < bound[:BORDERS]:
                moves = _moves(candidates, start, arrangement)
                better.setdefault((quality, len(moves), vmid), Step(moves, before, after, arrangement.state()))
            arrangement.restore(start)
    return [better[key] for key in sorted(better)[:BRANCHES]]


def _moves(candidates: t.Sequence[int], start: State, arrangement: Arrangement) -> t.Tuple[Move, ...]:
    changed = (v for v in candidates if arrangement.choices[v].mask != start[1][v].mask)
    return tuple(Move(v, start[1][v].mask, arrangement.choices[v].mask) for v in changed)


def _alone(arrangement: Arrangement, vmid: int, start: State, _candidates: t.Sequence[int]) -> t.Iterator[None]:
    """`vmid` placed anew, alone or around guests in trouble that have no place of their own yet."""
    loose = [v for v in _troubled(arrangement) if v != vmid and v not in arrangement.fixed]
    for order in ([vmid], [vmid, *loose], [*loose, vmid]) if loose else ([vmid],):
        yield from _placed(arrangement, order, start)


def _with_another(arrangement: Arrangement, vmid: int, start: State, candidates: t.Sequence[int]) -> t.Iterator[None]:
    """A guest in trouble and another one placed anew, in both orders."""
    if vmid in arrangement.refusals or not any(arrangement.excess(vmid)):
        return
    for other in candidates:
        if other != vmid:
            yield from _placed(arrangement, [vmid, other], start)
            yield from _placed(arrangement, [other, vmid], start)


def _after_clearing(arrangement: Arrangement, vmid: int, start: State, candidates: t.Sequence[int], most: int) -> t.Iterator[None]:
    """A guest in trouble in an L3 domain or NUMA node out of which up to `most` others are moved to make room."""
    if vmid in arrangement.refusals or not any(arrangement.excess(vmid)):
        return
    host = arrangement.ledger.host
    free = arrangement.ledger.free | start[1][vmid].mask
    vcpus = arrangement.seats[vmid].demand.vcpus
    domains = [d.cpus for d in host.l3_domains] + [n.cpus for n in host.numa_nodes]
    for cpus in (domain for domain in domains if count(domain) >= vcpus):
        inside = [v for v in candidates if v != vmid and not start[1][v].mask & ~cpus]
        for leaving in _smallest_sets(inside, vcpus - count(free & cpus), min(most, MAX_LEAVING), arrangement):
            arrangement.take_out([vmid, *leaving])
            if arrangement.put(vmid, cpus) and arrangement.put_all(leaving):
                yield
            arrangement.restore(start)


def _smallest_sets(guests: t.Sequence[int], needed: int, most: int, arrangement: Arrangement) -> t.Iterator[t.List[int]]:
    """Sets of up to `most` guests with at least `needed` vCPUs, none of them to spare; alike sets once."""
    size = {v: arrangement.seats[v].demand.vcpus for v in guests}
    seen = set()
    for number in range(1, most + 1):
        for chosen in combinations(guests, number):
            vcpus = sum(size[v] for v in chosen)
            kind = tuple(sorted(size[v] for v in chosen))
            if vcpus >= needed > vcpus - min(kind) and kind not in seen:
                seen.add(kind)
                yield sorted(chosen, key=lambda v: hardest_first(arrangement.seats[v]))


def _into_l3_domains(arrangement: Arrangement, vmid: int, start: State, _candidates: t.Sequence[int]) -> t.Iterator[None]:
    """`vmid` placed anew in each L3 domain that has room."""
    arrangement.take_out([vmid])
    emptied = arrangement.state()
    vcpus = arrangement.seats[vmid].demand.vcpus
    for domain in arrangement.ledger.host.l3_domains:
        if count(domain.cpus & arrangement.ledger.free) >= vcpus:
            if arrangement.put(vmid, domain.cpus):
                yield
            arrangement.restore(emptied)
    arrangement.restore(start)


def _with_core_mates(arrangement: Arrangement, vmid: int, start: State, candidates: t.Sequence[int]) -> t.Iterator[None]:
    """`vmid` and a guest that shares a core with it placed anew, each of them first."""
    cores = arrangement.ledger.host.whole_cores(start[1][vmid].mask)
    for other in candidates:
        if other != vmid and start[1][other].mask & cores:
            yield from _placed(arrangement, [vmid, other], start)


def _emptying(arrangement: Arrangement, vmid: int, start: State, candidates: t.Sequence[int], most: int) -> t.Iterator[None]:
    """All guests of an L3 domain that `vmid` shares with few others placed anew in other part-used L3 domains."""
    ledger = arrangement.ledger
    holds = start[1][vmid].mask
    domain = next((d.cpus for d in ledger.host.l3_domains if not holds & ~d.cpus), 0)
    inside = [v for v in sorted(start[1]) if start[1][v].mask & domain]
    if not domain & ledger.free or vmid != inside[0] or len(inside) > most or not set(inside) <= set(candidates):
        return
    part_used = union(other.cpus for other in ledger.host.l3_domains if other.cpus != domain and other.cpus & ledger.used)
    arrangement.take_out(inside)
    if all(arrangement.put(v, part_used) for v in sorted(inside, key=lambda v: hardest_first(arrangement.seats[v]))):
        yield
    arrangement.restore(start)


def _placed(arrangement: Arrangement, order: t.Sequence[int], start: State) -> t.Iterator[None]:
    arrangement.take_out(order)
    arrangement.put_all(order)
    if all(vmid in arrangement.choices for vmid in order if vmid in start[1]):
        yield
    arrangement.restore(start)


def _troubled(arrangement: Arrangement) -> t.List[int]:
    """Guests left out, and guests that cross a border, hardest first."""
    crossing = [v for v in arrangement.choices if any(arrangement.excess(v))]
    return sorted([*arrangement.refusals, *crossing], key=lambda v: hardest_first(arrangement.seats[v]))
