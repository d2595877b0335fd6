# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a guest gets no place, in one sentence with the numbers.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

from .cpuset import count, format_cpulist
from .demand import Demand, Room, allowed
from .errors import PlacementError


def refusal(room: Room, demand: Demand) -> PlacementError:
    """Why nothing was found, in one sentence with the numbers."""
    host = room.host
    sets = allowed(room, demand)
    free = max(sets, key=count)
    where = f"host {host.node}" if host.node else "the host"
    if demand.near_required and not free:
        return PlacementError(
            f"No CPU is free on the NUMA node of the device ({format_cpulist(demand.near)}) of {where}; "
            "free some there, or set devices: prefer.",
            rule="device",
        )
    if count(free) < demand.vcpus:
        kind = "" if len(sets) == 1 else " of one core type"
        return PlacementError(
            f"{demand.vcpus} CPUs{kind} are asked for, but {where} has {count(free)} free "
            f"({format_cpulist(free) or 'none'}); free CPUs or ask for fewer.",
            rule="too_few_cpus",
        )
    if demand.isolated or demand.siblings == "require":
        whole = [core for core in host.cores if core & free == core]
        threads = len(whole) if demand.isolated else sum(count(core) for core in whole)
        if threads < demand.vcpus or (demand.siblings == "require" and demand.numa != "single"):
            return PlacementError(
                f"{demand.vcpus} CPUs on whole cores are asked for, but {where} has {len(whole)} wholly free cores, which "
                f"cannot make up that number; free cores, or use siblings: pack.",
                rule="no_whole_cores",
            )
    if demand.numa == "single":
        largest = max((count(n.cpus & free) for n in host.numa_nodes), default=0)
        return PlacementError(
            f"{demand.vcpus} CPUs{_with_memory(demand)} are asked for inside one NUMA node, but no NUMA node of {where} has "
            f"both (most free CPUs: {largest}{_most_memory(room, demand)}); use numa: compact, or free one.",
            rule="no_single_numa_node",
        )
    total = sum(max(0, room.memory_of(n.id) or 0) for n in host.numa_nodes)
    return PlacementError(
        f"{demand.memory_mib} MiB of NUMA memory are asked for, but {where} has {total} MiB left that can be bound; "
        "lower the guest's memory or free some.",
        rule="too_little_memory",
    )


def _with_memory(demand: Demand) -> str:
    return f" and {demand.memory_mib} MiB" if demand.memory_mib else ""


def _most_memory(room: Room, demand: Demand) -> str:
    if not demand.memory_mib or room.memory_mib is None:
        return ""
    return f", most free memory: {max(room.memory_mib.values(), default=0)} MiB"
