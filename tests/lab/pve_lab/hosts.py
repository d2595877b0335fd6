# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated host has to offer at a guest's start: online CPUs, NUMA nodes, memory, huge pages.

Either from numbers in the cluster description, or from a directory that holds a captured `sys/` and `proc/` tree.
"""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

from .cpulist import read_cpus


@dataclasses.dataclass
class HostHardware:
    """cpus: online CPUs; numa_nodes: ids; cores and sockets: counts; memory_mib: total.

    hugepages: NUMA node -> page size in MiB -> how many can be had at most (None: as many as the memory holds).
    """

    cpus: frozenset[int]
    numa_nodes: frozenset[int] = frozenset((0,))
    sockets: int = 1
    cores: int = 1
    memory_mib: float = 65536
    hugepages: t.Optional[dict[int, dict[int, int]]] = None
    model: str = "AMD EPYC 9354 32-Core Processor"
    mhz: str = "3250.000"
    family: str = "25"
    flags: str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr svm"


def described_hardware(cpus: int, sockets: int, memory_mib: float, numa_nodes: int, threads: int = 2) -> HostHardware:
    """A host from mere numbers: CPUs 0..cpus-1, `threads` per core."""
    cores = max(cpus // threads, sockets)
    return HostHardware(frozenset(range(cpus)), frozenset(range(numa_nodes)), sockets, cores, memory_mib)


def read_hardware(root: pathlib.Path, fallback: HostHardware) -> HostHardware:
    """A host from a tree; what the tree does not say comes from `fallback`."""
    system = root / "sys/devices/system"
    cpus = _cpus_in(system / "cpu/online") or fallback.cpus
    packages, cores = set(), set()
    for cpu in cpus:
        topology = system / f"cpu/cpu{cpu}/topology"
        package = _text(topology / "physical_package_id")
        packages.add(package)
        siblings = _text(topology / "thread_siblings_list") or _text(topology / "core_cpus_list") or str(cpu)
        cores.add(siblings)
    info = _cpuinfo(root / "proc/cpuinfo")
    return HostHardware(
        cpus=cpus,
        numa_nodes=_numa_nodes(system / "node"),
        sockets=len(packages),
        cores=len(cores),
        memory_mib=_memory_mib(root / "proc/meminfo") or fallback.memory_mib,
        model=info.get("model name", fallback.model),
        mhz=info.get("cpu MHz", fallback.mhz),
        family=info.get("cpu family", fallback.family),
        flags=info.get("flags", fallback.flags),
    )


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _cpus_in(path: pathlib.Path) -> frozenset[int]:
    try:
        return read_cpus(_text(path))
    except ValueError:
        return frozenset()


def _numa_nodes(directory: pathlib.Path) -> frozenset[int]:
    found = (
        frozenset(int(entry.name[4:]) for entry in directory.glob("node*") if entry.name[4:].isdigit())
        if directory.is_dir()
        else frozenset()
    )
    return found or frozenset((0,))


def _memory_mib(path: pathlib.Path) -> float:
    for line in _text(path).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 1024
    return 0


def _cpuinfo(path: pathlib.Path) -> dict[str, str]:
    first = _text(path).split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _colon, value in (line.partition(":") for line in first.splitlines()) if key.strip()}
