# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed
from ansible_collections.corepin.proxmox.plugins.plugin_utils._plan_file import keep_plan, read_plan


def plan(created_at: str, **content: t.Any) -> dict[str, t.Any]:
    document: dict[str, t.Any] = {
        "schema": 1,
        "created_at": created_at,
        "cluster": "lab",
        "hosts": {},
        "placements": [],
        "changes": [],
        "refused": [],
        "moves": [],
        "warnings": [],
        "summary": {},
        "score": {},
    }
    return sealed({**document, **content})


def test_a_plan_is_read_back_from_its_text() -> None:
    written = plan("2026-01-01T00:00:00Z")
    assert read_plan(json.dumps(written, indent=1)) == written


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("{", "not JSON"),
        ("[1]", "list"),
        ("{}", "empty"),
        ('{"schema": 7}', "schema 7"),
        (json.dumps({**plan("2026-01-01T00:00:00Z"), "cluster": "other"}), "edited"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_sentence(text: str, word: str) -> None:
    with pytest.raises(PlanError, match=word) as refusal:
        read_plan(text)
    assert "\n" not in str(refusal.value)


def test_an_earlier_plan_that_says_the_same_is_kept() -> None:
    earlier, later = plan("2026-01-01T00:00:00Z"), plan("2026-01-02T00:00:00Z")
    assert earlier["plan_id"] != later["plan_id"]
    assert keep_plan(later, json.dumps(earlier)) == earlier


def test_an_earlier_plan_gives_way_before_it_is_too_old() -> None:
    earlier, later = plan("2026-01-01T00:00:00Z"), plan("2026-01-02T00:00:00Z")
    assert keep_plan(later, json.dumps(earlier), "49h") == earlier
    assert keep_plan(later, json.dumps(earlier), "47h") == later
    with pytest.raises(PlanError, match="greatest age"):
        keep_plan(later, "", "soon")


def test_a_plan_is_refused_where_it_is_too_old() -> None:
    text = json.dumps(plan("2026-01-01T00:00:00Z"))
    assert read_plan(text, "24h", "2026-01-02T00:00:00Z") == read_plan(text)
    with pytest.raises(PlanError, match="older than 24h"):
        read_plan(text, "24h", "2026-01-02T00:00:01Z")


@pytest.mark.parametrize("text", ["", "{", json.dumps(plan("2026-01-01T00:00:00Z", warnings=["something new"]))])
def test_otherwise_the_new_plan_counts(text: str) -> None:
    later = plan("2026-01-02T00:00:00Z")
    assert keep_plan(later, text) == later
