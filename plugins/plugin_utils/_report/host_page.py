# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of the report as the page's template wants it: every text and every drawing ready.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import count, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import plural
from markupsafe import Markup

from .figures import breakable, gib, ids, processor, where_stored
from .host_map import Rail, local_rails, marks_of, offline_rows, rows_of, zone_rows
from .plan_picture import NARROW, WIDE, cpus_changing, moves_of, plan_picture, unchanged_numa_nodes
from .small import key_sign, spark, swatch
from .svg import text_width
from .view import CSS, HostView, Zone, sorted_cpulist

Document = t.Mapping[str, t.Any]

_CARD_PIXELS = 250.0  # the least that a memory bar has

_KEY = {
    "isolated": "whole cores for one guest, siblings idle",
    "dedicated": "for one guest alone; two tones part neighbours",
    "conflict": "two owners, or kept for the host and held",
    "unmanaged": "held by an affinity that no rule asks for",
    "reserved": "kept for the host",
    "local": "free; guests of this L3 domain float here",
    "free": "the pool: shared guests float here",
    "stranded": "free, but the sibling is held",
    "offline": "present, but switched off",
}


@dataclass(frozen=True)
class Part:
    """A piece of a bar: its share in percent, its ground, what it says and to which guests it belongs."""

    percent: str
    css: str
    label: str
    title: str
    guest: t.Optional[int] = None


@dataclass(frozen=True)
class KeyEntry:
    sign: Markup
    title: str
    text: str


@dataclass(frozen=True)
class L3Domain:
    label: str
    wide: int
    rows: t.Tuple[Markup, ...]


@dataclass(frozen=True)
class Card:
    """A NUMA node of a package. `span` of four columns; `memory` None where nothing is known of it."""

    name: str
    span: int
    free: str
    zones: t.Tuple[L3Domain, ...]
    memory: t.Optional[MemoryBar]
    devices: t.Tuple[t.Tuple[str, str], ...]


@dataclass(frozen=True)
class MemoryBar:
    total: str
    bound: str
    unbound: str
    free: str
    parts: t.Tuple[Part, ...]


@dataclass(frozen=True)
class Package:
    name: str
    cpus: str
    cards: t.Tuple[Card, ...]


@dataclass(frozen=True)
class LongRail:
    """Guests that float over more than one NUMA node."""

    css: str
    title: str
    text: str
    guests: str
    findings: t.Tuple[int, ...]


@dataclass(frozen=True)
class Change:
    vmid: int
    name: str
    before: Markup
    after: Markup
    numa_nodes: str
    effect: str
    reason: str


@dataclass(frozen=True)
class GuestRow:
    vmid: int
    name: str
    notes: str
    swatch: Markup
    cpu_class: str
    vcpus: int
    stored: Markup
    planned: Markup
    where: Markup
    numa_nodes: str
    memory: str
    memory_mib: int
    findings: t.Tuple[int, ...]
    text: str
    plain: bool
    find: str


@dataclass(frozen=True)
class HostPage:
    anchor: str
    name: str
    about: str
    folded: t.Optional[bool]
    """None: not foldable; True: closed until somebody opens it, because nothing but notes was found."""
    ledger_text: str
    ledger: t.Tuple[Part, ...]
    key: t.Tuple[KeyEntry, ...]
    packages: t.Tuple[Package, ...]
    offline: t.Tuple[Markup, ...]
    rails: t.Tuple[LongRail, ...]
    findings: t.Tuple[Document, ...]
    has_plan: bool
    plan_text: str
    plan_pictures: t.Tuple[Markup, ...]
    folded_numa_nodes: str
    changes: t.Tuple[Change, ...]
    guests: t.Tuple[GuestRow, ...]


def host_page(view: HostView, guests: t.Sequence[Document], anchor: str, fold: bool) -> HostPage:
    document = view.document
    cpus = document["now"]["cpus"]
    total = document["counts"]["cpus"]
    rails = local_rails(view)
    states = [state for state in CSS if cpus[state]]
    return HostPage(
        anchor=anchor,
        name=view.name,
        about=_about(document),
        folded=all(finding["severity"] == "note" for finding in document["findings"]) if fold else None,
        ledger_text=f"{plural(total, 'CPU')}: {', '.join(f'{cpus[state]} {_state_name(state)}' for state in states)}",
        ledger=tuple(_ledger_part(state, cpus[state], total) for state in states),
        key=tuple(_key_entry(state, cpus[state]) for state in states),
        packages=tuple(_package(view, package, [r for r in rails if not _is_long(view, r)]) for package in document["map"]),
        offline=tuple(Markup(row) for row in offline_rows(view)),
        rails=tuple(_long_rails(view, [r for r in rails if _is_long(view, r)])),
        findings=tuple(document["findings"]),
        has_plan=document["planned"] is not None,
        plan_text=_plan_text(view),
        plan_pictures=tuple(Markup(picture) for picture in (plan_picture(view, WIDE), plan_picture(view, NARROW)) if picture),
        folded_numa_nodes=ids(unchanged_numa_nodes(view)) if moves_of(view) else "",
        changes=tuple(_change(guest) for guest in guests if guest["state"] == "changes"),
        guests=tuple(_guest_row(view, guest) for guest in guests),
    )


def _state_name(state: str) -> str:
    return "in conflict" if state == "conflict" else state


def _about(document: Document) -> str:
    counts = document["counts"]
    stopped = document["now"]["stopped"]
    memory = document["now"]["memory"]["total_mib"]
    parts = [
        processor(document["model"], counts["packages"]),
        plural(counts["packages"], "package"),
        plural(counts["numa_nodes"], "NUMA node"),
        plural(counts["l3_domains"], "L3 domain") if counts["l3_domains"] else "no L3 known",
        plural(counts["cores"], "core"),
        plural(counts["cpus"], "CPU"),
        f"{gib(memory)} GiB" if memory else None,
        f"stopped guests hold {stopped['cpus']}" if stopped["cpus"] else None,
    ]
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def _ledger_part(state: str, number: int, total: int) -> Part:
    tone = " a" if state in ("isolated", "dedicated") else ""
    return Part(_percent(number, total), CSS[state] + tone, "", f"{number} of {plural(total, 'CPU')} {_state_name(state)}")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3f}".rstrip("0").rstrip(".")


def _key_entry(state: str, number: int) -> KeyEntry:
    return KeyEntry(Markup(key_sign(state)), f"{number} {_state_name(state)}", _KEY[state])


def _package(view: HostView, package: Document, rails: t.Sequence[Rail]) -> Package:
    name = "NUMA nodes without CPUs" if package["package"] is None else f"Package {package['package']}"
    rows = {n["id"]: sum(len(rows_of(zone)) for zone in _zones(view, package, n["id"])) for n in package["numa_nodes"]}
    span = _span(len(rows), max(rows.values(), default=0))
    cards = tuple(_card(view, package, numa_node["id"], span, rails) for numa_node in package["numa_nodes"])
    return Package(name, f"CPUs {package['cpus']}" if package["cpus"] else "", cards)


def _zones(view: HostView, package: Document, numa_node: int) -> t.List[Zone]:
    return [zone for zone in view.numa_zones(numa_node) if zone.package == package["package"]]


def _span(cards: int, rows: int) -> int:
    """How many of the four columns a card takes: all cards of a package fill a line, but none is wider than its rows."""
    room = 4 if cards == 1 else 2 if cards == 2 else 1
    return 1 if rows < 2 else min(room, 2 if rows < 4 else 4)


def _card(view: HostView, package: Document, numa_node: int, span: int, rails: t.Sequence[Rail]) -> Card:
    zones = _zones(view, package, numa_node)
    document = next(n for n in view.document["now"]["numa_nodes"] if n["id"] == numa_node)
    first = next((p for p in view.document["map"] if any(n["id"] == numa_node for n in p["numa_nodes"])), package)
    return Card(
        name=f"NUMA node {numa_node}",
        span=span,
        free=_free_text(document, bool(zones)),
        zones=tuple(_l3_domain(view, zone, span, rails) for zone in zones),
        memory=_memory_bar(view, document) if first is package else None,
        devices=tuple((device["kind"], f"{device['address']} for {view.guest(device['vmid']).full}") for device in document["devices"]),
    )


def _free_text(document: Document, has_cpus: bool) -> str:
    if not has_cpus:
        return ""
    free = document["cpus"].get("free", 0) + document["cpus"].get("local", 0)
    stranded = document["cpus"].get("stranded", 0)
    return f"{free or 'none'} free" + (f" + {stranded} stranded" if stranded else "")


def _l3_domain(view: HostView, zone: Zone, span: int, rails: t.Sequence[Rail]) -> L3Domain:
    rows = zone_rows(view, zone, rails, marks_of(view, zone))
    wide = max(width for width in (1, 2, 4) if width <= min(span, len(rows)))
    label = f"{zone.place or 'CPUs without an L3 domain'}, NUMA node {zone.numa_node}"
    return L3Domain(label, wide, tuple(Markup(row) for row in rows))


def _memory_bar(view: HostView, document: Document) -> t.Optional[MemoryBar]:
    total = document["memory_mib"]
    if not total:
        return None
    bound = sum(entry["mib"] for entry in document["bound"])
    parts = [Part(_percent(document["reserved_mib"], total), "res", "", f"{gib(document['reserved_mib'])} GiB kept for the host")]
    parts += [_bound_part(view, entry, total) for entry in document["bound"]]
    free = document["free_mib"]
    unbound = 0 if free is None else max(0, total - document["reserved_mib"] - bound - free)
    parts.append(Part(_percent(unbound, total), "unbound", "", f"{gib(unbound)} GiB may be taken by guests that bind no memory"))
    shown = tuple(part for part in parts if part.percent != "0")
    return MemoryBar(gib(total), gib(bound), gib(unbound) if unbound else "", gib(free), shown)


def _bound_part(view: HostView, entry: Document, total: int) -> Part:
    guest = view.guest(entry["vmid"])
    css = {"isolated": "iso", "dedicated": "ded", "local": "loc", "shared": "fre"}.get(guest.cpu_class, "unm")
    if css in ("iso", "ded"):
        css += " " + view.now.tones.get(guest.vmid, "a")
    fits = text_width(str(guest.vmid), 10) + 4 <= _CARD_PIXELS * entry["mib"] / total
    title = f"{gib(entry['mib'])} GiB bound by {guest.full}"
    return Part(_percent(min(entry["mib"], total), total), css, str(guest.vmid) if fits else "", title, guest.vmid)


def _is_long(view: HostView, rail: Rail) -> bool:
    return len({zone.numa_node for zone in view.zones if any(rail.cpus >> cpu & 1 for cpu in zone.cpus)}) > 1


def _long_rails(view: HostView, local: t.Sequence[Rail]) -> t.Iterator[LongRail]:
    """Bars as wide as the host: the pool, local guests across NUMA nodes, and guests that may run anywhere."""
    now = view.document["now"]
    floats = {entry["vmid"]: entry for entry in now["floats"]}
    pooled = [vmid for vmid, entry in floats.items() if entry["in_pool"]]
    pool = count(parse_cpulist(now["pool"]))
    if pooled:
        vcpus = sum(view.guest(vmid).vcpus for vmid in pooled)
        ratio = f", {vcpus / pool:.1f} for each CPU" if pool else ""
        yield _long_rail(view, "pool", "shared", pooled, f"{plural(vcpus, 'vCPU')} on the {plural(pool, 'CPU')} of the pool{ratio}")
    for rail in local:
        yield _long_rail(view, "loc", "local", rail.vmids, f"on {plural(count(rail.cpus), 'CPU')}")
    stored = [v for v, entry in floats.items() if view.guest(v).cpu_class == "shared" and not entry["in_pool"] and not entry["roams"]]
    if stored:
        yield _long_rail(view, "roams", "shared, with an affinity of before", stored, "outside the pool")
    roaming = [vmid for vmid, entry in floats.items() if entry["roams"]]
    for css, title, vmids in (
        ("roams", "unmanaged", [v for v in roaming if view.guest(v).cpu_class == "unmanaged"]),
        ("roams", "not placed yet", [v for v in roaming if view.guest(v).cpu_class != "unmanaged"]),
    ):
        if vmids:
            vcpus = sum(view.guest(vmid).vcpus for vmid in vmids)
            owned = count(_owned(view))
            also = f", {owned} of them dedicated or isolated" if owned else ""
            online = plural(view.document["counts"]["cpus"] - now["cpus"]["offline"], "CPU")
            yield _long_rail(view, css, title, vmids, f"{plural(vcpus, 'vCPU')} may run on all {online}{also}")


def _owned(view: HostView) -> int:
    """The CPUs that dedicated and isolated guests are to have alone."""
    owned = 0
    for claim in view.document["now"]["claims"]:
        if view.guest(claim["vmid"]).cpu_class in ("dedicated", "isolated"):
            owned |= parse_cpulist(claim["cpus"]) | parse_cpulist(claim["idle"])
    return owned


def _long_rail(view: HostView, css: str, title: str, vmids: t.Sequence[int], text: str) -> LongRail:
    marks = tuple(
        f["number"] for f in view.document["findings"] if f["kind"] in ("roaming", "intruder", "unplaced") and set(vmids) & set(f["vmids"])
    )
    return LongRail(css, title, f"{view.names(vmids)} \N{MIDDLE DOT} {text}", " ".join(map(str, vmids)), marks)


def _plan_text(view: HostView) -> str:
    moves = moves_of(view)
    changed = len(view.document["changed"])
    if not changed:
        return "nothing changes"
    if not moves:
        return f"{plural(changed, 'guest')} {'changes' if changed == 1 else 'change'}, no CPU changes hands"
    guests = f"{plural(len(moves), 'guest')} {'gets' if len(moves) == 1 else 'get'} other CPUs"
    return f"{guests}, {plural(cpus_changing(moves), 'CPU')} in all; what is faded stays"


def _change(guest: Document) -> Change:
    now, planned = guest["now"], guest["planned"]
    before, after = ids(now["numa_nodes"]) if not now["roams"] else "any", ids(planned["numa_nodes"])
    return Change(
        vmid=guest["vmid"],
        name=guest["name"],
        before=breakable(where_stored(now, sorted_cpulist)),
        after=breakable(where_stored(planned, sorted_cpulist)),
        numa_nodes=before if before == after else f"{before} \N{RIGHTWARDS ARROW} {after}",
        effect={"pending": "restart", "now": "next start"}.get(guest["effect"], guest["effect"]),
        reason=guest["reason"],
    )


def _guest_row(view: HostView, guest: Document) -> GuestRow:
    now, planned = guest["now"], guest["planned"] or guest["now"]
    notes = [{"lxc": "container"}.get(guest["type"], ""), "" if guest["status"] == "running" else guest["status"]]
    css = {"isolated": "iso", "dedicated": "ded", "local": "loc", "shared": "fre"}.get(guest["class"], "unm")
    return GuestRow(
        vmid=guest["vmid"],
        name=guest["name"],
        notes=", ".join(note for note in notes if note),
        swatch=Markup(swatch(guest["class"])),
        cpu_class=guest["class"],
        vcpus=guest["vcpus"],
        stored=breakable(where_stored(now, sorted_cpulist)),
        planned=breakable(where_stored(planned, sorted_cpulist)),
        where=Markup(spark(view, planned["cpus"] or planned["floats"], css)),
        numa_nodes="any" if planned["roams"] or planned["in_pool"] else ids(planned["numa_nodes"]),
        memory=gib(guest["memory_mib"]),
        memory_mib=guest["memory_mib"],
        findings=tuple(guest["findings"]),
        text=guest["text"],
        plain=guest["state"] in ("as_planned", "stored", "unmanaged") and not guest["findings"],
        find=" ".join([guest["host"], *guest["tags"], guest["pool"] or ""]),
    )
