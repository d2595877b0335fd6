# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a model as the files that a Linux kernel shows: DIRECTORY/sys and DIRECTORY/proc.

Names, places and formats follow the kernel's documentation (admin-guide/cputopology, ABI/testing/sysfs-devices-*,
pm/cpufreq, filesystems/proc). The trees can be read by `lscpu -s DIRECTORY` and `hwloc-ls --input DIRECTORY` too.
"""

from __future__ import annotations

import ipaddress
import os
import typing as t
from pathlib import Path

from .model import EFFICIENCY, PERFORMANCE, Core, CpufreqPolicy, Cpus, Model, Nic, NumaNode, PciDevice

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


def cpulist(cpus: t.Iterable[int]) -> str:
    """The kernel's list format, written here anew so that the reader is not tested against itself."""
    parts: t.List[str] = []
    ordered = sorted(cpus)
    start = 0
    while start < len(ordered):
        end = start
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[start]) if start == end else f"{ordered[start]}-{ordered[end]}")
        start = end + 1
    return ",".join(parts)


def hex_mask(cpus: t.Iterable[int], width: int) -> str:
    """The kernel's mask format for `width` CPUs: 32-bit words in hexadecimal, highest first, parted by commas."""
    mask = sum(1 << cpu for cpu in cpus)
    words = max(1, (width + 31) // 32)
    return ",".join(f"{mask >> 32 * word & 0xFFFFFFFF:08x}" for word in reversed(range(words)))


class _Writer:
    """Files below one directory; makes each folder once."""

    def __init__(self, directory: t.Union[str, os.PathLike[str]], model: Model) -> None:
        self.root = os.fspath(directory)
        self.model = model
        self.width = max(model.present) + 1
        self._made: t.Dict[str, str] = {}

    def text(self, path: str, content: t.Any) -> None:
        self.raw(path, f"{content}\n")

    def raw(self, path: str, content: str) -> None:
        """By the kernel's own calls, which take half the time of a file object: a host has thousands of files."""
        folder, _slash, name = path.rpartition("/")
        descriptor = os.open(f"{self._make(folder)}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, content.encode("ascii"))
        finally:
            os.close(descriptor)

    def folder(self, path: str) -> None:
        self._make(path)

    def link(self, path: str, target: str) -> None:
        """A relative symbolic link at `path` to `target`, both below the root; the target need not exist."""
        folder, _slash, name = path.rpartition("/")
        os.symlink(os.path.relpath(target, folder), f"{self._make(folder)}/{name}")

    def cpus(self, path: str, cpus: t.Iterable[int], list_name: str, mask_name: str) -> None:
        """One CPU set in its list file and its mask file, as far as this kernel has them."""
        members = tuple(cpus)
        if self.model.oddities.lists:
            self.cpulist(f"{path}/{list_name}", members)
        if self.model.oddities.masks:
            self.text(f"{path}/{mask_name}", hex_mask(members, self.width))

    def cpulist(self, path: str, cpus: t.Iterable[int]) -> None:
        self.raw(path, cpulist(cpus) + ("\n\0\0\0" if self.model.oddities.nul_bytes else "\n"))

    def _make(self, folder: str) -> str:
        """The full name of a folder below the root, which is there then."""
        full = self._made.get(folder)
        if full is None:
            full = self._made[folder] = os.path.join(self.root, folder)
            os.makedirs(full, exist_ok=True)
        return full


def write_model(model: Model, directory: t.Union[str, os.PathLike[str]]) -> Path:
    """Write all files of `model` below `directory` (made if absent, else empty). Returns the directory."""
    if os.path.isdir(directory) and os.listdir(directory):
        raise FileExistsError(f"{os.fspath(directory)} is not empty; name a new directory for the tree of {model.name}.")
    writer = _Writer(directory, model)
    _cpu_overview(writer)
    _topology(writer)
    _caches(writer)
    _core_types(writer)
    _numa_nodes(writer)
    _cpufreq(writer)
    _pci_devices(writer)
    _nics(writer)
    _kernel(writer)
    _cpuinfo(writer)
    return Path(directory)


def _cpu_overview(w: _Writer) -> None:
    model = w.model
    if model.oddities.online_files:
        w.cpulist(f"{CPU}/possible", model.present)
        w.cpulist(f"{CPU}/present", model.present)
        w.cpulist(f"{CPU}/online", model.online)
        w.text(f"{CPU}/offline", cpulist(model.offline))
        w.text(f"{CPU}/kernel_max", 8191)
    w.text(f"{CPU}/isolated", model.kernel.isolated)
    if model.kernel.nohz_full is not None:
        w.text(f"{CPU}/nohz_full", model.kernel.nohz_full)
    for cpu in model.present:
        w.folder(f"{CPU}/cpu{cpu}")
        if cpu != 0:
            w.text(f"{CPU}/cpu{cpu}/online", int(cpu not in model.offline))


def _groups(cores: t.Iterable[Core], key: t.Callable[[Core], t.Any]) -> t.Dict[t.Any, t.List[Core]]:
    groups: t.Dict[t.Any, t.List[Core]] = {}
    for core in cores:
        groups.setdefault(key(core), []).append(core)
    return groups


def _own(core: Core, group: t.Optional[str]) -> t.Tuple[str, t.Any]:
    """The key of a group of cores, or of the core alone where it names none."""
    return ("core", core.cpus) if group is None else ("group", group)


def _topology(w: _Writer) -> None:
    model = w.model
    if not model.oddities.topology:
        return
    packages = _groups(model.cores, lambda core: core.package)
    dies = _groups(model.cores, lambda core: (core.package, core.die))
    clusters = _groups(model.cores, lambda core: _own(core, core.cluster))
    cluster_ids = {key: number for number, key in enumerate(clusters)}
    core_ids: t.Dict[int, int] = {}
    for core in model.cores:
        core_id = core_ids[core.package] = core_ids.get(core.package, -1) + 1
        cluster = _own(core, core.cluster)
        package_cpus = model.online_of(packages[core.package])
        threads = model.online_of([core])
        for cpu in threads:
            folder = f"{CPU}/cpu{cpu}/topology"
            w.text(f"{folder}/physical_package_id", core.package)
            w.text(f"{folder}/core_id", core_id)
            w.cpus(folder, threads, "thread_siblings_list", "thread_siblings")
            w.cpus(folder, package_cpus, "core_siblings_list", "core_siblings")
            if model.oddities.package_names:
                w.text(f"{folder}/die_id", core.die)
                w.text(f"{folder}/cluster_id", cluster_ids[cluster])
                w.cpus(folder, threads, "core_cpus_list", "core_cpus")
                w.cpus(folder, package_cpus, "package_cpus_list", "package_cpus")
                w.cpus(folder, model.online_of(dies[core.package, core.die]), "die_cpus_list", "die_cpus")
                w.cpus(folder, model.online_of(clusters[cluster]), "cluster_cpus_list", "cluster_cpus")


def _caches(w: _Writer) -> None:
    model = w.model
    if not model.oddities.cache:
        return
    l2_groups = _groups(model.cores, lambda core: _own(core, core.l2))
    l3_groups = _groups((core for core in model.cores if core.l3 is not None), lambda core: core.l3)
    l2_ids = {key: number for number, key in enumerate(l2_groups)}
    size = model.processor
    for number, core in enumerate(model.cores):
        l2 = _own(core, core.l2)
        threads = model.online_of([core])
        caches = [
            (1, "Data", size.l1_kib, number, threads),
            (1, "Instruction", size.l1_kib, number, threads),
            (2, "Unified", size.l2_kib, l2_ids[l2], model.online_of(l2_groups[l2])),
        ]
        if core.l3 is not None:
            l3_id = core.l3 if model.oddities.same_l3_id is None else model.oddities.same_l3_id
            caches.append((3, "Unified", size.l3_kib, l3_id, model.online_of(l3_groups[core.l3])))
        for cpu in threads:
            for index, (level, kind, size_kib, cache_id, shared) in enumerate(caches):
                folder = f"{CPU}/cpu{cpu}/cache/index{index}"
                w.text(f"{folder}/level", level)
                w.text(f"{folder}/type", kind)
                w.text(f"{folder}/size", f"{size_kib}K")
                w.cpus(folder, shared, "shared_cpu_list", "shared_cpu_map")
                if model.oddities.cache_ids:
                    w.text(f"{folder}/id", cache_id)


def _core_types(w: _Writer) -> None:
    model = w.model
    by_kind = {kind: tuple(c for core in model.cores if core.kind == kind for c in core.cpus) for kind in (PERFORMANCE, EFFICIENCY)}
    if not any(by_kind.values()):
        return
    if model.oddities.core_types == "pmu":
        w.cpulist("sys/devices/cpu_core/cpus", by_kind[PERFORMANCE])
        w.cpulist("sys/devices/cpu_atom/cpus", by_kind[EFFICIENCY])
    elif model.oddities.core_types == "types":
        w.cpulist(f"{CPU}/types/intel_core_0/cpulist", by_kind[PERFORMANCE])
        w.cpulist(f"{CPU}/types/intel_atom_0/cpulist", by_kind[EFFICIENCY])
    else:
        for kind, capacity in ((PERFORMANCE, 1024), (EFFICIENCY, 446)):
            for cpu in by_kind[kind]:
                w.text(f"{CPU}/cpu{cpu}/cpu_capacity", capacity)


def _numa_nodes(w: _Writer) -> None:
    model = w.model
    total = sum(numa_node.memory_mib for numa_node in model.numa_nodes)
    free = sum(numa_node.memory_free_mib for numa_node in model.numa_nodes)
    swap = [] if model.kernel.swap_mib is None else [("SwapTotal", model.kernel.swap_mib), ("SwapFree", model.kernel.swap_mib)]
    w.raw("proc/meminfo", "".join(f"{key + ':':15} {mib * 1024:>9} kB\n" for key, mib in [("MemTotal", total), ("MemFree", free)] + swap))
    if not model.oddities.numa:
        for size, (pages, free_pages) in (model.numa_nodes[0].hugepages if model.numa_nodes else {}).items():
            _hugepages(w, "sys/kernel/mm/hugepages", size, pages, free_pages)
        return
    listed = [numa_node.id for numa_node in model.numa_nodes if numa_node.id not in model.oddities.numa_offline]
    w.text(f"{NODE}/online", cpulist(listed))
    w.text(f"{NODE}/possible", cpulist(numa_node.id for numa_node in model.numa_nodes))
    columns = [column for column, numa_node in enumerate(model.numa_nodes) if numa_node.id in listed]
    for numa_node, row in zip(model.numa_nodes, model.distance_table()):
        _numa_node(w, numa_node, [row[column] for column in columns])


def _numa_node(w: _Writer, numa_node: NumaNode, distances: t.Sequence[int]) -> None:
    folder = f"{NODE}/node{numa_node.id}"
    w.cpus(folder, w.model.cpus_of_numa_node(numa_node), "cpulist", "cpumap")
    if w.model.oddities.distances:
        w.text(f"{folder}/distance", " ".join(map(str, distances)))
    lines = [("MemTotal", numa_node.memory_mib), ("MemFree", numa_node.memory_free_mib)]
    w.raw(f"{folder}/meminfo", "".join(f"Node {numa_node.id} {key + ':':15} {mib * 1024:>9} kB\n" for key, mib in lines))
    for size, (total, free) in numa_node.hugepages.items():
        _hugepages(w, f"{folder}/hugepages", size, total, free)
    for cpu in w.model.cpus_of_numa_node(numa_node):
        w.link(f"{folder}/cpu{cpu}", f"{CPU}/cpu{cpu}")


def _hugepages(w: _Writer, folder: str, size_kib: int, total: int, free: int) -> None:
    w.text(f"{folder}/hugepages-{size_kib}kB/nr_hugepages", total)
    w.text(f"{folder}/hugepages-{size_kib}kB/free_hugepages", free)


def _cpufreq(w: _Writer) -> None:
    for policy in w.model.cpufreq:
        cpus = tuple(cpu for cpu in policy.cpus if cpu not in w.model.offline)
        if cpus:
            _cpufreq_policy(w, policy, cpus)
    if w.model.cpufreq and w.model.boost is not None:
        w.text(f"{CPU}/cpufreq/boost", int(w.model.boost))


def _cpufreq_policy(w: _Writer, policy: CpufreqPolicy, cpus: Cpus) -> None:
    folder = f"{CPU}/cpufreq/policy{policy.cpus[0]}"
    w.text(f"{folder}/affected_cpus", " ".join(map(str, cpus)))
    w.text(f"{folder}/related_cpus", " ".join(map(str, policy.cpus)))
    w.text(f"{folder}/scaling_driver", policy.driver)
    w.text(f"{folder}/scaling_governor", policy.governor)
    w.text(f"{folder}/scaling_available_governors", " ".join(policy.governors) + " ")
    w.text(f"{folder}/scaling_min_freq", policy.min_khz)
    w.text(f"{folder}/scaling_max_freq", policy.max_khz)
    w.text(f"{folder}/cpuinfo_min_freq", policy.min_khz)
    w.text(f"{folder}/cpuinfo_max_freq", policy.max_khz)
    if policy.epp is not None:
        w.text(f"{folder}/energy_performance_preference", policy.epp)
        w.text(f"{folder}/energy_performance_available_preferences", " ".join(policy.epps) + " ")
    for cpu in cpus:
        w.link(f"{CPU}/cpu{cpu}/cpufreq", folder)


def _pci_folder(address: str) -> str:
    domain, bus = address.split(":")[:2]
    return f"sys/devices/pci{domain}:{bus}/{address}"


def _pci_devices(w: _Writer) -> None:
    for device in w.model.pci_devices:
        _pci_device(w, device)
    for physical in w.model.pci_devices:
        virtual = [device.address for device in w.model.pci_devices if device.physical_function == physical.address]
        for number, address in enumerate(virtual):
            w.link(f"{_pci_folder(physical.address)}/virtfn{number}", _pci_folder(address))


def _pci_device(w: _Writer, device: PciDevice) -> None:
    folder = _pci_folder(device.address)
    near = [w.model.cpus_of_numa_node(numa_node) for numa_node in w.model.numa_nodes if numa_node.id == device.numa_node]
    local = near[0] if near else w.model.online
    w.text(f"{folder}/class", device.class_code)
    w.text(f"{folder}/vendor", device.vendor)
    w.text(f"{folder}/device", device.device)
    w.text(f"{folder}/numa_node", device.numa_node)
    w.text(f"{folder}/local_cpulist", cpulist(local))
    w.text(f"{folder}/local_cpus", hex_mask(local, w.width))
    w.link(f"sys/bus/pci/devices/{device.address}", folder)
    if device.driver is not None:
        w.folder(f"sys/bus/pci/drivers/{device.driver}")
        w.link(f"{folder}/driver", f"sys/bus/pci/drivers/{device.driver}")
    if device.iommu_group is not None:
        w.folder(f"sys/kernel/iommu_groups/{device.iommu_group}")
        w.link(f"{folder}/iommu_group", f"sys/kernel/iommu_groups/{device.iommu_group}")
    for irq in device.irqs:
        w.text(f"{folder}/msi_irqs/{irq}", "msix")
        w.text(f"proc/irq/{irq}/smp_affinity_list", cpulist(w.model.online))
        w.text(f"proc/irq/{irq}/effective_affinity_list", w.model.online[irq % len(w.model.online)])
    if device.physical_function is not None:
        w.link(f"{folder}/physfn", _pci_folder(device.physical_function))


def _nics(w: _Writer) -> None:
    for nic in w.model.nics:
        _nic(w, nic)
    if w.model.nics:
        _addresses(w)


def _nic_folder(nic: Nic) -> str:
    return f"{_pci_folder(nic.pci)}/net/{nic.name}" if nic.pci else f"sys/devices/virtual/net/{nic.name}"


def _nic(w: _Writer, nic: Nic) -> None:
    folder = _nic_folder(nic)
    folders = {other.name: _nic_folder(other) for other in w.model.nics}
    w.text(f"{folder}/operstate", "up")
    w.link(f"sys/class/net/{nic.name}", folder)
    if nic.pci:
        w.link(f"{folder}/device", _pci_folder(nic.pci))
    if nic.master:
        w.link(f"{folder}/master", folders[nic.master])
    for lower in nic.lower:
        w.link(f"{folder}/lower_{lower}", folders[lower])


def _addresses(w: _Writer) -> None:
    """proc/net: routes and local addresses for IPv4, if_inet6 for IPv6 (formats: net/ipv4/fib_trie.c, net/ipv6/addrconf.c)."""
    routes = ["Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"]
    trie = ["Main:", "  +-- 0.0.0.0/0 3 0 5"]
    inet6 = []
    for index, nic in enumerate(w.model.nics, start=2):
        for text in nic.addresses:
            address = ipaddress.ip_interface(text)
            prefix = address.network.prefixlen
            if address.version == 6:
                inet6.append(f"{int(address.ip):032x} {index:02x} {prefix:02x} 00 80 {nic.name:>8}")
                continue
            net, mask = (int.from_bytes(a.packed, "little") for a in (address.network.network_address, address.netmask))
            routes.append(f"{nic.name}\t{net:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0")
            trie += [f"     +-- {address.network} 2 0 2", f"        |-- {address.network.network_address}"]
            trie += [f"           /{prefix} link UNICAST", f"        |-- {address.ip}", "           /32 host LOCAL"]
    w.raw("proc/net/route", "\n".join(routes) + "\n")
    w.raw("proc/net/fib_trie", "\n".join(trie + ["Local:"] + trie[1:]) + "\n")
    w.raw("proc/net/if_inet6", "".join(line + "\n" for line in inet6))


def _kernel(w: _Writer) -> None:
    kernel = w.model.kernel
    simple = {
        "proc/sys/kernel/hostname": kernel.hostname,
        "proc/sys/kernel/osrelease": kernel.release,
        "proc/sys/kernel/arch": w.model.processor.architecture,
        "proc/sys/kernel/numa_balancing": kernel.numa_balancing,
        "proc/cmdline": kernel.cmdline,
        "sys/kernel/mm/ksm/run": kernel.ksm_run,
    }
    for path, value in simple.items():
        if value is not None:
            w.text(path, value)
    for resource, pressure in (kernel.psi or {}).items():
        lines = [f"{kind} avg10={v:.2f} avg60={v:.2f} avg300={v:.2f} total=12345" for kind, v in zip(("some", "full"), pressure)]
        w.text(f"proc/pressure/{resource}", "\n".join(lines))


def _cpuinfo(w: _Writer) -> None:
    processor = w.model.processor
    templates = {
        "x86_64": "processor\t: {cpu}\nvendor_id\t: {vendor}\nmodel name\t: {model}\nflags\t\t: fpu lm\n",
        "aarch64": "processor\t: {cpu}\nBogoMIPS\t: 50.00\nCPU implementer\t: {vendor}\nCPU architecture: 8\nCPU part\t: 0xd0c\n",
        "ppc64le": "processor\t: {cpu}\ncpu\t\t: {model}\nclock\t\t: 3800.000000MHz\nrevision\t: 2.2\n",
    }
    template = templates[processor.architecture]
    blocks = [template.format(cpu=cpu, vendor=processor.vendor, model=processor.model) for cpu in w.model.online]
    w.raw("proc/cpuinfo", "\n".join(blocks) + "\n")
