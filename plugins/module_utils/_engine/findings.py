# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong on a host, said in sentences: which guests, which CPUs, and what the plan does about it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cpuset import count, format_cpulist, union
from .occupancy import Occupancy, Tenant, numa_nodes_of
from .policy import PINNED_CLASSES
from .score import Least
from .topology import Host
from .wording import listed, plural, sentence, spelled

# conflict: somebody does not get what was promised; warning: may happen at any time; note: it costs something.
SEVERITIES = ("conflict", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """`kind` names the check that found it; `cpus` are what a picture marks, and may be none."""

    kind: str
    severity: str
    title: str
    text: str
    vmids: t.Tuple[int, ...]
    cpus: int = 0

    def as_dict(self, number: int) -> t.Dict[str, t.Any]:
        return {
            "number": number,
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "text": self.text,
            "vmids": list(self.vmids),
            "cpus": format_cpulist(self.cpus),
        }


def name_of(tenant: Tenant) -> str:
    """`101 db-main`."""
    guest = tenant.guest
    return f"{guest.vmid} {guest.name}" if guest.name else f"guest {guest.vmid}"


def find(now: Occupancy, planned: t.Optional[Occupancy], refused: t.Mapping[int, str]) -> t.List[Finding]:
    """All findings of one host, the worst first. `refused`: the plan's message by vmid."""
    checks = (_overlaps, _reserved, _siblings, _intruders, _roaming, _configs, _memory, _spans, _unplaced, _stranded)
    found = [*_refused(now, refused), *(finding for check in checks for finding in check(now, planned))]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _named(tenants: t.Sequence[Tenant]) -> str:
    return sentence(listed([name_of(tenant) for tenant in tenants]))


def _vmids(tenants: t.Iterable[Tenant]) -> t.Tuple[int, ...]:
    return tuple(tenant.guest.vmid for tenant in tenants)


def _cpus(cpus: int) -> str:
    """`CPU 3`, `CPUs 10,42`, or only how many where the list would be long."""
    text = format_cpulist(cpus)
    return plural(count(cpus), "CPU") if len(text) > 40 else f"CPU{'' if count(cpus) == 1 else 's'} {text}"


def _verb(tenants: t.Sequence[Tenant], one: str, many: str) -> str:
    return one if len(tenants) == 1 else many


def _overlaps(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """One finding for each set of guests that are tied together by CPUs which several of them hold."""
    for tenants, cpus in _tied([tenant for tenant in now.tenants if tenant.cpus & now.contested], now.contested):
        few = len(tenants) <= 3
        guests = _named(tenants) if few else f"{len(tenants)} guests"
        who = "" if few else f" They are {listed([name_of(tenant) for tenant in tenants])}."
        shared = f"{_cpus(cpus)} {'is' if count(cpus) == 1 else 'are'} held by more than one"
        text = f"{_promise(tenants)}, but {shared}.{who}{_remedy(tenants, cpus, planned)}"
        yield Finding("overlap", "conflict", f"{guests} share {plural(count(cpus), 'CPU')}", text, _vmids(tenants), cpus)


def _promise(tenants: t.Sequence[Tenant]) -> str:
    alone = [tenant for tenant in tenants if tenant.alone]
    if len(alone) == len(tenants):
        return "Each of them is to have its CPUs alone"
    return f"{_named(alone)} {_verb(alone, 'is to have its', 'are to have their')} CPUs alone"


def _tied(tenants: t.Sequence[Tenant], contested: int) -> t.List[t.Tuple[t.List[Tenant], int]]:
    """Sets of tenants that are connected by contested CPUs, each with those CPUs, in order of their lowest vmid."""
    sets: t.List[t.Tuple[t.List[Tenant], int]] = []
    for tenant in tenants:
        members, cpus = [tenant], tenant.cpus & contested
        apart = []
        for other, other_cpus in sets:
            if other_cpus & cpus:
                members, cpus = other + members, other_cpus | cpus
            else:
                apart.append((other, other_cpus))
        sets = [*apart, (sorted(members, key=lambda t: t.guest.vmid), cpus)]
    return sorted(sets, key=lambda entry: entry[0][0].guest.vmid)


def _remedy(tenants: t.Sequence[Tenant], cpus: int, planned: t.Optional[Occupancy]) -> str:
    """What the plan does about a conflict on `cpus`, as a further sentence; '' without a plan."""
    if planned is None:
        return ""
    after = [(tenant, planned.tenant_of[tenant.guest.vmid]) for tenant in tenants]
    moved = [(old, new) for old, new in after if old.cpus != new.cpus]
    if not moved:
        return " The plan leaves it so."
    targets = [f"{name_of(new)} to {_where(new)}" for _old, new in moved]
    still = cpus & planned.states["conflict"]
    rest = f", but {_cpus(still)} stay{'s' if count(still) == 1 else ''} in conflict" if still else ""
    return f" The plan moves {listed(targets, 4)}{rest}."


def _where(tenant: Tenant) -> str:
    if tenant.cpus:
        return _cpus(tenant.cpus)
    return "the shared CPUs" if tenant.in_pool else f"float over {_cpus(tenant.floats)}"


def _reserved(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    tenants = [tenant for tenant in now.tenants if tenant.cpus & now.reserved]
    if tenants:
        cpus = now.held & now.reserved
        guests = _named(tenants) if len(tenants) <= 2 else f"{len(tenants)} guests"
        holders = listed([f"{name_of(tenant)} has {format_cpulist(tenant.cpus & now.reserved)}" for tenant in tenants])
        verb = _verb(tenants, "holds", "hold")
        yield Finding(
            "reserved",
            "conflict",
            f"{guests} {verb} {plural(count(cpus), 'reserved CPU')}",
            f"{_cpus(now.reserved)} are kept for the host: {holders}.{_remedy(tenants, cpus, planned)}",
            _vmids(tenants),
            cpus,
        )


def _siblings(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """Isolated guests whose idle siblings somebody holds."""
    for tenant in now.tenants:
        taken = tenant.idle & now.held
        others = [other for other in now.tenants if other.cpus & taken and other is not tenant]
        if others:
            owners = listed([name_of(other) for other in others])
            text = f"It is isolated, but {_cpus(taken)} on its cores {'belongs' if count(taken) == 1 else 'belong'} to {owners}."
            remedy = _remedy([tenant, *others], taken, planned)
            title = f"{sentence(name_of(tenant))} does not have its cores alone"
            yield Finding("sibling", "conflict", title, text + remedy, _vmids([tenant, *others]), taken)


def _intruders(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """Guests that hold nothing, but whose stored affinity includes CPUs that others hold or the host keeps."""
    tenants = [x for x in now.tenants if not x.in_pool and not x.roams and x.floats & (now.held | now.reserved)]
    if tenants:
        cpus = (now.held | now.reserved) & _all_floats(tenants)
        yield Finding(
            "intruder",
            "warning",
            f"{_named(tenants) if len(tenants) <= 2 else plural(len(tenants), 'floating guest')} may run on CPUs of others",
            f"The affinity stored for {_verb(tenants, 'it', 'them')} includes {_cpus(cpus)}, which other guests hold or the host keeps."
            f"{_remedy_of_floats(tenants, planned)}",
            _vmids(tenants),
        )


def _all_floats(tenants: t.Iterable[Tenant]) -> int:
    return union(tenant.floats for tenant in tenants)


def _remedy_of_floats(tenants: t.Sequence[Tenant], planned: t.Optional[Occupancy]) -> str:
    if planned is None:
        return ""
    taken = planned.held | planned.reserved
    left = [x for x in tenants if planned.tenant_of[x.guest.vmid].floats & taken]
    return " The plan mends it." if not left else f" The plan leaves {listed([name_of(x) for x in left])} so."


def _roaming(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """Unmanaged guests without affinity beside guests that are to have CPUs alone, now or as planned."""
    tenants = [x for x in now.tenants if x.cpu_class == "unmanaged" and x.roams and not x.guest.template]
    owned = now.owned or (planned.owned if planned else 0)
    if tenants and owned:
        when = "" if now.owned else " once the plan is applied"
        alone = f"on the {plural(count(owned), 'CPU')} that dedicated and isolated guests are to have alone{when}"
        guests = _named(tenants) if len(tenants) <= 2 else plural(len(tenants), "unmanaged guest")
        names = "" if len(tenants) <= 2 else f" They are {listed([name_of(x) for x in tenants])}."
        yield Finding(
            "roaming",
            "warning",
            f"{guests} may run anywhere",
            f"Without an affinity, also {alone}. Give {_verb(tenants, 'it', 'them')} the class shared.{names}",
            _vmids(tenants),
        )


def _configs(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    for tenant in now.tenants:
        for note in tenant.notes:
            yield Finding(
                "config", "warning", f"{sentence(name_of(tenant))} does not get what its config says", note, _vmids([tenant]), tenant.cpus
            )


def _memory(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """NUMA nodes to which more memory is bound than they have for guests."""
    free = now.ledger.memory_free_mib()
    for numa_node in now.host.numa_nodes:
        tenants = [tenant for tenant in now.tenants if tenant.memory.get(numa_node.id)]
        bound = sum(tenant.memory[numa_node.id] for tenant in tenants)
        capacity = max(0, (numa_node.memory_mib or 0) - now.reservation.memory_mib_per_numa_node)
        if free is not None and numa_node.memory_mib is not None and bound > capacity:
            yield Finding(
                "memory",
                "warning",
                f"NUMA node {numa_node.id} has too little memory",
                f"{bound} MiB are bound to it, but it has {capacity} MiB for guests: {listed([name_of(x) for x in tenants])}.",
                _vmids(tenants),
            )


def _spans(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """Guests with CPUs of their own on more NUMA nodes than the empty host would need."""
    least = Least(now.host, now.reserved)
    wide = []
    for tenant in now.tenants:
        if tenant.alone and not tenant.guest.template:
            needed = least.spans(tenant.guest.vcpus, sum(tenant.memory.values()))[0]
            if len(numa_nodes_of(tenant.cpus, now.host)) > needed:
                wide.append((tenant, needed))
    if wide:
        tenants = [tenant for tenant, _needed in wide]
        yield Finding(
            "spans", "warning", _spans_title(wide, now.host), _spans_text(wide, now.host, planned), _vmids(tenants), _held(tenants)
        )


def _spans_title(wide: t.Sequence[t.Tuple[Tenant, int]], host: Host) -> str:
    if len(wide) > 1:
        return f"{plural(len(wide), 'guest')} span more NUMA nodes than needed"
    return f"{sentence(name_of(wide[0][0]))} spans {plural(len(numa_nodes_of(wide[0][0].cpus, host)), 'NUMA node')}"


def _spans_text(wide: t.Sequence[t.Tuple[Tenant, int]], host: Host, planned: t.Optional[Occupancy]) -> str:
    if len(wide) == 1:
        text = f"It would fit into {spelled(wide[0][1])}."
    else:
        text = sentence(listed([f"{name_of(x)} lies on {len(numa_nodes_of(x.cpus, host))} instead of {n}" for x, n in wide])) + "."
    if planned is None:
        return text
    better = [x for x, _n in wide if len(numa_nodes_of(planned.tenant_of[x.guest.vmid].cpus, host)) < len(numa_nodes_of(x.cpus, host))]
    if not better:
        return f"{text} The plan leaves it so."
    if len(better) == len(wide):
        return f"{text} The plan brings {'it' if len(wide) == 1 else 'all of them'} together."
    return f"{text} The plan brings {listed([name_of(x) for x in better])} together."


def _held(tenants: t.Iterable[Tenant]) -> int:
    return union(tenant.cpus for tenant in tenants)


def _unplaced(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """Guests that a rule wants on CPUs of their own, or in an L3 domain, and whose config says nothing yet."""
    tenants = [x for x in now.tenants if x.roams and x.cpu_class in (*PINNED_CLASSES, "local")]
    if tenants:
        placed = [] if planned is None else [x for x in tenants if not planned.tenant_of[x.guest.vmid].roams]
        plan = "" if planned is None else f" The plan places {'all of them' if len(placed) == len(tenants) else len(placed) or 'none'}."
        if len(tenants) == 1:
            plan = plan.replace("all of them", "it").replace("places none", "has no place for it")
        yield Finding(
            "unplaced",
            "note",
            f"{_named(tenants) if len(tenants) <= 2 else plural(len(tenants), 'guest')} {_verb(tenants, 'has', 'have')} no CPUs yet",
            f"{_verb(tenants, 'Its rule asks', 'Their rules ask')} for a place, but nothing is stored, so that "
            f"{_verb(tenants, 'it runs', 'they run')} anywhere.{plan}",
            _vmids(tenants),
        )


def _stranded(now: Occupancy, planned: t.Optional[Occupancy]) -> t.Iterator[Finding]:
    """Free CPUs whose siblings are held: whole cores can no longer be had from them."""
    stranded = now.states["stranded"]
    if not stranded:
        return
    cores = [core for core in now.host.cores if core & stranded]
    tenants = [tenant for tenant in now.tenants if any(core & tenant.cpus for core in cores)]
    odd = [x for x in tenants if x.cpu_class == "dedicated" and x.guest.vcpus % 2 and count(x.cpus) == x.guest.vcpus]
    advice = f" {_named(odd)} {_verb(odd, 'has', 'have')} an odd number of vCPUs; one more would cost nothing." if odd else ""
    after = "" if planned is None else f" The plan leaves {count(planned.states['stranded']) or 'none'} on this host."
    yield Finding(
        "stranded",
        "note",
        f"{plural(count(stranded), 'CPU')} {'is' if count(stranded) == 1 else 'are'} stranded",
        f"{_cpus(stranded)}: free, but the other thread of the core belongs to {listed([name_of(x) for x in tenants])}.{advice}{after}",
        _vmids(tenants),
        stranded,
    )


def _refused(now: Occupancy, refused: t.Mapping[int, str]) -> t.Iterator[Finding]:
    for vmid, message in sorted(refused.items()):
        tenant = now.tenant_of.get(vmid)
        if tenant:
            yield Finding("refused", "warning", f"{sentence(name_of(tenant))} gets no place", message, (vmid,), tenant.cpus)
