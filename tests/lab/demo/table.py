# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's table: each guest's CPUs before and after, and the borders that they lie across."""

from __future__ import annotations

import textwrap
import typing as t
from pathlib import Path

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import count, format_cpulist, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import affinity_effect, lxc_cpuset
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from ansible_collections.corepin.proxmox.plugins.module_utils._host import sysfs

WIDTH = 140

Configs = t.Mapping[int, t.Mapping[str, str]]
Document = t.Mapping[str, t.Any]


def read_host(root: Path, name: str) -> Document:
    return sysfs.read_host(str(root), name)


def host_line(name: str, facts: Document) -> str:
    host = Host.from_facts(facts)
    memory = sum(numa_node.memory_mib or 0 for numa_node in host.numa_nodes) // 1024
    zones = [("core", host.cores), ("L3 domain", host.l3_domains), ("NUMA node", host.numa_nodes)]
    kinds = [("CPU", count(host.online))] + [(kind, len(found)) for kind, found in zones]
    numbers = ", ".join(f"{number} {kind}{'' if number == 1 else 's'}" for kind, number in kinds)
    return f"  {name:13} {facts['model'] or 'unknown processor'}: {numbers}, {memory} GiB"


def rows(hosts: t.Mapping[str, Document], plan: Document, guests: t.Iterable[t.Any], before: Configs, after: Configs) -> t.Iterator[str]:
    """The lines of the table, aligned."""
    read = {name: Host.from_facts(facts) for name, facts in hosts.items()}
    guests = sorted(guests, key=lambda guest: guest.vmid)
    lines = [("guest", "host", "class", "CPUs", "", "NUMA", "", "L3", "", "effect")]
    lines += [("", "", "", *("before", "after") * 3, "")]
    for guest in guests:
        host = read[guest.node]
        was, is_now = (_cpus(configs[guest.vmid]) for configs in (before, after))
        neighbours = [other.vmid for other in guests if other.node == guest.node and other.vmid != guest.vmid]
        lines.append(
            (
                f"{guest.vmid} {before[guest.vmid].get('name') or before[guest.vmid].get('hostname')}",
                guest.node,
                _class(plan, guest.vmid),
                _shown(was, [_cpus(before[vmid]) for vmid in neighbours]),
                _shown(is_now, [_cpus(after[vmid]) for vmid in neighbours]),
                *_touched(host.numa_nodes, was, is_now),
                *_touched(host.l3_domains, was, is_now),
                _effect(plan, guest.vmid),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(f"{text:{width}}" for text, width in zip(line, widths)).rstrip()


def notes(plan: Document) -> t.Iterator[str]:
    """What the table has no room for."""
    yield "* also the CPUs of another guest.  any: no affinity, all CPUs of the host."
    for text in [entry["message"] for entry in plan["refused"]] + [f"Warning: {warning}" for warning in plan["warnings"]]:
        yield textwrap.fill(text, WIDTH, subsequent_indent="  ")


def _cpus(config: t.Mapping[str, str]) -> t.Optional[int]:
    """The CPUs that a start is given, as a mask; None = all."""
    cpuset = lxc_cpuset(config)
    return parse_cpulist(cpuset) if cpuset else affinity_effect(config.get("affinity"))


def _shown(cpus: t.Optional[int], others: t.Iterable[t.Optional[int]]) -> str:
    if cpus is None:
        return "any"
    return format_cpulist(cpus) + ("*" if any(cpus & (other or 0) for other in others) else "")


def _touched(zones: t.Sequence[t.Any], *cpus: t.Optional[int]) -> t.Iterator[str]:
    for mask in cpus:
        yield "any" if mask is None else format_cpulist(sum(1 << zone.id for zone in zones if zone.cpus & mask))


def _class(plan: Document, vmid: int) -> str:
    return next((placement["class"] for placement in plan["placements"] if placement["vmid"] == vmid), "-")


def _effect(plan: Document, vmid: int) -> str:
    for change in plan["changes"]:
        if change["vmid"] == vmid:
            return {"now": "stored", "pending": "next start"}[change["effect"]]
    if any(entry["vmid"] == vmid for entry in plan["refused"]):
        return "refused"
    skipped = [entry["reason"] for entry in plan["skipped"] if entry["vmid"] == vmid and entry["rule"] != "no_rule"]
    if skipped:
        return skipped[0].removeprefix("is ").removeprefix("a ").partition(",")[0]
    return "right already" if _class(plan, vmid) != "-" else "not managed"
