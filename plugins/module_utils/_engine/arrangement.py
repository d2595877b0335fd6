# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of one host that may still be placed otherwise, and what trying another arrangement gives.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .allocator import alternatives, choose
from .demand import Choice, Demand, Room
from .errors import PlacementError
from .ledger import Books, Holding, Ledger
from .score import Vector, rank


@dataclass(frozen=True)
class Seat:
    """A guest that can be placed: what it asks for, and all its memory whether bound or not."""

    vmid: int
    demand: Demand
    memory_mib: int

    def holding(self, choice: Choice) -> Holding:
        bound = choice.memory
        return Holding(self.demand.vcpus, choice.mask, choice.blocked, bound, self.memory_mib - sum(bound.values()))


def hardest_first(seat: Seat) -> t.Tuple[t.Any, ...]:
    strict = seat.demand.isolated or seat.demand.siblings == "require"
    return (not strict, -seat.demand.vcpus, -seat.memory_mib, seat.vmid)


State = t.Tuple[Books, t.Dict[int, Choice], t.Dict[int, PlacementError]]


class Arrangement:
    """Seats and where they are: `choices` by vmid, `refusals` for those that found no place.

    `fixed` are guests that had their place before; they move only where moves are allowed.
    """

    def __init__(self, ledger: Ledger, seats: t.Iterable[Seat]) -> None:
        self.ledger = ledger
        self.seats = {seat.vmid: seat for seat in seats}
        self.choices: t.Dict[int, Choice] = {}
        self.refusals: t.Dict[int, PlacementError] = {}
        self.fixed: t.Set[int] = set()
        self.trials = 0

    def gathers(self, vmid: int) -> bool:
        """Whether the guest is the better placed the fewer NUMA nodes it spans."""
        return self.seats[vmid].demand.numa != "spread"

    def add(self, seat: Seat, choice: Choice) -> None:
        """Enter a guest that already has its place."""
        self.seats[seat.vmid] = seat
        self.fixed.add(seat.vmid)
        self.occupy(seat.vmid, choice)

    def occupy(self, vmid: int, choice: Choice) -> None:
        """Give the guest this place."""
        self.refusals.pop(vmid, None)
        self.choices[vmid] = choice
        self.ledger.hold(vmid, self.seats[vmid].holding(choice))

    def put(self, vmid: int, within: t.Optional[int] = None) -> bool:
        """Give the guest the best place that is free, if asked only `within` these CPUs and their NUMA nodes."""
        seat = self.seats[vmid]
        self.trials += 1
        try:
            check_memory(self.ledger, seat.memory_mib)
            choice = choose(_narrowed(self.ledger.room(), within), seat.demand)
        except PlacementError as e:
            self.refusals[vmid] = e
            return False
        self.occupy(vmid, choice)
        return True

    def alternatives(self, vmid: int, most: int, most_wider: int = 0) -> t.List[Choice]:
        """Ways to place the guest in what is free now that differ in how they share it out, the best first."""
        self.trials += most + most_wider
        try:
            check_memory(self.ledger, self.seats[vmid].memory_mib)
        except PlacementError:
            return []
        return alternatives(self.ledger.room(), self.seats[vmid].demand, most, most_wider)

    def take_out(self, vmids: t.Iterable[int]) -> None:
        for vmid in vmids:
            self.choices.pop(vmid, None)
            self.refusals.pop(vmid, None)
            self.ledger.release(vmid)

    def put_all(self, vmids: t.Iterable[int]) -> bool:
        """Put guests one after the other; whether all of them found a place."""
        placed = [self.put(vmid) for vmid in vmids]
        return all(placed)

    def state(self) -> State:
        return self.ledger.books(), dict(self.choices), dict(self.refusals)

    def restore(self, state: State) -> None:
        books, choices, refusals = state
        self.ledger.restore(books)
        self.choices = dict(choices)
        self.refusals = dict(refusals)

    def vector(self) -> Vector:
        unplaced = sum(self.seats[vmid].demand.vcpus for vmid in self.refusals)
        return self.ledger.vector(unplaced)

    def quality(self) -> t.Tuple[int, ...]:
        return rank(self.vector())

    def excess(self, vmid: int) -> t.Tuple[int, int, int]:
        """(NUMA nodes, packages, L3 domains) that the guest touches above the least on the empty host."""
        return self.ledger.excess(vmid)

    def numa_nodes(self, vmid: int) -> t.FrozenSet[int]:
        """The NUMA nodes that hold CPUs or memory of the guest."""
        choice = self.choices[vmid]
        return frozenset(share.numa_node for share in choice.shares)


def check_memory(ledger: Ledger, memory_mib: int) -> None:
    """Raise PlacementError unless the host as a whole has `memory_mib` left."""
    free = ledger.memory_total_free_mib
    if free is not None and free < memory_mib:
        raise PlacementError(
            f"{memory_mib} MiB of memory are asked for, but host {ledger.host.node} has {max(0, free)} MiB that no guest "
            "and no reservation claims; lower the guest's memory or free some.",
            rule="too_little_memory",
        )


def _narrowed(room: Room, within: t.Optional[int]) -> Room:
    if within is None:
        return room
    memory = room.memory_mib
    if memory is not None:
        near = {numa_node.id for numa_node in room.host.numa_nodes_of(within)}
        memory = {numa_node: mib if numa_node in near else 0 for numa_node, mib in memory.items()}
    return Room(room.host, room.free & within, room.used, memory)
