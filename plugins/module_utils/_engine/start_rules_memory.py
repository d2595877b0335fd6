# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about a guest's memory: NUMA cells and memory hotplug.

The checks are those of src/PVE/QemuServer/Memory.pm of qemu-server, in its order, and of QEMU behind it (hw/core/numa.c,
hw/core/machine.c, backends/hostmem.c). PVE stops at the first one; here all are told.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .guest import CELL_KEYS
from .start_case import Finding, Findings, StartCase, names, numbers, ranges, shown
from .start_rules_hugepages import page_size_errors

_MAX_MEMORY_MIB = {True: 4194304, False: 524288}  # get_max_mem: with the host's address bits, else with 40


def memory_hotplug(case: StartCase) -> Findings:
    if not case.hotplugs_memory:
        return
    if not case.numa:
        yield Finding("hotplug_numa", "NUMA needs to be enabled for memory hotplug", "Set numa: 1, or take memory out of hotplug.")
    most = _MAX_MEMORY_MIB["phys-bits" in case.config.get("cpu", "") or _model(case) in ("host", "max")]
    if case.guest.memory_mib > most:
        yield Finding(
            "hotplug_memory",
            f"Total memory is bigger than {most}MB",
            "Lower the memory, take memory out of hotplug, or use the CPU model host.",
        )
    if case.cell_texts:
        yield Finding(
            "hotplug_cells",
            "cannot enable memory hotplugging with custom NUMA topology",
            "Take memory out of hotplug, or delete the numaN keys.",
        )
    if case.guest.memory_mib < case.static_memory_mib:
        yield Finding(
            "hotplug_memory",
            f"minimum memory must be {case.static_memory_mib}MB",
            f"Raise the memory to {case.static_memory_mib} MiB, or take memory out of hotplug.",
        )


def _model(case: StartCase) -> str:
    return case.config.get("cpu", "").split(",")[0].replace("cputype=", "")


def hotplug_with_virtiofs(case: StartCase) -> Findings:
    if case.hotplugs_memory and case.virtiofs:
        yield Finding(
            "hotplug_virtiofs",
            "Memory hotplug does not work in combination with virtio-fs.",
            "Take memory out of hotplug, or delete the virtiofs keys.",
        )


def cells_dropped(case: StartCase) -> Findings:
    for n, text in case.cell_texts.items():
        if n not in case.cells:
            yield Finding(
                "cell_dropped",
                f"The numa{n} {text!r} of {case.guest.label} has a format that PVE does not know, so that it drops the line.",
                f"Write numa{n} as cpus=0-3,hostnodes=0,memory=4096,policy=bind.",
                fatal=False,
            )


def cells_without_numa(case: StartCase) -> Findings:
    if case.cell_texts and not case.numa:
        keys = ", ".join(CELL_KEYS[n] for n in case.cell_texts)
        yield Finding(
            "numa_off",
            f"{keys} of {case.guest.label} {'is' if len(case.cell_texts) == 1 else 'are'} ignored, because numa is 0.",
            f"Set numa: 1, or delete {keys}.",
            fatal=False,
        )


def cells(case: StartCase) -> Findings:
    """Each cell's own rules, cell by cell."""
    if not case.numa:
        return
    for n, cell in case.cells.items():
        yield from _range_errors(n, cell)
        if not float(cell.get("memory") or 0):
            yield Finding("cell_memory_missing", f"missing NUMA node{n} memory value", f"Give numa{n} its part of the memory, in MiB.")
        elif case.hugepages:
            yield from page_size_errors(case, float(cell["memory"]), cell["memory"])
        yield from _hostnode_errors(case, n, cell)


def _range_errors(n: int, cell: t.Mapping[str, str]) -> Findings:
    for key in ("cpus", "hostnodes"):
        for first, last in ranges(cell.get(key, "0")):
            if last < first:
                yield Finding(
                    "invalid_range", f"invalid range: {first}-{last} ({last} < {first})", f"Write {last}-{first} in {key} of numa{n}."
                )


def _hostnode_errors(case: StartCase, n: int, cell: t.Mapping[str, str]) -> Findings:
    if "hostnodes" not in cell:
        if case.hugepages:
            yield Finding(
                "hugepages_hostnodes",
                "numa hostnodes need to be defined to use hugepages",
                f"Give numa{n} one hostnodes value and a policy, or delete hugepages.",
            )
        return
    missing = next((node for node in numbers(cell["hostnodes"]) if node not in case.host.numa_node_by_id), None)
    if missing is not None:
        known = ", ".join(map(str, sorted(case.host.numa_node_by_id)))
        yield Finding(
            "hostnode_missing",
            f"host NUMA node{missing} doesn't exist",
            f"Bind numa{n} to a NUMA node that host {case.host.node} has: {known}.",
        )
    if "policy" not in cell:
        hostnodes = cell["hostnodes"].replace(";", ",")
        yield Finding("policy_missing", f"you need to define a policy for hostnode {hostnodes}", f"Add policy=bind to numa{n}.")


def cell_sum(case: StartCase) -> Findings:
    """The cells share out exactly the guest's memory; with a cell without memory the sum says nothing yet."""
    memory = [float(cell.get("memory") or 0) for cell in case.cells.values()]
    if case.numa and not case.hotplugs_memory and all(memory) and sum(memory) not in (0, case.static_memory_mib):
        yield Finding(
            "memory_sum",
            "total memory for NUMA nodes must be equal to vm static memory",
            f"Make the memory of the numaN keys, now {shown(sum(memory))}, add up to {case.static_memory_mib} MiB.",
        )


def plugged_memory_size(case: StartCase) -> Findings:
    """Memory is plugged in modules of 512 MiB (1 GiB with hugepages of that size), of double size after each 32."""
    size, present = 1024 if case.hugepages == "1024" else 512, case.static_memory_mib
    if not case.hotplugs_memory or case.guest.memory_mib <= present:
        return
    for module in range(1, 8 * 32 + 1):
        present += size
        if present >= case.guest.memory_mib:
            break
        if module % 32 == 0:
            size *= 2
    if present > case.guest.memory_mib:
        yield Finding(
            "hotplug_memory",
            f"memory size ({case.guest.memory_mib}) must be aligned to {size} for hotplugging",
            f"Set the memory to {present} MiB, or take memory out of hotplug.",
        )


def cells_for_qemu(case: StartCase) -> Findings:
    """What QEMU says to the cells once PVE has let them pass."""
    if not case.numa:
        return
    owner: t.Dict[int, int] = {}
    for n, cell in case.cells.items():
        option = f"kvm: -numa node,nodeid={n},cpus={cell['cpus'].replace(';', ',cpus=')},memdev={_memdev(case, n)}"
        yield from _memory_errors(case, n, cell)
        for vcpu in numbers(cell["cpus"]):
            if vcpu >= case.maxcpus:
                message = f"{option}: CPU index ({vcpu}) should be smaller than maxcpus ({case.maxcpus})"
                yield Finding("vcpu_range", message, f"Name vCPUs 0 to {case.maxcpus - 1} in numa{n}.")
                break
            if owner.setdefault(vcpu, n) != n:
                message = f"{option}: CPU is already assigned to node-id: {owner[vcpu]}"
                yield Finding("vcpu_twice", message, f"Name vCPU {vcpu} in numa{owner[vcpu]} or numa{n}, not in both.")
                break
    gap = next((n for n in range(max(case.cells, default=0)) if n not in case.cells), None)
    if gap is not None:
        yield Finding("cell_gap", f"kvm: numa: Node ID missing: {gap}", "Number the cells from numa0 on without gaps.")


def _memdev(case: StartCase, n: int) -> str:
    return f"{'virtiofs-mem' if case.virtiofs else 'ram-node'}{n}"


def _memory_errors(case: StartCase, n: int, cell: t.Mapping[str, str]) -> Findings:
    if float(cell.get("memory") or 0) < 0:
        yield Finding(
            "cell_memory_negative",
            f"numa{n} of {case.guest.label} has the memory {cell['memory']}, which QEMU refuses.",
            f"Give numa{n} its part of the memory, in MiB.",
        )
    hostnodes = cell.get("hostnodes")
    without = [node for node in case.host.numa_nodes if node.memory_mib == 0 and names(hostnodes, node.id)]
    if without and not any(node.memory_mib != 0 and names(hostnodes, node.id) for node in case.host.numa_nodes):
        yield Finding(
            "hostnode_without_memory",
            "cannot bind memory to host NUMA nodes: Invalid argument",
            f"Bind numa{n} to a NUMA node of host {case.host.node} that has memory.",
        )
