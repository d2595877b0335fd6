# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a planning run knows and has decided so far.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .cpuset import count, format_ordered, lowest
from .desired import Wanted, pinned_keys
from .errors import PlacementError
from .existing import Settled
from .guest import Cell, Guest, cell_to_mapping
from .ledger import Ledger
from .policy import PINNED_CLASSES, Policy, Rule
from .snapshot import Snapshot
from .start_check import first_fatal, refused_start
from .topology import Host
from .wording import sentence

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
            "vcpu_pinning": ordered,
            "emulator": self.rule.emulator,
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
        self.refused.append({"vmid": guest.vmid, "rule": error.rule, "message": f"{sentence(guest.label)} gets no placement: {error}"})

    def starts_nowhere(self, guest: Guest, rule: Rule) -> bool:
        """Whether the guest would not start on its host whatever place it got, as its config and rule are; then it is refused.

        More vCPUs or memory than the host has are left to the search for a place, which tells how much there is.
        """
        host = self.ledgers[guest.node].host
        cells = _one_cell(guest, rule, host)
        if cells is None or guest.vcpus > count(host.online):
            return False
        return self._stopped_at_start(guest, pinned_keys((lowest(host.online),), cells, guest, rule.hugepages))

    def enter(self, placement: Placement) -> None:
        """Note a placement; a guest that would not start with it is refused and holds nothing."""
        if self._stopped_at_start(placement.guest, placement.wanted):
            self.ledgers[placement.guest.node].release(placement.guest.vmid)
        else:
            self.placements[placement.guest.vmid] = placement

    def _stopped_at_start(self, guest: Guest, wanted: Wanted) -> bool:
        finding = first_fatal(guest, self.ledgers[guest.node].host, wanted)
        if finding:
            self.refuse(guest, PlacementError(refused_start(finding, guest.node), rule=finding.rule))
        return finding is not None


def _one_cell(guest: Guest, rule: Rule, host: Host) -> t.Optional[t.Tuple[Cell, ...]]:
    """All of the guest in one cell, as good as any other for what no place can mend; None where no NUMA node has memory."""
    if rule.memory == "none" or not guest.memory_mib:
        return ()
    numa_node = next((node for node in host.numa_nodes if node.memory_mib != 0), None)
    return None if numa_node is None else (Cell((1 << guest.vcpus) - 1, guest.memory_mib, 1 << numa_node.id, rule.memory),)


def hardest_first(pair: ManagedGuest) -> t.Tuple[t.Any, ...]:
    guest, rule = pair
    strict = rule.cpu_class == "isolated" or rule.siblings == "require"
    return (not strict, -guest.vcpus, -guest.memory_mib, guest.vmid)
