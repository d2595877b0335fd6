# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What two readers of one host can agree on, in a form that leaves numbering aside.

A level is None where a reader does not tell it: nothing is compared then.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, fields

CpuSet = t.FrozenSet[int]
Partition = t.FrozenSet[CpuSet]

T = t.TypeVar("T")


@dataclass(frozen=True)
class Levels:
    """`numa` holds the CPU sets of NUMA nodes that have CPUs; `memory` is NUMA node id -> MiB, for all NUMA nodes.

    A reader that only counts gives a number in place of a set.
    """

    cpus: t.Union[CpuSet, int, None] = None
    cores: t.Union[Partition, int, None] = None
    packages: t.Union[Partition, int, None] = None
    numa: t.Optional[Partition] = None
    l3: t.Optional[Partition] = None
    memory: t.Optional[t.Mapping[int, int]] = None


LEVELS = tuple(field.name for field in fields(Levels))


def cpu_set(cpulist: str) -> CpuSet:
    """Read a cpulist, anew: the reader is not tested against itself."""
    ranges = [part.split("-") for part in cpulist.split(",") if part]
    return frozenset(cpu for bounds in ranges for cpu in range(int(bounds[0]), int(bounds[-1]) + 1))


def partition(sets: t.Iterable[t.Iterable[int]]) -> Partition:
    """The sets that are not empty."""
    return frozenset(frozenset(one) for one in sets) - {frozenset()}


def grouped(values: t.Mapping[int, t.Optional[t.Hashable]]) -> t.Optional[Partition]:
    """CPUs with the same value together, CPUs without one left out; None where no CPU has one."""
    groups: t.Dict[t.Hashable, t.Set[int]] = {}
    for cpu, value in values.items():
        if value is not None:
            groups.setdefault(value, set()).add(cpu)
    return partition(groups.values()) or None


def from_facts(facts: t.Mapping[str, t.Any]) -> Levels:
    """What our reader says. Memory is None where the capture has no file that tells it."""
    memory = {numa_node["id"]: numa_node["memory_mib"] for numa_node in facts["numa_nodes"]}
    return Levels(
        cpus=cpu_set(facts["cpus"]["online"]),
        cores=partition(cpu_set(core) for core in facts["cores"]),
        packages=partition(cpu_set(package["cpus"]) for package in facts["packages"]),
        numa=partition(cpu_set(numa_node["cpus"]) for numa_node in facts["numa_nodes"]),
        l3=partition(cpu_set(domain["cpus"]) for domain in facts["l3_domains"]),
        memory={number: mib or 0 for number, mib in memory.items()} if any(mib is not None for mib in memory.values()) else None,
    )


def differences(ours: Levels, theirs: Levels) -> t.Dict[str, t.Optional[str]]:
    """Level -> None where both agree, else what differs; levels that one of them does not tell are left out."""
    result: t.Dict[str, t.Optional[str]] = {}
    for level in LEVELS:
        mine, other = getattr(ours, level), getattr(theirs, level)
        if isinstance(other, int):
            result[level] = None if len(mine) == other else f"we say {len(mine)}, they say {other}"
        elif mine is not None and other is not None:
            result[level] = None if mine == other else f"we say {_only(mine, other)}, they say {_only(mine=other, other=mine)}"
    return result


def _only(mine: t.Any, other: t.Any) -> str:
    """What only the first says, shortened."""
    if isinstance(mine, dict):
        found: t.Any = {key: value for key, value in mine.items() if other.get(key) != value}
    else:
        found = sorted(sorted(one) if isinstance(one, frozenset) else one for one in mine - other)
    text = str(found)
    return text if len(text) <= 150 else text[:147] + "..."
