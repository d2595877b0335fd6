# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The books of one host: which CPUs and how much memory are reserved, held by guests, and free.

CPU sets of several guests may overlap; they are merged, so that a CPU counts once however many guests hold it, and
becomes free only when the last of them lets go.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from .automatic import daemon_cores, reserved_mib, take_cores
from .cpuset import count, cpus_of, format_cpulist, mask_of
from .demand import Room
from .errors import PolicyError
from .policy import Reservation
from .score import Claim, Counted, Least, Vector
from .topology import Host


@dataclass(frozen=True)
class Holding:
    """What one guest holds. `memory`: MiB bound to NUMA nodes by id; `floating_mib`: memory bound to none."""

    vcpus: int
    cpus: int = 0
    blocked: int = 0
    memory: t.Mapping[int, int] = field(default_factory=dict)
    floating_mib: int = 0

    @property
    def memory_mib(self) -> int:
        return self.floating_mib + sum(self.memory.values())

    @cached_property
    def claim(self) -> Claim:
        """The holding as the quality vector sees it."""
        return Claim(self.cpus, self.vcpus, mask_of(self.memory), sum(self.memory.values()), self.blocked)


@dataclass(frozen=True)
class Books:
    """A ledger's entries and sums at one moment, to go back to."""

    holdings: t.Dict[int, Holding]
    counted: t.Dict[int, Counted]
    used: int
    shared: int
    bound_mib: t.Dict[int, int]
    held_mib: int


class Ledger:
    """Reservations and holdings of one host, with their sums kept up to date."""

    def __init__(self, host: Host, reservation: Reservation, overcommit_memory: float = 1.0) -> None:
        self.host = host
        self.reserved = reserved_cpus(host, reservation)
        self.least = Least(host, self.reserved)
        self.holdings: t.Dict[int, Holding] = {}
        self.used = 0  # CPUs that guests hold, idle siblings of isolated guests included
        self._counted: t.Dict[int, Counted] = {}
        self._shared = 0  # CPUs that several guests hold
        self._capacity = _memory_capacity(host, reservation, overcommit_memory)
        self._bound_mib = dict.fromkeys(self._capacity or (), 0)
        self._held_mib = 0
        self._usable_mib = sum((self._capacity or {}).values()) - reserved_mib(host, reservation)

    def hold(self, vmid: int, holding: Holding) -> None:
        """Enter what guest `vmid` holds, in place of what it held before."""
        if vmid in self.holdings:
            self.release(vmid)
        self.holdings[vmid] = holding
        if holding.cpus:
            self._counted[vmid] = self.least.counted(holding.claim)
        mine = holding.cpus | holding.blocked
        self._shared |= self.used & mine
        self.used |= mine
        self._add_memory(holding, 1)

    def release(self, vmid: int) -> t.Optional[Holding]:
        holding = self.holdings.pop(vmid, None)
        if holding is not None:
            self._counted.pop(vmid, None)
            self._let_go(holding.cpus | holding.blocked)
            self._add_memory(holding, -1)
        return holding

    def _let_go(self, cpus: int) -> None:
        if not cpus & self._shared:
            self.used &= ~cpus
            return
        self.used = self._shared = 0
        for holding in self.holdings.values():
            mine = holding.cpus | holding.blocked
            self._shared |= self.used & mine
            self.used |= mine

    def _add_memory(self, holding: Holding, sign: int) -> None:
        self._held_mib += sign * holding.floating_mib
        for numa_node, mib in holding.memory.items():
            self._held_mib += sign * mib
            if numa_node in self._bound_mib:
                self._bound_mib[numa_node] += sign * mib

    def books(self) -> Books:
        return Books(dict(self.holdings), dict(self._counted), self.used, self._shared, dict(self._bound_mib), self._held_mib)

    def restore(self, books: Books) -> None:
        self.holdings, self._counted, self._bound_mib = dict(books.holdings), dict(books.counted), dict(books.bound_mib)
        self.used, self._shared, self._held_mib = books.used, books.shared, books.held_mib

    @property
    def free(self) -> int:
        return self.host.online & ~self.reserved & ~self.used

    @property
    def memory_total_free_mib(self) -> t.Optional[int]:
        """MiB that no guest and no reservation claims, on the whole host; None where the host does not tell."""
        return None if self._capacity is None else self._usable_mib - self._held_mib

    def memory_free_mib(self) -> t.Optional[t.Dict[int, int]]:
        """MiB by NUMA node id that can still be bound there; what floats may lie anywhere and limits only the sum."""
        if self._capacity is None:
            return None
        total = max(0, self._usable_mib - self._held_mib)
        return {numa_node: min(mib - self._bound_mib[numa_node], total) for numa_node, mib in self._capacity.items()}

    def room(self) -> Room:
        """What can be given to one more guest."""
        return Room(self.host, self.free, self.used, self.memory_free_mib())

    def vector(self, unplaced_vcpus: int = 0, moves: int = 0) -> Vector:
        """The host's quality vector with what guests hold now."""
        return self.least.vector(self._counted.values(), unplaced_vcpus, moves)

    def excess(self, vmid: int) -> t.Tuple[int, int, int]:
        """(NUMA nodes, packages, L3 domains) that the guest touches above the least on the empty host."""
        return self._counted[vmid][:3] if vmid in self._counted else (0, 0, 0)

    def claims(self) -> t.List[Claim]:
        return [holding.claim for holding in self.holdings.values()]

    def summary(self) -> t.Dict[str, int]:
        """CPU numbers that add up: cpus = reserved + used + free (a used CPU that is also reserved counts as used)."""
        used = self.used & self.host.online
        return {
            "cpus": count(self.host.online),
            "reserved": count(self.reserved & ~used),
            "used": count(used),
            "free": count(self.free),
        }


def reserved_cpus(host: Host, reservation: Reservation) -> int:
    """The CPUs kept for the host: the listed ones, whole cores, lowest first, on each NUMA node with CPUs, and those of daemons."""
    beyond = reservation.cpus & ~(host.present | host.online)
    if beyond:
        raise PolicyError(
            f"reserved for host {host.node} names CPU {format_cpulist(beyond)}, but the host has only "
            f"{format_cpulist(host.present)}; correct reserved.hosts.{host.node}.cpus."
        )
    reserved = reservation.cpus & host.online
    for numa_node in host.numa_nodes:
        missing = reservation.cores_per_numa_node
        for core in (core for core in host.cores if core & numa_node.cpus):
            if missing <= 0:
                break
            reserved |= core
            missing -= 1
    return reserved | take_cores(host, daemon_cores(host, reservation), reserved)


def _memory_capacity(host: Host, reservation: Reservation, overcommit: float) -> t.Optional[t.Dict[int, int]]:
    """MiB by NUMA node id that guests may have; None when the host tells no memory size at all."""
    if all(numa_node.memory_mib is None for numa_node in host.numa_nodes):
        return None
    return {n.id: max(0, int(((n.memory_mib or 0) - reservation.memory_mib_per_numa_node) * overcommit)) for n in host.numa_nodes}


def bound_evenly(memory_mib: int, hostnodes: int, free: t.Optional[t.Mapping[int, int]] = None) -> t.Dict[int, int]:
    """Memory that is bound to several NUMA nodes together, by id: in equal parts as far as `free` MiB allow.

    The kernel takes it from any of them, so that what one lacks counts for the others; the sum is exact, and exceeds
    `free` only where all of them together have too little.
    """
    ids = list(cpus_of(hostnodes))
    parts = _equal_parts(memory_mib, ids)
    if free is None:
        return parts
    capped = {numa_node: min(mib, max(0, free.get(numa_node, 0))) for numa_node, mib in parts.items()}
    missing = memory_mib - sum(capped.values())
    for numa_node in ids:
        more = min(missing, max(0, free.get(numa_node, 0) - capped[numa_node]))
        capped[numa_node] += more
        missing -= more
    capped[ids[0]] += missing
    return capped


def _equal_parts(total: int, keys: t.Sequence[int]) -> t.Dict[int, int]:
    share, extra = divmod(total, len(keys))
    return {key: share + (1 if position < extra else 0) for position, key in enumerate(keys)}
