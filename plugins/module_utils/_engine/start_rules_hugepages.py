# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about hugepages: what they need in the config, which sizes fit, and whether the host has them.

The checks are those of src/PVE/QemuServer/Memory.pm of qemu-server. PVE itself makes the pages at the start, from free
memory of the NUMA node that a cell is bound to.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .start_case import Finding, Findings, StartCase, shown


def hugepages_need_numa(case: StartCase) -> Findings:
    if case.hugepages and not case.numa:
        yield Finding("hugepages_numa", "numa needs to be enabled to use hugepages", "Set numa: 1, or delete hugepages.")


def even_split_with_hugepages(case: StartCase) -> Findings:
    """Without cells each socket becomes one, on the host's NUMA node of the same number."""
    if not (case.numa and case.hugepages) or case.cells:
        return
    share = case.static_memory_mib / case.sockets
    yield from page_size_errors(case, share, shown(share))
    missing = next((n for n in range(case.sockets) if n not in case.host.numa_node_by_id), None)
    if missing is not None:
        yield Finding(
            "hostnode_missing",
            f"host NUMA node{missing} doesn't exist",
            f"Bind the memory of each cell with a numaN key to a NUMA node that host {case.host.node} has, or delete hugepages.",
        )


def hugepages_on_one_hostnode(case: StartCase) -> Findings:
    if not (case.numa and case.hugepages):
        return
    for n, cell in case.cells.items():
        hostnodes = cell.get("hostnodes", "0")
        if not (hostnodes.isdigit() and len(hostnodes) == 1):
            yield Finding(
                "hugepages_one_hostnode",
                "more than 1 hostnode value in numa node is not supported when hugepages are enabled",
                f"Bind numa{n} to a single NUMA node below 10, or delete hugepages.",
            )


def hugepages_room(case: StartCase) -> Findings:
    """Whether the pages are free or could be made of free memory, as far as the facts tell; it may change by the start."""
    if not (case.numa and case.hugepages) or (case.guest.running and case.guest.node == case.host.node):
        return
    for (numa_node, page), mib in sorted(_pages_wanted(case).items()):
        node = case.host.numa_node_by_id[numa_node]
        if node.memory_free_mib is None or page * 1024 not in node.hugepages:
            continue
        reachable = node.hugepages[page * 1024][1] * page + node.memory_free_mib
        if mib > reachable:
            yield Finding(
                "hugepages_room",
                "hugepage allocation failed",
                f"Free memory on NUMA node {numa_node} of host {case.host.node}, which has {reachable} MiB for hugepages of {page} MiB "
                f"now, less than the {shown(mib)} MiB asked for.",
                fatal=False,
            )


def _pages_wanted(case: StartCase) -> t.Dict[t.Tuple[int, int], float]:
    """(NUMA node, page size in MiB) -> MiB, for the parts that are sound."""
    parts = [(cell.get("hostnodes", ""), float(cell.get("memory") or 0)) for cell in case.cells.values()]
    parts = parts or [(str(n), case.static_memory_mib / case.sockets) for n in range(case.sockets)]
    wanted: t.Dict[t.Tuple[int, int], float] = {}
    for hostnodes, mib in parts:
        if hostnodes.isdigit() and int(hostnodes) in case.host.numa_node_by_id and not list(page_size_errors(case, mib, "")):
            big = case.hugepages == "1024" or (case.hugepages == "any" and _supports(case, 1024) and int(mib) % 1024 == 0)
            key = (int(hostnodes), 1024 if big else 2)
            wanted[key] = wanted.get(key, 0) + mib
    return wanted


def _supports(case: StartCase, page_mib: int) -> bool:
    """Whether the host has this size of pages; yes where its facts say nothing about any."""
    sizes = {size for node in case.host.numa_nodes for size in node.hugepages}
    return not sizes or page_mib * 1024 in sizes


def page_size_errors(case: StartCase, mib: float, text: str) -> Findings:
    """What PVE says about an amount of memory in hugepages; `text` is the amount as it is written."""
    whole, page = int(mib), case.hugepages or ""
    if mib <= 0 or whole % 2:
        yield Finding(
            "hugepages_size",
            f"memory size '{text}' is not a positive even integer; cannot use for hugepages",
            "Use an even amount of memory.",
        )
    elif not (_supports(case, 2) or _supports(case, 1024)):
        yield Finding("hugepages_unsupported", "your system doesn't support hugepages", "Delete hugepages, or choose another host.")
    elif page == "any":
        if not _supports(case, 2) and whole % 1024:
            message = f"host only supports 1024 GB hugepages, but requested size '{text}' is not a multiple of 1024 MB"
            yield Finding("hugepages_size", message, "Use a multiple of 1024 MiB for each cell, or choose another host.")
    elif not _supports(case, int(page)):
        yield Finding(
            "hugepages_unsupported", f"your system doesn't support hugepages of {page} MB", "Choose another size, or another host."
        )
    elif whole % int(page):
        message = f"Memory size {text} is not a multiple of the requested hugepages size {page}"
        yield Finding("hugepages_size", message, f"Use a multiple of {page} MiB for each cell, or smaller hugepages.")
