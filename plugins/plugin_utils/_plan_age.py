# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a plan may be. The time is always handed in, for only the playbook asks a clock.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_UNITS_H = {"": 1.0, "m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
_MAX_AHEAD = datetime.timedelta(hours=1)  # clocks of hosts and controller differ a little


def parse_age(text: t.Any) -> t.Optional[datetime.timedelta]:
    """`24`, `24h`, `90m`, `7d`, `2w` as a time span; a number alone counts hours, and 0 is no limit (None). Raises PlanError."""
    match = re.match(r"^(\d+(?:\.\d+)?)\s*([mhdw]?)$", str(text).strip(), re.ASCII)
    if match is None or isinstance(text, bool):
        raise PlanError(f"The greatest age of a plan is {text!r}; write a number with m, h, d or w, for example 24h; 0 is no limit.")
    hours = float(match.group(1)) * _UNITS_H[match.group(2)]
    try:
        return datetime.timedelta(hours=hours) if hours else None
    except OverflowError:
        return None


def check_age(plan: t.Mapping[str, t.Any], max_age: t.Any, now: str) -> None:
    """Raises PlanError where a plan is older than `max_age` (see parse_age) at the time `now` (UTC, as in created_at)."""
    limit = parse_age(max_age)
    if limit is None:
        return
    created = plan.get("created_at")
    if not created:
        raise PlanError("The plan does not say when its facts were gathered, so that its age is not known; plan again with fresh facts.")
    age = _instant(now) - _instant(created)
    if age > limit:
        raise PlanError(
            f"The plan is from {created} and older than {max_age} ({_hours(age)}); plan again, or accept it with another "
            "corepin_plan_max_age (nothing was written)."
        )
    if -age > _MAX_AHEAD:
        raise PlanError(
            f"The plan is from {created}, which is in the future by the clock of this machine ({now}); set the clocks right "
            "(nothing was written)."
        )


def _instant(text: t.Any) -> datetime.datetime:
    try:
        return datetime.datetime.strptime(str(text), TIME_FORMAT)
    except ValueError as e:
        raise PlanError(f"The time {text!r} is not of the form 2026-01-31T12:00:00Z; make a new plan.") from e


def _hours(age: datetime.timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:.1f} days old" if hours >= 48 else f"{hours:.1f} hours old"


def renewed(plan: t.Mapping[str, t.Any], earlier: t.Mapping[str, t.Any], max_age: t.Any) -> bool:
    """Whether `plan` is so much newer than an `earlier` one of the same content that the latter might soon be too old."""
    limit = parse_age(max_age)
    if limit is None or not plan.get("created_at") or not earlier.get("created_at"):
        return False
    return _instant(plan["created_at"]) - _instant(earlier["created_at"]) > limit / 2
