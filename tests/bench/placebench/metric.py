# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quality vector once more, written from its definition and independently of the engine, on plain Python sets.

Slow and small on purpose: it judges the engine's own `score` and every placement of the benchmark.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

from .machines import Machine

PARTS = ("unplaced_vcpus", "numa", "package", "l3", "shared_core", "orphan", "open_l3")
DENSE = {"unplaced_vcpus": 100000, "numa": 1000, "package": 300, "l3": 100, "shared_core": 5, "orphan": 10, "open_l3": 1}


@dataclass(frozen=True)
class Bound:
    """Memory that may lie on any of `numa_nodes`."""

    numa_nodes: t.FrozenSet[int]
    mib: int


@dataclass(frozen=True)
class Held:
    """What a guest got: its CPUs and its memory (nothing = memory is not looked at)."""

    cpus: t.FrozenSet[int]
    memory: t.Tuple[Bound, ...] = ()


def vector(machine: Machine, held: t.Iterable[Held], unplaced_vcpus: int = 0) -> t.Dict[str, int]:
    """The parts of the vector by name, without moves."""
    guests = [guest for guest in held if guest.cpus]
    parts = dict.fromkeys(PARTS, 0)
    parts["unplaced_vcpus"] = unplaced_vcpus
    for guest in guests:
        fewest = least(machine, len(guest.cpus), sum(bound.mib for bound in guest.memory))
        numa = {machine.numa[cpu] for cpu in guest.cpus}.union(*(bound.numa_nodes for bound in guest.memory))
        parts["numa"] += len(numa) - fewest["numa"]
        parts["package"] += len({machine.package[cpu] for cpu in guest.cpus}) - fewest["package"]
        parts["l3"] += len({machine.l3[cpu] for cpu in guest.cpus}) - fewest["l3"]
    used = frozenset().union(*(guest.cpus for guest in guests)) if guests else frozenset()
    users = Counter(core for guest in guests for core in {machine.core[cpu] for cpu in guest.cpus})
    parts["shared_core"] = sum(1 for number in users.values() if number > 1)
    parts["orphan"] = sum(len(machine.units["core"][core] - used) for core in users)
    parts["open_l3"] = sum(1 for cpus in machine.units["l3"].values() if cpus & used and cpus - used)
    return parts


def cost(parts: t.Mapping[str, int], weights: t.Optional[t.Mapping[str, int]] = None) -> int:
    """The weighted sum; without weights the dense ones."""
    return sum((weights or DENSE)[name] * parts[name] for name in PARTS)


def least(machine: Machine, vcpus: int, memory_mib: int = 0) -> t.Dict[str, int]:
    """The fewest NUMA nodes, packages and L3 domains that could hold such a guest on the empty machine."""
    fewest = {part: _count(vcpus, [len(cpus) for cpus in machine.units[part].values()]) for part in ("numa", "package", "l3")}
    if memory_mib:
        fewest["numa"] = max(fewest["numa"], _count(memory_mib, list(machine.memory_mib.values())))
    return fewest


def least_cost(machine: Machine, sizes: t.Iterable[int]) -> int:
    """What any placement of guests of these sizes costs at least, on a host whose cores have one or two threads.

    Guests of odd size pair up on cores at best, and CPUs that no whole L3 domains add up to leave one part-used.
    """
    sizes = list(sizes)
    two_threads = any(len(core) == 2 for core in machine.units["core"].values())
    odd = sum(size % 2 for size in sizes) if two_threads else 0
    sums = {0}
    for domain in machine.units["l3"].values():
        sums |= {total + len(domain) for total in sums}
    part_used = 0 if sum(sizes) in sums else DENSE["open_l3"]
    return DENSE["shared_core"] * (odd // 2) + DENSE["orphan"] * (odd % 2) + part_used


def _count(needed: int, sizes: t.List[int]) -> int:
    domains = 0
    for size in sorted(sizes, reverse=True):
        if needed <= 0:
            break
        needed -= size
        domains += 1
    return max(1, domains)
