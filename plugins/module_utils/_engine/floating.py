# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a guest of class `local` floats: an L3 domain that fits it, else a NUMA node.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cpuset import count, lowest
from .demand import Room
from .errors import PlacementError


@dataclass(frozen=True)
class Pool:
    """CPUs over which a guest of `vcpus` already floats."""

    cpus: int
    vcpus: int


def choose_pool(room: Room, pool: int, vcpus: int, memory_mib: int, loads: t.Sequence[Pool], present: int) -> t.Tuple[int, int]:
    """(CPUs, NUMA node id) for a guest of `vcpus` with `memory_mib` to bind (0 = none).

    Among the L3 domains with enough CPUs in `pool`, the guest's `present` one first, then the least loaded; NUMA
    nodes where no L3 domain has enough. Raises PlacementError.
    """
    host = room.host
    with_memory = [
        numa_node
        for numa_node in host.numa_nodes
        if not memory_mib or room.memory_mib is None or room.memory_mib.get(numa_node.id, 0) >= memory_mib
    ]
    ids = {numa_node.id for numa_node in with_memory}
    l3_domains = [(zone.cpus & pool, zone.numa_node) for zone in host.zones if zone.l3 is not None and zone.numa_node in ids]
    whole = [(numa_node.cpus & pool, numa_node.id) for numa_node in with_memory]
    for candidates in (l3_domains, whole):
        fitting = [(cpus, numa_node) for cpus, numa_node in candidates if cpus and count(cpus) >= vcpus]
        if fitting:
            return min(fitting, key=lambda c: (not (present and not c[0] & ~present), _load(c[0], loads), lowest(c[0])))
    raise PlacementError(
        f"{vcpus} vCPUs{f' and {memory_mib} MiB' if memory_mib else ''} do not fit any L3 domain or NUMA node of host {host.node} "
        f"beside dedicated and reserved CPUs; free some, or use the class shared.",
        rule="no_local_room",
    )


def _load(cpus: int, loads: t.Sequence[Pool]) -> float:
    """vCPUs per CPU that already float over `cpus`."""
    return sum(load.vcpus * count(load.cpus & cpus) / count(load.cpus) for load in loads if load.cpus) / count(cpus)
