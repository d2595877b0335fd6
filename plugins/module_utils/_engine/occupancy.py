# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose each CPU of a host is: what the configs say now, and what a plan makes of it.

The ledger of the planner merges guests that overlap, because planning only asks what is left. A report has to tell
them apart, so that here every present CPU is in exactly one of STATES, and a CPU that two guests want is a conflict.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from functools import cached_property

from .cpuset import count, mask_of, parse_ordered, union
from .existing import stored_holding
from .guest import Cell, Guest, affinity_order, cell_from_mapping, describes_host
from .ledger import Holding, Ledger, bound_evenly
from .policy import PINNED_CLASSES, UNMANAGED, Policy, Rule
from .scope import not_placeable
from .snapshot import Snapshot
from .topology import Host

# isolated: held by an isolated guest, idle siblings included; dedicated, unmanaged: held by such a guest; conflict: held by
# two guests of which one is to be alone, or reserved and held; reserved: kept for the host; stranded: free, but a sibling is
# held; local: free, and a guest of that class floats over it; free: the rest of the pool; offline: present, not online.
STATES = ("isolated", "dedicated", "conflict", "unmanaged", "reserved", "local", "free", "stranded", "offline")
POOL_STATES = ("local", "free", "stranded")

Document = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Tenant:
    """One guest on its host, now or as planned. All CPU sets hold online CPUs of that host.

    `cpu_class` is how the guest is treated: unmanaged also where its rule cannot be applied to it. `cpus` are held;
    `order` are the same in vCPU order where each vCPU has its own; `idle` are siblings kept idle for it. A guest that
    holds nothing `floats` over CPUs: a shared one over the pool (`in_pool`), one without any affinity over all
    (`roams`). `memory`: MiB bound by NUMA node id. `notes`: sentences about what its config says that cannot be so.
    """

    guest: Guest
    cpu_class: str
    cpus: int = 0
    order: t.Tuple[int, ...] = ()
    idle: int = 0
    floats: int = 0
    in_pool: bool = False
    roams: bool = False
    memory: t.Mapping[int, int] = field(default_factory=dict)
    floating_mib: int = 0
    notes: t.Tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether its CPUs are to be its own: so asked for, or not more CPUs than vCPUs."""
        return bool(self.cpus) and (self.cpu_class in PINNED_CLASSES or self.guest.vcpus >= count(self.cpus))

    @property
    def holding(self) -> Holding:
        return Holding(self.guest.vcpus, self.cpus, self.idle, self.memory, self.floating_mib)


class Occupancy:
    """All tenants of one host at one time, in vmid order."""

    def __init__(self, host: Host, policy: Policy, tenants: t.Iterable[Tenant]) -> None:
        self.host = host
        self.tenants = tuple(tenants)
        self.reservation = policy.reservation(host.node)
        self.ledger = Ledger(host, self.reservation, policy.overcommit_memory)
        for tenant in self.tenants:
            self.ledger.hold(tenant.guest.vmid, tenant.holding)

    @cached_property
    def tenant_of(self) -> t.Mapping[int, Tenant]:
        return {tenant.guest.vmid: tenant for tenant in self.tenants}

    @property
    def reserved(self) -> int:
        return self.ledger.reserved

    @cached_property
    def held(self) -> int:
        """CPUs that guests hold, without idle siblings."""
        return union(tenant.cpus for tenant in self.tenants)

    @cached_property
    def owned(self) -> int:
        """CPUs that a dedicated or isolated guest is to have for itself, idle siblings included."""
        return union(tenant.cpus | tenant.idle for tenant in self.tenants if tenant.cpu_class in PINNED_CLASSES)

    @cached_property
    def contested(self) -> int:
        """CPUs held by several guests of which at least one is to be alone there."""
        once = twice = alone = 0
        for tenant in self.tenants:
            twice |= once & tenant.cpus
            once |= tenant.cpus
            alone |= tenant.cpus if tenant.alone else 0
        return twice & alone

    @cached_property
    def pool(self) -> int:
        """CPUs that nobody holds and that are not reserved: what floats may run there, and a new guest may have them."""
        return self.ledger.free

    @cached_property
    def states(self) -> t.Mapping[str, int]:
        """The mask of each of STATES; together they are the present CPUs, none twice."""
        host = self.host
        conflict = self.contested | self.held & self.reserved
        idle = union(tenant.idle for tenant in self.tenants) & ~self.held & ~self.reserved
        isolated = self._held_by("isolated") & ~conflict
        dedicated = self._held_by("dedicated") & ~conflict & ~isolated
        stranded = self.pool & union(core for core in host.cores if core & self.held)
        floated = union(tenant.floats for tenant in self.tenants if tenant.cpu_class == "local" and not tenant.roams)
        local = self.pool & ~stranded & floated
        return {
            "isolated": isolated | idle,
            "dedicated": dedicated,
            "conflict": conflict,
            "unmanaged": self.held & ~conflict & ~isolated & ~dedicated,
            "reserved": self.reserved & ~self.held,
            "local": local,
            "free": self.pool & ~stranded & ~local,
            "stranded": stranded,
            "offline": host.present & ~host.online,
        }

    def _held_by(self, cpu_class: str) -> int:
        return union(tenant.cpus for tenant in self.tenants if tenant.cpu_class == cpu_class)


def occupancy_now(snapshot: Snapshot, policy: Policy, host: Host) -> Occupancy:
    """What the configs of the guests on `host` say."""
    return Occupancy(
        host, policy, _pooled(host, policy, [_stored(g, _applicable(g, r, policy), host) for g, r in _guests(snapshot, policy, host)])
    )


def occupancy_planned(snapshot: Snapshot, policy: Policy, host: Host, placements: t.Mapping[int, Document]) -> Occupancy:
    """What the guests on `host` hold once the placements (by vmid) are in force; the others stay as they are."""
    tenants = []
    for guest, rule in _guests(snapshot, policy, host):
        placement = placements.get(guest.vmid)
        tenants.append(_placed(guest, rule, host, placement) if placement else _stored(guest, _applicable(guest, rule, policy), host))
    return Occupancy(host, policy, _pooled(host, policy, tenants))


def _guests(snapshot: Snapshot, policy: Policy, host: Host) -> t.Iterator[t.Tuple[Guest, Rule]]:
    for guest in snapshot.guests:
        if guest.node == host.node and not describes_host(guest):
            yield guest, policy.rule_for(guest, snapshot.groups)


def _applicable(guest: Guest, rule: Rule, policy: Policy) -> Rule:
    """The guest's rule where it can be applied to it."""
    return UNMANAGED if not_placeable(guest, rule, policy) else rule


def _stored(guest: Guest, rule: Rule, host: Host) -> Tenant:
    holding, notes = stored_holding(guest, host)
    cpu_class = rule.cpu_class
    holds = bool(holding.cpus) and cpu_class in (*PINNED_CLASSES, "unmanaged")
    in_pool = cpu_class == "shared" and not holding.cpus
    roams = not holding.cpus and not in_pool
    cpus = holding.cpus if holds else 0
    ordered = rule.vcpu_pinning and cpu_class in PINNED_CLASSES
    return Tenant(
        guest=guest,
        cpu_class=cpu_class,
        cpus=cpus,
        order=_in_vcpu_order(affinity_order(guest.next_config.get("affinity")), cpus, guest) if ordered else (),
        idle=_idle(cpus, host) if cpu_class == "isolated" else 0,
        floats=host.online if roams else 0 if holds else holding.cpus,
        in_pool=in_pool,
        roams=roams,
        memory=holding.memory,
        floating_mib=holding.floating_mib,
        notes=tuple(notes),
    )


def _placed(guest: Guest, rule: Rule, host: Host, placement: Document) -> Tenant:
    cpu_class = str(placement["class"])
    order = [cpu for cpu in parse_ordered(str(placement["cpus"])) if host.online >> cpu & 1]
    holds = cpu_class in PINNED_CLASSES
    cpus = mask_of(order)
    memory = _bound([cell_from_mapping(cell) for cell in placement.get("numa_cells") or []], host)
    return Tenant(
        guest=guest,
        cpu_class=cpu_class,
        cpus=cpus if holds else 0,
        order=_in_vcpu_order(order, cpus, guest) if holds and rule.vcpu_pinning else (),
        idle=_idle(cpus, host) if cpu_class == "isolated" else 0,
        floats=0 if holds else cpus,
        in_pool=cpu_class == "shared",
        memory=memory,
        floating_mib=max(0, guest.memory_mib - sum(memory.values())),
    )


def _in_vcpu_order(order: t.Sequence[int], cpus: int, guest: Guest) -> t.Tuple[int, ...]:
    return tuple(order) if len(order) == guest.vcpus and mask_of(order) == cpus else ()


def _idle(cpus: int, host: Host) -> int:
    return union(core for core in host.cores if core & cpus) & ~cpus


def _bound(cells: t.Sequence[Cell], host: Host) -> t.Dict[int, int]:
    memory: t.Dict[int, int] = {}
    for cell in cells:
        for numa_node, mib in bound_evenly(cell.memory_mib or 0, cell.hostnodes).items() if cell.hostnodes else ():
            if numa_node in host.numa_node_by_id:
                memory[numa_node] = memory.get(numa_node, 0) + mib
    return memory


def _pooled(host: Host, policy: Policy, tenants: t.Sequence[Tenant]) -> t.List[Tenant]:
    """`tenants`, those in the pool floating over what the others leave of the host."""
    pool = Occupancy(host, policy, tenants).pool
    return [replace(tenant, floats=pool) if tenant.in_pool else tenant for tenant in tenants]


def numa_nodes_of(cpus: int, host: Host) -> t.List[int]:
    """The ids of the NUMA nodes that `cpus` touch."""
    return [numa_node.id for numa_node in host.numa_nodes_of(cpus)]


def l3_domains_of(cpus: int, host: Host) -> t.List[int]:
    return [domain.id for domain in host.l3_domains if domain.cpus & cpus]


def largest_free(occupancy: Occupancy) -> t.Tuple[int, int]:
    """The most CPUs free (in L3 domains, in NUMA nodes): of one L3 domain inside one NUMA node, and of one NUMA node."""
    host = occupancy.host
    zones = max((count(zone.cpus & occupancy.pool) for zone in host.zones), default=0)
    return zones, max((count(numa_node.cpus & occupancy.pool) for numa_node in host.numa_nodes), default=0)
