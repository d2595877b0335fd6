# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are still to be created: which host takes them, and where on it.

For each of them the host is chosen whose quality vector gets worse the least; among equals the one that keeps the
largest hole inside one NUMA node, then the fullest. Nothing is written for them: the plan shows the place that each
would get now.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import explain
from .allocator import Choice, choose
from .arrangement import check_memory
from .board import Board
from .cells import cells_of
from .cpuset import count, format_ordered
from .errors import PlacementError
from .guest import Cell, Guest, cell_to_mapping
from .ledger import Holding, Ledger
from .pinned import demand_of
from .policy import PINNED_CLASSES, Request
from .score import rank, score


@dataclass(frozen=True)
class _Offer:
    """What one host could give: `price` compares offers, less is better."""

    node: str
    holding: Holding
    cpus: t.Tuple[int, ...]
    cells: t.Tuple[Cell, ...]
    reason: str
    price: t.Tuple[t.Any, ...]


def place_requests(board: Board) -> t.List[t.Dict[str, t.Any]]:
    """One entry per requested guest: {name, number, node, class, cpus, numa_cells, reason}; node null where none fits.

    Hardest first, then as they are listed; what one gets is no longer there for the next.
    """
    wanted = [(request, number) for request in board.policy.requests for number in range(1, request.count + 1)]
    order = sorted(range(len(wanted)), key=lambda i: (-wanted[i][0].vcpus, -wanted[i][0].memory_mib, i))
    entries = {position: _place_one(board, *wanted[position], vmid=-1 - position) for position in order}
    return [entries[position] for position in sorted(entries)]


def _place_one(board: Board, request: Request, number: int, vmid: int) -> t.Dict[str, t.Any]:
    offers: t.List[_Offer] = []
    refusal = "No host was read."
    unread = board.snapshot.unread_hosts
    for ledger in (ledger for name, ledger in sorted(board.ledgers.items()) if name not in unread):
        try:
            offers.append(_offer(board, ledger, request, vmid))
        except PlacementError as e:
            refusal = str(e)
    entry = {"name": request.name, "number": number, "class": request.rule.cpu_class}
    if not offers:
        return {**entry, "node": None, "cpus": "", "numa_cells": [], "reason": refusal}
    best = min(offers, key=lambda offer: offer.price)
    board.ledgers[best.node].hold(vmid, best.holding)
    cells = [cell_to_mapping(cell) for cell in best.cells]
    return {**entry, "node": best.node, "cpus": format_ordered(best.cpus), "numa_cells": cells, "reason": best.reason}


def _offer(board: Board, ledger: Ledger, request: Request, vmid: int) -> _Offer:
    """Raises PlacementError where the host has no room."""
    host = ledger.host
    check_memory(ledger, request.memory_mib)
    if request.rule.cpu_class not in PINNED_CLASSES:
        return _floating_offer(board, ledger, request)
    guest = Guest(vmid, host.node, request.vcpus, request.memory_mib)
    demand = demand_of(guest, request.rule, host)
    choice = choose(ledger.room(), demand)
    cells: t.Tuple[Cell, ...] = ()
    if request.rule.memory != "none":
        cells = tuple(cells_of(host, choice.shares, request.rule.memory, demand.memory_step, demand.memory_step > 1))
    holding = _holding(request, choice)
    return _Offer(host.node, holding, choice.cpus, cells, explain.chosen(host, choice), _price(ledger, vmid, holding))


def _holding(request: Request, choice: Choice) -> Holding:
    bound = choice.memory
    return Holding(request.vcpus, choice.mask, choice.blocked, bound, request.memory_mib - sum(bound.values()))


def _floating_offer(board: Board, ledger: Ledger, request: Request) -> _Offer:
    """A guest that shares CPUs: vCPUs of all shared guests and requests within overcommit.cpu of the pool."""
    pool = count(ledger.free)
    floating = sum(holding.vcpus for holding in ledger.holdings.values() if not holding.cpus)
    if floating + request.vcpus > pool * board.policy.overcommit_cpu:
        raise PlacementError(
            f"{request.vcpus} shared vCPUs are asked for, but host {ledger.host.node} has {floating} for {pool} CPUs already; "
            "raise overcommit.cpu or add CPUs.",
            rule="too_few_cpus",
        )
    holding = Holding(request.vcpus, 0, 0, {}, request.memory_mib)
    load = (floating + request.vcpus) / pool
    return _Offer(ledger.host.node, holding, (), (), explain.shares_pool(ledger.free), (load, ledger.host.node))


def _price(ledger: Ledger, vmid: int, holding: Holding) -> t.Tuple[t.Any, ...]:
    """How much worse the host's vector gets, the largest hole lost, and the CPUs left over."""
    before = rank(score(ledger.host, ledger.claims(), 0, ledger.reserved))
    hole = _largest_hole(ledger)
    ledger.hold(vmid, holding)
    after = rank(score(ledger.host, ledger.claims(), 0, ledger.reserved))
    lost = hole - _largest_hole(ledger)
    left = count(ledger.free)
    ledger.release(vmid)
    return (tuple(b - a for a, b in zip(before, after)), lost, left, ledger.host.node)


def _largest_hole(ledger: Ledger) -> int:
    """The most free CPUs inside one NUMA node."""
    return max((count(numa_node.cpus & ledger.free) for numa_node in ledger.host.numa_nodes), default=0)
