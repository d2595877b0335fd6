# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that the plan restarts: never by force, one after the other, and with what was planned afterwards."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import api_door, restart
from pve_lab import Cluster, Lab

from .conftest import CPU_ADMIN, described, plan_for, warnings_of
from .ways import Way, open_way

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

PINNED = {"affinity": "8-9,40-41", "numa0": "cpus=0-3,hostnodes=1,memory=8192,policy=bind"}
WANTED: dict[int, dict[str, t.Optional[str]]] = {100: PINNED, 101: {"affinity": "0-3"}, 110: {"affinity": "20-21"}}


def description(managed: bool) -> dict[str, t.Any]:
    made = copy.deepcopy(described())
    made["guests"] += [{"vmid": 110, "node": "pve1", "status": "running", "config": {"name": "cache", "cores": 2, "memory": 1024}}]
    if not managed:
        made["ha"] = {"resources": {"vm:100": {"type": "vm", "state": "ignored"}}}
    return made


@pytest.fixture(params=["api", "host"])
def way(request: pytest.FixtureRequest, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Way]:
    for module in (api_door, restart):
        monkeypatch.setattr(module, "TASK_POLL_S" if module is api_door else "POLL_S", 0.02)
    managed = "managed" in request.node.name
    with Lab(Cluster.from_dict(description(managed))) as lab:
        yield from open_way(request.param, lab, run_module, monkeypatch)


def restarting(cluster: Cluster, *vmids: int, wanted: t.Optional[t.Mapping[int, t.Any]] = None) -> dict[str, t.Any]:
    plan = plan_for(cluster, WANTED if wanted is None else wanted)
    changes = [{**change, "effect": "restart" if change["vmid"] in vmids else change["effect"]} for change in plan["changes"]]
    return sealed({**plan, "changes": changes})


def acts(lab: Lab) -> list[str]:
    """What was asked for, without reads: `PUT 100 config`."""
    return [f"{request.method} {request.path.split('/')[4]} {request.path.rpartition('/')[2]}" for request in lab.writes]


def effects(result: t.Mapping[str, t.Any]) -> dict[int, t.Optional[str]]:
    return {entry["vmid"]: entry["effect"] for entry in result["guests"]}


def test_only_the_named_guest_is_restarted_and_has_what_was_planned(way: Way) -> None:
    lab = way.lab
    plan = restarting(lab.cluster, 100)
    other = lab.cluster.guest(110).live
    checked = way.place(plan, check_mode=True)
    assert lab.writes == []
    result = way.place(plan)
    assert "failed" not in result, result
    assert checked["guests"] == result["guests"]
    assert effects(result) == {100: "restart", 101: "now", 110: "pending"}
    assert acts(lab) == ["PUT 100 config", "PUT 101 config", "PUT 110 config", "POST 100 shutdown", "POST 100 start"]
    assert not any(request.params.get("forceStop") for request in lab.writes)
    assert lab.cluster.guest(100).live_affinity == "8-9,40-41"
    assert lab.cluster.guest(100).load().pending == {}
    assert lab.cluster.guest(110).live is other
    again = way.place(plan)
    assert again["changed"] is False
    assert effects(again) == {100: "now", 101: "now", 110: "pending"}
    assert len(acts(lab)) == 5


def test_a_guest_that_only_waits_is_restarted_too(way: Way) -> None:
    assert way.place(restarting(way.lab.cluster))["guests"][0]["effect"] == "pending"
    done = len(acts(way.lab))
    plan = restarting(way.lab.cluster, 100, wanted={100: PINNED})
    checked = way.place(plan, check_mode=True, diff=True)
    result = way.place(plan, diff=True)
    assert checked["changed"] is result["changed"] is True
    assert checked["guests"] == result["guests"]
    assert result["diff"] == checked["diff"]
    assert result["diff"]["after"] == "guest 100 on pve1:\n  restarted: yes\n"
    assert acts(way.lab)[done:] == ["POST 100 shutdown", "POST 100 start"]
    assert way.place(plan)["changed"] is False


def test_undoing_restarts_the_same_guests(way: Way) -> None:
    plan = restarting(way.lab.cluster, 100)
    before = way.lab.cluster.guest(100).text
    way.place(plan)
    result = way.place(plan, rollback=True)
    assert effects(result)[100] == "restart"
    assert way.lab.cluster.guest(100).live_affinity == "0-3"
    assert way.lab.cluster.guest(100).text == before


def test_a_managed_guest_is_rebooted_for_the_resource_manager_would_use_force(way: Way) -> None:
    result = way.place(restarting(way.lab.cluster, 100))
    assert "failed" not in result, result
    assert effects(result)[100] == "restart"
    assert acts(way.lab)[3:] == ["POST 100 reboot"]
    assert way.lab.cluster.guest(100).live_affinity == "8-9,40-41"
    assert way.lab.cluster.ha.resources["vm:100"]["state"] == "started"


@pytest.mark.parametrize("kind", ["managed", "free"])
def test_a_deaf_guest_is_left_running_and_named(way: Way, kind: str) -> None:
    lab = way.lab
    lab.cluster.guest(100).deaf = True
    process = lab.cluster.guest(100).live
    plan = restarting(lab.cluster, 100, 110)
    result = way.place(plan, shutdown_timeout=1)
    assert result["failed"]
    assert result["msg"].startswith("Guest 100 on pve1: it did not shut down within 1 s (VM quit/powerdown failed - got timeout)")
    assert "was left running" in result["msg"]
    assert "not restarted: 100, 110" in result["msg"]
    assert result["not_restarted"] == [100, 110]
    assert "not_applied" not in result
    assert effects(result) == {100: "pending", 101: "now", 110: "pending"}
    assert lab.cluster.guest(100).live is process
    assert lab.cluster.guest(110).live_affinity == "0-63"
    lab.cluster.guest(100).deaf = False
    assert effects(way.place(plan)) == {100: "restart", 101: "now", 110: "restart"}
    assert kind in ("managed", "free")


def test_a_guest_that_does_not_start_again(way: Way) -> None:
    lab = way.lab
    lab.cluster.node("pve1").snippets["hook.sh"] = {"executable": True, "fails": []}
    lab.cluster.guest(100).text += "hookscript: local:snippets/hook.sh\n"
    way.settle()
    plan = restarting(lab.cluster, 100, 110)
    lab.cluster.node("pve1").snippets["hook.sh"]["fails"] = ["pre-start"]
    before = sorted(lab.cluster.guest(100).text.splitlines())
    result = way.place(plan)
    assert "Guest 100 on pve1: it does not start with what was planned (hookscript error for 100 on pre-start" in result["msg"]
    assert "with which it does not start either" in result["msg"]
    assert (result["not_applied"], result["not_restarted"]) == ([100], [110])
    assert sorted(lab.cluster.guest(100).text.splitlines()) == before
    assert lab.cluster.guest(110).live_affinity == "0-63"


def test_a_guest_that_does_not_start_with_what_was_planned_runs_as_before(way: Way) -> None:
    lab = way.lab
    wrong = {"numa0": "cpus=0-3,hostnodes=7,memory=8192,policy=bind"}
    plan = restarting(lab.cluster, 100, wanted={100: wrong, 110: {"affinity": "20-21"}})
    before = lab.cluster.guest(100).text
    result = way.place(plan)
    assert "it does not start with what was planned (host NUMA node7 doesn't exist" in result["msg"]
    assert "with which it runs again" in result["msg"]
    assert result["not_applied"] == [100]
    assert effects(result) == {110: "pending"}
    assert lab.cluster.guest(100).text == before
    assert lab.cluster.guest(100).live_affinity == "0-3"


def test_a_guest_that_was_cut_off_while_it_was_down_is_named(way: Way) -> None:
    plan = restarting(way.lab.cluster, 100, wanted={100: PINNED})
    assert way.place(plan)["changed"] is True
    way.lab.cluster.guest(100).live = None
    result = way.place(plan)
    assert result["changed"] is False
    assert "Guest 100 on pve1 ran when its restart was planned and does not run now" in warnings_of(result)[0]


def test_an_answer_that_is_lost_is_told_from_a_refusal(way: Way) -> None:
    lab = way.lab
    if way.name == "host":
        pytest.skip("a command on the host has no answer that could be lost without it")
    plan = restarting(lab.cluster, 100)
    lab.faults.add(method="POST", path="/100/status/shutdown", drop=True, after_acceptance=True)
    lab.faults.add(method="POST", path="/100/status/start", drop=True, after_acceptance=True)
    result = way.place(plan)
    assert "failed" not in result, result
    assert effects(result)[100] == "restart"
    assert lab.cluster.guest(100).live_affinity == "8-9,40-41"


def test_a_login_that_is_revoked_between_shutdown_and_start(way: Way) -> None:
    lab = way.lab
    if way.name == "host":
        pytest.skip("there is no login")
    plan = restarting(lab.cluster, 100)
    lab.faults.add(path="/100/status/start", status=401)
    lab.faults.add(path="/status/current", status=401, skip=4)
    result = way.place(plan)
    assert "its restart was begun, and how it ended is not known" in result["msg"]
    assert result["not_restarted"] == [100]


def test_a_login_without_the_privilege_is_refused_whole(way: Way) -> None:
    if way.name == "host":
        pytest.skip("there is no login")
    from ansible_collections.corepin.proxmox.plugins.modules import guest_placement

    from .conftest import connection

    plan = restarting(way.lab.cluster, 100, wanted={100: {"numa0": PINNED["numa0"]}})
    result = way._run(guest_placement, plan=plan, **connection(way.lab, **CPU_ADMIN))
    assert "lacks the privilege VM.PowerMgmt on /vms/100" in result["msg"]
    assert way.lab.writes == []
