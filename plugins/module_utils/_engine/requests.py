# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are still to be created: which host takes them, and where on it.

First come the hosts that may take a guest at all: read, online, among those that the request allows, and not ruled out
by HA rules or by the request's group. Among them that host is chosen which HA rules prefer, then as `across` asks, then
whose quality vector gets worse the least; among equals the one that keeps the largest hole inside one NUMA node, then
the fullest. Nothing is written for them: the plan shows the place that each would get now.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .board import Board
from .cpuset import format_ordered
from .errors import PlacementError
from .guest import cell_to_mapping
from .ha_rules import HaRules
from .offers import Offer, OfferingHost
from .policy import PINNED_CLASSES, Request
from .wording import listed

Entry = t.Dict[str, t.Any]


@dataclass(frozen=True)
class _Copy:
    """One guest of a request; `vmid` is negative and only for the books."""

    position: int
    request: Request
    number: int

    @property
    def vmid(self) -> int:
        return -1 - self.position

    @property
    def label(self) -> str:
        return f"{self.request.name} {self.number}"


_Unit = t.Sequence[_Copy]

# What may decide between two hosts, in the order of the price, as a sentence about the better one.
_Price = t.Tuple[t.Tuple[t.Any, str], ...]


def place_requests(board: Board) -> t.List[Entry]:
    """One entry per requested guest: {name, number, node, class, cpus, numa_cells, reason}; node null where none fits.

    Guests that have to share a host are placed together. Hardest first, then as they are listed; what one gets is no
    longer there for the next.
    """
    wanted = [(request, number) for request in board.policy.requests for number in range(1, request.count + 1)]
    if not wanted:
        return []
    search = _Search(board)
    units = _units([_Copy(position, *pair) for position, pair in enumerate(wanted)], search.rules)
    for unit in sorted(units, key=_hardest_first):
        search.place(unit)
    if board.snapshot.unread_hosts:
        board.warnings.append(
            f"The requested guests were placed without host {listed(list(board.snapshot.unread_hosts))}; a run that reads other hosts "
            "places them anew."
        )
    return [search.entries[position] for position in sorted(search.entries)]


def _hardest_first(unit: _Unit) -> t.Tuple[int, ...]:
    return (-sum(copy.request.vcpus for copy in unit), -sum(copy.request.memory_mib for copy in unit), unit[0].position)


def _units(copies: t.Sequence[_Copy], rules: HaRules) -> t.List[t.List[_Copy]]:
    """`copies` parted into those that have to share a host: by a positive group or positive HA rules."""
    units: t.List[t.Tuple[t.Set[str], t.List[_Copy]]] = []
    for copy in copies:
        ties = {f"rule {name}" for name in rules.together(copy.request)}
        if copy.request.group_affinity == "positive":
            ties.add(f"group {copy.request.group}")
        joined = [unit for unit in units if unit[0] & ties]
        units = [unit for unit in units if not unit[0] & ties]
        units.append((ties.union(*(unit[0] for unit in joined)), [*(c for unit in joined for c in unit[1]), copy]))
    return [sorted(members, key=lambda copy: copy.position) for _ties, members in units]


class _Search:
    """One pass over all requests."""

    def __init__(self, board: Board) -> None:
        self.rules = HaRules(board.snapshot)
        self.entries: t.Dict[int, Entry] = {}
        closed = {*board.snapshot.unread_hosts, *board.snapshot.foreign_hosts}
        self._hosts = [OfferingHost(board, ledger) for name, ledger in sorted(board.ledgers.items()) if name not in closed]
        self._groups: t.Dict[str, t.Set[str]] = {}
        self._copies: t.Dict[t.Tuple[str, str], int] = {}
        self._known: t.Dict[t.Tuple[str, Request], t.Union[Offer, PlacementError]] = {}

    def place(self, unit: _Unit) -> None:
        """Enter the places of guests that go to one host, or why there is none."""
        closed: t.List[str] = []
        full: t.List[str] = []
        offers: t.List[Offer] = []
        for host in self._hosts:
            try:
                for copy in unit:
                    self.rules.check_names(copy.request)
                obstacle = next(filter(None, (self._obstacle(copy.request, host.node) for copy in unit)), None)
                if obstacle:
                    closed.append(f"{host.node} {obstacle}")
                    continue
                offers.append(self._offer(host, unit))
            except PlacementError as e:
                full.append(str(e))
        if not offers:
            self._refuse(unit, closed, full)
            return
        priced = sorted((self._price(unit, offer), offer.node, offer) for offer in offers) if len(offers) > 1 else []
        best = priced[0][2] if priced else offers[0]
        self._enter(unit, best, _why(best.node, [price for price, _node, _offer in priced[:2]], bool(closed or full)))

    def _offer(self, host: OfferingHost, unit: _Unit) -> Offer:
        """The host's offer; alike guests get the same until somebody else is placed there. Raises PlacementError."""
        if len(unit) > 1:
            return host.offer([(copy.vmid, copy.request) for copy in unit])
        key = (host.node, unit[0].request)
        if key not in self._known:
            try:
                self._known[key] = host.offer([(unit[0].vmid, unit[0].request)])
            except PlacementError as e:
                self._known[key] = e
        known = self._known[key]
        if isinstance(known, PlacementError):
            raise known
        return known

    def _obstacle(self, request: Request, node: str) -> t.Optional[str]:
        if request.nodes and node not in request.nodes:
            return f"is not among its nodes ({listed(list(request.nodes))})"
        if request.group_affinity == "negative" and node in self._groups.get(str(request.group), ()):
            return f"has one of the group {request.group}, whose guests are kept apart"
        return self.rules.obstacle(request, node)

    def _price(self, unit: _Unit, offer: Offer) -> _Price:
        request = unit[0].request
        copies = sum(self._copies.get((copy.request.name, offer.node), 0) for copy in unit)
        pinned = request.rule.cpu_class in PINNED_CLASSES
        price: t.List[t.Tuple[t.Any, str]] = [
            (tuple(self.rules.distance(copy.request, offer.node) for copy in unit), "is the one that its HA rules prefer")
        ]
        if request.across == "spread":
            price.append((copies, "has the fewest guests of that name"))
        if request.across == "pack":
            price.append((offer.idle, "is in use already"))
        price.append((offer.harm, "suffers least by it"))
        price.append((offer.lost_hole, "keeps its largest hole inside one NUMA node"))
        if pinned:
            price.append(
                (-offer.left, "has the most CPUs left") if request.across == "spread" else (offer.left, "is the fullest that is as good")
            )
        else:
            price.append((-offer.load, "is the fullest") if request.across == "pack" else (offer.load, "is the least loaded"))
        return tuple(price)

    def _enter(self, unit: _Unit, offer: Offer, why: str) -> None:
        host = next(host for host in self._hosts if host.node == offer.node)
        self._known = {key: known for key, known in self._known.items() if key[0] != offer.node}
        for copy, place in zip(unit, offer.places):
            request = copy.request
            host.hold(copy.vmid, place)
            self.rules.enter(request, copy.label, offer.node)
            self._groups.setdefault(str(request.group), set()).add(offer.node)
            self._copies[request.name, offer.node] = self._copies.get((request.name, offer.node), 0) + 1
            self.entries[copy.position] = {
                **_entry(copy),
                "node": offer.node,
                "cpus": format_ordered(place.cpus) if request.rule.cpu_class in PINNED_CLASSES else "",
                "numa_cells": [cell_to_mapping(cell) for cell in place.cells],
                "reason": f"{place.reason}{why}",
            }

    def _refuse(self, unit: _Unit, closed: t.Sequence[str], full: t.Sequence[str]) -> None:
        together = f"{listed([copy.label for copy in unit])} have to be on one host. " if len(unit) > 1 else ""
        shut = f"No host may take it: {listed(closed)}." if closed and not full else f"Ruled out: {listed(closed)}." if closed else ""
        reason = " ".join(filter(None, (full[-1] if full else "", shut))) or "No host was read."
        for copy in unit:
            self.entries[copy.position] = {**_entry(copy), "node": None, "cpus": "", "numa_cells": [], "reason": together + reason}


def _entry(copy: _Copy) -> Entry:
    return {"name": copy.request.name, "number": copy.number, "class": copy.request.rule.cpu_class}


def _why(node: str, best: t.Sequence[_Price], others: bool) -> str:
    """Why this host and no other, as one more sentence; nothing where there is but one."""
    if not best:
        return f" Host {node} is the only one that can take it." if others else ""
    decisive = (said for (mine, said), (other, _said) in zip(best[0], best[1]) if mine != other)
    return f" Host {node} {next(decisive, 'comes first among hosts that are as good')}."
