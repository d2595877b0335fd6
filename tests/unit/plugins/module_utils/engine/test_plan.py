# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a plan may be, in which order it is carried out, and which guests it restarts."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_age, hosts_in_order, parse_age, renewed
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from sample_hosts import epyc_9354, guest, snapshot

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


CHANGES = {"changes": [{"vmid": 100, "node": "b"}, {"vmid": 101, "node": "a"}, {"vmid": 102, "node": "c"}]}


def test_hosts_come_by_name_and_that_of_the_canary_first():
    assert hosts_in_order(CHANGES, ["a", "b", "c", "d"]) == ["a", "b", "c"]
    assert hosts_in_order(CHANGES, ["a", "c"]) == ["a", "c"]
    assert hosts_in_order(CHANGES, ["a", "b", "c"], canary=102) == ["c", "a", "b"]
    assert hosts_in_order({"changes": []}, ["a"], canary=102) == []


@pytest.mark.parametrize(("canary", "named"), [(999, "none of the guests"), (102, "on c, which is no host of this run")])
def test_a_canary_has_to_be_among_the_guests(canary, named):
    with pytest.raises(PlanError, match=named):
        hosts_in_order(CHANGES, ["a", "b"], canary)


def effect(restart, **info):
    document = snapshot([epyc_9354()], [guest(100, 4, 4096, tags=["db"], **info)])
    policy = Policy.from_dict({"rules": [{"match": {}}], "restart": restart})
    return {change["vmid"]: (change["effect"], change["after"]) for change in place(Snapshot.from_dict(document), policy)["changes"]}


def test_a_running_guest_is_restarted_where_the_policy_names_it():
    assert effect([], status="running")[100][0] == "pending"
    assert effect(["db"], status="running")[100][0] == "restart"
    assert effect([100], status="running")[100][0] == "restart"
    assert effect(["other", 101], status="running")[100][0] == "pending"
    assert effect(["db"], status="stopped")[100][0] == "now"


def test_a_guest_that_only_waits_for_its_restart_is_restarted_where_the_policy_names_it():
    config = {"cores": "4", "memory": "4096"}
    wanted = {"affinity": "0,32,1,33", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=4096,policy=bind"}
    assert effect([], status="running", config=config, pending=wanted) == {}
    assert effect(["db"], status="running", config=config, pending=wanted) == {100: ("restart", wanted)}
    assert effect(["db"], status="running", config={**config, **wanted}, pending={}) == {}
