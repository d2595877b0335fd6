# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that float: over an L3 domain or NUMA node (class local), or over all that is left (class shared).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from . import explain
from .arrangement import check_memory
from .board import Board, ManagedGuest, Placement
from .cpuset import count, cpus_of, format_cpulist, mask_of
from .desired import pinned_keys, shared_keys
from .errors import PlacementError
from .existing import stored_cpus
from .floating import Pool, choose_pool
from .guest import Cell, Guest, describes_host
from .guest_threads import thread_keys
from .ledger import Holding, Ledger
from .policy import PINNED_CLASSES, Rule


def place_local(board: Board, guest: Guest, rule: Rule) -> None:
    if board.starts_nowhere(guest, rule):
        return
    ledger = board.ledgers[guest.node]
    taken = [p for p in board.placements.values() if p.guest.node == guest.node and p.rule.cpu_class == "local"]
    loads = [Pool(mask_of(p.cpus), p.guest.vcpus) for p in taken]
    present, _warnings = stored_cpus(guest, ledger.host)
    memory_mib = 0 if rule.memory == "none" else guest.memory_mib
    try:
        check_memory(ledger, guest.memory_mib)
        cpus, numa_node = choose_pool(ledger.room(), ledger.free, guest.vcpus, memory_mib, loads, present)
    except PlacementError as e:
        board.refuse(guest, e)
        return
    bound = {numa_node: memory_mib} if memory_mib else {}
    ledger.hold(guest.vmid, Holding(guest.vcpus, 0, 0, bound, guest.memory_mib - memory_mib))
    cells = (Cell((1 << guest.vcpus) - 1, memory_mib, 1 << numa_node, rule.memory),) if memory_mib else ()
    ordered = tuple(cpus_of(cpus))
    wanted = {**pinned_keys(ordered, cells, guest, rule.hugepages), **thread_keys(guest, rule.expose_threads, ledger.host, (), ())}
    reason = explain.floats(ledger.host, cpus)
    board.enter(Placement(guest, rule, ordered, cells, wanted, reason))


def place_shared(board: Board, guest: Guest, rule: Rule) -> None:
    ledger = board.ledgers[guest.node]
    pool = ledger.free
    if not pool:
        board.refuse(
            guest,
            PlacementError(f"no CPU of host {guest.node} is left for shared guests; reserve fewer or dedicate fewer.", rule="empty_pool"),
        )
        return
    ledger.hold(guest.vmid, Holding(guest.vcpus, 0, 0, {}, guest.memory_mib))
    wanted = {**shared_keys(guest), **thread_keys(guest, rule.expose_threads, ledger.host, (), ())} if guest.type == "qemu" else {}
    board.enter(Placement(guest, rule, tuple(cpus_of(pool)), (), wanted, explain.shares_pool(pool)))


def warn_about_floating_guests(board: Board, managed: t.Sequence[ManagedGuest]) -> None:
    placed = {guest.vmid for guest, _rule in managed}
    for name, ledger in board.ledgers.items():
        guests = [g for g in board.snapshot.guests if g.node == name and not g.template and not describes_host(g)]
        dedicated = 0
        for guest in guests:
            placement = board.placements.get(guest.vmid)
            if placement and placement.rule.cpu_class in PINNED_CLASSES:
                dedicated |= mask_of(placement.cpus)
        free_roaming = [g.vmid for g in guests if g.vmid not in placed and not stored_cpus(g, ledger.host)[0]]
        if free_roaming and dedicated:
            board.warnings.append(
                f"Unmanaged guests without affinity on host {name} ({', '.join(map(str, free_roaming))}) may run on the dedicated "
                f"CPUs {format_cpulist(dedicated)}; give them the class shared to keep them away."
            )
        _warn_about_pool(board, name, ledger, guests)


def _warn_about_pool(board: Board, name: str, ledger: Ledger, guests: t.Sequence[Guest]) -> None:
    shared = [g for g in guests if g.vmid in board.placements and board.placements[g.vmid].rule.cpu_class == "shared"]
    vcpus = sum(guest.vcpus for guest in shared)
    pool = count(ledger.free)
    if shared and vcpus > pool * board.policy.overcommit_cpu:
        board.warnings.append(
            f"The shared guests of host {name} have {vcpus} vCPUs for {pool} CPUs, more than overcommit.cpu "
            f"{board.policy.overcommit_cpu:g} allows; move some away or raise it."
        )
