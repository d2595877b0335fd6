# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""High availability as placement needs it: which guest is managed, and on which hosts it may run.

PVE 9 has rules; PVE 7 and 8 have groups, which PVE 9 itself turns into node-affinity rules (`restricted` becomes
`strict`, migrate_groups_to_rules in pve-ha-manager's src/PVE/HA/Groups.pm). Both come out in one shape.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.guest import truthy
from .reading import Answer

HaRule = t.Dict[str, t.Any]


def ha_rules(rules: t.Sequence[Answer], groups: t.Sequence[Answer], resources: t.Sequence[Answer]) -> t.List[HaRule]:
    """All rules, sorted by name: {rule, type, source, affinity, strict, enabled, vmids, nodes: [{name, priority}]}."""
    found = [_from_rule(rule) for rule in rules]
    found += [_from_group(group, resources) for group in groups]
    return sorted(found, key=lambda rule: (rule["rule"], rule["source"]))


def _from_rule(rule: Answer) -> HaRule:
    return {
        "rule": str(rule["rule"]),
        "type": str(rule["type"]),
        "source": "rule",
        "affinity": str(rule.get("affinity") or "positive"),
        "strict": truthy(rule.get("strict")),
        "enabled": not truthy(rule.get("disable")),
        "vmids": sorted(_vmid(sid) for sid in _split(rule.get("resources"))),
        "nodes": _hosts(rule.get("nodes")),
    }


def _from_group(group: Answer, resources: t.Sequence[Answer]) -> HaRule:
    return {
        "rule": str(group["group"]),
        "type": "node-affinity",
        "source": "group",
        "affinity": "positive",
        "strict": truthy(group.get("restricted")),
        "enabled": True,
        "vmids": sorted(_vmid(str(item["sid"])) for item in resources if item.get("group") == group["group"]),
        "nodes": _hosts(group.get("nodes")),
    }


def ha_of_guests(resources: t.Sequence[Answer], rules: t.Sequence[HaRule]) -> t.Dict[int, t.Dict[str, t.Any]]:
    """By vmid of each managed guest: {state: the requested one, group, rules: [names of the enabled rules]}."""
    return {
        _vmid(str(item["sid"])): {
            "state": str(item.get("state") or "started"),
            "group": item.get("group") or None,
            "rules": [rule["rule"] for rule in rules if rule["enabled"] and _vmid(str(item["sid"])) in rule["vmids"]],
        }
        for item in resources
    }


def _vmid(sid: str) -> int:
    """`vm:100` -> 100."""
    return int(sid.partition(":")[2] or sid)


def _hosts(text: t.Any) -> t.List[t.Dict[str, t.Any]]:
    """`pve2:2,pve1` -> [{name: pve1, priority: 0}, {name: pve2, priority: 2}]."""
    pairs = [part.partition(":") for part in _split(text)]
    return sorted(({"name": name, "priority": int(priority or 0)} for name, _colon, priority in pairs), key=lambda host: host["name"])


def _split(text: t.Any) -> t.List[str]:
    return [part.strip() for part in str(text or "").replace(";", ",").split(",") if part.strip()]
