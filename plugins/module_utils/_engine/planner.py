# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a snapshot and a policy to a plan: who runs where, what has to be written, and why.

The order is fixed, so that the same input in any order gives the same plan: what guests hold that are not managed;
existing placements that may stay, by vmid; then guests with CPUs of their own, hardest first; then guests that float
in an L3 domain; then the shared pool.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .automatic import automatic_warnings
from .board import Board, ManagedGuest, Placement, hardest_first
from .cpuset import format_cpulist, mask_of
from .desired import differences, waiting
from .existing import stored_cpus, stored_holding
from .guest import Guest
from .ledger import Ledger
from .pinned import arrange_pinned
from .plan import SCHEMA, sealed
from .policy import PINNED_CLASSES, Policy
from .requests import place_requests
from .scope import managed_guests
from .score import Vector, score
from .snapshot import Snapshot
from .topology import Host
from .tuning import tuning_of
from .unpinned import place_local, place_shared, warn_about_floating_guests


def place(snapshot: Snapshot, policy: Policy) -> t.Dict[str, t.Any]:
    """The plan document for `snapshot` under `policy`. Raises FactsError or PolicyError, never for a single guest."""
    board = Board(
        snapshot,
        policy,
        {name: Ledger(host, policy.reservation(name), policy.overcommit_memory) for name, host in snapshot.hosts.items()},
    )
    for name, host in snapshot.hosts.items():
        board.warnings.extend(automatic_warnings(host, policy.reservation(name)))
    managed = managed_guests(board)
    before = _score_before(board, managed)
    pinned = [(guest, rule) for guest, rule in managed if rule.cpu_class in PINNED_CLASSES]
    arrange_pinned(board, pinned)
    for guest, rule in sorted((pair for pair in managed if pair[1].cpu_class == "local"), key=hardest_first):
        place_local(board, guest, rule)
    for guest, rule in managed:
        if rule.cpu_class == "shared":
            place_shared(board, guest, rule)
    warn_about_floating_guests(board, managed)
    _warn_about_refused_guests(board)
    tuning = tuning_of(board)
    content = {**_content(board, before), "pools": _pools(board)}
    return sealed({**content, "tuning": tuning, "requests": place_requests(board)})


def _pools(board: Board) -> t.Dict[str, t.Dict[str, str]]:
    """Per host, as cpulists, the CPUs that it keeps for itself and those over which shared guests float."""
    return {
        name: {"reserved": format_cpulist(ledger.reserved), "shared": format_cpulist(ledger.free)} for name, ledger in board.ledgers.items()
    }


def _warn_about_refused_guests(board: Board) -> None:
    """Name the CPUs that a refused guest keeps, because nothing is written for it, although others get them."""
    refused = {entry["vmid"] for entry in board.refused}
    for guest in board.snapshot.guests:
        if guest.vmid not in refused:
            continue
        kept, _warnings = stored_cpus(guest, board.snapshot.hosts[guest.node])
        for placement in board.placements.values():
            both = kept & mask_of(placement.cpus) if placement.rule.cpu_class in PINNED_CLASSES else 0
            if both and placement.guest.node == guest.node:
                board.warnings.append(
                    f"CPUs {format_cpulist(both)} of host {guest.node} go to {placement.guest.label}, but {guest.label}, which was "
                    "refused, keeps them too; take them from it or stop it first."
                )


def _score_before(board: Board, managed: t.Sequence[ManagedGuest]) -> Vector:
    """The vector of what the configs hold now; a managed guest without CPUs of its own counts as unplaced."""
    total = Vector()
    pinned: t.Dict[str, t.List[Guest]] = {}
    for guest, rule in managed:
        if rule.cpu_class in PINNED_CLASSES:
            pinned.setdefault(guest.node, []).append(guest)
    for name, ledger in board.ledgers.items():
        claims = ledger.claims()
        unplaced = 0
        for guest in pinned.get(name, ()):
            holding, warnings = stored_holding(guest, ledger.host)
            board.warnings.extend(warnings)
            if holding.cpus:
                claims.append(holding.claim)
            else:
                unplaced += guest.vcpus
        total += score(ledger.host, claims, unplaced, ledger.reserved)
    return total


def _score_after(board: Board) -> Vector:
    total = Vector()
    guests = {guest.vmid: guest for guest in board.snapshot.guests}
    unplaced: t.Dict[str, int] = {}
    moves: t.Dict[str, int] = {}
    for entry in board.refused:
        guest = guests[entry["vmid"]]
        unplaced[guest.node] = unplaced.get(guest.node, 0) + guest.vcpus
    for placement in board.placements.values():
        node = placement.guest.node
        moves[node] = moves.get(node, 0) + _moves(placement, board.ledgers[node].host)
    for name, ledger in board.ledgers.items():
        total += ledger.vector(unplaced.get(name, 0), moves.get(name, 0))
    return total


def _moves(placement: Placement, host: Host) -> bool:
    """Whether a guest that had CPUs of its own gets others."""
    if placement.kept or placement.rule.cpu_class not in PINNED_CLASSES:
        return False
    present, _warnings = stored_cpus(placement.guest, host)
    return bool(present) and present != mask_of(placement.cpus)


def _changes(board: Board) -> t.List[t.Dict[str, t.Any]]:
    changes = []
    for _vmid, placement in sorted(board.placements.items()):
        guest = placement.guest
        before, after = differences(guest, placement.wanted)
        restarts = board.policy.restarts(guest)
        if restarts and not after:
            before, after = waiting(guest, placement.wanted)
        if after:
            changes.append(
                {
                    "vmid": guest.vmid,
                    "node": guest.node,
                    "digest": guest.digest,
                    "before": before,
                    "after": after,
                    "effect": "now" if not guest.running else "restart" if restarts else "pending",
                    "reason": placement.reason,
                }
            )
    return changes


def _content(board: Board, before: Vector) -> t.Dict[str, t.Any]:
    changes = _changes(board)
    skipped = sum(1 for entry in board.skipped if entry["rule"] != "no_rule")
    hosts = board.snapshot.hosts
    return {
        "schema": SCHEMA,
        "created_at": max((host.gathered_at for host in hosts.values() if host.gathered_at), default=None),
        "cluster": board.snapshot.cluster_name,
        "hosts": {name: host.fingerprint for name, host in hosts.items()},
        "placements": [placement.as_dict() for _vmid, placement in sorted(board.placements.items())],
        "changes": changes,
        "refused": sorted(board.refused, key=lambda entry: entry["vmid"]),
        "skipped": sorted(board.skipped, key=lambda entry: entry["vmid"]),
        "moves": board.moves,
        "warnings": board.warnings,
        "summary": {
            "guests": len(board.snapshot.guests),
            "placed": len(board.placements),
            "kept": sum(1 for placement in board.placements.values() if placement.kept),
            "changed": len(changes),
            "pending": sum(1 for change in changes if change["effect"] == "pending"),
            "refused": len(board.refused),
            "skipped": skipped,
            "unmanaged": len(board.snapshot.guests) - len(board.placements) - len(board.refused) - skipped,
            "hosts": {name: ledger.summary() for name, ledger in board.ledgers.items()},
        },
        "score": {"before": before.as_dict(), "after": _score_after(board).as_dict()},
    }
