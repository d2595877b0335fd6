# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host after host: the order, the canary, what is looked at in between, and what is said where it stops."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import placement
from ansible_collections.corepin.proxmox.plugins.modules import guest_placement
from pve_lab import Cluster, Lab

from .conftest import AUDITOR, connection, described, plan_for, warnings_of

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

WANTED: dict[int, dict[str, t.Optional[str]]] = {
    200: {"affinity": "16-17"},
    102: {"affinity": "4-5"},
    100: {"affinity": "8-9,40-41"},
    103: {"affinity": "6-7"},
    101: {"numa": "1"},
}
FINGERPRINTS = {"pve1": "a" * 64, "pve2": "b" * 64, "pve3": None}


def written(lab: Lab) -> list[int]:
    return [int(request.path.split("/")[4]) for request in lab.writes if request.status == 200]


def settled(result: t.Mapping[str, t.Any]) -> list[tuple[int, bool]]:
    return [(entry["vmid"], entry["changed"]) for entry in result["guests"]]


def test_hosts_come_by_name_and_guests_in_the_order_of_the_plan(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_placement, plan=plan_for(lab.cluster, WANTED), **connection(lab))
    assert written(lab) == [100, 101, 102, 103, 200]
    assert [entry["vmid"] for entry in result["guests"]] == [200, 102, 100, 103, 101]
    looked = [request.path for request in lab.requests if request.path in ("/cluster/status", "/cluster/ceph/status")]
    assert looked == ["/cluster/status", "/cluster/ceph/status", "/cluster/status", "/cluster/status"]
    assert result["ceph_health"] is None


def test_without_rolling_the_plan_sets_the_order_and_nobody_looks(lab: Lab, run_module: ModuleRunner) -> None:
    run_module(guest_placement, plan=plan_for(lab.cluster, WANTED), rolling=False, **connection(lab))
    assert written(lab) == [200, 102, 100, 103, 101]
    assert [request.path for request in lab.requests].count("/cluster/status") == 1


def test_the_canary_comes_first_then_its_host(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_placement, plan=plan_for(lab.cluster, WANTED), canary=103, **connection(lab))
    assert written(lab) == [103, 102, 100, 101, 200]
    assert "failed" not in result


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 500, "reason": "VM is locked (backup)"}, "locked"),
        ({"act": "undo", "after_acceptance": True}, "does not have what was written"),
    ],
)
def test_after_a_canary_that_fails_nothing_else_is_done(lab: Lab, run_module: ModuleRunner, fault: dict[str, t.Any], said: str) -> None:
    text = lab.cluster.guest(103).text
    if fault.get("act"):
        fault = {**fault, "act": lambda: setattr(lab.cluster.guest(103), "text", text)}
    plan = plan_for(lab.cluster, WANTED)
    lab.faults.add(method="PUT", path="/103/config", **fault)
    result = run_module(guest_placement, plan=plan, canary=103, **connection(lab))
    assert result["failed"]
    assert said in result["msg"]
    assert set(written(lab)) <= {103}
    assert set(result["not_applied"]) >= {100, 101, 102, 200}


@pytest.mark.parametrize(
    ("canary", "nodes", "said"),
    [
        (999, None, "none of the guests that the plan changes"),
        (200, ["pve1"], "on pve3, which is no host of this run"),
        (102, None, "cannot be changed: its config is locked (backup)"),
    ],
)
def test_a_canary_that_cannot_be_one(lab: Lab, run_module: ModuleRunner, canary: int, nodes: t.Optional[list[str]], said: str) -> None:
    plan = plan_for(lab.cluster, WANTED)
    lab.cluster.guest(102).text += "lock: backup\n"
    result = run_module(guest_placement, plan=plan, canary=canary, nodes=nodes, **connection(lab))
    assert said in result["msg"]
    assert lab.writes == []


def test_a_quorum_that_is_lost_after_the_first_host(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, WANTED)
    lab.faults.add(method="PUT", path="/101/", after_acceptance=True, act=lambda: setattr(lab.cluster, "quorate", False))
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert result["msg"].startswith("Guest 102 on pve2: The cluster has no quorum")
    assert "(changed before it: 100, 101; left as they were: 102, 200, 103)" in result["msg"]
    assert settled(result) == [(100, True), (101, True)]
    assert written(lab) == [100, 101]
    lab.cluster.quorate = True
    assert settled(run_module(guest_placement, plan=plan, **connection(lab))) == [
        (200, True),
        (102, True),
        (100, False),
        (103, True),
        (101, False),
    ]


@pytest.mark.parametrize(
    ("at_first", "later", "accepted", "goes_on"),
    [
        ("HEALTH_OK", "HEALTH_OK", None, True),
        ("HEALTH_WARN", "HEALTH_WARN", None, True),
        ("HEALTH_WARN", "HEALTH_OK", None, True),
        ("HEALTH_OK", "HEALTH_WARN", None, False),
        ("HEALTH_OK", "HEALTH_WARN", "HEALTH_WARN", True),
        ("HEALTH_WARN", "HEALTH_ERR", "HEALTH_WARN", False),
        ("HEALTH_OK", "gone", None, False),
    ],
)
def test_ceph_that_becomes_worse(
    lab: Lab, run_module: ModuleRunner, at_first: str, later: str, accepted: t.Optional[str], goes_on: bool
) -> None:
    lab.cluster.ceph = at_first
    plan = plan_for(lab.cluster, WANTED)
    lab.faults.add(method="PUT", path="/101/", after_acceptance=True, act=lambda: setattr(lab.cluster, "ceph", later))
    result = run_module(guest_placement, plan=plan, **({"ceph_health": accepted} if accepted else {}), **connection(lab))
    assert result["ceph_health"] == at_first
    if goes_on:
        assert "failed" not in result
        assert len(written(lab)) == 5
    else:
        assert f"Guest 102 on pve2: Ceph is at {later}" in result["msg"]
        assert written(lab) == [100, 101]


def test_ceph_that_is_ill_before_the_first_write(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.ceph = "HEALTH_ERR"
    plan = plan_for(lab.cluster, WANTED)
    assert "Ceph is at HEALTH_ERR" in run_module(guest_placement, plan=plan, **connection(lab))["msg"]
    assert lab.writes == []
    lab.cluster.ceph = "HEALTH_WARN"
    assert "Ceph is at HEALTH_WARN" in run_module(guest_placement, plan=plan, ceph_health="HEALTH_OK", **connection(lab))["msg"]
    assert lab.writes == []


def test_a_login_that_may_not_see_ceph_is_told_so(run_module: ModuleRunner) -> None:
    cluster = Cluster.from_dict(described(roles={"CpuAdmin": "VM.Audit VM.Config.CPU", "SysOnly": "Sys.Audit"}, ceph="HEALTH_OK"))
    with Lab(cluster) as lab:
        login = {"api_user": "ops@pve", "api_token_id": "corepin", "api_token_secret": "22222222-bbbb"}
        result = run_module(guest_placement, plan=plan_for(cluster, {101: {"numa": "1"}}), **connection(lab, **login))
    assert "failed" not in result, result
    assert any("may not read the status of Ceph" in warning for warning in warnings_of(result))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({**FINGERPRINTS, "pve2": "c" * 64}, "are not those that were planned for"),
        ({"pve1": "a" * 64}, "its host was not read now"),
    ],
)
def test_a_host_that_has_changed_since(lab: Lab, run_module: ModuleRunner, now: dict[str, t.Optional[str]], said: str) -> None:
    plan = plan_for(lab.cluster, WANTED, hosts=FINGERPRINTS)
    refused = run_module(guest_placement, plan=plan, fingerprints=now, **connection(lab))
    assert f"guest 102: {'its host' if 'read' in said else 'the CPUs'}" in refused["msg"]
    assert said in refused["msg"]
    assert "nothing was written" in refused["msg"]
    assert lab.writes == []
    skipped = run_module(guest_placement, plan=plan, fingerprints=now, on_conflict="skip", **connection(lab))
    assert settled(skipped) == [(200, True), (102, False), (100, True), (103, False), (101, True)]
    assert said in skipped["guests"][1]["reason"]


def test_hosts_as_planned_are_no_obstacle(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, WANTED, hosts=FINGERPRINTS)
    result = run_module(guest_placement, plan=plan, fingerprints={"pve1": "a" * 64, "pve2": "b" * 64, "pve3": "d" * 64}, **connection(lab))
    assert len(settled(result)) == 5
    assert all(changed for _vmid, changed in settled(result))


def test_a_plan_for_a_cluster_with_other_hosts(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {101: {"numa": "1"}}, placements=[{"vmid": 900, "node": "pve9"}])
    refused = run_module(guest_placement, plan=plan, **connection(lab))
    assert "a cluster with the host pve9, but this one has pve1, pve2, pve3" in refused["msg"]
    assert lab.writes == []


def test_a_lock_file_that_is_held_longer_than_pve_waits(lab: Lab, run_module: ModuleRunner) -> None:
    """PVE gives up, and the lock is free by the time that it is asked again."""
    lab.cluster.lock_timeout = 0.05
    plan = plan_for(lab.cluster, WANTED)
    guest = lab.cluster.guest(102)
    held = lab.cluster.held_lock(102)
    lab.faults.add(method="PUT", path="/102/", times=1, act=held.__enter__)
    lab.faults.add(method="PUT", path="/102/", times=1, act=lambda: held.__exit__(None, None, None))
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert "failed" not in result, result
    assert guest.load().main["affinity"] == "4-5"
    assert [request.status for request in lab.writes if "/102/" in request.path] == [500, 200]


@pytest.mark.usefixtures("hasty_writes")
def test_a_time_out_of_ours_while_pve_waits_for_the_lock_is_read_back(
    lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "READ_BACK_S", 30.0)
    monkeypatch.setattr(placement, "READ_BACK_PAUSE_S", 0.05)
    plan = plan_for(lab.cluster, {102: {"affinity": "4-5"}})
    lab.faults.add(method="PUT", path="/102/", delay=4.0)
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert "failed" not in result, result
    assert settled(result) == [(102, True)]
    assert any("reading back shows that the change was made" in warning for warning in warnings_of(result))


def test_a_token_without_rights_is_refused_whole(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_placement, plan=plan_for(lab.cluster, {101: {"numa": "1"}}), **connection(lab, **AUDITOR))
    assert "lacks the privilege VM.Config.CPU" in result["msg"]
    assert lab.writes == []
