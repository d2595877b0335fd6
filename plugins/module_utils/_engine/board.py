# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a planning run knows and has decided so far.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .cpuset import format_ordered
from .desired import Wanted
from .errors import PlacementError
from .existing import Settled
from .guest import Cell, Guest, cell_to_mapping
from .ledger import Ledger
from .policy import PINNED_CLASSES, Policy, Rule
from .snapshot import Snapshot

ManagedGuest = t.Tuple[Guest, Rule]


@dataclass(frozen=True)
class Placement:
    """What one guest gets. `cpus` are in vCPU order for guests with CPUs of their own, else sorted."""

    guest: Guest
    rule: Rule
    cpus: t.Tuple[int, ...]
    cells: t.Tuple[Cell, ...]
    wanted: Wanted
    reason: str
    kept: bool = False

    def as_dict(self) -> t.Dict[str, t.Any]:
        ordered = self.rule.vcpu_pinning and self.rule.cpu_class in PINNED_CLASSES
        return {
            "vmid": self.guest.vmid,
            "node": self.guest.node,
            "class": self.rule.cpu_class,
            "cpus": format_ordered(self.cpus if ordered else sorted(self.cpus)),
            "numa_cells": [cell_to_mapping(cell) for cell in self.cells],
            "reason": self.reason,
        }


@dataclass
class Board:
    """The state of one planning run."""

    snapshot: Snapshot
    policy: Policy
    ledgers: t.Dict[str, Ledger]
    placements: t.Dict[int, Placement] = field(default_factory=dict)
    settled: t.Dict[int, Settled] = field(default_factory=dict)
    unsettled: t.Dict[int, str] = field(default_factory=dict)
    refused: t.List[t.Dict[str, t.Any]] = field(default_factory=list)
    skipped: t.List[t.Dict[str, t.Any]] = field(default_factory=list)
    moves: t.List[t.Dict[str, t.Any]] = field(default_factory=list)
    warnings: t.List[str] = field(default_factory=list)

    def refuse(self, guest: Guest, error: PlacementError) -> None:
        self.refused.append({"vmid": guest.vmid, "rule": error.rule, "message": f"{capitalised(guest.label)} gets no placement: {error}"})


def hardest_first(pair: ManagedGuest) -> t.Tuple[t.Any, ...]:
    guest, rule = pair
    strict = rule.cpu_class == "isolated" or rule.siblings == "require"
    return (not strict, -guest.vcpus, -guest.memory_mib, guest.vmid)


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
