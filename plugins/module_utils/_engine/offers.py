# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host could give to guests that are still to be created, and what that would do to the host.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import explain
from .allocator import choose
from .arrangement import Seat, check_memory
from .board import Board
from .cells import cells_of
from .cpuset import count, cpus_of, mask_of
from .desired import Wanted, pinned_keys, shared_keys
from .errors import PlacementError
from .floating import Pool, choose_pool
from .guest import Cell, Guest
from .guest_threads import thread_keys
from .ledger import Holding, Ledger
from .pinned import demand_of
from .policy import PINNED_CLASSES, Request
from .score import rank
from .start_check import first_fatal, refused_start
from .wording import sentence


@dataclass(frozen=True)
class Place:
    """Where one requested guest would lie on a host; `wanted` are the config keys that it would be created with."""

    holding: Holding
    cpus: t.Tuple[int, ...]
    cells: t.Tuple[Cell, ...]
    wanted: Wanted
    reason: str
    pool: t.Optional[Pool] = None


@dataclass(frozen=True)
class Offer:
    """What one host could give to guests that go there together, and the effect on the host: less is better.

    `harm`: how much worse its quality vector gets; `lost_hole`: CPUs that its largest hole inside one NUMA node loses;
    `left`: CPUs that stay free; `load`: vCPUs per CPU of what its shared guests float over; `idle`: nothing ran there.
    """

    node: str
    places: t.Tuple[Place, ...]
    harm: t.Tuple[int, ...]
    lost_hole: int
    left: int
    load: float
    idle: bool


class OfferingHost:
    """One host that guests are asked for, with the pools of those of class local."""

    def __init__(self, board: Board, ledger: Ledger) -> None:
        self.board = board
        self.ledger = ledger
        self.node = ledger.host.node
        placed = (p for p in board.placements.values() if p.guest.node == self.node and p.rule.cpu_class == "local")
        self.pools = [Pool(mask_of(p.cpus), p.guest.vcpus) for p in placed]

    def offer(self, wanted: t.Sequence[t.Tuple[int, Request]]) -> Offer:
        """Places for all of `wanted` (vmid in the books, request), tried one after the other. Raises PlacementError."""
        before, hole, idle = rank(self.ledger.vector()), self._largest_hole(), not self.ledger.holdings
        held: t.List[int] = []
        places: t.List[Place] = []
        pools = list(self.pools)
        try:
            for vmid, request in wanted:
                places.append(self._place(request, vmid))
                self.hold(vmid, places[-1])
                held.append(vmid)
            return Offer(
                node=self.node,
                places=tuple(places),
                harm=tuple(after - was for was, after in zip(before, rank(self.ledger.vector()))),
                lost_hole=hole - self._largest_hole(),
                left=count(self.ledger.free),
                load=self._floating() / max(1, count(self.ledger.free)),
                idle=idle,
            )
        finally:
            self.pools = pools
            for vmid in held:
                self.ledger.release(vmid)

    def hold(self, vmid: int, place: Place) -> None:
        """Enter a place into the books: it is no longer there for the next."""
        self.ledger.hold(vmid, place.holding)
        if place.pool:
            self.pools.append(place.pool)

    def _largest_hole(self) -> int:
        """The most free CPUs inside one NUMA node."""
        return max((count(numa_node.cpus & self.ledger.free) for numa_node in self.ledger.host.numa_nodes), default=0)

    def _floating(self) -> int:
        """vCPUs of all guests without CPUs of their own."""
        return sum(holding.vcpus for holding in self.ledger.holdings.values() if not holding.cpus)

    def _place(self, request: Request, vmid: int) -> Place:
        check_memory(self.ledger, request.memory_mib)
        config = {"cores": str(request.vcpus), "memory": str(request.memory_mib)}
        guest = Guest(vmid, self.node, request.vcpus, request.memory_mib, name=request.name, config=config)
        if request.rule.cpu_class in PINNED_CLASSES:
            place = self._pinned(request, guest)
        elif request.rule.cpu_class == "local":
            place = self._local(request, guest)
        else:
            place = self._shared(request, guest)
        finding = first_fatal(guest, self.ledger.host, place.wanted)
        if finding:
            raise PlacementError(sentence(refused_start(finding, self.node)), rule=finding.rule)
        return place

    def _pinned(self, request: Request, guest: Guest) -> Place:
        host = self.ledger.host
        demand = demand_of(guest, request.rule, host)
        choice = choose(self.ledger.room(), demand)
        cells: t.Tuple[Cell, ...] = ()
        if request.rule.memory != "none":
            cells = tuple(cells_of(host, choice.shares, request.rule.memory, demand.memory_step, demand.memory_step > 1))
        holding = Seat(guest.vmid, demand, request.memory_mib).holding(choice)
        wanted = {
            **pinned_keys(choice.cpus, cells, guest, request.rule.hugepages),
            **thread_keys(guest, request.rule.expose_threads, host, choice.cpus, cells),
        }
        return Place(holding, choice.cpus, cells, wanted, explain.chosen(host, choice))

    def _local(self, request: Request, guest: Guest) -> Place:
        memory_mib = 0 if request.rule.memory == "none" else request.memory_mib
        cpus, numa_node = choose_pool(self.ledger.room(), self.ledger.free, request.vcpus, memory_mib, self.pools, 0)
        cells = (Cell((1 << request.vcpus) - 1, memory_mib, 1 << numa_node, request.rule.memory),) if memory_mib else ()
        bound = {numa_node: memory_mib} if memory_mib else {}
        holding = Holding(request.vcpus, 0, 0, bound, request.memory_mib - memory_mib)
        ordered = tuple(cpus_of(cpus))
        wanted = pinned_keys(ordered, cells, guest, request.rule.hugepages)
        return Place(holding, ordered, cells, wanted, explain.floats(self.ledger.host, cpus), Pool(cpus, request.vcpus))

    def _shared(self, request: Request, guest: Guest) -> Place:
        """vCPUs of all shared guests and requests have to stay within overcommit.cpu of the pool."""
        pool = count(self.ledger.free)
        floating = self._floating()
        if floating + request.vcpus > pool * self.board.policy.overcommit_cpu:
            raise PlacementError(
                f"{request.vcpus} shared vCPUs are asked for, but host {self.node} has {floating} for {pool} CPUs already; "
                "raise overcommit.cpu or add CPUs.",
                rule="too_few_cpus",
            )
        holding = Holding(request.vcpus, 0, 0, {}, request.memory_mib)
        return Place(holding, (), (), shared_keys(guest), explain.shares_pool(self.ledger.free))
