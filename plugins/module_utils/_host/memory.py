# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On which NUMA nodes the memory of a guest lies (kernel: admin-guide/cgroup-v2.rst, filesystems/proc.rst).

The cgroup's own figures cost nothing, but leave huge pages out; /proc/PID/numa_maps has all, at the price of a walk over
the process's page tables.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .files import Tree
from .scope import CGROUP

_MIB = 1024 * 1024
_COUNTED = ("anon", "shmem")  # the guest's memory; the rest is the page cache of its host and the kernel's own
_NODE_VALUE = re.compile(r"\bN(\d+)=(\d+)", re.ASCII)
_PAGE_SIZE = re.compile(r"\bkernelpagesize_kB=(\d+)", re.ASCII)
_HUGETLB = re.compile(r"^HugetlbPages:\s*(\d+) kB$", re.MULTILINE)

Memory = t.Dict[int, int]


def read_memory(tree: Tree, pid: t.Optional[int], scope: t.Optional[str]) -> t.Optional[Memory]:
    """MiB by NUMA node id, NUMA nodes without any left out; None where nothing says so. `scope`: path of the cgroup."""
    in_scope = None if scope is None or _uses_huge_pages(tree, pid) else memory_of_scope(tree, scope)
    if in_scope is not None or pid is None:
        return in_scope
    return memory_of_process(tree, pid)


def _uses_huge_pages(tree: Tree, pid: t.Optional[int]) -> bool:
    found = None if pid is None else _HUGETLB.search(tree.text(f"proc/{pid}/status") or "")
    return found is not None and int(found.group(1)) > 0


def memory_of_scope(tree: Tree, scope: str) -> t.Optional[Memory]:
    """MiB by NUMA node of all processes in a cgroup, without huge pages; None where memory is not accounted."""
    text = tree.text(f"{CGROUP}/{scope}/memory.numa_stat")
    if text is None:
        return None
    bytes_of: t.Dict[int, int] = {}
    for line in text.splitlines():
        kind, _blank, values = line.partition(" ")
        if kind in _COUNTED:
            _add(bytes_of, values, 1)
    return _in_mib(bytes_of)


def memory_of_process(tree: Tree, pid: int) -> t.Optional[Memory]:
    """MiB by NUMA node of all mappings of a process, huge pages included; None where root alone may read it, or it is gone."""
    text = tree.text(f"proc/{pid}/numa_maps")
    if not text:
        return None
    bytes_of: t.Dict[int, int] = {}
    for line in text.splitlines():
        size = _PAGE_SIZE.search(line)
        if size:
            _add(bytes_of, line, int(size.group(1)) * 1024)
    return _in_mib(bytes_of)


def _add(bytes_of: t.Dict[int, int], values: str, unit: int) -> None:
    for numa_node, value in _NODE_VALUE.findall(values):
        bytes_of[int(numa_node)] = bytes_of.get(int(numa_node), 0) + int(value) * unit


def _in_mib(bytes_of: t.Mapping[int, int]) -> Memory:
    return {numa_node: amount // _MIB for numa_node, amount in sorted(bytes_of.items()) if amount >= _MIB}
