# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line that PVE builds for a VM, and the errors that it finds while doing so (QemuServer.pm, Memory.pm)."""

from __future__ import annotations

import re
import typing as t

from .config_file import Section
from .errors import TaskError
from .guest import Guest, memory_of, vcpus_of
from .qemu_keys import MAX_NUMA, NUMA_FORMAT, hotplug_features
from .schema import FormatError, parse_property_string

if t.TYPE_CHECKING:
    from .cluster import Node

_STATIC_MEMORY = 1024
_MEMORY_PM = "/usr/share/perl5/PVE/QemuServer/Memory.pm"


def build_command(guest: Guest, section: Section, node: Node) -> list[str]:
    """The arguments in PVE's order, as far as CPUs and memory go; TaskError with PVE's text where PVE refuses."""
    sockets, cores = int(section.get("sockets", section.get("smp", 1))), int(section.get("cores", 1))
    maxcpus = sockets * cores
    if maxcpus > len(node.hardware.cpus):
        raise TaskError(f"MAX {len(node.hardware.cpus)} vcpus allowed per VM on this node")
    affinity = section.get("affinity")
    command = ["/usr/bin/taskset", "--cpu-list", "--all-tasks", affinity] if affinity and affinity != "0" else []
    command += [
        "/usr/bin/kvm",
        "-id",
        str(guest.vmid),
        "-name",
        f"{section.get('name', f'vm{guest.vmid}')},debug-threads=on",
        "-no-shutdown",
        "-mon",
        "chardev=qmp,mode=control",
        "-mon",
        "chardev=qmp-event,mode=control",
        "-pidfile",
        f"/var/run/qemu-server/{guest.vmid}.pid",
        "-daemonize",
        "-smp",
        f"{vcpus_of(section)},sockets={sockets},cores={cores},maxcpus={maxcpus}",
        "-nodefaults",
    ]
    no_kvm = section.get("kvm") == "0"
    command += ["-cpu", section.get("cpu", "qemu64" if no_kvm else "kvm64").replace("cputype=", "")]
    command += _memory_arguments(section, node, sockets, cores)
    command += ["-machine", ("accel=tcg," if no_kvm else "") + "type=pc+pve0"]
    if section.get("args"):
        command += section["args"].split()
    return command


_SAFE = re.compile(r"[\w!%+,\-./:@^]+", re.ASCII)


def pretty_command(command: t.Sequence[str]) -> str:
    """The command line as `qm showcmd --pretty` prints it: one option per line, quoted for a shell."""
    return shell_line(command).replace(" -", " \\\n  -") + "\n"


def shell_line(command: t.Sequence[str]) -> str:
    """The command line quoted for a shell, as `qm showcmd` prints it."""
    return " ".join(word if _SAFE.fullmatch(word) else "'" + word.replace("'", "'\\''") + "'" for word in command)


def guest_cells(section: Section) -> dict[int, dict[str, str]]:
    """Guest NUMA node -> the properties of its numaN."""
    cells = {}
    for number in range(MAX_NUMA):
        text = section.get(f"numa{number}")
        if text:
            try:
                cells[number] = parse_property_string(NUMA_FORMAT, text)
            except FormatError:
                continue
    return cells


def _memory_arguments(section: Section, node: Node, sockets: int, cores: int) -> list[str]:
    memory = memory_of(section)
    hotplug = "memory" in hotplug_features(section.get("hotplug"))
    hugepages, numa = section.get("hugepages"), section.get("numa") == "1"
    static = memory
    if hotplug:
        if not numa:
            raise TaskError("NUMA needs to be enabled for memory hotplug")
        if any(section.get(f"numa{number}") for number in range(MAX_NUMA)):
            raise TaskError("cannot enable memory hotplugging with custom NUMA topology")
        static = _STATIC_MEMORY * (sockets if hugepages == "1024" else 1)
        if memory < static:
            raise TaskError(f"minimum memory must be {static}MB")
        arguments = ["-m", f"size={static},slots=255,maxmem=4194304M"]
    else:
        arguments = ["-m", str(static)]
    if hugepages and not numa:
        raise TaskError(f"numa needs to be enabled to use hugepages at {_MEMORY_PM} line 388.")
    if numa:
        arguments += _cell_arguments(section, node, static) or _even_split(section, node, static, sockets, cores)
        _allocate_hugepages(section, node, static, sockets)
    return arguments


def _cell_arguments(section: Section, node: Node, static: int) -> list[str]:
    """The arguments for numaN; an empty list when there is none."""
    arguments: list[str] = []
    total = 0.0
    for number, cell in guest_cells(section).items():
        if float(cell.get("memory") or 0) == 0:
            raise TaskError(f"missing NUMA node{number} memory value")
        total += float(cell["memory"])
        cpus = ",cpus=".join(_perl_ranges(cell["cpus"]))
        backend = _backend(section, node, f"ram-node{number}", float(cell["memory"]), cell["memory"])
        if "hostnodes" in cell:
            hostnodes = _host_nodes(cell["hostnodes"], node)
            if "policy" not in cell:
                raise TaskError(f"you need to define a policy for hostnode {hostnodes}")
            backend += f",host-nodes={hostnodes},policy={cell['policy']}"
        elif section.get("hugepages"):
            raise TaskError(f"numa hostnodes need to be defined to use hugepages at {_MEMORY_PM} line 430.")
        arguments += ["-object", backend, "-numa", f"node,nodeid={number},cpus={cpus},memdev=ram-node{number}"]
    if arguments and total != static:
        raise TaskError("total memory for NUMA nodes must be equal to vm static memory")
    return arguments


def _perl_ranges(text: str) -> list[str]:
    """The `;` list as PVE splits it, with its complaint about descending ranges."""
    ranges = []
    for span in text.split(";"):
        low, _dash, high = span.partition("-")
        if high and int(high) < int(low):
            raise TaskError(f"invalid range: {span} ({high} < {low})")
        ranges.append(span)
    return ranges


def _host_nodes(text: str, node: Node) -> str:
    """The `;` list as QEMU wants it; every NUMA node must be there."""
    for span in _perl_ranges(text):
        low, _dash, high = span.partition("-")
        for number in range(int(low), int(high or low) + 1):
            if number not in node.hardware.numa_nodes:
                raise TaskError(f"host NUMA node{number} doesn't exist")
    return text.replace(";", ",")


def _even_split(section: Section, node: Node, static: int, sockets: int, cores: int) -> list[str]:
    """numa=1 without numaN: as many guest NUMA nodes as sockets, not bound to any of the host."""
    arguments: list[str] = []
    share = static / sockets
    shown = str(int(share)) if share == int(share) else repr(share)
    for number in range(sockets):
        if section.get("hugepages") and number not in node.hardware.numa_nodes:
            raise TaskError(f"host NUMA node{number} doesn't exist")
        cpus = f"{cores * number}" + (f"-{cores * number + cores - 1}" if cores > 1 else "")
        arguments += [
            "-object",
            _backend(section, node, f"ram-node{number}", share, shown),
            "-numa",
            f"node,nodeid={number},cpus={cpus},memdev=ram-node{number}",
        ]
    return arguments


def _backend(section: Section, node: Node, ident: str, size: float, shown: str) -> str:
    if not section.get("hugepages"):
        return f"memory-backend-ram,id={ident},size={shown}M"
    page = _hugepage_size(section["hugepages"], node, size, shown)
    return f"memory-backend-file,id={ident},size={shown}M,mem-path=/run/hugepages/kvm/{page * 1024}kB,share=on,prealloc=yes"


def _supported(node: Node, page: int) -> bool:
    return node.hardware.hugepages is None or any(page in sizes for sizes in node.hardware.hugepages.values())


def _hugepage_size(wanted: str, node: Node, size: float, shown: str) -> int:
    """The page size in MiB for an amount of memory."""
    if size <= 0 or int(size) & 1:
        raise TaskError(f"memory size '{shown}' is not a positive even integer; cannot use for hugepages")
    if not (_supported(node, 2) or _supported(node, 1024)):
        raise TaskError("your system doesn't support hugepages")
    if wanted == "any":
        if _supported(node, 1024) and int(size) % 1024 == 0:
            return 1024
        if _supported(node, 2):
            return 2
        raise TaskError(f"host only supports 1024 GB hugepages, but requested size '{shown}' is not a multiple of 1024 MB")
    page = int(wanted)
    if not _supported(node, page):
        raise TaskError(f"your system doesn't support hugepages of {page} MB")
    if int(size) % page:
        raise TaskError(f"Memory size {shown} is not a multiple of the requested hugepages size {page}")
    return page


def _allocate_hugepages(section: Section, node: Node, static: int, sockets: int) -> None:
    """Whether the host can give the pages, NUMA node by NUMA node."""
    if not section.get("hugepages"):
        return
    wanted: dict[tuple[int, int], float] = {}
    cells = guest_cells(section)
    for cell in cells.values():
        hostnodes = _host_nodes(cell["hostnodes"], node)
        if not re.fullmatch(r"\d", hostnodes):
            raise TaskError(
                f"more than 1 hostnode value in numa node is not supported when hugepages are enabled at {_MEMORY_PM} line 628."
            )
        _want(wanted, section, node, int(hostnodes), float(cell["memory"]))
    if not cells:
        for number in range(sockets):
            _want(wanted, section, node, number, static / sockets)
    for (page, number), count in wanted.items():
        limits = node.hardware.hugepages
        if limits is not None and count > limits.get(number, {}).get(page, 0):
            raise TaskError(f"hugepage allocation failed at {_MEMORY_PM} line 730.")


def _want(wanted: dict[tuple[int, int], float], section: Section, node: Node, number: int, memory: float) -> None:
    page = _hugepage_size(section["hugepages"], node, memory, f"{memory:g}")
    wanted[page, number] = wanted.get((page, number), 0) + memory / page
