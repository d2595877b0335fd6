# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-placing a few guests that already have their place, where that is worth it.

The first move has to save a border: a vCPU without CPU, a NUMA node, a package or an L3 domain. Moves after it, which
the owner allows by asking for more than one, may also fill up cores and L3 domains. Every move makes the quality
vector better; there is never one more than asked for.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .arrangement import Arrangement, State, hardest_first
from .score import Vector, cost, rank

BORDERS = 4  # the first parts of a rank: unplaced vCPUs, NUMA nodes, packages, L3 domains


@dataclass(frozen=True)
class Move:
    """One guest re-placed: from which CPUs to which (masks), and the host's vector before and after."""

    vmid: int
    before_cpus: int
    after_cpus: int
    before: Vector
    after: Vector
    state: State

    @property
    def gain(self) -> int:
        return cost(self.before) - cost(self.after)


def best_moves(arrangement: Arrangement, settled: t.Collection[int], most: int) -> t.List[Move]:
    """Up to `most` re-placements of `settled` guests, carried out one after the other; all others may follow freely."""
    moves: t.List[Move] = []
    moved: t.Set[int] = set()
    while len(moves) < most:
        move = _best_move(arrangement, [vmid for vmid in sorted(settled) if vmid not in moved], bool(moves))
        if move is None:
            break
        moves.append(move)
        moved.add(move.vmid)
    return moves


def _best_move(arrangement: Arrangement, candidates: t.Sequence[int], fill_up: bool) -> t.Optional[Move]:
    before = arrangement.vector()
    bound = rank(before)
    if not any(bound[:BORDERS]) and not fill_up:
        return None
    start = arrangement.state()
    best: t.Optional[t.Tuple[t.Any, Move]] = None
    for vmid in candidates:
        own = start[1][vmid].mask
        for _done in _tries(arrangement, vmid, start, fill_up):
            after = arrangement.vector()
            quality = rank(after)
            better = quality < bound if fill_up else quality[:BORDERS] < bound[:BORDERS]
            now = arrangement.choices.get(vmid)
            if better and now is not None and now.mask != own and (best is None or (quality, vmid) < best[0]):
                best = ((quality, vmid), Move(vmid, own, now.mask, before, after, arrangement.state()))
            arrangement.restore(start)
    arrangement.restore(best[1].state if best else start)
    return best[1] if best else None


def _tries(arrangement: Arrangement, vmid: int, start: State, fill_up: bool) -> t.Iterator[None]:
    """Arrangements in which `vmid` is placed anew: alone, around guests that are not settled, or in one L3 domain."""
    loose = [v for v in _troubled(arrangement) if v != vmid and v not in arrangement.fixed]
    for order in ([vmid], [vmid, *loose], [*loose, vmid]) if loose else ([vmid],):
        arrangement.take_out(order)
        if arrangement.put_all(order) or not start[2].keys().isdisjoint(order):
            yield
        else:
            arrangement.restore(start)
    if not fill_up:
        return
    for domain in arrangement.ledger.host.l3_domains:
        if domain.cpus & start[1][vmid].mask == 0 and domain.cpus & arrangement.ledger.free:
            arrangement.take_out([vmid])
            if arrangement.put(vmid, domain.cpus):
                yield
            else:
                arrangement.restore(start)


def _troubled(arrangement: Arrangement) -> t.List[int]:
    """Guests left out, and guests that cross a border, hardest first."""
    crossing = [v for v in arrangement.choices if any(arrangement.excess(v))]
    return sorted([*arrangement.refusals, *crossing], key=lambda v: hardest_first(arrangement.seats[v]))
