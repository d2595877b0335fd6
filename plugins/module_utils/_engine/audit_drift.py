# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: where the plan, the stored config, its pending changes and the running guest say different things.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .audit_live import Live, LiveThread
from .cpuset import count, cpus_of, format_cpulist, mask_of, parse_ordered, union
from .desired import Wanted, pinned_keys, shared_keys
from .errors import GrammarError
from .guest import PLACEMENT_KEYS, Cell, Guest, affinity_effect, cell_from_mapping, config_cells, lxc_cpuset, same_effect
from .policy import Policy
from .topology import Host
from .wording import plural, sentence

Document = t.Mapping[str, t.Any]

KEYS = (*PLACEMENT_KEYS, "hugepages")
_DELETED = ""  # how a pending delete is written

# What QEMU needs beside the guest's memory is bound nowhere, so that a little memory elsewhere is no drift.
_STRAY_MIB = 256
_STRAY_SHARE = 20  # one part in so many


@dataclass(frozen=True)
class Drift:
    """One difference. `what`: a config key, `node`, `guest`, `scope`, `memory`, `vcpu N`, or another role of threads.

    `kind`: unapplied (the next start would not do what is planned), pending (it would, the stored value is not in force yet),
    live (the running guest has something else than it was started with, or than the plan wants for it at once).
    planned, stored, pending, live are texts: values of the key, or cpulists; None = nothing there, or not known. A pending
    delete is ''. `vmid` is None for the free CPUs of a host. `tids` are the threads that a row of threads is about.
    """

    vmid: t.Optional[int]
    name: str
    node: str
    what: str
    kind: str
    text: str
    planned: t.Optional[str] = None
    stored: t.Optional[str] = None
    pending: t.Optional[str] = None
    live: t.Optional[str] = None
    tids: t.Tuple[int, ...] = ()

    def as_dict(self) -> t.Dict[str, t.Any]:
        return {
            "vmid": self.vmid,
            "name": self.name,
            "node": self.node,
            "what": self.what,
            "kind": self.kind,
            "planned": self.planned,
            "stored": self.stored,
            "pending": self.pending,
            "live": self.live,
            "tids": list(self.tids),
            "text": self.text,
        }


@dataclass(frozen=True)
class Case:
    """One guest on its host with all that is known.

    `placement` and `change` are the plan's, `reserved` the CPUs (mask) that it keeps for the host; `live` None: not known.
    """

    guest: Guest
    host: Host
    policy: Policy
    placement: t.Optional[Document] = None
    change: t.Optional[Document] = None
    reserved: int = 0
    live: t.Optional[Live] = None

    @property
    def planned_live(self) -> bool:
        """Whether the plan is for the running guest too."""
        return self.placement is not None and self.policy.mode != "config"

    @property
    def order(self) -> t.List[int]:
        """The planned CPUs, in vCPU order where each vCPU has its own."""
        return parse_ordered(str(self.placement["cpus"])) if self.placement else []

    @property
    def pins(self) -> t.List[int]:
        """The CPU of each vCPU of the running guest; [] where all float over the guest's CPUs."""
        return self.order if self.planned_live and self.placement and self.placement.get("vcpu_pinning") else []

    @property
    def aside(self) -> int:
        """The CPUs of the running guest's emulator and helper threads where they are not the guest's own; 0 = they are."""
        reserved = self.planned_live and self.placement and self.placement.get("emulator") == "reserved"
        return self.reserved & self.host.online if reserved else 0

    def row(self, what: str, kind: str, text: str, **columns: t.Any) -> Drift:
        return Drift(self.guest.vmid, self.guest.name, self.guest.node, what, kind, text, **columns)


def drift_of(case: Case) -> t.List[Drift]:
    """All differences of one guest: keys in the order of KEYS, then what runs."""
    if case.placement and case.placement["node"] != case.guest.node:
        moved = [_moved(case)]
        case = replace(case, placement=None, change=None)
    else:
        moved = []
    return [*moved, *_keys(case), *_running(case)]


def missing(vmid: int, placement: Document) -> Drift:
    """A guest of the plan that is not there any more."""
    node = str(placement["node"])
    return Drift(vmid, "", node, "guest", "unapplied", f"Guest {vmid} of the plan is not there any more; make a new plan.", planned=node)


def _moved(case: Case) -> Drift:
    planned, now = str((case.placement or {})["node"]), case.guest.node
    text = f"{sentence(case.guest.label)} was planned for host {planned} and is on {now}; make a new plan."
    return case.row("node", "unapplied", text, planned=planned, stored=now, live=now if case.live else None)


def _wanted(case: Case) -> Wanted:
    """The keys that the plan asks for, by value; {} where it says nothing about this guest's config."""
    if not case.placement or case.policy.mode == "runtime" or case.guest.type != "qemu":
        return {}
    if case.placement["class"] == "shared":
        wanted = shared_keys(case.guest)
    else:
        cells = [cell_from_mapping(cell) for cell in case.placement.get("numa_cells") or ()]
        wanted = pinned_keys(case.order, cells, case.guest, None)
    return {**wanted, **(case.change["after"] if case.change else {})}


def _keys(case: Case) -> t.List[Drift]:
    wanted = _wanted(case)
    keys = [*KEYS, *sorted(key for key in wanted if key not in KEYS)]
    return [row for key in keys for row in _key(case, key, wanted)]


def _key(case: Case, key: str, wanted: Wanted) -> t.Iterator[Drift]:
    guest = case.guest
    stored, next_value = guest.config.get(key), guest.next_config.get(key)
    pending = (guest.pending[key] if guest.pending[key] is not None else _DELETED) if key in guest.pending else None
    columns = {"planned": wanted.get(key), "stored": stored, "pending": pending, "live": _live_of_key(case, key)}
    name = sentence(guest.label)
    if key in wanted and not same_effect(key, next_value, wanted[key]):
        text = f"{name} has {_shown(key, next_value)} and the plan has {_shown(key, wanted[key])}; apply the plan, or make a new one."
        yield case.row(key, "unapplied", text, **columns)
    elif pending is not None and not same_effect(key, stored, next_value):
        text = f"{name} changes from {_shown(key, stored)} to {_shown(key, next_value)} at its next stop and start."
        yield case.row(key, "pending", text, **columns)


def _shown(key: str, value: t.Optional[str]) -> str:
    return f"no {key}" if value in (None, _DELETED) else f"{key} {value}"


def _live_of_key(case: Case, key: str) -> t.Optional[str]:
    return format_cpulist(case.live.cpus) if case.live and key == "affinity" else None


def _running(case: Case) -> t.List[Drift]:
    if case.live is None:
        return []
    if case.guest.type == "lxc":
        return list(_container(case, case.live))
    rows = [*_scope(case, case.live), *_threads(case, case.live)]
    return [*(rows or _narrowed(case, case.live)), *_memory(case, case.live)]


def _target(case: Case) -> t.Optional[int]:
    """The CPUs that the running guest is to have now; None where nothing says so.

    A plan that is for running guests says it; otherwise the guest has what it was started with, and pending changes wait.
    """
    if case.planned_live:
        return mask_of(case.order) & case.host.online
    try:
        started_with = affinity_effect(case.guest.config.get("affinity"))
    except GrammarError:
        return None
    return None if started_with is None else started_with & case.host.online


def _columns(case: Case, live: int, planned: t.Optional[int] = None) -> t.Dict[str, t.Optional[str]]:
    """The columns of a row about CPUs: what each source gives, as cpulists."""

    def effect(text: t.Optional[str]) -> t.Optional[str]:
        try:
            cpus = affinity_effect(text)
        except GrammarError:
            return text
        return None if cpus is None else format_cpulist(cpus)

    guest = case.guest
    pending = None
    if "affinity" in guest.pending:
        pending = effect(guest.pending["affinity"]) or _DELETED
    if planned is None and case.placement:
        planned = mask_of(case.order)
    return {
        "planned": None if planned is None else format_cpulist(planned),
        "stored": effect(guest.config.get("affinity")),
        "pending": pending,
        "live": format_cpulist(live),
    }


def _scope(case: Case, live: Live) -> t.Iterator[Drift]:
    """A scope that keeps the guest from CPUs of its own or, where the plan is for running guests, leaves it others too."""
    target = _target(case)
    if target is None or live.scope_cpus is None:
        return
    target |= case.aside
    kept = target & ~live.scope_cpus
    if kept:
        text = f"The scope of {case.guest.label} leaves it {_cpus(live.scope_cpus)} and keeps it from {_cpus(kept)} (AllowedCPUs)."
        yield case.row("scope", "live", text, **_columns(case, live.scope_cpus))
    elif case.planned_live and target != live.scope_cpus:
        text = f"The scope of {case.guest.label} leaves it {_cpus(live.scope_cpus)} instead of {_cpus(target)} (AllowedCPUs)."
        yield case.row("scope", "live", text, **_columns(case, live.scope_cpus, target))


def _threads(case: Case, live: Live) -> t.Iterator[Drift]:
    """Threads that have other CPUs than they shall; equal ones together."""
    target = _target(case)
    if target is None:
        return
    together: t.Dict[t.Tuple[str, int, int], t.List[LiveThread]] = {}
    for thread in live.threads:
        wanted = _of_thread(case, thread, target)
        if _strays(case, thread, wanted):
            what = f"vcpu {thread.vcpu}" if thread.vcpu is not None else thread.role
            together.setdefault((what, thread.cpus, wanted), []).append(thread)
    for (what, cpus, wanted), threads in together.items():
        who = f"{sentence(what)} of {case.guest.label} (thread {threads[0].tid})"
        if len(threads) > 1:
            who = f"{sentence(plural(len(threads), f'{what} thread'))} of {case.guest.label}"
        text = f"{who} may run on {_cpus(cpus)} instead of {_cpus(wanted)}."
        planned = wanted if case.planned_live else None
        yield case.row(what, "live", text, tids=tuple(thread.tid for thread in threads), **_columns(case, cpus, planned))


def _of_thread(case: Case, thread: LiveThread, target: int) -> int:
    if thread.vcpu is not None and thread.vcpu < len(case.pins):
        return 1 << case.pins[thread.vcpu]
    return case.aside if case.aside and thread.role in ("emulator", "helper") else target


def _strays(case: Case, thread: LiveThread, wanted: int) -> bool:
    """Whether a thread has CPUs that it shall not have. Where the plan is for running guests it shall have all of its own too.

    Otherwise only QEMU counts, because PVE's affinity is for it alone; the conflicts name other processes that disturb.
    """
    if not thread.inside:
        return case.planned_live and bool(thread.cpus & ~wanted)
    return thread.cpus != wanted if case.planned_live else bool(thread.cpus & ~wanted)


def _narrowed(case: Case, live: Live) -> t.Iterator[Drift]:
    """A guest that runs inside the CPUs that it was started with, but has not all of them."""
    target = _target(case)
    if target is not None and live.threads and target & ~live.cpus and not case.planned_live:
        text = (
            f"{sentence(case.guest.label)} runs on {_cpus(live.cpus)} only, a part of its affinity {format_cpulist(target)}; "
            "it was started with another one, or somebody has set its threads."
        )
        yield case.row("affinity", "live", text, **_columns(case, live.cpus))


def _container(case: Case, live: Live) -> t.Iterator[Drift]:
    """Processes of a container outside the CPUs that the plan or its cpuset key leave it."""
    guest = case.guest
    stored = lxc_cpuset(guest.config)
    try:
        target = mask_of(case.order) if case.planned_live else affinity_effect(stored)
    except GrammarError:
        return
    if target is not None and live.cpus & ~target:
        text = f"{sentence(guest.label)} may run on {_cpus(live.cpus)} instead of {_cpus(target)}."
        planned = format_cpulist(target) if case.planned_live else None
        yield case.row("cpuset", "live", text, planned=planned, stored=stored, live=format_cpulist(live.cpus))


def _memory(case: Case, live: Live) -> t.Iterator[Drift]:
    """Memory on NUMA nodes that no cell is bound to."""
    cells = _bound_cells(case)
    if not cells or live.memory_mib is None:
        return
    hostnodes = union(cell.hostnodes for cell in cells)
    astray = {numa_node: mib for numa_node, mib in live.memory_mib.items() if not hostnodes >> numa_node & 1}
    if sum(astray.values()) > max(_STRAY_MIB, case.guest.memory_mib // _STRAY_SHARE):
        where = " and ".join(f"{mib} MiB on NUMA node {numa_node}" for numa_node, mib in astray.items())
        stored = _shown_cells(_cells_of(case.guest.config))
        text = f"{sentence(case.guest.label)} has {where}, and its cells are bound to NUMA node {format_cpulist(hostnodes)}."
        live_text = " ".join(f"{numa_node}:{mib}" for numa_node, mib in live.memory_mib.items())
        planned = _shown_cells([cell_from_mapping(c) for c in case.placement.get("numa_cells") or ()]) if case.placement else None
        pending = _shown_cells(_cells_of(case.guest.next_config)) if case.guest.pending else None
        yield case.row("memory", "live", text, planned=planned, stored=stored, pending=pending, live=live_text)


def _bound_cells(case: Case) -> t.List[Cell]:
    """The cells that the running guest has; [] unless all of them are bound."""
    if case.planned_live and case.policy.memory_move and case.placement:
        cells = [cell_from_mapping(cell) for cell in case.placement.get("numa_cells") or ()]
    else:
        cells = _cells_of(case.guest.config)
    return cells if all(cell.hostnodes for cell in cells) else []


def _cells_of(config: t.Mapping[str, str]) -> t.List[Cell]:
    try:
        return config_cells(config)
    except GrammarError:
        return []


def _shown_cells(cells: t.Sequence[Cell]) -> t.Optional[str]:
    """`0:4096 1:4096`: NUMA nodes and MiB of each cell."""
    return " ".join(f"{format_cpulist(cell.hostnodes)}:{cell.memory_mib}" for cell in cells) or None


def _cpus(mask: int) -> str:
    return f"CPU {next(cpus_of(mask))}" if count(mask) == 1 else f"CPUs {format_cpulist(mask) or '(none)'}"
