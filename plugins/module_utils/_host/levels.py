# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cores, clusters, dies and packages from the topology folders (kernel: admin-guide/cputopology.rst).

Each shared file is read once: what a CPU's file says about its siblings is not asked of the siblings again.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import cpus_of, lowest
from .cpus import CPU
from .domains import Group, with_unique_ids
from .files import Tree

NameList = t.Tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """One level of the topology: its id file and its files of members, today's names before those of kernels below 5.3."""

    id_file: str
    lists: NameList
    masks: NameList


# thread_siblings comes first: where tools disagree about a core, it is what the scheduler goes by.
CORE = Level("core_id", ("thread_siblings_list", "core_cpus_list"), ("thread_siblings", "core_cpus"))
CLUSTER = Level("cluster_id", ("cluster_cpus_list",), ("cluster_cpus",))
DIE = Level("die_id", ("die_cpus_list",), ("die_cpus",))
PACKAGE = Level("physical_package_id", ("package_cpus_list", "core_siblings_list"), ("package_cpus", "core_siblings"))


def read_cores(tree: Tree, online: int) -> t.List[int]:
    """Masks of online thread siblings by lowest CPU; a CPU without topology is a core of its own."""
    cores = []
    left = online
    while left:
        cpu = lowest(left)
        siblings = tree.cpus(f"{CPU}/cpu{cpu}/topology", CORE.lists, CORE.masks, 1 << cpu) or 0
        core = siblings & left | 1 << cpu
        cores.append(core)
        left &= ~core
    return cores


def read_packages(tree: Tree, online: int) -> t.List[Group]:
    """The packages; where the kernel shows none, package 0 has all online CPUs."""
    return _read_level(tree, online, PACKAGE) or [Group(online, 0)]


def read_dies(tree: Tree, cores: t.Sequence[int], online: int) -> t.Optional[t.List[Group]]:
    """The dies, None where the kernel shows none or each is just one core."""
    return _unless_cores(_read_level(tree, online, DIE), cores)


def read_clusters(tree: Tree, cores: t.Sequence[int], online: int) -> t.Optional[t.List[Group]]:
    """Groups of cores below the L3 cache (for example around one L2), None where there are none or each is just one core."""
    return _unless_cores(_read_level(tree, online, CLUSTER), cores)


def _unless_cores(groups: t.Sequence[Group], cores: t.Sequence[int]) -> t.Optional[t.List[Group]]:
    return None if {group.cpus for group in groups} <= set(cores) else list(groups)


def _read_level(tree: Tree, online: int, level: Level) -> t.List[Group]:
    """The groups of one level. Without member files, CPUs with the same id belong together."""
    groups = []
    by_id: t.Dict[int, int] = {}
    left = online
    while left:
        cpu = lowest(left)
        folder = f"{CPU}/cpu{cpu}/topology"
        number = tree.number(f"{folder}/{level.id_file}")
        members = tree.cpus(folder, level.lists, level.masks, 1 << cpu)
        group = (members or 0) & left | 1 << cpu
        if members is not None:
            groups.append(Group(group, number))
        elif number is not None:
            by_id[number] = by_id.get(number, 0) | group
        left &= ~group
    groups.extend(Group(cpus, number) for number, cpus in by_id.items())
    return with_unique_ids(groups)


def read_core_types(tree: Tree, online: int) -> t.Optional[t.Dict[str, int]]:
    """Masks of the `performance` and `efficiency` CPUs of a hybrid processor, None where all cores are of one type.

    Sources in this order: the two PMUs of Intel's hybrids (devices/cpu_core, devices/cpu_atom), cpu/types, and
    cpu_capacity, where the CPUs of the least capacity are the efficient ones.
    """
    for performance, efficiency in (_types_by_pmu(tree), _types_by_folder(tree), _types_by_capacity(tree, online)):
        if performance & online and efficiency & online:
            return {"performance": performance & online, "efficiency": efficiency & online}
    return None


def _types_by_pmu(tree: Tree) -> t.Tuple[int, int]:
    return tree.cpulist("sys/devices/cpu_core/cpus") or 0, tree.cpulist("sys/devices/cpu_atom/cpus") or 0


def _types_by_folder(tree: Tree) -> t.Tuple[int, int]:
    masks = {"intel_core": 0, "intel_atom": 0}
    for name in tree.names(f"{CPU}/types") or []:
        for kind in masks:
            if name.startswith(kind):
                masks[kind] |= tree.cpulist(f"{CPU}/types/{name}/cpulist") or 0
    return masks["intel_core"], masks["intel_atom"]


def _types_by_capacity(tree: Tree, online: int) -> t.Tuple[int, int]:
    first = lowest(online)
    if tree.loose_number(f"{CPU}/cpu{first}/cpu_capacity") is None:
        return 0, 0
    by_capacity: t.Dict[int, int] = {}
    for cpu in cpus_of(online):
        capacity = tree.loose_number(f"{CPU}/cpu{cpu}/cpu_capacity")
        if capacity is not None:
            by_capacity[capacity] = by_capacity.get(capacity, 0) | 1 << cpu
    efficiency = by_capacity[min(by_capacity)]
    return sum(by_capacity.values()) & ~efficiency, efficiency
