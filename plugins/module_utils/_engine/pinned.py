# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests with CPUs of their own: who stays, who gets which place, and who is moved for the good of all.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from . import explain
from .arrangement import Arrangement, Seat, check_memory
from .board import Board, ManagedGuest, Placement
from .cells import cells_of
from .cpuset import format_cpulist
from .demand import Choice, Demand
from .desired import pinned_keys
from .errors import PlacementError
from .existing import brought_nearer, has_remote_memory, settled, spans_hostnodes, stored_holding
from .guest import Cell, Guest, has_function
from .guest_threads import check_config, hidden_all_the_same, in_pairs, thread_keys
from .ledger import Ledger
from .policy import Rule
from .repack import Move, Step, best_steps
from .repair import arrange
from .topology import Host
from .wording import listed, sentence

# Trials of the search for better arrangements: in all, at least for each host, and at most for each pair of guests.
TRIALS, MIN_TRIALS, TRIALS_PER_PAIR = 12000, 300, 200

# How many re-placements `repack: suggest` lists at most.
SUGGESTIONS = 5


def arrange_pinned(board: Board, pairs: t.Sequence[ManagedGuest]) -> None:
    """Places for all guests with CPUs of their own, host by host; then the moves that the policy allows."""
    by_host: t.Dict[str, t.List[ManagedGuest]] = {}
    for guest, rule in sorted(pairs, key=lambda pair: (spans_hostnodes(pair[0]), pair[0].vmid)):
        by_host.setdefault(guest.node, []).append((guest, rule))
    arrangements = {name: _arrangement(board, board.ledgers[name], by_host[name]) for name in sorted(by_host)}
    for arrangement in arrangements.values():
        waiting = len(arrangement.seats) - len(arrangement.fixed)
        arrange(arrangement, min(TRIALS_PER_PAIR * waiting**2, max(MIN_TRIALS, TRIALS // len(arrangements))))
    _repack(board, arrangements)
    for name, arrangement in arrangements.items():
        for guest, rule in by_host[name]:
            if guest.vmid in arrangement.seats:
                _seat(board, guest, rule, arrangement)
    _warn_about_threads(board)


def _arrangement(board: Board, ledger: Ledger, pairs: t.Sequence[ManagedGuest]) -> Arrangement:
    """The host's pinned guests: those that may stay are in their places, the others wait."""
    arrangement = Arrangement(ledger, [])
    waiting = []
    for guest, rule in pairs:
        seat = Seat(guest.vmid, demand_of(guest, rule, ledger.host), guest.memory_mib)
        if board.starts_nowhere(guest, rule) or _device_lost(board, guest, rule, seat) or _cannot_see_threads(board, guest, rule):
            ledger.hold(guest.vmid, stored_holding(guest, ledger.host)[0])  # it stays as it is, so what it has is not free
            continue
        try:
            check_memory(ledger, guest.memory_mib)
            stay = settled(guest, ledger.room(), seat.demand, rule.memory, ledger.reserved)
            if rule.expose_threads and not in_pairs(ledger.host, stay.cpus, stay.cells):
                raise PlacementError("Its vCPUs are not in pairs on siblings of one core.", rule="existing")
        except PlacementError as e:
            board.unsettled[guest.vmid] = str(e)
            waiting.append(seat)
        else:
            board.settled[guest.vmid] = stay
            arrangement.add(seat, stay.choice(ledger.host))
    for guest, rule in pairs:
        if guest.vmid in board.settled and has_remote_memory(board.settled[guest.vmid], ledger.host):
            _bring_memory_nearer(board, arrangement, guest.vmid, rule)
    arrangement.seats.update({seat.vmid: seat for seat in waiting})
    return arrangement


def _bring_memory_nearer(board: Board, arrangement: Arrangement, vmid: int, rule: Rule) -> None:
    """Other cells for a guest that stays, where all that the others hold leaves it memory nearer to its CPUs."""
    ledger = arrangement.ledger
    held = ledger.release(vmid)
    better = brought_nearer(board.settled[vmid], ledger.room(), arrangement.seats[vmid].demand, rule.memory)
    if better:
        board.settled[vmid] = better
        arrangement.occupy(vmid, better.choice(ledger.host))
    elif held:
        ledger.hold(vmid, held)


def demand_of(guest: Guest, rule: Rule, host: Host) -> Demand:
    """What a guest asks of the allocator under its rule."""
    hugepages = rule.hugepages or guest.hugepages
    near = 0
    if rule.devices != "ignore":
        near = device_cpus(guest, host)
    return Demand(
        vcpus=guest.vcpus,
        memory_mib=0 if rule.memory == "none" else guest.memory_mib,
        memory_step={None: 1, "any": 2, "2": 2, "1024": 1024}.get(hugepages, 1),
        siblings="require" if rule.expose_threads else rule.siblings,
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
            if has_function(address, device.address):
                numa_node = host.numa_node_by_id.get(device.numa_node if device.numa_node is not None else -1)
                near |= numa_node.cpus if numa_node else 0
    return near


def _device_lost(board: Board, guest: Guest, rule: Rule, seat: Seat) -> bool:
    """Whether a guest has to be refused because nobody knows where its device is; said also where that is tolerated."""
    if not guest.hostpci or rule.devices == "ignore" or seat.demand.near:
        return False
    what = f"the NUMA node of its device {', '.join(guest.hostpci)} is not known on host {guest.node}"
    if rule.devices == "prefer":
        board.warnings.append(f"{sentence(guest.label)} is placed without regard to its device: {what}.")
        return False
    board.refuse(guest, PlacementError(f"{what}; set devices: prefer to place it all the same.", rule="device"))
    return True


def _cannot_see_threads(board: Board, guest: Guest, rule: Rule) -> bool:
    """Whether a guest has to be refused because it cannot be shown its threads whatever CPUs it gets."""
    if not rule.expose_threads:
        return False
    try:
        check_config(guest, board.ledgers[guest.node].host)
    except PlacementError as e:
        board.refuse(guest, e)
        return True
    return False


def _warn_about_threads(board: Board) -> None:
    """Say where guests are shown threads that they do not see, or that nobody keeps in their places."""
    exposed = [p.guest for _vmid, p in sorted(board.placements.items()) if p.rule.expose_threads]
    if exposed and board.policy.mode == "config":
        board.warnings.append(
            f"{sentence(listed([guest.label for guest in exposed]))} will see pairs of threads, but corepin_mode config pins no vCPU to "
            "its own CPU; set runtime or both, or the pairs are only a name."
        )
    hidden = [guest for guest in exposed if hidden_all_the_same(guest, board.ledgers[guest.node].host)]
    if hidden:
        board.warnings.append(
            f"{sentence(listed([guest.label for guest in hidden]))} will not see threads in spite of expose_threads, because on AMD hosts "
            "QEMU shows them to its EPYC models alone; set cpu to such a model."
        )


def _repack(board: Board, arrangements: t.Mapping[str, Arrangement]) -> None:
    """Carry out or only list the re-placements that the policy asks for, the most gainful steps first."""
    asked = board.policy.repack
    if asked in ("never", 0):
        return
    left = SUGGESTIONS if asked == "suggest" else int(asked)
    starts = {name: arrangement.state() for name, arrangement in arrangements.items()}
    found = {
        name: list(best_steps(arrangement, set(filter(arrangement.gathers, arrangement.fixed)), left))
        for name, arrangement in arrangements.items()
    }
    taken: t.Dict[str, Step] = {}
    while any(found.values()):
        name = max((host for host, steps in found.items() if steps), key=lambda host: (found[host][0].gain, host))
        step = found[name].pop(0)
        if len(step.moves) > left:
            found[name] = []
            continue
        left -= len(step.moves)
        taken[name] = step
        board.moves.extend(_move_entry(board, name, step, move) for move in step.moves)
    for name, arrangement in arrangements.items():
        carried_out = name in taken and asked != "suggest"
        arrangement.restore(taken[name].state if carried_out else starts[name])


def _move_entry(board: Board, node: str, step: Step, move: Move) -> t.Dict[str, t.Any]:
    guest = next(guest for guest in board.snapshot.guests if guest.vmid == move.vmid)
    host = board.snapshot.hosts[node]
    return {
        "vmid": move.vmid,
        "node": node,
        "from": format_cpulist(move.before_cpus),
        "to": format_cpulist(move.after_cpus),
        "before": step.before.as_dict(),
        "after": step.after.as_dict(),
        "cost": explain.cost_of_move(guest, host, move.before_cpus, move.after_cpus, board.policy),
        "reason": explain.moved(guest, host, step, move),
    }


def _seat(board: Board, guest: Guest, rule: Rule, arrangement: Arrangement) -> None:
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
            _give_up(board, guest, e)
            return
        why = board.unsettled.get(guest.vmid) if guest.next_config.get("affinity") else None
        cpus, reason, kept = choice.cpus, explain.chosen(ledger.host, choice, why, rule.numa == "spread"), False
    try:
        wanted = {**pinned_keys(cpus, cells, guest, rule.hugepages), **thread_keys(guest, rule.expose_threads, ledger.host, cpus, cells)}
    except PlacementError as e:
        _give_up(board, guest, e)
        return
    board.enter(Placement(guest, rule, cpus, cells, wanted, reason, kept))


def _give_up(board: Board, guest: Guest, error: PlacementError) -> None:
    board.ledgers[guest.node].release(guest.vmid)
    board.refuse(guest, error)


def _cells(host: Host, choice: Choice, rule: Rule, demand: Demand) -> t.Tuple[Cell, ...]:
    if rule.memory == "none":
        return ()
    return tuple(cells_of(host, choice.shares, rule.memory, demand.memory_step, demand.memory_step > 1))
