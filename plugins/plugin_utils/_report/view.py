# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drawings ask of the model: for each CPU of a host its state, its owners, and the sentence that says so.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import (
    cpus_of,
    format_cpulist,
    parse_cpulist,
    parse_ordered,
)
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import listed

Document = t.Mapping[str, t.Any]

# Short names of the states, as the classes in the style sheet; the order is that of every bar and key.
CSS = {
    "isolated": "iso",
    "dedicated": "ded",
    "conflict": "clash",
    "unmanaged": "unm",
    "reserved": "res",
    "local": "loc",
    "free": "fre",
    "stranded": "str",
    "offline": "off",
}
_NOBODYS = {
    "reserved": "reserved for the host",
    "local": "free, a local guest floats here",
    "free": "free",
    "stranded": "stranded: free, but a sibling is held",
    "offline": "offline",
}


@dataclass(frozen=True)
class Cell:
    """One CPU as it is drawn. `idle`: kept idle beside an isolated guest. `sentence`: where it is and whose."""

    cpu: int
    state: str
    owners: t.Tuple[int, ...]
    idle: bool
    css: str
    sentence: str


@dataclass(frozen=True)
class Zone:
    """CPUs of one L3 domain (None: no L3 cache known) in one NUMA node, as cores of cells."""

    package: t.Optional[int]
    numa_node: int
    l3: t.Optional[int]
    cores: t.Tuple[t.Tuple[int, ...], ...]

    @property
    def cpus(self) -> t.Tuple[int, ...]:
        return tuple(cpu for core in self.cores for cpu in core)

    @property
    def place(self) -> str:
        return "" if self.l3 is None else f"L3 domain {self.l3}"


@dataclass(frozen=True)
class GuestName:
    vmid: int
    name: str
    cpu_class: str
    vcpus: int

    @property
    def full(self) -> str:
        return f"{self.vmid} {self.name}" if self.name else str(self.vmid)


@dataclass
class HostView:
    """One host of the model with its map read into zones. `short`: leave the place out of the cells' sentences."""

    document: Document
    guests: t.Mapping[int, GuestName]
    short: bool = False
    zones: t.List[Zone] = field(default_factory=list)

    def __post_init__(self) -> None:
        for package in self.document["map"]:
            for numa_node in package["numa_nodes"]:
                for zone in numa_node["zones"]:
                    cores = tuple(tuple(cpus_of(parse_cpulist(core))) for core in zone["cores"])
                    self.zones.append(Zone(package["package"], numa_node["id"], zone["l3"], cores))

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @cached_property
    def now(self) -> Side:
        return Side(self, self.document["now"])

    @cached_property
    def planned(self) -> t.Optional[Side]:
        return Side(self, self.document["planned"]) if self.document["planned"] else None

    @cached_property
    def core_number(self) -> t.Mapping[int, int]:
        """CPU -> number of its core, counted by lowest CPU."""
        cores = sorted(core for zone in self.zones for core in zone.cores)
        return {cpu: number for number, core in enumerate(cores) for cpu in core}

    @cached_property
    def offline(self) -> t.Tuple[int, ...]:
        return tuple(cpus_of(parse_cpulist(self.document["now"]["states"].get("offline", ""))))

    def numa_zones(self, numa_node: int) -> t.List[Zone]:
        return [zone for zone in self.zones if zone.numa_node == numa_node]

    def guest(self, vmid: int) -> GuestName:
        return self.guests.get(vmid) or GuestName(vmid, "", "unmanaged", 0)

    def names(self, vmids: t.Iterable[int], limit: int = 6) -> str:
        return listed([self.guest(vmid).full for vmid in vmids], limit)

    def place(self, cpu: int, zone: t.Optional[Zone]) -> str:
        """`CPU 33, core 1, L3 domain 0, NUMA node 0`."""
        if zone is None or self.short:
            return f"CPU {cpu}"
        l3 = f", L3 domain {zone.l3}" if zone.l3 is not None else ""
        return f"CPU {cpu}, {self._core_type(cpu)}core {self.core_number[cpu]}{l3}, NUMA node {zone.numa_node}"

    @cached_property
    def _core_types(self) -> t.Mapping[str, int]:
        return {name: parse_cpulist(cpus) for name, cpus in (self.document["core_types"] or {}).items()}

    def _core_type(self, cpu: int) -> str:
        return next((f"{name} " for name, cpus in self._core_types.items() if cpus >> cpu & 1), "")


class Side:
    """One occupancy of a host: as it is now, or as planned."""

    def __init__(self, host: HostView, occupancy: Document) -> None:
        self.host = host
        self.document = occupancy
        self.state_of = {cpu: state for state, cpus in occupancy["states"].items() for cpu in cpus_of(parse_cpulist(cpus))}
        self.claims = {claim["vmid"]: parse_cpulist(claim["cpus"]) for claim in occupancy["claims"]}
        self._owners: t.Dict[int, t.List[int]] = {}
        self._idle: t.Dict[int, int] = {}
        self._vcpu: t.Dict[t.Tuple[int, int], int] = {}
        for claim in occupancy["claims"]:
            for vcpu, cpu in enumerate(parse_ordered(claim["cpus"])):
                self._owners.setdefault(cpu, []).append(claim["vmid"])
                if claim["ordered"]:
                    self._vcpu[claim["vmid"], cpu] = vcpu
            for cpu in cpus_of(parse_cpulist(claim["idle"])):
                self._idle[cpu] = claim["vmid"]

    @cached_property
    def tones(self) -> t.Mapping[int, str]:
        """`a` or `b` for each guest with CPUs of its own, so that neighbours in the drawing differ where two tones allow it."""
        tones: t.Dict[int, str] = {}
        before = None
        for zone in self.host.zones:
            for cpu in zone.cpus:
                owners = self.owners(cpu)
                if len(owners) == 1 and owners[0] != before:
                    tones.setdefault(owners[0], "b" if before is not None and tones.get(before) == "a" else "a")
                    before = owners[0]
        return tones

    def owners(self, cpu: int) -> t.Tuple[int, ...]:
        """The guests that hold `cpu`, or the isolated one for which it is kept idle."""
        if cpu in self._owners:
            return tuple(self._owners[cpu])
        return (self._idle[cpu],) if self.state_of.get(cpu) == "isolated" and cpu in self._idle else ()

    def cell(self, cpu: int, zone: t.Optional[Zone]) -> Cell:
        state = self.state_of[cpu]
        owners = self.owners(cpu)
        idle = state == "isolated" and cpu not in self._owners
        css = CSS[state]
        if idle:
            css = "idle"
        elif state in ("isolated", "dedicated"):
            css += " " + self.tones.get(owners[0], "a")
        return Cell(cpu, state, owners, idle, css, f"{self.host.place(cpu, zone)}: {self._owner_text(cpu, state, owners, idle)}")

    def _owner_text(self, cpu: int, state: str, owners: t.Tuple[int, ...], idle: bool) -> str:
        if not owners:
            return _NOBODYS[state]
        if idle:
            return f"kept idle for {self.host.guest(owners[0]).full}"
        texts = [self._owned(vmid, cpu, state) for vmid in owners]
        if state == "conflict" and len(owners) == 1:
            return f"conflict: reserved for the host, but held by {texts[0]}"
        return f"conflict: {listed(texts)}" if state == "conflict" else listed(texts)

    def _owned(self, vmid: int, cpu: int, state: str) -> str:
        guest = self.host.guest(vmid)
        vcpu = self._vcpu.get((vmid, cpu))
        which = "" if vcpu is None else f", vCPU {vcpu}"
        return f"{guest.full}, {guest.cpu_class if state == 'conflict' else state}{which}"


def host_views(model: Document, short: bool) -> t.List[HostView]:
    guests = {
        guest["vmid"]: GuestName(guest["vmid"], guest["name"], guest["class"] or "unmanaged", guest["vcpus"]) for guest in model["guests"]
    }
    return [HostView(host, guests, short) for host in model["hosts"]]


def sorted_cpulist(cpus: str) -> str:
    """An ordered cpulist in its short, sorted form."""
    return format_cpulist(parse_cpulist(cpus))
