# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What host_topology_facts has to say of a machine, from its description alone."""

from __future__ import annotations

import typing as t

from host_lab.acpi import STATES
from host_lab.host_files import HOST_NAME
from host_lab.machines import PCI_FUNCTIONS, Cpus, Machine

Facts = t.Dict[str, t.Any]


def cpulist(cpus: Cpus) -> str:
    """CPUs of the lab's machines follow each other."""
    if not cpus:
        return ""
    return f"{cpus[0]}-{cpus[-1]}" if len(cpus) > 1 else str(cpus[0])


def layout(machine: Machine) -> Facts:
    """CPUs, packages, cores, L3 domains and NUMA nodes, without memory and sizes."""
    everything = cpulist(tuple(range(machine.cpu_count)))
    return {
        "node": HOST_NAME,
        "cpus": {"possible": everything, "present": everything, "online": everything, "isolated": "", "nohz_full": ""},
        "packages": [{"id": number, "cpus": cpulist(cpus)} for number, cpus in enumerate(machine.package_cpus)],
        "cores": [cpulist(cpus) for cpus in machine.cores],
        "l3_domains": [{"cpus": cpulist(cpus), "numa_node": _numa_node_around(machine, cpus)} for cpus in machine.l3_domains],
        "numa_nodes": [
            {
                "id": number,
                "cpus": cpulist(machine.numa_node_cpus(number)),
                "distances": {str(other): distance for other, distance in enumerate(machine.distances[number])},
            }
            for number in range(len(machine.numa_nodes))
        ],
    }


def reduced(facts: Facts) -> Facts:
    """Of facts, what `layout` says."""

    def only(entries: t.List[Facts], *keys: str) -> t.List[Facts]:
        return [{key: entry[key] for key in keys} for entry in entries]

    return {
        **{key: facts[key] for key in ("node", "cpus", "packages", "cores")},
        "l3_domains": only(facts["l3_domains"], "cpus", "numa_node"),
        "numa_nodes": only(facts["numa_nodes"], "id", "cpus", "distances"),
    }


def pci_functions(machine: Machine) -> t.List[Facts]:
    """A NUMA node that the machine does not have is none, and a device without one is local to all CPUs."""
    everything = cpulist(tuple(range(machine.cpu_count)))
    return [
        {
            "address": function.address,
            "class": function.class_code,
            "driver": function.driver,
            "numa_node": function.numa_node,
            "local_cpus": everything if function.numa_node is None else cpulist(machine.numa_node_cpus(function.numa_node)),
        }
        for function in PCI_FUNCTIONS
    ]


def acpi_cpufreq(machine: Machine) -> Facts:
    """The one group of settings that acpi-cpufreq starts with."""
    frequencies = [mhz * 1000 for mhz, _milliwatts in STATES]
    return {
        "cpus": cpulist(tuple(range(machine.cpu_count))),
        "driver": "acpi-cpufreq",
        "governor": "schedutil",
        "epp": None,
        "min_khz": min(frequencies),
        "max_khz": max(frequencies),
    }


def _numa_node_around(machine: Machine, cpus: Cpus) -> t.Optional[int]:
    around = [number for number in range(len(machine.numa_nodes)) if set(cpus) <= set(machine.numa_node_cpus(number))]
    return around[0] if around else None
