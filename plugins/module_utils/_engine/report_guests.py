# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of the report as plain data: where each is stored, where it is planned, and how both relate, in words.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .cpuset import format_cpulist, format_ordered
from .guest import PLACEMENT_KEYS, Guest
from .occupancy import Tenant, l3_domains_of, numa_nodes_of
from .policy import PINNED_CLASSES
from .report_host import HostReport
from .topology import Host

Document = t.Dict[str, t.Any]

_EFFECTS = {
    "now": "takes effect at its next start",
    "pending": "waits for a restart",
    "restart": "restarts it",
    "live": "takes effect at once",
}


class _Entries:
    """The plan's entries for single guests by vmid; all empty without a plan."""

    def __init__(self, plan: t.Optional[t.Mapping[str, t.Any]]) -> None:
        self.exist = plan is not None
        self.placements = self._by_vmid(plan, "placements")
        self.changes = self._by_vmid(plan, "changes")
        self.refused = self._by_vmid(plan, "refused")
        self.skipped = self._by_vmid(plan, "skipped")

    @staticmethod
    def _by_vmid(plan: t.Optional[t.Mapping[str, t.Any]], key: str) -> t.Dict[int, t.Mapping[str, t.Any]]:
        return {entry["vmid"]: entry for entry in (plan or {}).get(key) or []}


def guest_rows(reports: t.Sequence[HostReport], plan: t.Optional[t.Mapping[str, t.Any]]) -> t.List[Document]:
    """One row for each guest on a host that was read, by host and vmid."""
    entries = _Entries(plan)
    return [_row(report, tenant, entries) for report in reports for tenant in report.now.tenants]


def unread_row(guest: Guest) -> Document:
    """A guest on a host whose topology is not known."""
    return {**_identity(guest), "class": None, "now": None, "planned": None, "state": "unread", "text": "its host was not read"}


def _row(report: HostReport, tenant: Tenant, plan: _Entries) -> Document:
    guest, host = tenant.guest, report.host
    planned = report.planned.tenant_of[guest.vmid] if report.planned else None
    change = plan.changes.get(guest.vmid)
    state, text = _state(tenant, planned, plan)
    return {
        **_identity(guest),
        "class": planned.cpu_class if planned else tenant.cpu_class,
        "now": _place(tenant, host),
        "planned": _place(planned, host) if planned else None,
        "state": state,
        "text": text,
        "effect": change["effect"] if change else None,
        "reason": str(plan.placements.get(guest.vmid, {}).get("reason") or ""),
        "findings": [number for number, finding in enumerate(report.findings, start=1) if guest.vmid in finding.vmids],
    }


def _identity(guest: Guest) -> Document:
    return {
        "vmid": guest.vmid,
        "name": guest.name,
        "type": guest.type,
        "host": guest.node,
        "status": "template" if guest.template else guest.status,
        "vcpus": guest.vcpus,
        "memory_mib": guest.memory_mib,
        "tags": list(guest.tags),
        "pool": guest.pool,
        "effect": None,
        "reason": "",
        "findings": [],
    }


def _place(tenant: Tenant, host: Host) -> Document:
    cpus = tenant.cpus or tenant.floats
    return {
        "cpus": format_ordered(tenant.order) if tenant.order else format_cpulist(tenant.cpus),
        "floats": format_cpulist(tenant.floats),
        "in_pool": tenant.in_pool,
        "roams": tenant.roams,
        "numa_nodes": numa_nodes_of(cpus, host),
        "l3_domains": l3_domains_of(cpus, host),
        "memory_numa_nodes": sorted(tenant.memory),
    }


def _state(tenant: Tenant, planned: t.Optional[Tenant], plan: _Entries) -> t.Tuple[str, str]:
    """(state, text): refused, skipped, unmanaged, changes, as_planned or unplanned with a plan; unmanaged, stored or unplaced without."""
    vmid = tenant.guest.vmid
    change = plan.changes.get(vmid)
    if vmid in plan.refused:
        return "refused", "gets no place, stays as it is"
    if vmid in plan.skipped and tenant.cpu_class == "unmanaged" and plan.skipped[vmid].get("rule") == "no_rule":
        return "unmanaged", "matches no rule, stays as it is"
    if vmid in plan.skipped:
        return "skipped", f"{plan.skipped[vmid]['reason']}, stays as it is"
    if tenant.cpu_class == "unmanaged":
        return "unmanaged", "unmanaged, stays as it is"
    if change and planned:
        return "changes", f"{_change(tenant, planned)}, {_EFFECTS[change['effect']]}"
    if plan.exist:
        return ("as_planned", "as planned") if vmid in plan.placements else ("unplanned", "not in the plan")
    return _without_plan(tenant)


def _change(tenant: Tenant, planned: Tenant) -> str:
    if planned.cpu_class in PINNED_CLASSES:
        if tenant.cpus == planned.cpus:
            return "same CPUs, other settings"
        return "moves" if tenant.cpus else "gets CPUs of its own"
    if planned.in_pool:
        return "joins the pool"
    return "other settings" if tenant.floats == planned.floats else "floats elsewhere"


def _without_plan(tenant: Tenant) -> t.Tuple[str, str]:
    guest = tenant.guest
    if tenant.roams:
        return "unplaced", "has no CPUs yet"
    if tenant.in_pool:
        return "stored", "in the pool"
    if guest.running and any(key in guest.pending for key in PLACEMENT_KEYS):
        return "stored", "stored, waits for a restart"
    return "stored", "stored"
