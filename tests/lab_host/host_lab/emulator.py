# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's command line for a machine."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from . import acpi
from .machines import Machine

QEMU = "qemu-system-x86_64"
GUEST_ADDRESS = "10.0.2.15"
# Software emulation on a busy machine is slow, and nothing inside shall be taken for hung.
PATIENCE = "systemd.default_timeout_start_sec=900 systemd.service_watchdogs=no rcupdate.rcu_cpu_stall_suppress=1"
KERNEL_PARAMETERS = f"console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off intel_iommu=on {PATIENCE}"


@dataclass(frozen=True)
class Boot:
    """What may differ from boot to boot.

    cpufreq: "acpi" (the driver acpi-cpufreq), "amd_pstate=active", "=passive" or "=guided" (machines of AMD's), None
    for a host without frequency scaling. append: further kernel parameters. cpus_per_policy: how many CPUs in a row
    share a frequency. tcg: "single", one thread for all CPUs, boots faster on few cores; "multi", one for each,
    carries more load.
    """

    cpufreq: t.Optional[str] = "acpi"
    append: str = ""
    cpus_per_policy: int = 1
    tcg: str = "single"


@dataclass(frozen=True)
class Files:
    """What a running machine is made of: its own folder with its disk, and kernel and initial RAM disk of the image."""

    folder: Path
    kernel: Path
    initrd: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def pid(self) -> Path:
        return self.folder / "pid"


def command(machine: Machine, boot: Boot, files: Files, ssh_port: int) -> t.List[str]:
    """The command line; writes the ACPI tables that it names."""
    tables, parameters = _frequency_scaling(machine, boot, files.folder)
    return [
        QEMU,
        *("-name", files.folder.name),
        *("-machine", "q35"),
        *("-accel", f"tcg,thread={boot.tcg},tb-size=512"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *_processors(machine),
        *_memory(machine),
        *("-kernel", str(files.kernel), "-initrd", str(files.initrd)),
        *("-append", " ".join(filter(None, [KERNEL_PARAMETERS, *parameters, boot.append]))),
        *("-serial", f"file:{files.console}", "-pidfile", str(files.pid)),
        *_devices(files.disk, ssh_port),
        *(word for table in tables for word in ("-acpitable", f"file={table}")),
    ]


def _processors(machine: Machine) -> t.List[str]:
    layout = f"sockets={machine.packages},dies={machine.l3_per_package},cores={machine.cores_per_l3},threads={machine.threads_per_core}"
    return ["-cpu", machine.cpu_model, "-smp", f"{machine.cpu_count},{layout}"]


def _memory(machine: Machine) -> t.List[str]:
    words = ["-m", f"{machine.memory_mib}M"]
    for number, numa_node in enumerate(machine.numa_nodes):
        parts = [f"node,nodeid={number}"]
        if numa_node.cpus:
            parts.append("cpus={}-{}".format(*numa_node.cpus))
        if numa_node.memory_mib:
            words += ["-object", f"memory-backend-ram,id=memory{number},size={numa_node.memory_mib}M"]
            parts.append(f"memdev=memory{number}")
        words += ["-numa", ",".join(parts)]
    for source, row in enumerate(machine.distances):
        for target, distance in enumerate(row):
            if source != target:
                words += ["-numa", f"dist,src={source},dst={target},val={distance}"]
    return words


def _devices(disk: Path, ssh_port: int) -> t.List[str]:
    """Those of machines.PCI_FUNCTIONS at their addresses: a bus below a bridge has the bridge's number and one more."""
    management = f"user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:{ssh_port}-{GUEST_ADDRESS}:22"
    devices = [
        "intel-iommu,intremap=on,caching-mode=on",
        "virtio-net-pci,netdev=management,addr=02.0",
        "virtio-blk-pci,drive=disk,num-queues=4,addr=03.0",
        "virtio-rng-pci,rng=random,addr=04.0",
        "pxb-pcie,id=bridge0,bus_nr=0x20,numa_node=0,bus=pcie.0,addr=10.0",
        "pcie-root-port,id=port0,chassis=1,slot=1,bus=bridge0",
        "nvme,bus=port0,serial=corepin,drive=nvme,max_ioqpairs=8",
        "pxb-pcie,id=bridge1,bus_nr=0x40,numa_node=1,bus=pcie.0,addr=11.0",
        "pcie-root-port,id=port1,chassis=2,slot=2,bus=bridge1",
        "igb,bus=port1,netdev=sriov",
    ]
    return [
        *("-drive", f"if=none,id=disk,file={disk},cache=unsafe"),
        *("-drive", "if=none,id=nvme,driver=null-co,size=64M"),
        *("-netdev", management),
        *("-netdev", "user,id=sriov,restrict=on"),
        *("-object", "rng-random,id=random,filename=/dev/urandom"),
        *(word for device in devices for word in ("-device", device)),
    ]


def _frequency_scaling(machine: Machine, boot: Boot, folder: Path) -> t.Tuple[t.List[Path], t.List[str]]:
    """The ACPI tables and the kernel parameters that it takes."""
    if boot.cpufreq is None:
        return [], []
    tables = [acpi.compile_table(acpi.performance_states(machine.cpu_count, boot.cpus_per_policy), folder / "pstates.aml")]
    if boot.cpufreq == "acpi":
        return tables, []
    tables.append(acpi.compile_table(acpi.cppc(machine.cpu_count), folder / "cppc.aml"))
    channel = folder / "pcct.aml"
    channel.write_bytes(acpi.platform_channel())
    return [*tables, channel], [acpi.SHARED_MEMORY_PARAMETER, boot.cpufreq]
