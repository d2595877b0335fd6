# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a generated host is made of: plain data, from which write.py makes the files under sys/ and proc/.

A model says what the machine is (cores, caches, NUMA nodes, devices) and, in its switches, what its kernel leaves out
or says in an unusual way. Memory is in MiB, frequencies in kHz, CPUs are kernel numbers.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

Cpus = t.Tuple[int, ...]

PERFORMANCE = "performance"
EFFICIENCY = "efficiency"


@dataclass(frozen=True)
class Core:
    """One core: its threads and what it belongs to.

    `l2` and `cluster` name groups of cores; None means a group of its own. `l3` is the kernel's id of the L3 cache,
    None a core without L3. `kind` is PERFORMANCE or EFFICIENCY on a hybrid processor.
    """

    cpus: Cpus
    package: int = 0
    numa_node: int = 0
    l3: t.Optional[int] = None
    l2: t.Optional[str] = None
    cluster: t.Optional[str] = None
    die: int = 0
    kind: t.Optional[str] = None


@dataclass(frozen=True)
class NumaNode:
    """`cpus` None takes the CPUs of the cores that name this NUMA node; hugepages is page size in KiB -> (total, free)."""

    id: int
    memory_mib: int
    memory_free_mib: int = 0
    hugepages: t.Mapping[int, t.Tuple[int, int]] = field(default_factory=dict)
    cpus: t.Optional[Cpus] = None


@dataclass(frozen=True)
class CpufreqPolicy:
    """One cpufreq policy; `epp` None is a driver without energy performance preferences."""

    cpus: Cpus
    driver: str = "acpi-cpufreq"
    governor: str = "schedutil"
    governors: t.Tuple[str, ...] = ("performance", "schedutil")
    epp: t.Optional[str] = None
    epps: t.Tuple[str, ...] = ()
    min_khz: int = 1500000
    max_khz: int = 3250000


@dataclass(frozen=True)
class PciDevice:
    """One PCI function. Virtual functions name their physical function; `irqs` are the MSI interrupts in use."""

    address: str
    class_code: str
    vendor: str
    device: str
    driver: t.Optional[str] = None
    numa_node: int = -1
    iommu_group: t.Optional[int] = None
    irqs: t.Tuple[int, ...] = ()
    physical_function: t.Optional[str] = None


@dataclass(frozen=True)
class Nic:
    """A network interface; `lower` are the interfaces it stands on (a bridge's ports, a VLAN's parent)."""

    name: str
    pci: t.Optional[str] = None
    addresses: t.Tuple[str, ...] = ()
    master: t.Optional[str] = None
    lower: t.Tuple[str, ...] = ()


@dataclass(frozen=True)
class Processor:
    """What /proc/cpuinfo tells of the processor, and the cache sizes in KiB."""

    architecture: str = "x86_64"
    vendor: str = "GenuineIntel"
    model: str = "Intel(R) Xeon(R)"
    l1_kib: int = 32
    l2_kib: int = 1024
    l3_kib: int = 32768


@dataclass(frozen=True)
class Oddities:
    """What the kernel of this host leaves out or writes in its own way."""

    lists: bool = True  # the *_list files; False leaves only the hexadecimal masks
    masks: bool = True  # the hexadecimal masks; False leaves only the *_list files
    package_names: bool = True  # package_cpus, core_cpus, die_cpus, cluster_cpus (kernel 5.3 on), beside the old names
    online_files: bool = True  # cpu/online, cpu/present, cpu/possible
    topology: bool = True  # cpuN/topology
    cache: bool = True  # cpuN/cache
    cache_ids: bool = True  # cache/indexN/id
    same_l3_id: t.Optional[int] = None  # every L3 cache claims this id
    numa: bool = True  # devices/system/node
    numa_offline: t.Tuple[int, ...] = ()  # NUMA nodes whose folder is there but which node/online leaves out
    nul_bytes: bool = False  # cpulists end in NUL bytes, as some captures do
    core_types: str = "pmu"  # where a hybrid processor shows its types: pmu (cpu_core, cpu_atom), types, capacity
    distances: bool = True


@dataclass(frozen=True)
class Kernel:
    """Kernel and run-time state; None leaves the file out. psi is resource -> (some avg10, full avg10)."""

    hostname: t.Optional[str] = "pve"
    release: t.Optional[str] = "6.14.8-2-pve"
    cmdline: t.Optional[str] = "BOOT_IMAGE=/boot/vmlinuz-6.14.8-2-pve root=ZFS=rpool/ROOT/pve-1 ro quiet"
    isolated: str = ""
    nohz_full: t.Optional[str] = "(null)"
    numa_balancing: t.Optional[int] = 1
    ksm_run: t.Optional[int] = 0
    swap_mib: t.Optional[int] = 8192
    psi: t.Optional[t.Mapping[str, t.Tuple[float, float]]] = field(
        default_factory=lambda: {"cpu": (1.25, 0.0), "io": (0.5, 0.4), "memory": (0.0, 0.0)}
    )


@dataclass(frozen=True)
class Model:
    """One host. `distances` is the table in ascending order of NUMA node id, or None for 10 at home and 20 away."""

    name: str
    description: str
    cores: t.Tuple[Core, ...]
    numa_nodes: t.Tuple[NumaNode, ...]
    processor: Processor = field(default_factory=Processor)
    distances: t.Optional[t.Tuple[t.Tuple[int, ...], ...]] = None
    offline: Cpus = ()
    cpufreq: t.Tuple[CpufreqPolicy, ...] = ()
    boost: t.Optional[bool] = None
    pci_devices: t.Tuple[PciDevice, ...] = ()
    nics: t.Tuple[Nic, ...] = ()
    kernel: Kernel = field(default_factory=Kernel)
    oddities: Oddities = field(default_factory=Oddities)

    @property
    def present(self) -> Cpus:
        """All CPUs, ascending."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))

    @property
    def online(self) -> Cpus:
        """The CPUs that are switched on, ascending."""
        return tuple(cpu for cpu in self.present if cpu not in self.offline)

    def online_of(self, cores: t.Iterable[Core]) -> Cpus:
        """The online threads of `cores`, ascending."""
        return tuple(sorted(cpu for core in cores for cpu in core.cpus if cpu not in self.offline))

    def cpus_of_numa_node(self, numa_node: NumaNode) -> Cpus:
        """The online CPUs of one NUMA node, ascending."""
        if numa_node.cpus is not None:
            return tuple(sorted(cpu for cpu in numa_node.cpus if cpu not in self.offline))
        return self.online_of(core for core in self.cores if core.numa_node == numa_node.id)

    def distance_table(self) -> t.Tuple[t.Tuple[int, ...], ...]:
        """Rows and columns in ascending order of NUMA node id."""
        if self.distances is not None:
            return self.distances
        count = len(self.numa_nodes)
        return tuple(tuple(10 if row == column else 20 for column in range(count)) for row in range(count))
