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

from .allocator import Room
from .cpuset import count, cpus_of, format_cpulist
from .errors import PolicyError
from .policy import Reservation
from .score import Claim, Least
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

    def claim(self) -> Claim:
        """The holding as the quality vector sees it."""
        bound = 0
        for numa_node in self.memory:
            bound |= 1 << numa_node
        return Claim(self.cpus, self.vcpus, bound, sum(self.memory.values()), self.blocked)


class Ledger:
    """Reservations and holdings of one host."""

    def __init__(self, host: Host, reservation: Reservation, overcommit_memory: float = 1.0) -> None:
        self.host = host
        self.reserved = reserved_cpus(host, reservation)
        self.least = Least(host, self.reserved)
        self.holdings: t.Dict[int, Holding] = {}
        self._capacity = _memory_capacity(host, reservation, overcommit_memory)
        self._reserved_mib = reservation.memory_mib

    def hold(self, vmid: int, holding: Holding) -> None:
        """Enter what guest `vmid` holds, in place of what it held before."""
        self.holdings[vmid] = holding

    def release(self, vmid: int) -> t.Optional[Holding]:
        return self.holdings.pop(vmid, None)

    @property
    def used(self) -> int:
        """CPUs that guests hold, idle siblings of isolated guests included."""
        used = 0
        for holding in self.holdings.values():
            used |= holding.cpus | holding.blocked
        return used

    @property
    def free(self) -> int:
        return self.host.online & ~self.reserved & ~self.used

    @property
    def memory_total_free_mib(self) -> t.Optional[int]:
        """MiB that no guest and no reservation claims, on the whole host; None where the host does not tell."""
        if self._capacity is None:
            return None
        held = sum(holding.memory_mib for holding in self.holdings.values())
        return sum(self._capacity.values()) - self._reserved_mib - held

    def memory_free_mib(self) -> t.Optional[t.Dict[int, int]]:
        """MiB by NUMA node id that can still be bound there; what floats may lie anywhere and limits only the sum."""
        if self._capacity is None:
            return None
        free = dict(self._capacity)
        for holding in self.holdings.values():
            for numa_node, mib in holding.memory.items():
                if numa_node in free:
                    free[numa_node] -= mib
        total = max(0, self.memory_total_free_mib or 0)
        return {numa_node: min(mib, total) for numa_node, mib in free.items()}

    def room(self) -> Room:
        """What can be given to one more guest."""
        return Room(self.host, self.free, self.used, self.memory_free_mib())

    def claims(self) -> t.List[Claim]:
        return [holding.claim() for holding in self.holdings.values()]

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
    """The CPUs kept for the host: the listed ones and whole cores, lowest first, on each NUMA node with CPUs."""
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
    return reserved


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
