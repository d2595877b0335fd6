# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a plan may be."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.plugin_utils._plan_age import check_age, parse_age, renewed

NOON = "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "hours"), [("24", 24), (24, 24), ("24h", 24), ("90m", 1.5), ("7d", 168), ("2w", 336), (" 1.5 h ", 1.5), ("0", None), (0, None)]
)
def test_an_age_is_a_number_with_a_unit(text, hours):
    assert parse_age(text) == (None if hours is None else datetime.timedelta(hours=hours))


@pytest.mark.parametrize("text", ["", "a day", "-1h", "1y", "1h30m", None, True, "1e3"])
def test_other_texts_are_no_age(text):
    with pytest.raises(PlanError, match="24h"):
        parse_age(text)


@pytest.mark.parametrize(
    ("created", "max_age", "problem"),
    [
        ("2026-01-31T11:00:00Z", "1h", None),
        ("2026-01-31T10:59:59Z", "1h", "older than 1h"),
        ("2026-01-01T12:00:00Z", "7d", "30.0 days old"),
        ("2026-01-01T12:00:00Z", 0, None),
        ("2026-01-31T12:30:00Z", "1h", None),
        ("2026-01-31T14:00:00Z", "1h", "in the future"),
        (None, "1h", "does not say when"),
        (None, 0, None),
        ("yesterday", "1h", "not of the form"),
    ],
)
def test_a_plan_may_be_too_old(created, max_age, problem):
    if problem is None:
        check_age({"created_at": created}, max_age, NOON)
    else:
        with pytest.raises(PlanError, match=problem):
            check_age({"created_at": created}, max_age, NOON)


def test_an_unchanged_plan_is_renewed_before_it_is_too_old():
    plan, earlier = {"created_at": NOON}, {"created_at": "2026-01-31T06:00:00Z"}
    assert renewed(plan, earlier, "10h")
    assert not renewed(plan, earlier, "12h")
    assert not renewed(plan, earlier, 0)
    assert not renewed({"created_at": None}, earlier, "1h")
