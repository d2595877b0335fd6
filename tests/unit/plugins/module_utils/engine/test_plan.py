# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order a plan is carried out, and which guests it restarts."""

from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import hosts_in_order
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from sample_hosts import epyc_9354, guest, snapshot

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
