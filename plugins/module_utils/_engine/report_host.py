# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of the report as plain data; report_model says which shape it has.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .automatic import reserved_mib
from .cpuset import count, format_cpulist, format_ordered, union
from .findings import Finding
from .guest import has_function
from .occupancy import STATES, Occupancy, Tenant, largest_free
from .topology import Host, NumaNode, Zone

Document = t.Dict[str, t.Any]

# The base classes of PCI (the first two digits of the class code) that guests are given most.
_DEVICE_KINDS = {"01": "storage", "02": "NIC", "03": "GPU", "04": "multimedia", "0c": "USB", "12": "accelerator"}


@dataclass(frozen=True)
class HostReport:
    """What is known of one host: its facts, who is on it now and as planned, and what is wrong with it now."""

    host: Host
    facts: t.Mapping[str, t.Any]
    now: Occupancy
    planned: t.Optional[Occupancy]
    findings: t.Tuple[Finding, ...]
    changed: t.Tuple[int, ...]

    def as_dict(self) -> Document:
        host = self.host
        both = bool(host.performance and host.efficiency)
        return {
            "name": host.node,
            "model": _text(self.facts.get("model")),
            "architecture": _text(self.facts.get("architecture")),
            "counts": {
                "cpus": count(host.present | host.online),
                "cores": len(host.cores),
                "l3_domains": len(host.l3_domains),
                "numa_nodes": len(host.numa_nodes),
                "packages": len(host.packages),
            },
            "core_types": {"performance": format_cpulist(host.performance), "efficiency": format_cpulist(host.efficiency)}
            if both
            else None,
            "map": _map(host),
            "now": occupancy_as_dict(self.now, self.facts),
            "planned": occupancy_as_dict(self.planned, self.facts) if self.planned else None,
            "changed": list(self.changed),
            "findings": [finding.as_dict(number) for number, finding in enumerate(self.findings, start=1)],
        }


def _text(value: t.Any) -> t.Optional[str]:
    return str(value) if value else None


def _map(host: Host) -> t.List[Document]:
    """The host as it is drawn: packages, in them NUMA nodes, in them zones; borders that do not nest cut what they cross."""
    packages = []
    for index, package in enumerate(host.packages):
        zones = [zone for zone in host.zones if zone.package == index]
        numa_nodes = [n for n in host.numa_nodes if any(zone.numa_node == n.id for zone in zones)]
        packages.append(
            {
                "package": package.id,
                "cpus": format_cpulist(package.cpus),
                "numa_nodes": [_map_numa_node(n, host, [zone for zone in zones if zone.numa_node == n.id]) for n in numa_nodes],
            }
        )
    without = [_map_numa_node(n, host, []) for n in host.numa_nodes if not n.cpus and n.memory_mib]
    return packages + ([{"package": None, "cpus": "", "numa_nodes": without}] if without else [])


def _map_numa_node(numa_node: NumaNode, host: Host, zones: t.Sequence[Zone]) -> Document:
    return {
        "id": numa_node.id,
        "cpus": format_cpulist(union(zone.cpus for zone in zones)),
        "zones": [
            {
                "l3": None if zone.l3 is None else host.l3_domains[zone.l3].id,
                "cpus": format_cpulist(zone.cpus),
                "cores": [format_cpulist(core) for core in zone.cores],
            }
            for zone in zones
        ],
    }


def occupancy_as_dict(occupancy: Occupancy, facts: t.Mapping[str, t.Any]) -> Document:
    states = occupancy.states
    tenants = occupancy.tenants
    largest_l3, largest_numa = largest_free(occupancy)
    floating = [x for x in tenants if x.floats and not x.guest.template]
    stopped = [x for x in tenants if x.cpus and not x.guest.running]
    return {
        "states": {state: format_cpulist(states[state]) for state in STATES if states[state]},
        "cpus": {state: count(states[state]) for state in STATES},
        "claims": [_claim(tenant) for tenant in tenants if tenant.cpus],
        "floats": [{"vmid": x.guest.vmid, "cpus": format_cpulist(x.floats), "roams": x.roams, "in_pool": x.in_pool} for x in floating],
        "pool": format_cpulist(occupancy.pool),
        "largest": {"l3_domain": largest_l3, "numa_node": largest_numa},
        "floating_vcpus": sum(tenant.guest.vcpus for tenant in floating),
        "stopped": {"guests": len(stopped), "cpus": count(union(tenant.cpus for tenant in stopped))},
        "memory": _memory(occupancy),
        "numa_nodes": [_numa_node(numa_node, occupancy, facts) for numa_node in occupancy.host.numa_nodes],
    }


def _claim(tenant: Tenant) -> Document:
    return {
        "vmid": tenant.guest.vmid,
        "cpus": format_ordered(tenant.order) if tenant.order else format_cpulist(tenant.cpus),
        "ordered": bool(tenant.order),
        "idle": format_cpulist(tenant.idle),
        "alone": tenant.alone,
    }


def _memory(occupancy: Occupancy) -> Document:
    known = [numa_node.memory_mib for numa_node in occupancy.host.numa_nodes if numa_node.memory_mib is not None]
    reservation = occupancy.reservation
    return {
        "total_mib": sum(known) if known else None,
        "reserved_mib": reserved_mib(occupancy.host, reservation) + reservation.memory_mib_per_numa_node * len(known),
        "claimed_mib": sum(tenant.holding.memory_mib for tenant in occupancy.tenants),
        "free_mib": occupancy.ledger.memory_total_free_mib,
    }


def _numa_node(numa_node: NumaNode, occupancy: Occupancy, facts: t.Mapping[str, t.Any]) -> Document:
    pool = occupancy.pool & numa_node.cpus
    cores = [core for core in occupancy.host.cores if core & numa_node.cpus]
    free_mib = occupancy.ledger.memory_free_mib()
    return {
        "id": numa_node.id,
        "cpus": {state: count(cpus & numa_node.cpus) for state, cpus in occupancy.states.items() if cpus & numa_node.cpus},
        "free": count(pool),
        "free_cores": sum(1 for core in cores if not core & ~pool),
        "memory_mib": numa_node.memory_mib,
        "reserved_mib": occupancy.reservation.memory_mib_per_numa_node if numa_node.memory_mib else 0,
        "free_mib": None if free_mib is None else max(0, free_mib.get(numa_node.id, 0)),
        "bound": [{"vmid": x.guest.vmid, "mib": x.memory[numa_node.id]} for x in occupancy.tenants if x.memory.get(numa_node.id)],
        "devices": list(_devices(numa_node, occupancy, facts)),
    }


def _devices(numa_node: NumaNode, occupancy: Occupancy, facts: t.Mapping[str, t.Any]) -> t.Iterator[Document]:
    """The PCI devices of the NUMA node that guests have."""
    for entry in facts.get("pci_devices") or []:
        address = str(entry["address"])
        if entry.get("numa_node") != numa_node.id:
            continue
        for tenant in occupancy.tenants:
            if any(has_function(given, address) for given in tenant.guest.hostpci):
                code = str(entry.get("class") or "")
                yield {"address": address, "kind": _DEVICE_KINDS.get(code[2:4].lower(), "device"), "vmid": tenant.guest.vmid}
