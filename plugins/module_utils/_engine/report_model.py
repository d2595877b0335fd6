# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one plain document, from which every page, table and file is drawn.

It is a module of its own, below capacity: what is there and what is planned follows from a snapshot alone, while
capacity asks what else would fit and needs many runs of the planner. The filter `capacity` takes this document and
fills its key `capacity`; whoever draws a report needs to know one shape only.

    schema: 1, cluster (name or null), gathered_at, plan_id, created_at (of the plan), headline: [sentence, ...],
    figures: [{label, value, unit}], totals: {hosts, guests, cpus: {state: n}, memory: {...}, findings},
    hosts: [see below], guests: [see below], unread: [{name, reason, guests}],
    plan: {summary, warnings, refused, skipped, requests} or null, capacity: null
    host:  name, model, architecture, counts: {cpus, cores, l3_domains, numa_nodes, packages}, core_types, now: occupancy,
           planned: occupancy or null, changed: [vmids], findings: [{number, kind, severity, title, text, vmids, cpus}],
           map: [{package, cpus, numa_nodes: [{id, cpus, zones: [{l3, cpus, cores: [cpulist]}]}]}] (package null: NUMA nodes without CPUs)
    occupancy: states: {state: cpulist}, cpus: {state: n} (their sum = counts.cpus), claims: [{vmid, cpus, ordered, idle, alone}],
           floats: [{vmid, cpus, roams, in_pool}], pool, largest: {l3_domain, numa_node}, floating_vcpus, stopped: {guests, cpus},
           memory: {total_mib, reserved_mib, claimed_mib, free_mib}, numa_nodes: [{id, cpus: {state: n}, free, free_cores, memory_mib,
           reserved_mib, free_mib, bound: [{vmid, mib}], devices: [{address, kind, vmid}]}]
    guest: vmid, name, type, host, status, class, vcpus, memory_mib, tags, pool, now: place, planned: place or null, state, text, effect,
           reason, findings: [numbers on its host];  place: {cpus, floats, in_pool, roams, numa_nodes, l3_domains, memory_numa_nodes}

All CPU sets are cpulists; `cpus` of a claim is in vCPU order where `ordered`. Memory is in MiB, null = unknown.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .findings import find
from .guest import describes_host
from .headline import figures, headline
from .occupancy import STATES, occupancy_now, occupancy_planned
from .plan import check_plan
from .policy import Policy
from .report_guests import guest_rows, unread_row
from .report_host import HostReport
from .snapshot import Snapshot
from .topology import Host

SCHEMA = 1

# How the planner's warning about unmanaged guests begins; a finding of the host says the same.
_ROAMING = "Unmanaged guests without affinity on host"

Document = t.Dict[str, t.Any]


def report_model(document: t.Mapping[str, t.Any], policy: Policy, plan: t.Optional[t.Mapping[str, t.Any]] = None) -> Document:
    """The report of the snapshot `document`, beside it what `plan` makes of it. Raises FactsError, PolicyError, PlanError."""
    snapshot = Snapshot.from_dict(document)
    if plan is not None:
        check_plan(plan)
    unread = snapshot.unread_hosts
    read = [host for name, host in snapshot.hosts.items() if name not in unread]
    reports = [_host_report(snapshot, policy, host, document["hosts"][host.node], plan) for host in read]
    hosts = [report.as_dict() for report in reports]
    guests = guest_rows(reports, plan)
    guests += [unread_row(guest) for guest in snapshot.guests if guest.node in unread and not describes_host(guest)]
    return {
        "schema": SCHEMA,
        "cluster": snapshot.cluster_name,
        "gathered_at": max((host.gathered_at for host in read if host.gathered_at), default=None),
        "plan_id": plan["plan_id"] if plan is not None else None,
        "created_at": plan.get("created_at") if plan is not None else None,
        "headline": headline(hosts, guests, plan),
        "figures": figures(hosts, guests, plan),
        "totals": _totals(hosts, guests),
        "hosts": hosts,
        "guests": guests,
        "unread": [
            {"name": name, "reason": reason, "guests": sum(1 for guest in snapshot.guests if guest.node == name)}
            for name, reason in unread.items()
        ],
        "plan": _plan(plan, snapshot, reports) if plan is not None else None,
        "capacity": None,
    }


def _host_report(
    snapshot: Snapshot, policy: Policy, host: Host, facts: t.Mapping[str, t.Any], plan: t.Optional[t.Mapping[str, t.Any]]
) -> HostReport:
    now = occupancy_now(snapshot, policy, host)
    if plan is None:
        return HostReport(host, facts, now, None, tuple(find(now, None, {})), ())
    placements = {entry["vmid"]: entry for entry in plan["placements"] if entry["node"] == host.node}
    planned = occupancy_planned(snapshot, policy, host, placements)
    refused = {entry["vmid"]: str(entry["message"]) for entry in plan["refused"]}
    changed = tuple(sorted(change["vmid"] for change in plan["changes"] if change["vmid"] in now.tenant_of))
    return HostReport(host, facts, now, planned, tuple(find(now, planned, refused)), changed)


def _totals(hosts: t.Sequence[Document], guests: t.Sequence[Document]) -> Document:
    """Sums over the hosts; each guest counts once."""
    memory: t.Dict[str, t.Optional[int]] = {}
    for key in ("total_mib", "reserved_mib", "claimed_mib", "free_mib"):
        values = [host["now"]["memory"][key] for host in hosts]
        memory[key] = None if not values or None in values else sum(values)
    return {
        "hosts": len(hosts),
        "guests": len(guests),
        "cpus": {state: sum(host["now"]["cpus"][state] for host in hosts) for state in STATES},
        "memory": memory,
        "findings": sum(len(host["findings"]) for host in hosts),
    }


def _plan(plan: t.Mapping[str, t.Any], snapshot: Snapshot, reports: t.Sequence[HostReport]) -> Document:
    """What of the plan concerns the cluster as a whole; warnings that stand among the findings are not said twice."""
    said = {note for report in reports for tenant in report.now.tenants for note in tenant.notes}
    openings = [f"Host {name} {why}" for name, why in snapshot.unread_hosts.items()]
    openings += [f"{_ROAMING} {report.host.node} " for report in reports if any(finding.kind == "roaming" for finding in report.findings)]
    outdated = [
        f"The plan was made for another hardware layout of host {name}; make a new one."
        for name, fingerprint in plan["hosts"].items()
        if name in snapshot.hosts and fingerprint != snapshot.hosts[name].fingerprint
    ]
    return {
        "summary": {key: value for key, value in plan["summary"].items() if key != "hosts"},
        "warnings": outdated + [w for w in map(str, plan["warnings"]) if w not in said and not w.startswith(tuple(openings))],
        "refused": list(plan["refused"]),
        "skipped": list(plan.get("skipped") or []),
        "requests": list(plan.get("requests") or []),
    }
