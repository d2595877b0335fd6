# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests planning is about, and what all others hold.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .board import Board, ManagedGuest
from .errors import FactsError
from .existing import stored_holding
from .guest import Guest, describes_host
from .policy import Rule


def managed_guests(board: Board) -> t.List[ManagedGuest]:
    """The guests to place, with their rules; what all others hold goes into the books."""
    unread = board.snapshot.unread_hosts
    if unread and board.policy.partial == "refuse":
        name, why = next(iter(unread.items()))
        raise FactsError(f"Host {name} {why}; add it to the inventory and gather its facts, or set corepin_partial to freeze.")
    board.warnings.extend(board.snapshot.host_warnings)
    managed = []
    for guest in board.snapshot.guests:
        if guest.node in unread or describes_host(guest):
            continue
        rule = board.policy.rule_for(guest, board.snapshot.groups)
        why_not = not_placeable(guest, rule)
        if why_not:
            board.skipped.append({"vmid": guest.vmid, "reason": why_not})
        if why_not or rule.cpu_class == "unmanaged":
            holding, warnings = stored_holding(guest, board.snapshot.hosts[guest.node])
            board.ledgers[guest.node].hold(guest.vmid, holding)
            board.warnings.extend(warnings)
        else:
            managed.append((guest, _bindable(guest, rule)))
    return managed


def _bindable(guest: Guest, rule: Rule) -> Rule:
    """The rule without binding where the guest's memory is not known (0 MiB): it could not be shared out over cells."""
    return rule if guest.memory_mib else replace(rule, memory="none")


def not_placeable(guest: Guest, rule: Rule) -> t.Optional[str]:
    """Why a guest cannot get what its rule asks for and stays as it is, as the end of a sentence; None where it can."""
    if rule.cpu_class == "unmanaged":
        return None
    if guest.template:
        return "is a template, for which PVE ignores affinity and NUMA cells"
    if guest.lock:
        return f"is locked ({guest.lock})"
    if guest.type != "qemu" and rule.cpu_class != "shared":
        return "is a container, which has no affinity and NUMA keys"
    return None
