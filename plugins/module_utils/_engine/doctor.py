# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor: settings of guests, hosts and the cluster that work against placements, each with what to do about it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from functools import cached_property

from .audit_finding import AuditFinding, named, named_cpus, vmids_of, within
from .cpuset import parse_cpulist, union
from .errors import GrammarError
from .guest import CELL_KEYS, Cell, Guest, affinity_effect, config_cells, describes_host, truthy
from .occupancy import Occupancy
from .policy import PINNED_CLASSES
from .snapshot import Snapshot
from .start_case import StartCase
from .topology import Host
from .wording import listed

Document = t.Mapping[str, t.Any]
Findings = t.Iterator[AuditFinding]

# Hookscripts of other tools that place guests themselves, by a part of their volume's name.
_PLACING_HOOKS = ("proxmox-cpu-affinity", "exec-cmds", "pve-helpers", "cpu-affinity", "cpupin", "cpu-pin", "taskset", "vm-pin")
_OWN_HOOK = "corepin"
_BALANCER_TAG = re.compile(r"^plb_", re.ASCII)  # ProxLB's
_LEFT_BY_BALANCER = re.compile(r"^plb_(ignore|pin)", re.ASCII)
_PAGES_MIB = {"2": 2, "1024": 1024}
_KSM_RUNS = 1


@dataclass(frozen=True)
class ClusterCase:
    """The cluster as a whole; `document` is the snapshot that `snapshot` was read from."""

    document: Document
    snapshot: Snapshot
    plan: t.Optional[Document]

    @property
    def cluster(self) -> Document:
        return self.document.get("cluster") or {}

    @cached_property
    def pinned(self) -> t.List[Guest]:
        """VMs whose config ties them to CPUs or NUMA nodes by numbers, which mean something else on another host."""
        return [guest for guest in self.snapshot.guests if is_pinned(guest)]

    @cached_property
    def movable_by_ha(self) -> t.List[Guest]:
        """Pinned guests that HA may bring to any host, because no strict rule names their hosts."""
        return [guest for guest in self.pinned if under_ha(guest) and not strict_hosts(self.snapshot, guest)]


def under_ha(guest: Guest) -> bool:
    """Whether HA starts and moves the guest (a resource in the state ignored is left alone)."""
    return bool(guest.ha) and (guest.ha or {}).get("state") != "ignored"


def is_pinned(guest: Guest) -> bool:
    if guest.type != "qemu" or guest.template or describes_host(guest):
        return False
    try:
        affinity = affinity_effect(guest.next_config.get("affinity"))
    except GrammarError:
        return True
    return affinity is not None or bool(bound_cells(guest))


def bound_cells(guest: Guest) -> t.List[Cell]:
    """The cells of the next start that are bound to NUMA nodes."""
    try:
        return [cell for cell in config_cells(guest.next_config) if cell.hostnodes]
    except GrammarError:
        return []


def cluster_findings(case: ClusterCase) -> Findings:
    for check in (_scheduler, _no_strict_rule, _balancer, _layout):
        yield from check(case)


def _scheduler(case: ClusterCase) -> Findings:
    """PVE 9.2's own balancer moves guests to hosts where the same CPU numbers are other CPUs, unless a strict rule names their hosts."""
    crs = case.cluster.get("crs") or {}
    reasons = [f"crs {key}={value}" for key, value in (("ha", crs.get("ha")),) if value == "dynamic"]
    reasons += ["crs ha-auto-rebalance=1"] if truthy(crs.get("ha-auto-rebalance")) else []
    guests = case.movable_by_ha
    if reasons and guests:
        yield AuditFinding(
            "scheduler-moves-pinned",
            "warning",
            None,
            vmids_of(guests),
            f"The cluster may move pinned guests by itself ({' and '.join(reasons)} in datacenter.cfg): {named(guests)}.",
            "Tie each to hosts by a strict node-affinity rule, or set crs to ha=static,ha-auto-rebalance=0.",
        )


def _no_strict_rule(case: ClusterCase) -> Findings:
    guests = case.movable_by_ha
    if guests and len(case.snapshot.online or case.snapshot.hosts) > 1:
        yield AuditFinding(
            "no-strict-node-affinity",
            "warning",
            None,
            vmids_of(guests),
            f"{named(guests)}: pinned and managed by HA, but without a strict node-affinity rule, so that a recovery may start "
            f"{'it' if len(guests) == 1 else 'them'} on any host.",
            "Add a strict HA node-affinity rule that names the hosts whose CPUs fit.",
        )


def strict_hosts(snapshot: Snapshot, guest: Guest) -> t.Set[str]:
    """The hosts that the strict node-affinity rules of a guest leave to it; empty without any such rule."""
    allowed: t.Set[str] = set()
    for rule in snapshot.ha_rules:
        strict = rule.get("type") == "node-affinity" and rule.get("enabled", True) and truthy(rule.get("strict"))
        if strict and guest.vmid in (rule.get("vmids") or ()):
            allowed |= {str(host["name"]) for host in rule.get("nodes") or ()}
    return allowed


def _balancer(case: ClusterCase) -> Findings:
    tagged = [g for g in case.snapshot.guests if any(_BALANCER_TAG.match(tag) for tag in g.tags)]
    movable = [g for g in case.pinned if not any(_LEFT_BY_BALANCER.match(tag) for tag in g.tags)]
    if tagged and movable:
        example = next(filter(_BALANCER_TAG.match, tagged[0].tags), "plb_")
        yield AuditFinding(
            "balancer-tags",
            "warning",
            None,
            vmids_of(movable),
            f"Tags such as {example} say that ProxLB balances this cluster; it knows nothing of pinning, and may move {within(movable)}.",
            "Give pinned guests a tag that begins with plb_ignore_, or plb_pin_ and the host's name.",
        )


def _layout(case: ClusterCase) -> Findings:
    for name, planned in sorted((case.plan or {}).get("hosts", {}).items()):
        host = case.snapshot.hosts.get(name)
        if host is not None and host.fingerprint and planned and host.fingerprint != planned:
            yield AuditFinding(
                "layout-changed",
                "conflict",
                name,
                vmids_of(guest for guest in case.pinned if guest.node == name),
                f"The CPUs, caches or NUMA nodes of {name} are others than when the plan was made ({str(planned)[:12]}, now "
                f"{host.fingerprint[:12]}); a BIOS setting or the hardware has changed.",
                "Make a new plan and apply it: the CPU numbers of this one may mean other CPUs now.",
            )


@dataclass(frozen=True)
class HostCase:
    """One host: its facts as they were gathered, and who is on it."""

    host: Host
    facts: Document
    now: Occupancy

    @cached_property
    def guests(self) -> t.List[Guest]:
        return [tenant.guest for tenant in self.now.tenants if not tenant.guest.template]

    @cached_property
    def vms(self) -> t.List[Guest]:
        return [guest for guest in self.guests if guest.type == "qemu"]

    def found(self, check: str, severity: str, guests: t.Sequence[Guest], text: str, fix: str, cpus: int = 0) -> AuditFinding:
        return AuditFinding(check, severity, self.host.node, vmids_of(guests), text, fix, cpus)


def host_findings(case: HostCase) -> Findings:
    for check in (_numa_alone, _hotplug, _huge_pages, _ballooning, _ksm, _irqbalance, _hookscripts):
        yield from check(case)


def _numa_alone(case: HostCase) -> Findings:
    """`numa: 1` gives the guest NUMA nodes, and binds them to none of the host's (src/PVE/QemuServer/Memory.pm)."""
    if len(case.host.numa_nodes) < 2:
        return
    guests = [
        g
        for g in case.vms
        if truthy(g.next_config.get("numa")) and not bound_cells(g) and not StartCase(g, case.host, g.next_config).hugepages
    ]
    if guests:
        yield case.found(
            "numa-without-binding",
            "note",
            guests,
            f"{named(guests)} on {case.host.node}: numa is on, but no cell is bound, so that the memory may lie on any NUMA node.",
            "Give the guest a rule, so that numa0 and so on are planned, or write them with hostnodes and policy.",
        )


def _hotplug(case: HostCase) -> Findings:
    guests = [
        g for g in case.vms if StartCase(g, case.host, g.next_config).hotplugs_memory and any(key in g.next_config for key in CELL_KEYS)
    ]
    if guests:
        yield case.found(
            "hotplug-with-cells",
            "warning",
            guests,
            f"{named(guests)} on {case.host.node}: memory hotplug together with NUMA cells, with which PVE refuses the next start.",
            "Take memory out of hotplug, for example qm set VMID --hotplug network,disk,usb.",
        )


def _huge_pages(case: HostCase) -> Findings:
    """Huge pages that bound guests need and that the host has not set aside: PVE then looks for them at each start."""
    for size, page_mib in _PAGES_MIB.items():
        guests = [g for g in case.vms if g.next_config.get("hugepages") == size and bound_cells(g)]
        lacking = []
        for numa_node in case.host.numa_nodes:
            needed = (
                sum((cell.memory_mib or 0) for g in guests for cell in bound_cells(g) if cell.hostnodes == 1 << numa_node.id) // page_mib
            )
            total = numa_node.hugepages.get(page_mib * 1024)
            if total is not None and needed > total[0]:
                lacking.append(f"NUMA node {numa_node.id} has {total[0]} of {needed}")
        if lacking:
            yield case.found(
                "hugepages-not-reserved",
                "warning" if page_mib == 1024 else "note",
                guests,
                f"{named(guests)} on {case.host.node} need huge pages of {page_mib} MiB, and {listed(lacking)}; a start fails where "
                "the kernel finds too few in one piece.",
                "Reserve them on the kernel's command line (hugepagesz= and hugepages=, per NUMA node), and set keephugepages.",
            )


def _ballooning(case: HostCase) -> Findings:
    guests = [g for g in case.vms if bound_cells(g) and 0 < _number(g.next_config.get("balloon")) < g.memory_mib]
    if guests:
        yield case.found(
            "balloon-with-binding",
            "note",
            guests,
            f"{named(guests)} on {case.host.node}: the balloon may take away memory that is bound to a NUMA node and counted there.",
            "Set balloon to 0 for guests with bound memory.",
        )


def _ksm(case: HostCase) -> Findings:
    ksm = case.facts.get("ksm") or {}
    guests = [g for g in case.vms if bound_cells(g) and g.next_config.get("allow-ksm") != "0"]
    if ksm.get("run") == _KSM_RUNS and ksm.get("merge_across_nodes") != 0 and guests:
        yield case.found(
            "ksm-with-binding",
            "warning",
            guests,
            f"KSM on {case.host.node} merges equal pages across NUMA nodes, so that bound memory of {within(guests)} may come to lie "
            "on another one.",
            "Set allow-ksm to 0 for these guests, write 0 to /sys/kernel/mm/ksm/merge_across_nodes, or stop ksmtuned.",
        )


def _irqbalance(case: HostCase) -> Findings:
    """irqbalance puts interrupts on all CPUs but the banned ones; unset, it leaves out isolcpus and nohz_full (irqbalance(1))."""
    state = case.facts.get("irqbalance") or {}
    if not state.get("running"):
        return
    banned = _mask(state.get("banned_cpus"))
    if not banned:
        cpus = case.facts.get("cpus") or {}
        banned = _mask(cpus.get("isolated")) | _mask(cpus.get("nohz_full"))
    owners = [x for x in case.now.tenants if x.cpu_class in PINNED_CLASSES and x.cpus & ~banned]
    exposed = union(x.cpus | x.idle for x in owners) & ~banned
    if exposed:
        yield case.found(
            "irqbalance-running",
            "warning",
            [x.guest for x in owners],
            f"irqbalance runs on {case.host.node} and moves interrupts, every 10 seconds, also onto the dedicated {named_cpus(exposed)}.",
            "Name these CPUs in IRQBALANCE_BANNED_CPULIST in /etc/default/irqbalance, or remove irqbalance; one host at a time.",
            exposed,
        )


def _hookscripts(case: HostCase) -> Findings:
    hooks = [(g, g.next_config["hookscript"]) for g in case.guests if g.next_config.get("hookscript")]
    foreign = [(g, hook) for g, hook in hooks if _OWN_HOOK not in hook.lower()]
    placing = [g for g, hook in foreign if any(part in hook.lower() for part in _PLACING_HOOKS)]
    others = [g for g, _hook in foreign if g not in placing and is_pinned(g)]
    if placing:
        yield case.found(
            "placing-hookscript",
            "warning",
            placing,
            f"{named(placing)} on {case.host.node}: the hookscript looks like one that places guests itself, which undoes a placement "
            "at each start.",
            "Take it off (qm set VMID --delete hookscript) once corepin places the guest.",
        )
    if others:
        yield case.found(
            "foreign-hookscript",
            "note",
            others,
            f"{named(others)} on {case.host.node}: a hookscript of somebody else runs at each start, and must be on every host that the "
            "guest may reach.",
            "Look whether it sets CPUs, governors or interrupts; corepin neither needs nor replaces it.",
        )


def _number(text: t.Optional[str]) -> int:
    return int(text) if text and text.isdigit() else 0


def _mask(text: t.Any) -> int:
    try:
        return parse_cpulist(str(text or ""))
    except GrammarError:
        return 0
