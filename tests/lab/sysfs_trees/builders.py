# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of regular machines: CPU numberings, grids of cores, memory, distances, frequency scaling."""

from __future__ import annotations

import typing as t

from .model import Core, CpufreqPolicy, NumaNode

Numbering = t.Callable[[int, int, int], t.Tuple[int, ...]]  # (core, cores, threads) -> the core's CPU numbers


def split(core: int, cores: int, threads: int) -> t.Tuple[int, ...]:
    """First one thread of every core, then the siblings: c and c + cores (x86 servers)."""
    return tuple(core + thread * cores for thread in range(threads))


def adjacent(core: int, cores: int, threads: int) -> t.Tuple[int, ...]:
    """The siblings beside each other: 2c and 2c + 1 (POWER, some virtual machines)."""
    return tuple(core * threads + thread for thread in range(threads))


def grid(
    numa_nodes: int = 1,
    l3_per_numa_node: int = 1,
    cores_per_l3: int = 4,
    threads: int = 2,
    packages: int = 1,
    numbering: Numbering = split,
    with_l3: bool = True,
) -> t.Tuple[Core, ...]:
    """A regular machine: NUMA nodes and packages in ascending order of cores."""
    total = numa_nodes * l3_per_numa_node * cores_per_l3
    return tuple(
        Core(
            cpus=numbering(core, total, threads),
            package=core * packages // total,
            numa_node=core * numa_nodes // total,
            l3=core // cores_per_l3 if with_l3 else None,
        )
        for core in range(total)
    )


def memory(*mib: int, free_percent: int = 75, hugepages: t.Sequence[t.Mapping[int, t.Tuple[int, int]]] = ()) -> t.Tuple[NumaNode, ...]:
    """NUMA nodes 0, 1, ... with that much memory each."""
    pages = list(hugepages) + [{2048: (0, 0), 1048576: (0, 0)}] * (len(mib) - len(hugepages))
    return tuple(NumaNode(number, size, size * free_percent // 100, pages[number]) for number, size in enumerate(mib))


def flat_distances(numa_nodes: int, remote: int) -> t.Tuple[t.Tuple[int, ...], ...]:
    """10 at home, `remote` everywhere else."""
    return tuple(tuple(10 if row == column else remote for column in range(numa_nodes)) for row in range(numa_nodes))


def package_distances(numa_nodes: int, packages: int, near: int, far: int) -> t.Tuple[t.Tuple[int, ...], ...]:
    """10 at home, `near` inside the package, `far` to the other packages."""

    def one(row: int, column: int) -> int:
        same_package = row * packages // numa_nodes == column * packages // numa_nodes
        return 10 if row == column else near if same_package else far

    return tuple(tuple(one(row, column) for column in range(numa_nodes)) for row in range(numa_nodes))


def per_cpu_policies(cores: t.Iterable[Core], **settings: t.Any) -> t.Tuple[CpufreqPolicy, ...]:
    """One cpufreq policy per CPU, as acpi-cpufreq, amd-pstate and intel_pstate make them."""
    return tuple(CpufreqPolicy((cpu,), **settings) for core in cores for cpu in core.cpus)


AMD_PSTATE_EPP: t.Mapping[str, t.Any] = {
    "driver": "amd-pstate-epp",
    "governor": "powersave",
    "governors": ("performance", "powersave"),
    "epp": "balance_performance",
    "epps": ("default", "performance", "balance_performance", "balance_power", "power"),
}
INTEL_PSTATE: t.Mapping[str, t.Any] = {**AMD_PSTATE_EPP, "driver": "intel_pstate"}
