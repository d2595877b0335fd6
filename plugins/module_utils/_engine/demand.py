# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the allocator is asked for, what a host has left, and what it answers.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from .cpuset import mask_of, parse_ordered, union
from .errors import FactsError, PlacementError
from .score import DENSE, ISOLATING, Weights
from .topology import Host

SIBLINGS = ("pack", "spread", "require")
NUMA_MODES = ("single", "compact", "spread", "any")
CORE_TYPES = ("performance", "efficiency", "any", "mixed")


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
class Choice:
    """What the allocator chose; `rank` compares choices for the same demand, less is better."""

    shares: t.Tuple[Share, ...]
    blocked: int
    rank: t.Tuple[t.Any, ...]

    @cached_property
    def cpus(self) -> t.Tuple[int, ...]:
        """All CPUs in vCPU order."""
        return tuple(cpu for share in self.shares for cpu in share.cpus)

    @cached_property
    def mask(self) -> int:
        return mask_of(self.cpus)

    @cached_property
    def memory(self) -> t.Dict[int, int]:
        """MiB by NUMA node id."""
        return {share.numa_node: share.memory_mib for share in self.shares if share.memory_mib}


def check(demand: Demand) -> None:
    """Raise PlacementError for a demand that no host could be asked for."""
    for what, value, known in (
        ("siblings", demand.siblings, SIBLINGS),
        ("numa", demand.numa, NUMA_MODES),
        ("core_type", demand.core_type, CORE_TYPES),
    ):
        if value not in known:
            raise PlacementError(f"{what} is {value!r}; allowed are {', '.join(known)}.", rule=what)
    if demand.vcpus < 0:
        raise PlacementError(f"{demand.vcpus} CPUs cannot be taken; ask for 0 or more.", rule="vcpus")


def allowed(room: Room, demand: Demand) -> t.List[int]:
    """The sets of free CPUs to choose from: by core type (never mixed unless asked) and by device."""
    host = room.host
    free = room.free & host.online
    if demand.near and demand.near_required:
        free &= union(numa_node.cpus for numa_node in host.numa_nodes_of(demand.near))
    if not (host.performance and host.efficiency) or demand.core_type == "mixed":
        return [free]
    if demand.core_type == "performance":
        return [free & host.performance]
    if demand.core_type == "efficiency":
        return [free & host.efficiency]
    return [free & host.performance, free & host.efficiency]
