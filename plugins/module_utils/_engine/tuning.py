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
from .policy import PINNED_CLASSES, Frequency


def tuning_of(board: Board) -> t.Dict[str, t.Dict[str, t.Any]]:
    """Per host with something to do: {busy: [{cpus, governor, epp, vmids}], free: {governor, epp}, interrupts: [{pci, cpus, vmid}]}.

    `busy` has one entry per frequency setting, by its lowest guest; `free` is for all other CPUs, None where nothing is wished
    for; `interrupts` are by guest and device, their CPUs in vCPU order. Rules of guests without CPUs of their own ask in vain,
    which becomes a warning.
    """
    pinned: t.Dict[str, t.List[Placement]] = {node: [] for node in board.ledgers}
    floating: t.Dict[str, t.List[Placement]] = {node: [] for node in board.ledgers}
    for _vmid, placement in sorted(board.placements.items()):
        (pinned if placement.rule.cpu_class in PINNED_CLASSES else floating)[placement.guest.node].append(placement)
    free = None if board.policy.free_cpus == Frequency() else asdict(board.policy.free_cpus)
    tuning: t.Dict[str, t.Dict[str, t.Any]] = {}
    for node, placements in pinned.items():
        _warn_about_floating(board, node, floating[node])
        entry = {"busy": _busy(placements), "free": free, "interrupts": _interrupts(placements)}
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


def _interrupts(placements: t.Sequence[Placement]) -> t.List[t.Dict[str, t.Any]]:
    return [
        {"pci": address, "cpus": format_ordered(placement.cpus), "vmid": placement.guest.vmid}
        for placement in placements
        if placement.rule.irq == "follow"
        for address in sorted(set(placement.guest.hostpci))
    ]


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
