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
from dataclasses import dataclass, field

from . import explain
from .allocator import Choice, Demand
from .arrangement import Arrangement, Seat, check_memory
from .cells import cells_of
from .cpuset import count, cpus_of, format_cpulist, format_ordered
from .desired import Wanted, differences, pinned_keys, shared_keys
from .errors import FactsError, PlacementError
from .existing import Settled, settled, spans_hostnodes, stored_cpus, stored_holding
from .floating import Pool, choose_pool
from .guest import Cell, Guest, cell_to_mapping
from .ledger import Holding, Ledger
from .plan import SCHEMA, sealed
from .policy import PINNED_CLASSES, Policy, Rule
from .repack import Move, best_moves
from .repair import arrange
from .score import Vector, score
from .snapshot import Snapshot
from .topology import Host

# Trials of the search for better arrangements: in all, and at least for each host.
TRIALS, MIN_TRIALS = 12000, 300

# How many re-placements `repack: suggest` lists at most.
SUGGESTIONS = 5

# karpenter's dummy guest that only describes a host: it never starts and holds nothing.
_NODE_CAPACITY_NAME, _NODE_CAPACITY_TAG = "node-capacity", "karpenter"


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
class _Board:
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
        self.refused.append({"vmid": guest.vmid, "rule": error.rule, "message": f"{_capitalised(guest.label)} gets no placement: {error}"})


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def place(snapshot: Snapshot, policy: Policy) -> t.Dict[str, t.Any]:
    """The plan document for `snapshot` under `policy`. Raises FactsError or PolicyError, never for a single guest."""
    board = _Board(
        snapshot,
        policy,
        {name: Ledger(host, policy.reservation(name), policy.overcommit_memory) for name, host in snapshot.hosts.items()},
    )
    managed = _managed_guests(board)
    before = _score_before(board, managed)
    pinned = [(guest, rule) for guest, rule in managed if rule.cpu_class in PINNED_CLASSES]
    _arrange_pinned(board, pinned)
    for guest, rule in sorted((pair for pair in managed if pair[1].cpu_class == "local"), key=_hardest_first):
        _place_local(board, guest, rule)
    for guest, rule in managed:
        if rule.cpu_class == "shared":
            _place_shared(board, guest, rule)
    _warn_about_floating_guests(board, managed)
    return _document(board, before)


def _hardest_first(pair: t.Tuple[Guest, Rule]) -> t.Tuple[t.Any, ...]:
    guest, rule = pair
    strict = rule.cpu_class == "isolated" or rule.siblings == "require"
    return (not strict, -guest.vcpus, -guest.memory_mib, guest.vmid)


def _managed_guests(board: _Board) -> t.List[t.Tuple[Guest, Rule]]:
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
            managed.append((guest, rule))
    return managed


def describes_host(guest: Guest) -> bool:
    """Whether it is karpenter's dummy guest, which belongs into neither books nor reports."""
    return guest.name == _NODE_CAPACITY_NAME and _NODE_CAPACITY_TAG in guest.tags


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


def _demand(guest: Guest, rule: Rule, host: Host) -> Demand:
    hugepages = rule.hugepages or guest.hugepages
    near = 0
    if rule.devices != "ignore":
        near = device_cpus(guest, host)
    return Demand(
        vcpus=guest.vcpus,
        memory_mib=0 if rule.memory == "none" else guest.memory_mib,
        memory_step={None: 1, "any": 2, "2": 2, "1024": 1024}.get(hugepages, 1),
        siblings=rule.siblings,
        isolated=rule.cpu_class == "isolated",
        numa=rule.numa,
        core_type=rule.core_type,
        near=near,
        near_required=rule.devices == "require",
    )


def device_cpus(guest: Guest, host: Host) -> int:
    """The CPUs local to the PCI devices passed to `guest`; 0 where it has none or their place is unknown."""
    near = 0
    for address in guest.hostpci:
        for device in host.pci_devices.values():
            if device.address == address or device.address.startswith(address + "."):
                numa_node = host.numa_node_by_id.get(device.numa_node if device.numa_node is not None else -1)
                near |= numa_node.cpus if numa_node else 0
    return near


def _arrange_pinned(board: _Board, pairs: t.Sequence[t.Tuple[Guest, Rule]]) -> None:
    """Places for all guests with CPUs of their own, host by host; then the moves that the policy allows."""
    by_host: t.Dict[str, t.List[t.Tuple[Guest, Rule]]] = {}
    for guest, rule in sorted(pairs, key=lambda pair: (spans_hostnodes(pair[0]), pair[0].vmid)):
        by_host.setdefault(guest.node, []).append((guest, rule))
    arrangements = {name: _arrangement(board, board.ledgers[name], by_host[name]) for name in sorted(by_host)}
    for arrangement in arrangements.values():
        arrange(arrangement, max(MIN_TRIALS, TRIALS // len(arrangements)))
    _repack(board, arrangements)
    for name, arrangement in arrangements.items():
        for guest, rule in by_host[name]:
            if guest.vmid in arrangement.seats:
                _seat(board, guest, rule, arrangement)


def _arrangement(board: _Board, ledger: Ledger, pairs: t.Sequence[t.Tuple[Guest, Rule]]) -> Arrangement:
    """The host's pinned guests: those that may stay are in their places, the others wait."""
    arrangement = Arrangement(ledger, [])
    waiting = []
    for guest, rule in pairs:
        seat = Seat(guest.vmid, _demand(guest, rule, ledger.host), guest.memory_mib)
        if _device_lost(board, guest, rule, seat):
            continue
        try:
            check_memory(ledger, guest.memory_mib)
            stay = settled(guest, ledger.room(), seat.demand, rule.memory, ledger.reserved)
        except PlacementError as e:
            board.unsettled[guest.vmid] = str(e)
            waiting.append(seat)
        else:
            board.settled[guest.vmid] = stay
            arrangement.add(seat, stay.choice(ledger.host))
    arrangement.seats.update({seat.vmid: seat for seat in waiting})
    return arrangement


def _device_lost(board: _Board, guest: Guest, rule: Rule, seat: Seat) -> bool:
    """Whether a guest has to be refused because nobody knows where its device is; said also where that is tolerated."""
    if not guest.hostpci or rule.devices == "ignore" or seat.demand.near:
        return False
    what = f"the NUMA node of its device {', '.join(guest.hostpci)} is not known on host {guest.node}"
    if rule.devices == "prefer":
        board.warnings.append(f"{_capitalised(guest.label)} is placed without regard to its device: {what}.")
        return False
    board.refuse(guest, PlacementError(f"{what}; set devices: prefer to place it all the same.", rule="device"))
    return True


def _repack(board: _Board, arrangements: t.Mapping[str, Arrangement]) -> None:
    """Carry out or only list the re-placements that the policy asks for, the most gainful first."""
    asked = board.policy.repack
    if asked == "never" or asked == 0:
        return
    most = SUGGESTIONS if asked == "suggest" else int(asked)
    starts = {name: arrangement.state() for name, arrangement in arrangements.items()}
    found = {name: best_moves(arrangement, arrangement.fixed, most) for name, arrangement in arrangements.items()}
    taken = dict.fromkeys(found, 0)
    for _turn in range(most):
        waiting = [name for name in found if taken[name] < len(found[name])]
        if not waiting:
            break
        name = max(waiting, key=lambda host: (found[host][taken[host]].gain, host))
        board.moves.append(_move_entry(board, name, found[name][taken[name]]))
        taken[name] += 1
    for name, arrangement in arrangements.items():
        kept = 0 if asked == "suggest" else taken[name]
        arrangement.restore(found[name][kept - 1].state if kept else starts[name])


def _move_entry(board: _Board, node: str, move: Move) -> t.Dict[str, t.Any]:
    guest = next(guest for guest in board.snapshot.guests if guest.vmid == move.vmid)
    host = board.snapshot.hosts[node]
    return {
        "vmid": move.vmid,
        "node": node,
        "from": format_cpulist(move.before_cpus),
        "to": format_cpulist(move.after_cpus),
        "before": move.before.as_dict(),
        "after": move.after.as_dict(),
        "cost": explain.cost_of_move(guest, host, move.before_cpus, move.after_cpus, board.policy),
        "reason": explain.moved(guest, host, move),
    }


def _seat(board: _Board, guest: Guest, rule: Rule, arrangement: Arrangement) -> None:
    """Enter the guest's placement, or why it has none."""
    ledger = arrangement.ledger
    if guest.vmid in arrangement.refusals:
        board.refuse(guest, arrangement.refusals[guest.vmid])
        return
    choice = arrangement.choices[guest.vmid]
    stay = board.settled.get(guest.vmid)
    if stay is not None and stay.choice(ledger.host) == choice:
        cpus, cells, reason, kept = stay.cpus, stay.cells, explain.kept(ledger.host, stay.cpus), True
    else:
        try:
            cells = _cells(ledger.host, choice, rule, arrangement.seats[guest.vmid].demand)
        except PlacementError as e:
            ledger.release(guest.vmid)
            board.refuse(guest, e)
            return
        why = board.unsettled.get(guest.vmid) if guest.next_config.get("affinity") else None
        cpus, reason, kept = choice.cpus, explain.chosen(ledger.host, choice, why), False
    wanted = pinned_keys(cpus, cells, guest, rule.hugepages)
    board.placements[guest.vmid] = Placement(guest, rule, cpus, cells, wanted, reason, kept)


def _cells(host: Host, choice: Choice, rule: Rule, demand: Demand) -> t.Tuple[Cell, ...]:
    if rule.memory == "none":
        return ()
    return tuple(cells_of(host, choice.shares, rule.memory, demand.memory_step, demand.memory_step > 1))


def _pool(ledger: Ledger) -> int:
    return ledger.free


def _place_local(board: _Board, guest: Guest, rule: Rule) -> None:
    ledger = board.ledgers[guest.node]
    taken = [p for p in board.placements.values() if p.guest.node == guest.node and p.rule.cpu_class == "local"]
    loads = [Pool(_mask(p.cpus), p.guest.vcpus) for p in taken]
    present, _warnings = stored_cpus(guest, ledger.host)
    memory_mib = 0 if rule.memory == "none" else guest.memory_mib
    try:
        check_memory(ledger, guest.memory_mib)
        cpus, numa_node = choose_pool(ledger.room(), _pool(ledger), guest.vcpus, memory_mib, loads, present)
    except PlacementError as e:
        board.refuse(guest, e)
        return
    bound = {numa_node: memory_mib} if memory_mib else {}
    ledger.hold(guest.vmid, Holding(guest.vcpus, 0, 0, bound, guest.memory_mib - memory_mib))
    cells = (Cell((1 << guest.vcpus) - 1, memory_mib, 1 << numa_node, rule.memory),) if memory_mib else ()
    ordered = tuple(cpus_of(cpus))
    wanted = pinned_keys(ordered, cells, guest, rule.hugepages)
    reason = explain.floats(ledger.host, cpus)
    board.placements[guest.vmid] = Placement(guest, rule, ordered, cells, wanted, reason)


def _mask(cpus: t.Iterable[int]) -> int:
    mask = 0
    for cpu in cpus:
        mask |= 1 << cpu
    return mask


def _place_shared(board: _Board, guest: Guest, rule: Rule) -> None:
    ledger = board.ledgers[guest.node]
    pool = _pool(ledger)
    if not pool:
        board.refuse(
            guest,
            PlacementError(f"no CPU of host {guest.node} is left for shared guests; reserve fewer or dedicate fewer.", rule="empty_pool"),
        )
        return
    ledger.hold(guest.vmid, Holding(guest.vcpus, 0, 0, {}, guest.memory_mib))
    wanted = shared_keys(guest) if guest.type == "qemu" else {}
    board.placements[guest.vmid] = Placement(guest, rule, tuple(cpus_of(pool)), (), wanted, explain.shares_pool(pool))


def _warn_about_floating_guests(board: _Board, managed: t.Sequence[t.Tuple[Guest, Rule]]) -> None:
    placed = {guest.vmid for guest, _rule in managed}
    for name, ledger in board.ledgers.items():
        guests = [g for g in board.snapshot.guests if g.node == name and not g.template and not describes_host(g)]
        dedicated = 0
        for guest in guests:
            placement = board.placements.get(guest.vmid)
            if placement and placement.rule.cpu_class in PINNED_CLASSES:
                dedicated |= _mask(placement.cpus)
        free_roaming = [g.vmid for g in guests if g.vmid not in placed and not stored_cpus(g, ledger.host)[0]]
        if free_roaming and dedicated:
            board.warnings.append(
                f"Unmanaged guests without affinity on host {name} ({', '.join(map(str, free_roaming))}) may run on the dedicated "
                f"CPUs {format_cpulist(dedicated)}; give them the class shared to keep them away."
            )
        _warn_about_pool(board, name, ledger, guests)


def _warn_about_pool(board: _Board, name: str, ledger: Ledger, guests: t.Sequence[Guest]) -> None:
    shared = [g for g in guests if g.vmid in board.placements and board.placements[g.vmid].rule.cpu_class == "shared"]
    vcpus = sum(guest.vcpus for guest in shared)
    pool = count(ledger.free)
    if shared and vcpus > pool * board.policy.overcommit_cpu:
        board.warnings.append(
            f"The shared guests of host {name} have {vcpus} vCPUs for {pool} CPUs, more than overcommit.cpu "
            f"{board.policy.overcommit_cpu:g} allows; move some away or raise it."
        )


def _score_before(board: _Board, managed: t.Sequence[t.Tuple[Guest, Rule]]) -> Vector:
    """The vector of what the configs hold now; a managed guest without CPUs of its own counts as unplaced."""
    total = Vector()
    for name, ledger in board.ledgers.items():
        claims = ledger.claims()
        unplaced = 0
        for guest, rule in managed:
            if guest.node == name and rule.cpu_class in PINNED_CLASSES:
                holding, warnings = stored_holding(guest, ledger.host)
                board.warnings.extend(warnings)
                if holding.cpus:
                    claims.append(holding.claim())
                else:
                    unplaced += guest.vcpus
        total += score(ledger.host, claims, unplaced, ledger.reserved)
    return total


def _score_after(board: _Board) -> Vector:
    total = Vector()
    vcpus = {guest.vmid: guest.vcpus for guest in board.snapshot.guests}
    for name, ledger in board.ledgers.items():
        node_of = {guest.vmid: guest.node for guest in board.snapshot.guests}
        unplaced = sum(vcpus[entry["vmid"]] for entry in board.refused if node_of[entry["vmid"]] == name)
        moves = sum(1 for p in board.placements.values() if p.guest.node == name and _moves(p, ledger.host))
        total += score(ledger.host, ledger.claims(), unplaced, ledger.reserved, moves)
    return total


def _moves(placement: Placement, host: Host) -> bool:
    """Whether a guest that had CPUs of its own gets others."""
    if placement.kept or placement.rule.cpu_class not in PINNED_CLASSES:
        return False
    present, _warnings = stored_cpus(placement.guest, host)
    return bool(present) and present != _mask(placement.cpus)


def _changes(board: _Board) -> t.List[t.Dict[str, t.Any]]:
    changes = []
    for _vmid, placement in sorted(board.placements.items()):
        guest = placement.guest
        before, after = differences(guest, placement.wanted)
        if after:
            changes.append(
                {
                    "vmid": guest.vmid,
                    "node": guest.node,
                    "digest": guest.digest,
                    "before": before,
                    "after": after,
                    "effect": "pending" if guest.running else "now",
                    "reason": placement.reason,
                }
            )
    return changes


def _document(board: _Board, before: Vector) -> t.Dict[str, t.Any]:
    changes = _changes(board)
    hosts = board.snapshot.hosts
    return sealed(
        {
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
                "skipped": len(board.skipped),
                "unmanaged": len(board.snapshot.guests) - len(board.placements) - len(board.refused) - len(board.skipped),
                "hosts": {name: ledger.summary() for name, ledger in board.ledgers.items()},
            },
            "score": {"before": before.as_dict(), "after": _score_after(board).as_dict()},
        }
    )
