# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan that would keep a guest from starting cannot be made."""

from __future__ import annotations

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Guest, apply_pending
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.start_check import start_errors
from hypothesis import given
from sample_hosts import epyc_9354, examples, guest, snapshot

# Findings about keys without effect, where none is what the plan wants: such keys are left as they are.
WITHOUT_EFFECT = {"numa_off", "cell_dropped"}


def plan(info, **rule):
    policy = Policy.from_dict({"rules": [{"match": {"vmids": [100]}, **rule}, {"match": {}}]})
    return place(Snapshot.from_dict(snapshot([epyc_9354()], [info, guest(101, 4, 4096)])), policy)


def configured(vcpus=4, memory_mib=4096, pending=None, **config):
    return guest(100, vcpus, memory_mib, config={"cores": str(vcpus), "memory": str(memory_mib), **config}, pending=pending or {})


@pytest.mark.parametrize(
    ("info", "rule", "because"),
    [
        (configured(hotplug="memory"), {}, "hotplug_cells"),
        (configured(hotplug="memory"), {"class": "isolated"}, "hotplug_cells"),
        (configured(hotplug="memory"), {"class": "local"}, "hotplug_cells"),
        (configured(hotplug="1", pending={"hotplug": "memory,disk"}), {}, "hotplug_cells"),
        (configured(hotplug="memory", numa="0"), {"class": "shared"}, "hotplug_numa"),
        (configured(hotplug="memory", numa="0"), {"memory": "none"}, "hotplug_numa"),
        (configured(memory_mib=4097), {"hugepages": "2"}, "hugepages_size"),
        (configured(memory_mib=3000, hugepages="1024"), {}, "hugepages_size"),
        (configured(hugepages="2"), {"memory": "none"}, "hugepages_numa"),
        (configured(vcpus=70), {"class": "shared"}, "max_vcpus"),
        (guest(100, 4, 4096, config={"cores": "4", "memory": "4096", "vcpus": "8"}), {}, "vcpus"),
        (configured(numa="1", numa0="cpus=0-3,memory=1"), {"class": "shared"}, "memory_sum"),
    ],
)
def test_a_guest_that_would_not_start_is_refused(info, rule, because):
    document = plan(info, **rule)
    [refusal] = document["refused"]
    assert (refusal["vmid"], refusal["rule"]) == (100, because)
    assert refusal["message"].startswith("Guest 100 gets no placement: it would not start on host pve1 (")
    assert refusal["message"].endswith(".")
    assert [placement["cpus"] for placement in document["placements"]] == ["0,32,1,33"]
    assert [change["vmid"] for change in document["changes"]] == [101]


@pytest.mark.parametrize(
    ("info", "rule"),
    [
        (configured(affinity="0, 1"), {}),
        (configured(affinity="900"), {"class": "shared"}),
        (configured(numa="1", numa0="cpus=0-3,memory=1"), {}),
        (configured(numa="1", numa3="cpus=0-9,hostnodes=7,memory=4096"), {}),
        (configured(numa="1", numa0="cpus=0-3,hostnodes=7,memory=4096"), {"class": "shared"}),
        (configured(hotplug="memory", numa="1"), {"memory": "none"}),
        (configured(hugepages="2"), {}),
        (configured(hotplug="memory", pending={"hotplug": "disk"}), {}),
    ],
)
def test_a_guest_that_the_plan_mends_is_placed(info, rule):
    document = plan(info, **rule)
    assert document["refused"] == []
    assert [placement["vmid"] for placement in document["placements"]] == [100, 101]


def test_a_message_names_the_fix():
    [refusal] = plan(configured(hotplug="memory"))["refused"]
    assert refusal["message"] == (
        "Guest 100 gets no placement: it would not start on host pve1 (cannot enable memory hotplugging with custom NUMA topology); "
        "take memory out of hotplug, or delete the numaN keys."
    )


def test_a_refused_guest_keeps_the_cpus_that_it_has():
    document = plan(configured(hotplug="memory", affinity="0-1,32-33"))
    assert [entry["vmid"] for entry in document["refused"]] == [100]
    assert [placement["cpus"] for placement in document["placements"]] == ["2,34,3,35"]


@examples(500, 10000)
@given(sample_hosts.snapshots())
def test_no_plan_contains_a_placement_with_a_finding(case):
    document, policy = case
    result = place(Snapshot.from_dict(document), Policy.from_dict(policy))
    changes = {change["vmid"]: change for change in result["changes"]}
    infos = {info["vmid"]: info for info in document["guests"]}
    for placement in result["placements"]:
        info = infos[placement["vmid"]]
        change = changes.get(info["vmid"], {"after": {}})
        written = apply_pending(Guest.from_info(info).next_config, change["after"])
        planned = {**info, "affinity": None, "config": {"name": "x", **written}, "pending": {}}
        found = start_errors(planned, document["hosts"][placement["node"]])
        harmless = WITHOUT_EFFECT | ({"affinity_zero"} if placement["class"] == "shared" else set())
        assert {finding["rule"] for finding in found} <= harmless, found
    refused = {entry["vmid"] for entry in result["refused"]}
    assert not refused & ({placement["vmid"] for placement in result["placements"]} | set(changes))
