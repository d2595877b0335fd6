# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices whose interrupts are to be placed: from names and addresses to PCI functions, and which functions are protected.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._engine.errors import SettingError
from .cpu_options import named_cpus
from .domains import Facts
from .files import Tree
from .irqs import held_by_vfio
from .nics import OVS, has_stray_address, read_nics
from .pci import ADDRESS, DEVICES

_WRITTEN = re.compile(r"^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2})(?:\.([0-7]))?$")


@dataclass(frozen=True)
class DeviceSet:
    """PCI functions whose interrupts go to `cpus`, in this order. `name` is what messages call the set.

    `device` is what was asked for, as it was written; `required`: it is a mistake if these may not be placed.
    """

    name: str
    functions: t.Tuple[str, ...]
    cpus: t.Tuple[int, ...]
    device: str
    required: bool


class AbsentDevice(SettingError):
    """A device that is named is not on this host."""


class Devices:
    """The PCI functions and network interfaces of a host; read as they are asked for, once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.functions: t.Tuple[str, ...] = tuple(name for name in tree.names(DEVICES) or () if ADDRESS.match(name))
        self._nics: t.Optional[t.Dict[str, Facts]] = None

    def physical_function(self, function: str) -> t.Optional[str]:
        return self._tree.link_name(f"{DEVICES}/{function}/physfn")

    def given_away(self, function: str) -> bool:
        """Whether a guest has the function, or may have it: vfio-pci holds it."""
        return held_by_vfio(self._tree, function)

    def local_cpus(self, function: str) -> int:
        """The CPUs near the function as a mask; 0 where the kernel does not say."""
        return self._tree.cpulist(f"{DEVICES}/{function}/local_cpulist") or 0

    def at(self, text: str, name: str, virtual_functions: bool) -> t.Tuple[str, ...]:
        """The functions at a PCI address: one, or all of a device. Raises AbsentDevice where there is none, SettingError.

        Virtual functions beside or below these belong to them only with `virtual_functions`.
        """
        match = _WRITTEN.match(text.strip().lower())
        if not match:
            raise SettingError(f"{text!r} of {name} is no PCI address; write 0000:41:00.0, or 0000:41:00 for all functions of the device.")
        domain, device, function = match.groups()
        address = f"{domain or '0000'}:{device}"
        found = [f"{address}.{function}"] if function else [here for here in self.functions if here.rpartition(".")[0] == address]
        if not found or found[0] not in self.functions:
            raise AbsentDevice(f"PCI device {text} of {name} does not exist on this host; see lspci -D.")
        physical = {here: self.physical_function(here) for here in (self.functions if virtual_functions else found)}
        own = [here for here in found if physical[here] not in found]
        below = [here for here, above in physical.items() if above in own] if virtual_functions else []
        return tuple(sorted({*own, *below}))

    @property
    def nics(self) -> t.Dict[str, Facts]:
        """The interfaces by name, as nics.read_nics reads them."""
        if self._nics is None:
            self._nics = {facts["name"]: facts for facts in read_nics(self._tree) or ()}
        return self._nics

    def talking(self) -> t.List[str]:
        """The interfaces by which this host talks, as far as there is hardware beneath them.

        Where an address shows no hardware (Open vSwitch, a tunnel, /32), any card may carry it, besides virtual functions.
        """
        with_address = [name for name, facts in self.nics.items() if facts["addresses"]]
        found = [name for name in with_address if self.beneath(name)]
        if len(found) == len(with_address) and not has_stray_address(self._tree):
            return found
        cards = {name: facts for name, facts in self.nics.items() if facts["pci"]}
        return found + [name for name, facts in cards.items() if facts["master"] == OVS or not self.physical_function(facts["pci"])]

    def beneath(self, nic: str) -> t.Tuple[str, ...]:
        """The PCI functions of a network interface itself, and of those that it stands on: ports of a bond or bridge."""
        seen: t.Set[str] = set()
        functions: t.Set[str] = set()
        left = [nic]
        while left:
            facts = self.nics[left.pop()]
            if facts["name"] not in seen:
                seen.add(facts["name"])
                functions.update([facts["pci"]] if facts["pci"] else [])
                left += facts["lower"]
        return tuple(sorted(functions))

    def behind(self, nic: str, name: str) -> t.Tuple[str, ...]:
        """The PCI functions of an interface that `name` names. Raises AbsentDevice where there is none, SettingError where it has none."""
        if nic not in self.nics:
            raise AbsentDevice(f"NIC {nic!r} of {name} does not exist on this host, or has neither hardware nor an address; see ip link.")
        functions = self.beneath(nic)
        if not functions:
            raise SettingError(f"NIC {nic!r} of {name} has no PCI device beneath it; name one that has.")
        return functions


def device_sets(
    devices: Devices, entries: t.Sequence[t.Mapping[str, t.Any]], online: int, present: int
) -> t.Tuple[t.List[DeviceSet], t.List[str]]:
    """The sets of the option `devices` (pci or nic, cpus, virtual_functions, required), and the devices that are absent and not required.

    Raises SettingError, also for a device in two sets.
    """
    sets: t.List[DeviceSet] = []
    missing: t.List[str] = []
    owners: t.Dict[str, str] = {}
    for number, entry in enumerate(entries):
        name = f"devices[{number}]"
        cpus = tuple(named_cpus(name, entry["cpus"], online, present))
        device, required = str(entry.get("pci") or entry.get("nic")), bool(entry.get("required", True))
        try:
            functions = _functions(devices, entry, name)
        except AbsentDevice:
            if required:
                raise
            missing.append(device)
            continue
        for function in functions:
            if function in owners:
                raise SettingError(f"PCI device {function} is in {owners[function]} and in {name}; name each device in one entry.")
            owners[function] = name
        sets.append(DeviceSet(name, functions, cpus, device, required))
    return sets, missing


def _functions(devices: Devices, entry: t.Mapping[str, t.Any], name: str) -> t.Tuple[str, ...]:
    if entry.get("pci"):
        return devices.at(entry["pci"], name, bool(entry.get("virtual_functions")))
    if entry.get("nic"):
        return devices.behind(entry["nic"], name)
    raise SettingError(f"{name} names no device; give it pci or nic.")


def protected_functions(devices: Devices, nics: t.Optional[t.Sequence[str]], allowed: t.Collection[str]) -> t.Dict[str, str]:
    """The functions that nobody may touch, each with the protected NIC that is the reason. Raises SettingError.

    None protects every NIC by which this host talks. A NIC protects its function, that one's physical function, and what else
    of the same devices this host uses.
    """
    names = devices.talking() if nics is None else nics
    protected: t.Dict[str, str] = {}
    for nic in names:
        for function in () if nic in allowed else devices.behind(nic, "protected"):
            for here in (function, *_company(devices, function)):
                protected.setdefault(here, nic)
    free = {function for nic in allowed if nic in devices.nics for function in devices.beneath(nic)}
    return {function: nic for function, nic in protected.items() if function not in free}


def _company(devices: Devices, function: str) -> t.List[str]:
    own = devices.physical_function(function) or function
    beside = [here for here in devices.functions if here.rpartition(".")[0] == own.rpartition(".")[0]]
    return [own, *(here for here in beside if not devices.physical_function(here) and not devices.given_away(here))]


def without_protected(
    devices: Devices, sets: t.Sequence[DeviceSet], protected: t.Mapping[str, str]
) -> t.Tuple[t.List[DeviceSet], t.List[str]]:
    """The sets that have no protected function, and the devices of the others. Raises SettingError where one of these is required."""
    left: t.List[DeviceSet] = []
    refused: t.List[str] = []
    for entry in sets:
        found = next((function for function in entry.functions if function in protected), None)
        if found is None:
            left.append(entry)
        elif entry.required:
            raise SettingError(_refusal(devices, entry, found, protected[found]))
        else:
            refused.append(entry.device)
    return left, refused


def _refusal(devices: Devices, entry: DeviceSet, function: str, nic: str) -> str:
    """Never the advice to give up the protection of `nic` for a neighbour's sake."""
    carrying = devices.beneath(nic)
    own = sorted(name for name, facts in devices.nics.items() if facts["pci"] == function)
    ways = ["leave it out"]
    if own:
        ways.append(f"name {own[0]}, its own interface, in allow_protected")
    elif function not in map(devices.physical_function, carrying):
        ways.append("bind it to vfio-pci, as a start of its guest does, for then this host does not use it")
    relation = "carries" if function in carrying else "is on the same card as"
    return f"PCI device {function} of {entry.name} {relation} the protected NIC {nic}; {', or '.join(ways)}."
