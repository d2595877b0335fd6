# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests planning is about, and what all others hold.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .board import Board, ManagedGuest
from .errors import FactsError
from .existing import stored_holding
from .guest import Guest, describes_host
from .policy import UNMANAGED, Policy, Rule
from .wording import listed


@dataclass(frozen=True)
class Skip:
    """Why a guest stays as it is: `rule` names it for programs, `reason` is the end of a sentence."""

    rule: str
    reason: str


def managed_guests(board: Board) -> t.List[ManagedGuest]:
    """The guests to place, with their rules; what all others hold goes into the books."""
    unread = board.snapshot.unread_hosts
    if board.policy.partial == "refuse":
        _refuse_partial_view(board, unread)
    board.warnings.extend(board.snapshot.host_warnings)
    managed = []
    for guest in board.snapshot.guests:
        if describes_host(guest):
            continue
        rule = board.policy.rule_for(guest, board.snapshot.groups)
        skip = _out_of_view(guest, unread) or not_placeable(guest, rule, board.policy)
        if skip:
            board.skipped.append({"vmid": guest.vmid, "rule": skip.rule, "reason": skip.reason})
        if not guest.node or guest.node in unread:
            continue
        if skip or rule.cpu_class == "unmanaged":
            holding, warnings = stored_holding(guest, board.snapshot.hosts[guest.node])
            board.ledgers[guest.node].hold(guest.vmid, holding)
            board.warnings.extend(warnings)
        else:
            managed.append((guest, _bindable(guest, rule)))
    return managed


def _refuse_partial_view(board: Board, unread: t.Mapping[str, str]) -> None:
    """Raise FactsError unless every host of the cluster was read."""
    if not board.snapshot.online:
        raise FactsError(
            "The snapshot does not tell which hosts the cluster has; read the guests with corepin.proxmox.guest_info, or set "
            "corepin_partial to freeze."
        )
    if not unread:
        return
    hosts = listed([f"{name} {why}" for name, why in unread.items()])
    fix = "add it" if len(unread) == 1 else "add them"
    raise FactsError(
        f"Host{'' if len(unread) == 1 else 's'} {hosts}; {fix} to the inventory and gather {'its' if len(unread) == 1 else 'their'} facts, "
        "or set corepin_partial to freeze."
    )


def _out_of_view(guest: Guest, unread: t.Mapping[str, str]) -> t.Optional[Skip]:
    if not guest.node:
        return Skip("unread_host", "is on no host that is known")
    if guest.node in unread:
        return Skip("unread_host", f"is on host {guest.node}, which {unread[guest.node]}")
    return None


def _bindable(guest: Guest, rule: Rule) -> Rule:
    """The rule without binding where the guest's memory is not known (0 MiB): it could not be shared out over cells."""
    return rule if guest.memory_mib else replace(rule, memory="none")


def not_placeable(guest: Guest, rule: Rule, policy: Policy) -> t.Optional[Skip]:
    """Why a guest gets nothing of what its rule asks for and stays as it is; None where it is placed, or is to be left alone."""
    if rule is UNMANAGED:
        return Skip("no_rule", "matches no rule")
    if rule.cpu_class == "unmanaged":
        return None
    if guest.template:
        return Skip("template", "is a template, for which PVE ignores affinity and NUMA cells")
    if guest.lock:
        return Skip("locked", f"is locked ({guest.lock})")
    if guest.protection and not policy.allow_protected:
        return Skip("protected", "is protected; set corepin_allow_protected to place it all the same")
    if guest.type != "qemu" and rule.cpu_class != "shared":
        return Skip("container", "is a container, which has no affinity and NUMA keys")
    return None
