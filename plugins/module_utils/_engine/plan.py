# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as a document: canonical JSON with a hash of its content.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from .errors import PlanError

SCHEMA = 1
PLAN_KEYS = ("hosts", "placements", "changes", "refused", "moves", "warnings", "summary", "score", "cluster", "created_at")
EFFECTS = ("now", "pending", "restart", "live")


def canonical(document: t.Any) -> str:
    """JSON with sorted keys and without blanks: the form that is hashed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def plan_id(document: t.Mapping[str, t.Any]) -> str:
    """sha256 (hexadecimal) of the canonical form of everything in `document` but `plan_id` itself."""
    content = {key: value for key, value in document.items() if key != "plan_id"}
    return hashlib.sha256(canonical(content).encode("ascii")).hexdigest()


def sealed(document: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """`document` with its `plan_id`."""
    return {**document, "plan_id": plan_id(document)}


def check_plan(document: t.Any) -> t.Mapping[str, t.Any]:
    """Return `document` if it is a plan as it was made. Raises PlanError when it is missing, malformed or edited."""
    if not document:
        raise PlanError("The plan is empty; make one with the playbook corepin.proxmox.plan and hand over that file.")
    if not isinstance(document, t.Mapping):
        raise PlanError(f"The plan is {type(document).__name__} instead of a mapping; hand over the JSON document that plan wrote.")
    if document.get("schema") != SCHEMA:
        raise PlanError(f"The plan has schema {document.get('schema')!r}, but this version reads schema {SCHEMA}; make a new plan.")
    missing = [key for key in PLAN_KEYS if key not in document]
    if missing:
        raise PlanError(f"The plan lacks {missing[0]!r}; make a new plan.")
    if document.get("plan_id") != plan_id(document):
        raise PlanError(
            f"The plan {str(document.get('plan_id'))[:12]} was edited after it was made (its content has the hash "
            f"{plan_id(document)[:12]}); make a new plan instead of editing one."
        )
    for position, change in enumerate(document["changes"], start=1):
        _check_change(change, position)
    return document


def _check_change(change: t.Any, position: int) -> None:
    if not isinstance(change, t.Mapping) or not {"vmid", "node", "before", "after", "effect"} <= set(change):
        raise PlanError(f"Change {position} of the plan does not have the expected shape; make a new plan.")
    if set(change["before"]) != set(change["after"]):
        raise PlanError(f"Change {position} of the plan (guest {change['vmid']}) names different keys before and after; make a new plan.")
    if change["effect"] not in EFFECTS:
        raise PlanError(f"Change {position} of the plan has the effect {change['effect']!r}; allowed are {', '.join(EFFECTS)}.")


def hosts_in_order(plan: t.Mapping[str, t.Any], nodes: t.Collection[str], canary: t.Optional[int] = None) -> t.List[str]:
    """The hosts among `nodes` (PVE's names) that the plan changes guests of: the canary's first, then by name.

    Raises PlanError where the plan does not change the guest `canary`, or not on one of these hosts.
    """
    homes = {int(change["vmid"]): str(change["node"]) for change in plan["changes"]}
    if canary is not None and homes and homes.get(canary) not in nodes:
        known = homes.get(canary)
        where = f"is on {known}, which is no host of this run" if known else "is none of the guests that the plan changes"
        raise PlanError(f"The canary, guest {canary}, {where}; name a guest of the plan with corepin_canary (nothing was written).")
    first = None if canary is None else homes.get(canary)
    return sorted({node for node in homes.values() if node in nodes}, key=lambda node: (node != first, node))
