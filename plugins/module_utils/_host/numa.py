# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NUMA nodes: CPUs, memory, distances and huge pages (kernel: ABI sysfs-devices-node, filesystems/proc.rst).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._engine.cpuset import cpus_of, format_cpulist, mask_of
from .domains import Facts
from .files import Tree

NODE = "sys/devices/system/node"
_GPUS = "proc/driver/nvidia/gpus"

_MEMINFO = re.compile(r"^(?:Node\s+\d+\s+)?(\w+(?:\(\w+\))?):\s*(\S+)(?: kB)?\s*$", re.ASCII | re.MULTILINE)


@dataclass(frozen=True)
class NumaNode:
    """`cpus` is a mask of online CPUs; memory in MiB; distances by NUMA node id; huge pages by size in KiB."""

    id: int
    cpus: int
    memory_mib: t.Optional[int] = None
    memory_free_mib: t.Optional[int] = None
    distances: t.Optional[t.Dict[int, int]] = None
    hugepages: t.Optional[t.Dict[int, t.Dict[str, t.Optional[int]]]] = None

    def as_facts(self) -> Facts:
        return {
            "id": self.id,
            "cpus": format_cpulist(self.cpus),
            "memory_mib": self.memory_mib,
            "memory_free_mib": self.memory_free_mib,
            "distances": None if self.distances is None else {str(to): value for to, value in self.distances.items()},
            "hugepages": None if self.hugepages is None else {str(size): pages for size, pages in self.hugepages.items()},
        }


def read_numa_nodes(tree: Tree, online: int) -> t.List[NumaNode]:
    """The online NUMA nodes by id; without a NUMA directory NUMA node 0 has all online CPUs and all memory."""
    folders = tree.numbered(NODE, "node") or []
    listed = tree.cpulist(f"{NODE}/online")
    ids = folders if listed is None else list(cpus_of(listed))
    hidden = _gpu_nodes(tree)
    shown = [number for number in folders if number in ids and number not in hidden]
    return [_read_numa_node(tree, number, ids, online) for number in shown] or [_whole_host(tree, online)]


def _whole_host(tree: Tree, online: int) -> NumaNode:
    memory, free = _memory(tree, "proc/meminfo")
    return NumaNode(0, online, memory, free, None, _hugepages(tree, "sys/kernel/mm/hugepages"))


def _gpu_nodes(tree: Tree) -> t.Set[int]:
    """NUMA nodes that are the memory of NVIDIA GPUs (POWER9, Grace): the driver's, not to be given to guests."""
    nodes = set()
    for gpu in tree.names(_GPUS) or []:
        match = re.search(r"^Node:\s+(\d+)$", tree.text(f"{_GPUS}/{gpu}/numa_status") or "", re.MULTILINE)
        if match:
            nodes.add(int(match.group(1)))
    return nodes


def _read_numa_node(tree: Tree, number: int, ids: t.Sequence[int], online: int) -> NumaNode:
    folder = f"{NODE}/node{number}"
    memory, free = _memory(tree, f"{folder}/meminfo")
    return NumaNode(
        id=number,
        cpus=_cpus(tree, folder) & online,
        memory_mib=memory,
        memory_free_mib=free,
        distances=_distances(tree, f"{folder}/distance", ids),
        hugepages=_hugepages(tree, f"{folder}/hugepages"),
    )


def _cpus(tree: Tree, folder: str) -> int:
    """Its CPUs by cpulist or cpumap, else by the links cpuN in its folder."""
    cpus = tree.cpus(folder, ("cpulist",), ("cpumap",))
    return mask_of(tree.numbered(folder, "cpu") or []) if cpus is None else cpus


def meminfo_mib(tree: Tree, path: str, key: str) -> t.Optional[int]:
    """One value of a meminfo file in whole MiB; None where file or key is missing. Raises FactsError for garbage."""
    for name, value in _MEMINFO.findall(tree.text(path) or ""):
        if name == key:
            return tree.as_number(value, path) // 1024
    return None


def _memory(tree: Tree, path: str) -> t.Tuple[t.Optional[int], t.Optional[int]]:
    return meminfo_mib(tree, path, "MemTotal"), meminfo_mib(tree, path, "MemFree")


def _distances(tree: Tree, path: str, ids: t.Sequence[int]) -> t.Optional[t.Dict[int, int]]:
    """The row has one column per online NUMA node in ascending order (drivers/base/node.c); any other count says nothing."""
    words = tree.words(path)
    if words is None or len(words) != len(ids):
        return None
    return {number: tree.as_number(word, path) for number, word in zip(ids, words)}


def _hugepages(tree: Tree, folder: str) -> t.Optional[t.Dict[int, t.Dict[str, t.Optional[int]]]]:
    names = tree.names(folder)
    if names is None:
        return None
    sizes = sorted(int(name[10:-2]) for name in names if re.match(r"^hugepages-\d+kB$", name))
    return {
        size: {
            "total": tree.loose_number(f"{folder}/hugepages-{size}kB/nr_hugepages"),
            "free": tree.loose_number(f"{folder}/hugepages-{size}kB/free_hugepages"),
        }
        for size in sizes
    }
