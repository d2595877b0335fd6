# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines that can be booted, as plain data: what QEMU is told to build, and so what the facts have to say.

CPUs are numbered as QEMU does it: threads of a core side by side, then cores, L3 domains and packages.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

Cpus = t.Tuple[int, ...]

# The L3 cache belongs to a die. Linux finds the dies of a package through the cache's CPUID leaf 4; leaf 0x1f, which
# would show them by number too, is hidden: QEMU 10.0 aborts when Linux walks it under TCG.
INTEL = "Cascadelake-Server-v5,level=0x16,full-cpuid-auto-level=off"
# The driver amd-pstate asks for the vendor. TCG has no AMD cache topology: one L3 domain a package.
AMD = "EPYC-Milan,svm=off"


@dataclass(frozen=True)
class NumaNode:
    """CPUs first to last, None for memory without CPUs; memory 0 for CPUs without memory."""

    cpus: t.Optional[t.Tuple[int, int]]
    memory_mib: int


@dataclass(frozen=True)
class PciFunction:
    """A device that can be told apart by its place: address as in sysfs, class code, driver, NUMA node (None: unknown)."""

    address: str
    class_code: str
    driver: str
    numa_node: t.Optional[int]


@dataclass(frozen=True)
class Machine:
    name: str
    packages: int
    l3_per_package: int
    cores_per_l3: int
    numa_nodes: t.Tuple[NumaNode, ...]
    distances: t.Tuple[t.Tuple[int, ...], ...]
    cpu_model: str = INTEL
    threads_per_core: int = 2

    @property
    def cpu_count(self) -> int:
        return self.packages * self.l3_per_package * self.cores_per_l3 * self.threads_per_core

    @property
    def memory_mib(self) -> int:
        return sum(numa_node.memory_mib for numa_node in self.numa_nodes)

    @property
    def cores(self) -> t.List[Cpus]:
        return self._groups(self.threads_per_core)

    @property
    def l3_domains(self) -> t.List[Cpus]:
        return self._groups(self.threads_per_core * self.cores_per_l3)

    @property
    def package_cpus(self) -> t.List[Cpus]:
        return self._groups(self.cpu_count // self.packages)

    def numa_node_cpus(self, number: int) -> Cpus:
        span = self.numa_nodes[number].cpus
        return tuple(range(span[0], span[1] + 1)) if span else ()

    def _groups(self, size: int) -> t.List[Cpus]:
        return [tuple(range(first, first + size)) for first in range(0, self.cpu_count, size)]


# The devices of every machine; the last two hang behind a bridge that belongs to a NUMA node.
MANAGEMENT_NIC = PciFunction("0000:00:02.0", "0x020000", "virtio-pci", None)
DISK = PciFunction("0000:00:03.0", "0x010000", "virtio-pci", None)
NVME = PciFunction("0000:21:00.0", "0x010802", "nvme", 0)
SRIOV_NIC = PciFunction("0000:41:00.0", "0x020000", "igb", 1)
PCI_FUNCTIONS = (MANAGEMENT_NIC, DISK, NVME, SRIOV_NIC)


def _flat(count: int, remote: int) -> t.Tuple[t.Tuple[int, ...], ...]:
    return tuple(tuple(10 if row == column else remote for column in range(count)) for row in range(count))


def _even(count: int, cpus_each: int, memory_mib: int) -> t.Tuple[NumaNode, ...]:
    return tuple(NumaNode((number * cpus_each, (number + 1) * cpus_each - 1), memory_mib) for number in range(count))


MACHINES: t.Dict[str, Machine] = {
    machine.name: machine
    for machine in (
        Machine("host16", 2, 2, 2, _even(2, 8, 2048), _flat(2, 21)),
        Machine("amd16", 2, 1, 4, _even(2, 8, 2048), _flat(2, 32), cpu_model=AMD),
        Machine("host64", 2, 4, 4, _even(4, 16, 1024), ((10, 12, 32, 32), (12, 10, 32, 32), (32, 32, 10, 12), (32, 32, 12, 10))),
        Machine("host128", 1, 8, 8, _even(4, 32, 1024), _flat(4, 12)),
        Machine(
            "uneven8",
            1,
            1,
            4,
            (NumaNode((0, 3), 2048), NumaNode((4, 7), 0), NumaNode(None, 1024)),
            ((10, 20, 40), (20, 10, 40), (40, 40, 10)),
        ),
    )
}
