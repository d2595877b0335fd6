# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host shall do for its guests beside giving them CPUs: governors of their CPUs, and the interrupts of their devices.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .board import Board, Placement
from .cpuset import format_cpulist, format_ordered, mask_of
from .frequency import Offer, reads_back_otherwise
from .guest import Guest, has_function
from .policy import PINNED_CLASSES, Frequency
from .wording import listed


def tuning_of(board: Board) -> t.Dict[str, t.Dict[str, t.Any]]:
    """Per host with something to do: {busy: [{cpus, governor, epp, vmids}], free: {governor, epp}, interrupts: [{pci, cpus, vmid}]}.

    `busy` has one entry per frequency setting, by its lowest guest; `free` is for all other CPUs, None where nothing is wished
    for; `interrupts` are by guest and device, their CPUs in vCPU order. A device that several guests name goes to the one that
    runs. Rules of guests without CPUs of their own ask in vain, and so do those of guests of which nothing tells who has the
    device, and wishes for what no CPU of the host offers; all become warnings.
    """
    pinned: t.Dict[str, t.List[Placement]] = {node: [] for node in board.ledgers}
    floating: t.Dict[str, t.List[Placement]] = {node: [] for node in board.ledgers}
    for _vmid, placement in sorted(board.placements.items()):
        (pinned if placement.rule.cpu_class in PINNED_CLASSES else floating)[placement.guest.node].append(placement)
    free = None if board.policy.free_cpus == Frequency() else asdict(board.policy.free_cpus)
    tuning: t.Dict[str, t.Dict[str, t.Any]] = {}
    for node, placements in pinned.items():
        _warn_about_floating(board, node, floating[node])
        busy = _busy(placements)
        entry = {"busy": busy, "free": free, "interrupts": _interrupts(board, node, placements)}
        _warn_about_offer(board, node, [*busy, *([free] if free else [])])
        if any(entry.values()):
            tuning[node] = entry
    return tuning


def _busy(placements: t.Sequence[Placement]) -> t.List[t.Dict[str, t.Any]]:
    groups: t.Dict[Frequency, t.List[Placement]] = {}
    for placement in placements:
        wish = Frequency(placement.rule.governor, placement.rule.epp)
        if wish != Frequency():
            groups.setdefault(wish, []).append(placement)
    return [
        {
            "cpus": format_cpulist(mask_of(cpu for placement in group for cpu in placement.cpus)),
            **asdict(wish),
            "vmids": [placement.guest.vmid for placement in group],
        }
        for wish, group in groups.items()
    ]


def _interrupts(board: Board, node: str, placements: t.Sequence[Placement]) -> t.List[t.Dict[str, t.Any]]:
    following = {placement.guest.vmid: placement for placement in placements if placement.rule.irq == "follow"}
    if not following:
        return []
    namers = _guests_by_device(board.snapshot.guests, node)
    entries: t.List[t.Dict[str, t.Any]] = []
    undecided: t.Dict[t.Tuple[int, ...], t.List[str]] = {}
    for vmid, placement in following.items():
        for address in _each_once(placement.guest.hostpci):
            rivals = [guest for guest, other in namers[_device(address)] if guest.vmid != vmid and _overlap(address, other)]
            running = any(guest.running for guest in rivals)
            if rivals and placement.guest.running == running:
                group = tuple(sorted({vmid, *(guest.vmid for guest in rivals)}))
                undecided.setdefault(group, []).append(address)
            elif not running:
                entries.append({"pci": address, "cpus": format_ordered(placement.cpus), "vmid": vmid})
    _warn_about_undecided(board, node, undecided)
    return entries


def _guests_by_device(guests: t.Iterable[Guest], node: str) -> t.Dict[str, t.List[t.Tuple[Guest, str]]]:
    """Device without function -> the guests of the host that name it or functions of it, each with the address that it names."""
    namers: t.Dict[str, t.List[t.Tuple[Guest, str]]] = {}
    for guest in guests:
        for address in guest.hostpci if guest.node == node and not guest.template else ():
            namers.setdefault(_device(address), []).append((guest, address))
    return namers


def _device(address: str) -> str:
    return address.partition(".")[0]


def _overlap(one: str, other: str) -> bool:
    return has_function(one, other) or has_function(other, one)


def _each_once(addresses: t.Iterable[str]) -> t.List[str]:
    """Sorted, without functions of devices that are there as a whole."""
    given = sorted(set(addresses))
    return [address for address in given if _device(address) == address or _device(address) not in given]


def _warn_about_undecided(board: Board, node: str, undecided: t.Mapping[t.Tuple[int, ...], t.Sequence[str]]) -> None:
    for vmids, addresses in undecided.items():
        board.warnings.append(
            f"On host {node} the guests {', '.join(map(str, vmids))} may have PCI device {', '.join(sorted(set(addresses)))}, and not just "
            "one of them runs, so that its interrupts follow none of them; make a new plan when one runs, or give each guest devices of "
            "its own."
        )


def _warn_about_floating(board: Board, node: str, placements: t.Sequence[Placement]) -> None:
    asking = [
        placement.guest.vmid
        for placement in placements
        if placement.rule.governor or placement.rule.epp or (placement.rule.irq == "follow" and placement.guest.hostpci)
    ]
    if asking:
        board.warnings.append(
            f"On host {node} the rules of guests {', '.join(map(str, asking))} set governor, epp or irq, which only guests of the classes "
            "dedicated and isolated have CPUs for; give them one of these classes, or leave these keys out."
        )


def _warn_about_offer(board: Board, node: str, wishes: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    offer = board.ledgers[node].host.frequency
    if not wishes or offer is None:
        return
    if offer == Offer():
        board.warnings.append(
            f"Host {node} has no frequency scaling, so that the governors and energy preferences of rules or free_cpus cannot be set "
            "there; see whether its firmware keeps that to itself."
        )
        return
    unknown = [*_unknown(wishes, "governor", "governor", offer.governors), *_unknown(wishes, "epp", "energy preference", offer.epps)]
    if unknown:
        board.warnings.append(
            f"Host {node} does not offer {listed(unknown)} of rules or free_cpus, so that the playbook tune will fail there; its "
            f"governors are {listed(offer.governors) or 'not known'}, and its energy preferences {listed(offer.epps) or 'none'}."
        )


def _unknown(wishes: t.Sequence[t.Mapping[str, t.Any]], key: str, word: str, offered: t.Collection[str]) -> t.List[str]:
    """Numbers and `default` are no names of preferences: what becomes of them shows when they are set."""
    asked = {str(wish[key]) for wish in wishes if wish[key] is not None}
    known = {*offered, *(value for value in asked if key == "epp" and reads_back_otherwise(value))}
    return [f"the {word} {value}" for value in sorted(asked - known)]
