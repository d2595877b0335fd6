# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conflicts: guests that are on CPUs or cores of others, by their configs and by what runs.

Two tenants are told apart by a tag that begins with `tenant-`, else by the pool. A guest with neither belongs to nobody
and is not compared.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .audit_finding import AuditFinding, named_cpus
from .audit_live import Live
from .cpuset import union
from .findings import Finding, find, name_of
from .guest import Guest
from .occupancy import Occupancy, Tenant
from .policy import PINNED_CLASSES, Policy
from .wording import listed, sentence

TENANT_TAG = "tenant-"

_CAGE_OF_CONTAINERS = (
    "Give each container the cpuset key lxc.cgroup2.cpuset.cpus without these CPUs: else PVE moves it over all CPUs every 10 seconds."
)
_CAGE_OF_SHARED = "Set corepin_mode to both, so that running shared guests are kept off these CPUs."
_CAGES = {
    "containers": _CAGE_OF_CONTAINERS,
    "shared": _CAGE_OF_SHARED,
    "unmanaged": "Give them the class shared, or an affinity of their own.",
}

# The checks of the report that are conflicts between guests, with the audit's name for them and the fix.
_BY_CONFIG: t.Mapping[str, t.Tuple[str, str]] = {
    "overlap": ("cpu-overlap", "Make a plan and apply it, or give one of them other CPUs."),
    "reserved": ("reserved-cpus", "Make a plan and apply it, or take these CPUs out of the affinity, or out of corepin_reserved."),
    "sibling": ("isolated-core-shared", "Make a plan and apply it, or move the other guest off these cores."),
    "intruder": ("floats-on-dedicated", "Take these CPUs out of its affinity or, for a container, out of its cpuset key."),
    "memory": ("numa-node-overbooked", "Move a guest to another NUMA node, or give it less memory: a start may fail or swap."),
}


def conflicts(now: Occupancy, policy: Policy, live: t.Mapping[int, Live]) -> t.Iterator[AuditFinding]:
    """All conflicts on one host. `live`: what is known to run there, by vmid."""
    for finding in find(now, None, {}):
        if finding.kind in _BY_CONFIG:
            yield _from_report(finding, now.host.node)
    yield from _two_tenants(now)
    yield from _uncaged(now, policy, live)
    yield from _live_on_owned(now, live)


def _from_report(finding: Finding, node: str) -> AuditFinding:
    check, fix = _BY_CONFIG[finding.kind]
    text = f"{sentence(finding.title)}: {finding.text[:1].lower()}{finding.text[1:]}" if finding.kind != "reserved" else finding.text
    return AuditFinding(check, finding.severity, node, finding.vmids, text, fix, finding.cpus)


def tenant_name(guest: Guest) -> t.Optional[str]:
    """Whose guest it is; None = nobody says."""
    tag = next((tag for tag in sorted(guest.tags) if tag.startswith(TENANT_TAG) and tag != TENANT_TAG), None)
    return tag or guest.pool


def _two_tenants(now: Occupancy) -> t.Iterator[AuditFinding]:
    """Cores of which guests of different tenants hold threads: what they compute can leak through what threads share."""
    shared: t.Dict[t.Tuple[str, ...], int] = {}
    holders: t.Dict[t.Tuple[str, ...], t.Dict[int, Tenant]] = {}
    for core in now.host.cores:
        on_core = [(tenant, tenant_name(tenant.guest)) for tenant in now.tenants if tenant.cpus & core]
        owners = tuple(sorted({name for _tenant, name in on_core if name}))
        if len(owners) > 1:
            shared[owners] = shared.get(owners, 0) | core
            holders.setdefault(owners, {}).update({tenant.guest.vmid: tenant for tenant, name in on_core if name})
    for owners, cpus in shared.items():
        guests = [holders[owners][vmid] for vmid in sorted(holders[owners])]
        cores = sum(1 for core in now.host.cores if core & cpus)
        text = (
            f"The tenants {listed(owners)} share {cores} core{'' if cores == 1 else 's'} ({named_cpus(cpus)}) of {now.host.node}: "
            f"{listed([name_of(tenant) for tenant in guests])}."
        )
        fix = "Give them whole cores (siblings: require, or the class isolated), or put them into one pool."
        yield AuditFinding("tenants-share-core", "warning", now.host.node, tuple(x.guest.vmid for x in guests), text, fix, cpus)


def _uncaged(now: Occupancy, policy: Policy, live: t.Mapping[int, Live]) -> t.Iterator[AuditFinding]:
    """Guests without CPUs of their own that nothing keeps off dedicated CPUs; of running ones see what they have instead."""
    owned = now.owned
    for kind, fix in _CAGES.items():
        guests = [x for x in now.tenants if _kind(x, policy) == kind and not x.guest.template and x.guest.vmid not in live]
        if guests and owned:
            who = f"{'Containers' if kind == 'containers' else sentence(kind) + ' guests'} on {now.host.node}"
            text = f"{who} may run on the dedicated {named_cpus(owned)}: {listed([name_of(x) for x in guests])}."
            yield AuditFinding(f"{kind}-on-dedicated", "warning", now.host.node, tuple(x.guest.vmid for x in guests), text, fix, owned)


def _kind(tenant: Tenant, policy: Policy) -> t.Optional[str]:
    """containers, shared or unmanaged; None for guests that something keeps in their place."""
    if not (tenant.roams or tenant.in_pool) or tenant.cpu_class not in ("shared", "unmanaged"):
        return None
    if tenant.in_pool and policy.mode != "config":
        return None
    if tenant.guest.type == "lxc":
        return "containers"
    return "shared" if tenant.in_pool else "unmanaged"


def _live_on_owned(now: Occupancy, live: t.Mapping[int, Live]) -> t.Iterator[AuditFinding]:
    """Running guests, or processes beside them, that the kernel lets onto CPUs which another guest is to have alone."""
    for tenant in now.tenants:
        running = live.get(tenant.guest.vmid)
        if running is None:
            continue
        others = union(x.cpus | x.idle for x in now.tenants if x.cpu_class in PINNED_CLASSES and x is not tenant)
        others &= ~(tenant.cpus | tenant.idle)
        astray = running.cpus & others
        if astray:
            yield _intrusion(now, tenant, "", astray)
        beside = union(thread.cpus for thread in running.threads if not thread.inside) & others
        if beside & ~astray:
            yield _intrusion(now, tenant, "helpers", beside)


def _intrusion(now: Occupancy, tenant: Tenant, what: str, astray: int) -> AuditFinding:
    owners = [x for x in now.tenants if (x.cpus | x.idle) & astray and x.cpu_class in PINNED_CLASSES and x is not tenant]
    who = f"{'Processes beside' if what else 'Threads of'} {name_of(tenant)}"
    if tenant.guest.type == "lxc":
        who = f"Processes of container {name_of(tenant)}"
    text = (
        f"{who} on {now.host.node} run, or may at any time, on {named_cpus(astray)}, "
        f"which {listed([name_of(x) for x in owners])} {'is' if len(owners) == 1 else 'are'} to have alone."
    )
    vmids = (tenant.guest.vmid, *(x.guest.vmid for x in owners))
    check = "helpers-on-dedicated" if what else "live-on-dedicated"
    return AuditFinding(check, "conflict" if not what else "warning", now.host.node, vmids, text, _fix(tenant, what), astray)


def _fix(tenant: Tenant, what: str) -> str:
    if what:
        return "Set corepin_mode to both: the scope of the guest then holds them to its CPUs, which PVE's affinity does not."
    if tenant.guest.type == "lxc":
        return _CAGE_OF_CONTAINERS
    if tenant.in_pool:
        return _CAGE_OF_SHARED
    return "Give it an affinity without these CPUs, or the class shared; it acts at the next start unless corepin_mode is both."
