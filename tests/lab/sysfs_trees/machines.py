# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that people run Proxmox VE on."""

from __future__ import annotations

import typing as t

from .builders import (
    AMD_PSTATE_EPP,
    INTEL_PSTATE,
    adjacent,
    flat_distances,
    grid,
    memory,
    package_distances,
    per_cpu_policies,
)
from .model import EFFICIENCY, PERFORMANCE, Core, CpufreqPolicy, Kernel, Model, Nic, NumaNode, Oddities, PciDevice, Processor


def epyc_9354() -> Model:
    cores = grid(numa_nodes=4, l3_per_numa_node=2)
    return Model(
        name="epyc-9354-nps4",
        description="EPYC 9354 in NPS4: 4 NUMA nodes with two L3 domains of 4 cores each, siblings c and c+32",
        cores=cores,
        numa_nodes=memory(128654, 129019, 129019, 128977),
        distances=flat_distances(4, 12),
        processor=Processor(vendor="AuthenticAMD", model="AMD EPYC 9354 32-Core Processor", l3_kib=32768),
        cpufreq=per_cpu_policies(cores, **AMD_PSTATE_EPP, min_khz=400000, max_khz=3799072),
        boost=True,
        pci_devices=(
            PciDevice("0000:01:00.0", "0x010802", "0x144d", "0xa80a", "nvme", 3, 14, (120, 121, 122, 123)),
            PciDevice("0000:41:00.0", "0x020000", "0x15b3", "0x101d", "mlx5_core", 1, 40, (130, 131, 132, 133)),
            PciDevice("0000:41:00.1", "0x020000", "0x15b3", "0x101d", "mlx5_core", 1, 41, (134, 135)),
            PciDevice("0000:41:00.2", "0x020000", "0x15b3", "0x101e", "vfio-pci", 1, 60, (140, 141), "0000:41:00.0"),
            PciDevice("0000:41:00.3", "0x020000", "0x15b3", "0x101e", "vfio-pci", 1, 61, (), "0000:41:00.0"),
            PciDevice("0000:81:00.0", "0x030200", "0x10de", "0x2330", "vfio-pci", 2, 70),
            PciDevice("0000:c5:00.0", "0x0c0330", "0x1022", "0x14c9", "xhci_hcd", -1, None, (28,)),
        ),
        nics=(
            Nic("enp65s0f0np0", "0000:41:00.0", master="vmbr0"),
            Nic("enp65s0f1np1", "0000:41:00.1", ("10.20.0.11/24",)),
            Nic("lo", None, ("127.0.0.1/8", "::1/128")),
            Nic("vmbr0", None, ("192.0.2.11/24", "2001:db8::11/64"), lower=("enp65s0f0np0",)),
        ),
        kernel=Kernel(hostname="epyc1"),
    )


def epyc_7742_dual() -> Model:
    cores = grid(numa_nodes=8, l3_per_numa_node=4, packages=2)
    return Model(
        name="epyc-7742-2s-nps4",
        description="two EPYC 7742 in NPS4: 8 NUMA nodes, 32 L3 domains of 4 cores, siblings c and c+128",
        cores=cores,
        numa_nodes=memory(*[128790] * 7, 128742),
        distances=package_distances(8, 2, 12, 32),
        processor=Processor(vendor="AuthenticAMD", model="AMD EPYC 7742 64-Core Processor", l2_kib=512, l3_kib=16384),
        cpufreq=per_cpu_policies(cores, max_khz=2250000, governors=("performance", "schedutil", "powersave")),
        boost=True,
        kernel=Kernel(hostname="epyc2"),
    )


def epyc_7742_single() -> Model:
    cores = grid(l3_per_numa_node=16)
    return Model(
        name="epyc-7742-nps1",
        description="EPYC 7742 in NPS1: one NUMA node, 16 L3 domains of 4 cores, siblings c and c+64",
        cores=cores,
        numa_nodes=memory(515842),
        processor=Processor(vendor="AuthenticAMD", model="AMD EPYC 7742 64-Core Processor", l2_kib=512, l3_kib=16384),
        cpufreq=per_cpu_policies(cores, max_khz=2250000),
        boost=True,
    )


def epyc_9754_dual() -> Model:
    cores = grid(numa_nodes=2, l3_per_numa_node=16, cores_per_l3=8, packages=2)
    return Model(
        name="epyc-9754-2s",
        description="two EPYC 9754: 512 CPUs, 2 NUMA nodes, 32 L3 domains of 8 cores, siblings c and c+256",
        cores=cores,
        numa_nodes=memory(1159934, 1160984),
        distances=flat_distances(2, 32),
        processor=Processor(vendor="AuthenticAMD", model="AMD EPYC 9754 128-Core Processor", l3_kib=16384),
        cpufreq=per_cpu_policies(cores, **AMD_PSTATE_EPP, min_khz=400000, max_khz=3100000),
        boost=True,
    )


def xeon_6338_dual() -> Model:
    cores = grid(numa_nodes=2, cores_per_l3=32, packages=2)
    return Model(
        name="xeon-6338-2s",
        description="two Xeon Gold 6338: 2 NUMA nodes with one L3 each, siblings c and c+64",
        cores=cores,
        numa_nodes=memory(257616, 258039),
        distances=flat_distances(2, 20),
        processor=Processor(model="Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", l1_kib=48, l2_kib=1280, l3_kib=49152),
        cpufreq=per_cpu_policies(cores, **INTEL_PSTATE, min_khz=800000, max_khz=3200000),
    )


def xeon_interleaved() -> Model:
    """Even CPUs on package 0, odd ones on package 1: usual on Dell and Supermicro boards."""
    cores = tuple(Core(cpus=(c, c + 24), package=c % 2, numa_node=c % 2, l3=c % 2) for c in range(24))
    return Model(
        name="xeon-5118-2s-interleaved",
        description="two Xeon Gold 5118 with interleaved numbering: even CPUs on package 0, odd ones on package 1, siblings c and c+24",
        cores=cores,
        numa_nodes=memory(95226, 96764),
        distances=flat_distances(2, 21),
        processor=Processor(model="Intel(R) Xeon(R) Gold 5118 CPU @ 2.30GHz", l3_kib=16896),
        cpufreq=per_cpu_policies(cores, **INTEL_PSTATE, min_khz=1000000, max_khz=3200000),
    )


def xeon_snc2() -> Model:
    """Sub-NUMA clustering as on Skylake and later where the kernel sees one L3 per package: an L3 domain over two NUMA nodes."""
    cores = tuple(Core(cpus=(c, c + 16), package=c // 8, numa_node=c // 4, l3=c // 8) for c in range(16))
    return Model(
        name="xeon-snc2",
        description="two 8-core Xeons with sub-NUMA clustering: 4 NUMA nodes, and each L3 spans two of them",
        cores=cores,
        numa_nodes=memory(31913, 32253, 32253, 32205),
        distances=package_distances(4, 2, 11, 21),
    )


def ryzen_5950x() -> Model:
    cores = grid(l3_per_numa_node=2, cores_per_l3=8)
    return Model(
        name="ryzen-5950x",
        description="Ryzen 9 5950X: one NUMA node, two L3 domains of 8 cores, siblings c and c+16",
        cores=cores,
        numa_nodes=memory(128719),
        processor=Processor(vendor="AuthenticAMD", model="AMD Ryzen 9 5950X 16-Core Processor", l2_kib=512),
        cpufreq=per_cpu_policies(cores, **AMD_PSTATE_EPP, min_khz=550000, max_khz=5083398),
        boost=True,
        kernel=Kernel(hostname="ryzen1"),
    )


def i9_13900() -> Model:
    performance = tuple(Core(cpus=(2 * c, 2 * c + 1), l3=0, kind=PERFORMANCE) for c in range(8))
    efficiency = tuple(Core(cpus=(16 + c,), l3=0, l2=f"e{c // 4}", cluster=f"e{c // 4}", kind=EFFICIENCY) for c in range(16))
    fast = per_cpu_policies(performance, **INTEL_PSTATE, min_khz=800000, max_khz=5200000)
    slow = per_cpu_policies(efficiency, **INTEL_PSTATE, min_khz=800000, max_khz=4200000)
    return Model(
        name="i9-13900",
        description="Core i9-13900: 8 performance cores with siblings 2c and 2c+1, 16 efficiency cores in clusters of 4, one L3",
        cores=performance + efficiency,
        numa_nodes=memory(64107),
        processor=Processor(model="13th Gen Intel(R) Core(TM) i9-13900", l1_kib=48, l2_kib=2048, l3_kib=36864),
        cpufreq=fast + slow,
        kernel=Kernel(hostname="i9"),
    )


def altra_q80() -> Model:
    """No L3 in sysfs (the system-level cache is not described), clusters of two cores with an L2 each."""
    cores = tuple(Core(cpus=(c,), package=0, cluster=f"{c // 2}") for c in range(80))
    return Model(
        name="altra-q80-30",
        description="Ampere Altra Q80-30 (arm64): 80 cores without SMT, clusters of 2, no L3",
        cores=cores,
        numa_nodes=memory(257330),
        processor=Processor(architecture="aarch64", vendor="0x41", model="Neoverse-N1", l1_kib=64),
        cpufreq=per_cpu_policies(cores, driver="cppc_cpufreq", min_khz=1000000, max_khz=3000000),
        kernel=Kernel(hostname="altra", cmdline="root=/dev/sda2 ro quiet"),
    )


def big_little() -> Model:
    """An arm64 board whose core types show in cpu_capacity only; one cpufreq policy per cluster."""
    little = tuple(Core(cpus=(c,), cluster="0", l3=0, kind=EFFICIENCY) for c in range(4))
    big = tuple(Core(cpus=(c,), cluster="1", l3=0, kind=PERFORMANCE) for c in range(4, 8))
    return Model(
        name="arm-big-little",
        description="arm64 board: 4 slow and 4 fast cores told apart by cpu_capacity, policies of 4 CPUs, no NUMA directory",
        cores=little + big,
        numa_nodes=memory(15950),
        processor=Processor(architecture="aarch64", vendor="0x41", l3_kib=3072),
        cpufreq=(
            CpufreqPolicy((0, 1, 2, 3), "cpufreq-dt", min_khz=408000, max_khz=1800000),
            CpufreqPolicy((4, 5, 6, 7), "cpufreq-dt", min_khz=408000, max_khz=2256000),
        ),
        oddities=Oddities(core_types="capacity", numa=False),
    )


def power9_smt8() -> Model:
    """NUMA nodes 0 and 8, as POWER firmware numbers them."""
    cores = tuple(Core(cpus=adjacent(c, 20, 8), package=c // 10 * 8, numa_node=c // 10 * 8, l3=c // 2, l2=f"{c // 2}") for c in range(20))
    return Model(
        name="power9-smt8",
        description="two POWER9 with SMT8: NUMA nodes 0 and 8, L2 and L3 per pair of cores, siblings adjacent",
        cores=cores,
        numa_nodes=(NumaNode(0, 260740, 250000), NumaNode(8, 261701, 255000)),
        distances=flat_distances(2, 40),
        processor=Processor(architecture="ppc64le", vendor="IBM", model="POWER9, altivec supported", l2_kib=512, l3_kib=10240),
        cpufreq=tuple(CpufreqPolicy(adjacent(quad, 5, 32), "powernv-cpufreq", min_khz=2300000, max_khz=3800000) for quad in range(5)),
    )


def thunderx2_smt4() -> Model:
    return Model(
        name="thunderx2-smt4",
        description="two ThunderX2 (arm64) with SMT4: siblings c, c+64, c+128, c+192",
        cores=grid(numa_nodes=2, cores_per_l3=32, threads=4, packages=2),
        numa_nodes=memory(130434, 130853),
        processor=Processor(architecture="aarch64", vendor="0x43"),
    )


def machines() -> t.Iterator[Model]:
    """Well-known machines, the most usual ones first."""
    yield epyc_9354()
    yield epyc_7742_dual()
    yield epyc_7742_single()
    yield epyc_9754_dual()
    yield xeon_6338_dual()
    yield xeon_interleaved()
    yield xeon_snc2()
    yield ryzen_5950x()
    yield i9_13900()
    yield altra_q80()
    yield big_little()
    yield power9_smt8()
    yield thunderx2_smt4()
