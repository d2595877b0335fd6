# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small machines that surprise a reader of sysfs, one oddity each."""

from __future__ import annotations

import dataclasses
import typing as t

from .builders import grid, memory, per_cpu_policies
from .model import EFFICIENCY, PERFORMANCE, Core, Kernel, Model, NumaNode, Oddities


def small(name: str, description: str, **changes: t.Any) -> Model:
    """A machine of 16 CPUs to show one oddity: 2 packages, 2 NUMA nodes, 4 L3 domains of 2 cores, siblings c and c+8."""
    cores = grid(numa_nodes=2, l3_per_numa_node=2, cores_per_l3=2, packages=2)
    base = Model(name, description, cores, memory(32000, 32100), cpufreq=per_cpu_policies(cores))
    return dataclasses.replace(base, **changes)


def odd_models() -> t.Iterator[Model]:
    """One oddity each; the description says which."""
    yield small("odd-offline-sibling", "CPU 9, the sibling of CPU 1, and the whole core 5,13 are offline", offline=(5, 9, 13))
    yield small(
        "odd-smt-off",
        "SMT switched off at run time: all second threads are offline",
        offline=tuple(range(8, 16)),
    )
    yield small(
        "odd-gaps",
        "CPU numbers with gaps: 2-5, 10-13, 70-77",
        cores=tuple(
            Core(cpus=cpus, package=number // 4, numa_node=number // 4, l3=number // 2)
            for number, cpus in enumerate(((2, 3), (4, 5), (10, 11), (12, 13), (70, 74), (71, 75), (72, 76), (73, 77)))
        ),
        cpufreq=(),
    )
    yield small(
        "odd-numa-without-cpus-or-memory",
        "NUMA node 1 has CPUs and no memory, 2 has memory and no CPUs, 5 has neither",
        numa_nodes=(NumaNode(0, 32000, 30000), NumaNode(1, 0, 0), NumaNode(2, 65000, 64000), NumaNode(5, 0, 0)),
        distances=((10, 20, 17, 28), (20, 10, 28, 17), (17, 28, 10, 28), (28, 17, 28, 10)),
    )
    yield small("odd-no-cache", "no cache directory", oddities=Oddities(cache=False))
    yield small("odd-no-l3", "caches, but none of level 3", cores=grid(2, 2, 2, 2, 2, with_l3=False))
    yield small("odd-no-numa", "no NUMA directory", oddities=Oddities(numa=False))
    yield small("odd-no-cpufreq", "no cpufreq", cpufreq=())
    yield small("odd-no-topology", "no topology directory: nothing is known but the CPUs", oddities=Oddities(topology=False))
    numa_nodes = (NumaNode(0, 8000, 7000, cpus=tuple(range(16))), NumaNode(1, 8000, 7000, cpus=tuple(range(16))))
    yield small("odd-numa-overlap", "two NUMA nodes that both list all CPUs", numa_nodes=numa_nodes)
    yield small(
        "odd-numa-sparse",
        "NUMA nodes 2 and 7",
        cores=tuple(dataclasses.replace(core, numa_node=(2, 7)[core.numa_node]) for core in grid(2, 2, 2, 2, 2)),
        numa_nodes=(NumaNode(2, 16000, 15000), NumaNode(7, 16100, 15100)),
        distances=((10, 31), (32, 10)),
    )
    yield small(
        "odd-numa0-offline",
        "NUMA node 0 is offline, all CPUs and memory are in NUMA node 1",
        cores=tuple(dataclasses.replace(core, numa_node=1) for core in grid(2, 2, 2, 2, 2)),
        numa_nodes=(NumaNode(0, 0, 0), NumaNode(1, 64100, 60000)),
        oddities=Oddities(numa_offline=(0,)),
    )
    yield small(
        "odd-numa-spans-packages",
        "one NUMA node over both packages",
        cores=tuple(dataclasses.replace(core, numa_node=0) for core in grid(2, 2, 2, 2, 2)),
        numa_nodes=memory(64100),
    )
    yield small("odd-nul-bytes", "cpulist files that end in NUL bytes", oddities=Oddities(nul_bytes=True))
    yield small(
        "odd-no-online-file",
        "no cpu/online, cpu/present, cpu/possible; CPU 9 is offline",
        offline=(9,),
        oddities=Oddities(online_files=False),
    )
    yield small(
        "odd-masks-only",
        "hexadecimal masks and no cpulists, names of before kernel 5.3",
        oddities=Oddities(lists=False, package_names=False),
    )
    yield small("odd-lists-only", "cpulists and no hexadecimal masks", oddities=Oddities(masks=False))
    yield small("odd-no-cache-ids", "caches without ids", oddities=Oddities(cache_ids=False))
    yield small("odd-same-cache-ids", "every L3 claims id 0", oddities=Oddities(same_l3_id=0))
    yield small("odd-no-distances", "NUMA nodes without distances", oddities=Oddities(distances=False))
    yield small(
        "odd-isolated",
        "CPUs isolated on the kernel command line",
        kernel=Kernel(
            cmdline="ro isolcpus=managed_irq,domain,2-3,10-11 nohz_full=2-3,10-11 rcu_nocbs=2-3,10-11 rcu_nocb_poll irqaffinity=0-1,8-9",
            isolated="2-3,10-11",
            nohz_full="2-3,10-11",
        ),
    )
    yield small(
        "odd-bare-proc",
        "nothing below proc but meminfo and cpuinfo, no nohz_full",
        kernel=Kernel(None, None, None, "", None, None, None, None, None),
    )
    yield small(
        "odd-hybrid-types",
        "hybrid cores that show in cpu/types",
        cores=tuple(Core((c,), l3=0, kind=PERFORMANCE if c < 4 else EFFICIENCY) for c in range(16)),
        numa_nodes=memory(32000),
        oddities=Oddities(core_types="types"),
        cpufreq=(),
    )
