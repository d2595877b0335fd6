# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PVE's HA rules for guests that are still to be created and will be members of them.

A node-affinity rule names hosts, with priorities; a strict one allows no others. PVE runs its members on the hosts of the
highest priority that are there. A resource-affinity rule keeps its members on one host (positive) or on different hosts
(negative). Sources: src/PVE/HA/Rules/NodeAffinity.pm and ResourceAffinity.pm in pve-ha-manager, ha-manager.adoc.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .errors import PlacementError
from .policy import Request
from .snapshot import Snapshot
from .wording import listed

Document = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Member:
    """Who is already on a host: an existing guest, or a requested one that has its place."""

    label: str
    node: str


class HaRules:
    """The rules of the cluster, and who of their members is where. Rules that are switched off say nothing."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._rules = {str(rule["rule"]): rule for rule in snapshot.ha_rules}
        self._members: t.Dict[str, t.List[Member]] = {}
        for name, rule in self._rules.items():
            vmids = set(rule.get("vmids") or ())
            self._members[name] = [Member(guest.label, guest.node) for guest in snapshot.guests if guest.vmid in vmids]

    def check_names(self, request: Request) -> None:
        """Raise PlacementError where the request names a rule that the cluster does not have."""
        for name in request.ha_rules:
            if name not in self._rules:
                known = f"it has {', '.join(sorted(self._rules))}" if self._rules else "it has none"
                raise PlacementError(f"The cluster has no HA rule {name}; {known}.", rule="ha_rule")

    def together(self, request: Request) -> t.List[str]:
        """The rules that keep the request on one host with their other members."""
        return [rule["rule"] for rule in self._of(request, "resource-affinity") if _affinity(rule) == "positive"]

    def obstacle(self, request: Request, node: str) -> t.Optional[str]:
        """Which rule keeps the request off a host, as the end of a sentence; None where none does."""
        for rule in self._of(request, "node-affinity"):
            names = sorted(_priorities(rule))
            if rule.get("strict") and node not in names:
                return f"is not among the hosts of HA rule {rule['rule']} ({listed(names)})"
        for rule in self._of(request, "resource-affinity"):
            there = [member for member in self._members[rule["rule"]] if member.node == node]
            elsewhere = [member for member in self._members[rule["rule"]] if member.node != node]
            if _affinity(rule) == "negative" and there:
                return f"has {there[0].label}, from which HA rule {rule['rule']} keeps it apart"
            if _affinity(rule) == "positive" and elsewhere and not there:
                return f"does not have {elsewhere[0].label}, with which HA rule {rule['rule']} keeps it together"
        return None

    def distance(self, request: Request, node: str) -> t.Tuple[int, ...]:
        """How far the host is from what the node-affinity rules prefer: 0 the highest priority; hosts outside come last."""
        distances = []
        for rule in self._of(request, "node-affinity"):
            priorities = _priorities(rule)
            ranks = sorted(set(priorities.values()), reverse=True)
            distances.append(ranks.index(priorities[node]) if node in priorities else len(ranks))
        return tuple(distances)

    def enter(self, request: Request, label: str, node: str) -> None:
        """Note that a requested guest has its place."""
        for name in request.ha_rules:
            self._members.setdefault(name, []).append(Member(label, node))

    def _of(self, request: Request, kind: str) -> t.List[Document]:
        named = (self._rules[name] for name in request.ha_rules if name in self._rules)
        return [rule for rule in named if rule.get("type") == kind and rule.get("enabled", True)]


def _affinity(rule: Document) -> str:
    return str(rule.get("affinity") or "positive")


def _priorities(rule: Document) -> t.Dict[str, int]:
    return {str(host["name"]): int(host.get("priority") or 0) for host in rule.get("nodes") or ()}
