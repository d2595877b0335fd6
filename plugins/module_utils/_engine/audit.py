# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit of a cluster as one plain document: what is not as it was planned, promised or written, and what to do.

    schema: 1, cluster, gathered_at, plan_id (null without a plan),
    drift: [{vmid, name, node, what, kind: unapplied | pending | live, planned, stored, pending, live, tids, text}],
    findings: [{id, severity: conflict | warning | note, node (null: the cluster), vmids, cpus, text, fix}], the worst first,
    starts: [{vmid, name, node, way: here | ha | migration, hosts, config: next | stored, severity, rule, message, fix, fatal, text}],
    unread: [{name, reason}], unread_guests: [vmids whose config is not known], live: [names of the hosts of which is known what runs],
    summary: {guests, drift, drifted: [vmids], conflicts, warnings, notes, starts: {conflict, warning, note}, ok}

`ok` is whether there is no drift. The vmid of drift of a host's free CPUs is null. Cpulists are texts, memory is in MiB.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .audit_conflicts import conflicts
from .audit_drift import Case, Drift, drift_of, missing
from .audit_finding import AuditFinding, worst_first
from .audit_live import LiveHosts, live_hosts
from .audit_starts import StartFinding, start_findings
from .audit_tuning import tuning_drift, unseen_interrupts
from .cpuset import parse_cpulist
from .doctor import ClusterCase, HostCase, cluster_findings, host_findings
from .errors import PlanError
from .findings import SEVERITIES
from .guest import Guest, describes_host
from .occupancy import occupancy_now
from .plan import check_plan
from .policy import Policy
from .snapshot import Snapshot

SCHEMA = 1

Document = t.Mapping[str, t.Any]


def audit(document: Document, policy: Policy, plan: t.Optional[Document] = None) -> t.Dict[str, t.Any]:
    """The audit of the snapshot `document`, whose key `runtime` says what runs: {host: the list `runtime` of guest_runtime_info}.

    Its key `interrupts` says where those go that the plan places: see audit_tuning.py.
    Raises FactsError, PolicyError, PlanError.
    """
    snapshot = Snapshot.from_dict(document)
    live = live_hosts(document.get("runtime"))
    if plan is not None:
        _check(plan, snapshot)
    drift = _drift(snapshot, policy, plan, live)
    drift += tuning_drift(document, snapshot, plan) if plan is not None else []
    found = worst_first(_findings(document, snapshot, policy, plan, live))
    starts = start_findings(snapshot)
    unread = snapshot.unread_hosts
    return {
        "schema": SCHEMA,
        "cluster": snapshot.cluster_name,
        "gathered_at": max((host.gathered_at for host in snapshot.hosts.values() if host.gathered_at), default=None),
        "plan_id": plan["plan_id"] if plan is not None else None,
        "drift": [row.as_dict() for row in drift],
        "findings": [finding.as_dict() for finding in found],
        "starts": [start.as_dict() for start in starts],
        "unread": [{"name": name, "reason": reason} for name, reason in unread.items()],
        "unread_guests": [guest.vmid for guest in snapshot.guests if guest.node not in unread and _is_unknown(guest)],
        "live": sorted(name for name in live if name in snapshot.hosts and name not in unread),
        "summary": _summary(snapshot, drift, found, starts),
    }


def _check(plan: Document, snapshot: Snapshot) -> None:
    check_plan(plan)
    cluster = plan.get("cluster")
    if cluster and snapshot.cluster_name and cluster != snapshot.cluster_name:
        raise PlanError(
            f"The plan was made for the cluster {cluster}, and the guests are of {snapshot.cluster_name}; name the right plan file "
            "with corepin_plan_file."
        )


def _drift(snapshot: Snapshot, policy: Policy, plan: t.Optional[Document], live: LiveHosts) -> t.List[Drift]:
    unread = snapshot.unread_hosts
    placements = {int(entry["vmid"]): entry for entry in (plan or {}).get("placements", ())}
    changes = {int(change["vmid"]): change for change in (plan or {}).get("changes", ())}
    pools = (plan or {}).get("pools") or {}
    rows: t.List[Drift] = []
    for guest in snapshot.guests:
        placement, change = placements.pop(guest.vmid, None), changes.get(guest.vmid)
        if guest.node in unread or guest.template or describes_host(guest) or _is_unknown(guest):
            continue
        reserved = parse_cpulist(str(pools.get(guest.node, {}).get("reserved") or ""))
        running = live.get(guest.node, {}).get(guest.vmid)
        rows += drift_of(Case(guest, snapshot.hosts[guest.node], policy, placement, change, reserved, running))
    rows += [missing(vmid, placement) for vmid, placement in placements.items() if placement["node"] not in unread]
    return rows


def _is_unknown(guest: Guest) -> bool:
    """Whether its config could not be read: guest_info then gives neither keys nor digest."""
    return not guest.config and not guest.digest


def _findings(
    document: Document, snapshot: Snapshot, policy: Policy, plan: t.Optional[Document], live: LiveHosts
) -> t.Iterator[AuditFinding]:
    yield from cluster_findings(ClusterCase(document, snapshot, plan))
    yield from unseen_interrupts(document, snapshot, plan or {})
    for name, host in snapshot.hosts.items():
        if name not in snapshot.unread_hosts:
            now = occupancy_now(snapshot, policy, host)
            yield from conflicts(now, policy, live.get(name, {}))
            yield from host_findings(HostCase(host, document["hosts"][name], now))


def _summary(
    snapshot: Snapshot, drift: t.Sequence[Drift], found: t.Sequence[AuditFinding], starts: t.Sequence[StartFinding]
) -> t.Dict[str, t.Any]:
    numbers = {severity: sum(1 for finding in found if finding.severity == severity) for severity in SEVERITIES}
    return {
        "guests": sum(1 for guest in snapshot.guests if not describes_host(guest)),
        "drift": len(drift),
        "drifted": sorted({row.vmid for row in drift if row.vmid is not None}),
        "conflicts": numbers["conflict"],
        "warnings": numbers["warning"],
        "notes": numbers["note"],
        "starts": {severity: sum(1 for start in starts if start.severity == severity) for severity in SEVERITIES},
        "ok": not drift,
    }
