# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan and the text of its file.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan

from ._plan_age import check_age, parse_age, renewed

Plan = t.Mapping[str, t.Any]

_OF_THE_MOMENT = ("created_at", "plan_id")  # the second is a hash that covers the first


def read_plan(text: t.Any, max_age: t.Any = 0, now: t.Any = None) -> Plan:
    """The plan that the text of a plan file holds. Raises PlanError where it is no plan, or one that was edited.

    Also where it is older than `max_age` (see _plan_age.parse_age) at the time `now`, without which that is not checked.
    """
    try:
        document = json.loads(str(text)) if str(text).strip() else None
    except ValueError as e:
        raise PlanError(f"The plan file is not JSON ({e}); make a new one with the playbook corepin.proxmox.plan.") from e
    plan = check_plan(document)
    if now:
        check_age(plan, max_age, str(now))
    return plan


def keep_plan(plan: Plan, text: t.Any, max_age: t.Any = 0) -> Plan:
    """The plan of the file text where it says the same as `plan` and was only made earlier, else `plan`.

    An earlier one that has reached half of `max_age` gives way, so that what was just planned is not refused as too old.
    Raises PlanError for a `max_age` that is none.
    """
    parse_age(max_age)
    try:
        earlier = read_plan(text)
    except PlanError:
        return plan
    return earlier if _content(earlier) == _content(plan) and not renewed(plan, earlier, max_age) else plan


def _content(plan: Plan) -> t.Dict[str, t.Any]:
    return {key: value for key, value in plan.items() if key not in _OF_THE_MOMENT}
