# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governors and interrupts in the plan: for which CPUs, and for whom not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError, PlanError, PolicyError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.host_tuning import host_tuning
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan, sealed
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from sample_hosts import eight_cores, snapshot


def plan_for(policy: t.Mapping[str, t.Any], *guests: t.Mapping[str, t.Any], **facts: t.Any) -> t.Dict[str, t.Any]:
    full = [{"node": "pve1", "vcpus": 4, "memory_mib": 1024, **guest} for guest in guests]
    return place(Snapshot.from_dict(snapshot([{**eight_cores(), **facts}], full)), Policy.from_dict(policy))


RULES = [
    {"match": {"tags": ["fast"]}, "governor": "performance", "irq": "follow"},
    {"match": {"tags": ["mild"]}, "governor": "powersave", "epp": "balance_power"},
    {"match": {"tags": ["float"]}, "class": "shared", "governor": "performance"},
    {"match": {"tags": ["plain"]}},
]
FAST = {"vmid": 101, "tags": ["fast"], "hostpci": ["0000:41:00.1", "0000:41:00.0"]}


def test_each_setting_has_the_cpus_of_its_guests():
    plan = plan_for(
        {"rules": RULES}, FAST, {"vmid": 102, "tags": ["mild"]}, {"vmid": 103, "tags": ["fast"]}, {"vmid": 104, "tags": ["plain"]}
    )
    assert check_plan(plan)["tuning"] == {
        "pve1": {
            "busy": [
                {"cpus": "0-1,4-5,8-9,12-13", "governor": "performance", "epp": None, "vmids": [101, 103]},
                {"cpus": "2-3,10-11", "governor": "powersave", "epp": "balance_power", "vmids": [102]},
            ],
            "free": None,
            "interrupts": [
                {"pci": "0000:41:00.0", "cpus": "0,8,1,9", "vmid": 101},
                {"pci": "0000:41:00.1", "cpus": "0,8,1,9", "vmid": 101},
            ],
        }
    }


GPU, POOL = "0000:81:00", [f"0000:41:10.{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("first", "second", "devices", "warned"),
    [
        ({"hostpci": [GPU]}, {"hostpci": [GPU], "status": "running"}, [(102, GPU)], False),
        ({"hostpci": [GPU]}, {"hostpci": [f"{GPU}.1"], "status": "running"}, [(102, f"{GPU}.1")], False),
        ({"hostpci": [GPU]}, {"hostpci": [GPU], "status": "running", "tags": ["plain"]}, [], False),
        ({"hostpci": [GPU], "status": "running"}, {"hostpci": [GPU], "tags": ["other"]}, [(101, GPU)], False),
        ({"hostpci": [GPU]}, {"hostpci": [GPU]}, [], True),
        ({"hostpci": POOL, "status": "running"}, {"hostpci": POOL, "status": "running"}, [], True),
        ({"hostpci": [GPU, *POOL]}, {"hostpci": POOL, "status": "running"}, [(101, GPU), *((102, here) for here in POOL)], False),
        ({"hostpci": [GPU]}, {"hostpci": [GPU], "node": "pve2", "status": "running"}, [(101, GPU)], False),
        ({"hostpci": [GPU, f"{GPU}.0", f"{GPU}.1"]}, {}, [(101, GPU)], False),
    ],
)
def test_each_device_is_settled_once_and_goes_to_the_guest_that_runs(first, second, devices, warned):
    plan = plan_for({"rules": RULES}, {"vmid": 101, "tags": ["fast"], **first}, {"vmid": 102, "tags": ["fast"], **second})
    assert [(entry["vmid"], entry["pci"]) for entry in plan["tuning"]["pve1"]["interrupts"]] == devices
    expected = (
        f"On host pve1 the guests 101, 102 may have PCI device {', '.join(first['hostpci'])}, and not just one of them runs, so that "
        "its interrupts follow none of them; make a new plan when one runs, or give each guest devices of its own."
    )
    assert [warning for warning in plan["warnings"] if "PCI" in warning] == [expected] * warned


def test_free_cpus_have_a_setting_for_themselves():
    plan = plan_for({"rules": RULES, "free_cpus": {"governor": "schedutil"}}, {"vmid": 104, "tags": ["plain"]})
    assert plan["tuning"]["pve1"] == {"busy": [], "free": {"governor": "schedutil", "epp": None}, "interrupts": []}


def test_a_host_with_nothing_to_do_is_left_out():
    assert plan_for({"rules": RULES}, {"vmid": 104, "tags": ["plain"]})["tuning"] == {}


@pytest.mark.parametrize(
    ("key", "values"), [("governor", ("performance", "powersave")), ("epp", ("power", "balance_power")), ("irq", ("follow", "ignore"))]
)
def test_a_change_of_tuning_changes_the_hash(key, values):
    plans = [plan_for({"rules": [{"match": {}, key: value}]}, FAST) for value in values]
    assert plans[0]["plan_id"] != plans[1]["plan_id"]


def test_floating_guests_have_no_cpus_to_tune():
    plan = plan_for({"rules": RULES}, {"vmid": 105, "tags": ["float"]})
    assert plan["tuning"] == {}
    assert any("the rules of guests 105 set governor, epp or irq" in warning for warning in plan["warnings"])


def test_free_cpus_know_two_keys():
    with pytest.raises(PolicyError, match="'min' is not a known key of free_cpus"):
        Policy.from_dict({"free_cpus": {"min": 1}})


PASSIVE = {"cpus": "0-7", "governor": "schedutil", "governors": ["schedutil", "performance"], "epp": None, "epps": None}
ACTIVE = {
    "cpus": "8-15",
    "governor": "powersave",
    "governors": ["performance", "powersave"],
    "epp": "power",
    "epps": ["default", "power", "performance"],
}
AT_FULL_SPEED = {**ACTIVE, "governor": "performance", "epp": "performance", "epps": ["performance"]}  # as amd-pstate shows it then
NO_SCALING = (
    "Host pve1 has no frequency scaling, so that the governors and energy preferences of rules or free_cpus cannot be set there; see "
    "whether its firmware keeps that to itself."
)


@pytest.mark.parametrize(
    ("cpufreq", "rule", "free", "refused"),
    [
        ([PASSIVE], {"governor": "performance"}, {"governor": "schedutil"}, ""),
        ([PASSIVE], {"governor": "powersave"}, {}, "the governor powersave"),
        ([PASSIVE], {}, {"governor": "ondemand", "epp": "power"}, "the governor ondemand and the energy preference power"),
        ([PASSIVE, ACTIVE], {"governor": "powersave", "epp": "power"}, {"governor": "schedutil"}, ""),
        ([ACTIVE], {"epp": "balance_power"}, {}, "the energy preference balance_power"),
        ([ACTIVE], {"epp": "128"}, {"epp": "default"}, ""),
        ([AT_FULL_SPEED], {"governor": "powersave", "epp": "balance_power"}, {}, ""),
        ([{"cpus": "0-15", "governor": "powersave"}], {"governor": "schedutil"}, {}, ""),
        ([], {"irq": "follow"}, {}, ""),
    ],
)
def test_wishes_that_no_cpu_of_a_host_offers_are_one_warning(cpufreq, rule, free, refused):
    plan = plan_for({"rules": [{"match": {}, **rule}], "free_cpus": free}, {"vmid": 101}, cpufreq=cpufreq)
    assert [warning.partition(" of rules")[0] for warning in plan["warnings"]] == [f"Host pve1 does not offer {refused}"] * bool(refused)


def test_the_warning_says_what_the_host_has():
    wish = {"rules": [{"match": {}, "governor": "powersave"}]}
    [warning] = plan_for(wish, {"vmid": 101}, cpufreq=[PASSIVE])["warnings"]
    assert warning == (
        "Host pve1 does not offer the governor powersave of rules or free_cpus, so that the playbook tune will fail there; its governors "
        "are performance and schedutil, and its energy preferences none."
    )
    assert plan_for(wish, {"vmid": 101}, cpufreq=None)["warnings"] == [NO_SCALING]
    assert plan_for(wish, {"vmid": 101})["warnings"] == []


def facts_of(plan: t.Mapping[str, t.Any], node: str = "pve1") -> t.Dict[str, t.Any]:
    return {**eight_cores(node), "fingerprint": plan["hosts"].get(node)}


def test_one_host_gets_the_options_of_the_modules():
    plan = plan_for({"rules": RULES, "free_cpus": {"epp": "power"}}, FAST)
    assert host_tuning(plan, facts_of(plan)) == {
        "busy": [{"cpus": "0-1,8-9", "governor": "performance"}],
        "free": {"epp": "power"},
        "interrupts": [
            {"pci": "0000:41:00.0", "cpus": "0,8,1,9", "vmid": 101, "required": False},
            {"pci": "0000:41:00.1", "cpus": "0,8,1,9", "vmid": 101, "required": False},
        ],
    }
    plain = plan_for({"rules": RULES}, {"vmid": 104, "tags": ["plain"]})
    assert host_tuning(plain, facts_of(plain)) == {"busy": [], "free": None, "interrupts": []}


def test_a_host_that_the_plan_does_not_know_or_that_changed_is_refused():
    plan = sealed({**plan_for({"rules": RULES}, FAST), "hosts": {"pve1": "aa"}})
    with pytest.raises(PlanError, match=r"The layout of host pve1 has changed since the plan .* make a new plan"):
        host_tuning(plan, {**facts_of(plan), "fingerprint": "bb"})
    with pytest.raises(PlanError, match="does not know host pve2"):
        host_tuning(plan, facts_of(plan, "pve2"))
    with pytest.raises(FactsError, match="have no name"):
        host_tuning(plan, {})
    with pytest.raises(PlanError, match="was edited"):
        host_tuning({**plan, "tuning": {}}, facts_of(plan))
