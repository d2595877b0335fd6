# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_placement over the API of the simulated cluster: what is written, what is refused, what is said about it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import placement
from ansible_collections.corepin.proxmox.plugins.modules import guest_placement
from pve_lab import Lab

from .conftest import AUDITOR, CPU_ADMIN, NO_RIGHTS, ROOT_TOKEN, connection, logins, plan_for, reads_of_guests, warnings_of

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

CELL = "cpus=0-3,hostnodes=1,memory=8192,policy=bind"
PINNED = {"affinity": "8-9,40-41", "numa": "1", "numa0": CELL}


def strip(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in result.items() if key != "invocation"}


def puts(lab: Lab) -> list[tuple[str, dict[str, t.Any]]]:
    return [(request.path, request.params) for request in lab.writes]


def test_one_request_per_guest_with_the_differing_keys_and_the_digest(lab: Lab, run_module: ModuleRunner) -> None:
    digests = {vmid: lab.cluster.guest(vmid).digest for vmid in (100, 101, 102)}
    plan = plan_for(
        lab.cluster,
        {
            100: PINNED,
            101: {"affinity": "0, 32,1,33", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=2048,policy=bind"},
            102: {"affinity": "0-0"},
        },
    )
    result = run_module(guest_placement, diff=True, plan=plan, **connection(lab))
    assert "failed" not in result, result
    assert puts(lab) == [
        ("/nodes/pve1/qemu/100/config", {"affinity": "8-9,40-41", "numa0": CELL, "digest": digests[100]}),
        (
            "/nodes/pve1/qemu/101/config",
            {"affinity": "0,32,1,33", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=2048,policy=bind", "digest": digests[101]},
        ),
        ("/nodes/pve2/qemu/102/config", {"affinity": "0-0", "digest": digests[102]}),
    ]
    assert result["changed"] is True
    assert result["guests"][0] == {
        "vmid": 100,
        "node": "pve1",
        "changed": True,
        "before": {"affinity": "0-3", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=8192,policy=bind"},
        "after": {"affinity": "8-9,40-41", "numa": "1", "numa0": CELL},
        "effect": "pending",
        "skipped": False,
        "reason": None,
    }
    assert [(guest["vmid"], guest["effect"]) for guest in result["guests"]] == [(100, "pending"), (101, "now"), (102, "now")]
    assert lab.cluster.guest(102).load().main["affinity"] == "0-0"
    assert result["diff"]["before"].startswith("guest 100 on pve1:\n  affinity: 0-3\n  numa0: cpus=0-3,hostnodes=0,")
    assert (
        "guest 101 on pve1:\n  affinity: null\n  numa: null\n  numa0: null\nguest 102 on pve2:\n  affinity: 0\n" in result["diff"]["before"]
    )
    assert result["diff"]["after"].endswith("guest 102 on pve2:\n  affinity: 0-0\n")
    assert logins(lab) == 1


def test_check_mode_tells_the_same_and_a_second_run_changes_nothing(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 102: {"affinity": "4-5"}, 200: {"affinity": None}})
    checked = run_module(guest_placement, check_mode=True, diff=True, plan=plan, **connection(lab))
    assert lab.writes == []
    real = run_module(guest_placement, diff=True, plan=plan, **connection(lab))
    assert strip(checked) == strip(real)
    assert real["changed"] is True
    assert len(lab.writes) == 2

    mark = lab.mark()
    again = run_module(guest_placement, diff=True, plan=plan, **connection(lab))
    assert again["changed"] is False
    assert again["diff"] == {"before": "", "after": ""}
    assert [(guest["vmid"], guest["changed"], guest["effect"]) for guest in again["guests"]] == [
        (100, False, "pending"),
        (102, False, "now"),
        (200, False, "now"),
    ]
    assert all(guest["before"] == guest["after"] for guest in again["guests"])
    requests = lab.requests_since(mark)
    assert sorted(request.path for request in requests if "/qemu/" in request.path) == [
        "/nodes/pve1/qemu/100/pending",
        "/nodes/pve2/qemu/102/pending",
        "/nodes/pve3/qemu/200/pending",
    ]
    assert sum(1 for request in requests if request.path == "/access/ticket") == 1
    assert len(requests) == 5  # these, the login, and /cluster/status
    assert run_module(guest_placement, check_mode=True, diff=True, plan=plan, **connection(lab))["changed"] is False


def test_removal_goes_through_delete_and_only_for_keys_that_are_there(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: {"affinity": None, "numa": "0", "numa0": None, "numa1": None}})
    result = run_module(guest_placement, plan=plan, **connection(lab))
    (path, params) = puts(lab)[0]
    assert (path, params["numa"], set(params["delete"].split(","))) == ("/nodes/pve1/qemu/100/config", "0", {"affinity", "numa0"})
    assert lab.cluster.guest(100).load().effective().get("affinity") is None
    assert result["guests"][0]["after"] == {"affinity": None, "numa": "0", "numa0": None, "numa1": None}
    assert run_module(guest_placement, plan=plan, **connection(lab))["changed"] is False


@pytest.mark.parametrize(
    ("stored", "wanted", "sent"),
    [
        ("0", "0-0", True),
        ("0", None, False),
        ("0-3", "0,1,2,3", False),
        ("3,2,1,0", "0-3", False),
        ("00-03", "0-3", False),
        ("0,1,", "0-1", True),
        ("0, 1", "0-1", True),
        (None, "0", False),
    ],
)
def test_affinity_is_compared_by_effect(
    lab: Lab, run_module: ModuleRunner, stored: t.Optional[str], wanted: t.Optional[str], sent: bool
) -> None:
    if stored is not None:
        lab.cluster.guest(101).text += f"affinity: {stored}\n"
    result = run_module(guest_placement, plan=plan_for(lab.cluster, {101: {"affinity": wanted}}), **connection(lab))
    assert "failed" not in result, result
    assert result["changed"] is sent
    assert bool(lab.writes) is sent


def test_a_pending_value_as_planned_is_enough(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.guest(100).text += "\n[PENDING]\naffinity: 8-9,40-41\ndelete: numa0\n"
    plan = plan_for(lab.cluster, {100: {"affinity": "8-9,40-41", "numa0": None}})
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert (result["changed"], result["guests"][0]["effect"]) == (False, "pending")
    assert lab.writes == []


def test_setting_back_what_the_guest_runs_with_takes_effect_now(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.guest(100).text += "\n[PENDING]\naffinity: 8-9,40-41\n"
    result = run_module(guest_placement, plan=plan_for(lab.cluster, {100: {"affinity": "0-3"}}), **connection(lab))
    assert (result["changed"], result["guests"][0]["effect"], result["guests"][0]["before"]) == (True, "now", {"affinity": "8-9,40-41"})
    assert lab.cluster.guest(100).load().pending == {}


def test_only_the_hosts_that_are_named(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 102: {"affinity": "4-5"}})
    result = run_module(guest_placement, plan=plan, nodes=["pve2"], **connection(lab))
    assert [guest["vmid"] for guest in result["guests"]] == [102]
    assert [path for path, _params in puts(lab)] == ["/nodes/pve2/qemu/102/config"]
    assert not any("/100/" in path for path in reads_of_guests(lab))


# --- the plan as a whole is refused ------------------------------------------------------------------------------------


def refused(lab: Lab, run_module: ModuleRunner, plan: t.Any, **options: t.Any) -> str:
    """The one sentence of a run that wrote nothing, the same in check mode."""
    checked = run_module(guest_placement, check_mode=True, plan=plan, **options)
    result = run_module(guest_placement, plan=plan, **options)
    assert result.get("failed"), result
    assert lab.writes == []
    assert checked["msg"] == result["msg"]
    assert "\n" not in result["msg"]
    return str(result["msg"])


def test_a_token_may_not_set_affinity_not_even_one_of_root(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}, 102: {"affinity": "4-5"}})
    for login in (ROOT_TOKEN, CPU_ADMIN, NO_RIGHTS):
        if login is not NO_RIGHTS:
            message = refused(lab, run_module, plan, **connection(lab, **login))
            assert "affinity of guests 100, 102" in message
            assert "root@pam with a password" in message
            assert f"the token {login['api_user']}!{login['api_token_id']}" in message
            assert "on the hosts as root" in message


def test_every_root_only_key_is_named(lab: Lab, run_module: ModuleRunner) -> None:
    keys = {"affinity": "1", "args": "-S", "hookscript": "local:snippets/x", "hugepages": "2", "keephugepages": "1"}
    message = refused(lab, run_module, plan_for(lab.cluster, {101: keys}), **connection(lab, **ROOT_TOKEN))
    assert all(f"{key} of guest 101" in message for key in keys)


def test_a_token_converges_where_affinity_is_as_planned(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: {"affinity": "0-3", "numa": "1", "numa0": CELL}})
    result = run_module(guest_placement, plan=plan, **connection(lab, **CPU_ADMIN))
    assert "failed" not in result, result
    assert [set(params) for _path, params in puts(lab)] == [{"numa0", "digest"}]
    assert run_module(guest_placement, plan=plan, **connection(lab, **CPU_ADMIN))["changed"] is False


def test_a_missing_privilege_is_found_before_the_first_write(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: {"numa0": CELL}, 101: {"numa": "1"}})
    message = refused(lab, run_module, plan, **connection(lab, **AUDITOR))
    assert "VM.Config.CPU on /vms/100" in message
    assert "numa0 of guest 100" in message


def test_a_privilege_on_one_guest_is_enough_for_it(lab: Lab, run_module: ModuleRunner) -> None:
    from pve_lab.access import AclEntry

    lab.cluster.access.acl.append(AclEntry("/vms/101", "auditor@pve", "CpuAdmin"))
    result = run_module(guest_placement, plan=plan_for(lab.cluster, {101: {"numa": "1"}}), **connection(lab, **AUDITOR))
    assert result["changed"] is True


def test_without_the_right_to_read_the_clusters_status(lab: Lab, run_module: ModuleRunner) -> None:
    from pve_lab.access import AclEntry

    lab.cluster.access.acl[:] = [AclEntry("/vms", "ops@pve", "CpuAdmin")]
    result = run_module(guest_placement, plan=plan_for(lab.cluster, {101: {"numa": "1"}}), **connection(lab, **CPU_ADMIN))
    assert result["changed"] is True
    assert "neither the cluster's name nor its quorum" in warnings_of(result)[0]


def test_an_edited_plan(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED})
    plan["changes"][0]["after"]["affinity"] = "0-63"
    assert "was edited" in refused(lab, run_module, plan, **connection(lab))
    assert lab.requests == []


@pytest.mark.parametrize("plan", [{}, {"schema": 1}, {"changes": []}])
def test_what_is_no_plan(lab: Lab, run_module: ModuleRunner, plan: dict[str, t.Any]) -> None:
    assert "plan" in refused(lab, run_module, plan, **connection(lab)).lower()


def test_a_plan_with_parameters_of_the_api_instead_of_keys(lab: Lab, run_module: ModuleRunner) -> None:
    assert "'skiplock'" in refused(lab, run_module, plan_for(lab.cluster, {100: {"skiplock": "1"}}), **connection(lab))


def test_a_plan_for_another_cluster(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED}, cluster="elsewhere")
    assert "made for the cluster elsewhere, but this one is lab" in refused(lab, run_module, plan, **connection(lab))


def test_a_guest_that_was_changed_after_planning(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    lab.cluster.guest(100).text += "onboot: 1\n"
    message = refused(lab, run_module, plan, **connection(lab))
    assert "guest 100: its config was changed after the plan was made" in message
    result = run_module(guest_placement, plan=plan, on_conflict="skip", **connection(lab))
    assert [(guest["vmid"], guest["changed"], guest["skipped"]) for guest in result["guests"]] == [(100, False, True), (101, True, False)]
    assert result["guests"][0]["before"] == result["guests"][0]["after"]
    assert "Guest 100 on pve1 was skipped" in warnings_of(result)[-1]


def test_a_changed_guest_that_agrees_with_the_plan_is_no_conflict(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: {"affinity": "0-3"}})
    lab.cluster.guest(100).text += "onboot: 1\n"
    assert run_module(guest_placement, plan=plan, **connection(lab))["changed"] is False


def test_a_guest_that_moved_or_was_removed(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}, 102: {"affinity": "4-5"}})
    lab.cluster.guest(101).node = "pve3"
    del lab.cluster.guests[102]
    message = refused(lab, run_module, plan, **connection(lab))
    assert "guest 101: it is not on pve1 any more" in message
    assert "guest 102: it is not on pve2 any more" in message
    result = run_module(guest_placement, plan=plan, on_conflict="skip", **connection(lab))
    assert [guest["changed"] for guest in result["guests"]] == [True, False, False]


def test_without_quorum(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED})
    lab.cluster.quorate = False
    assert "no quorum" in refused(lab, run_module, plan, **connection(lab))
    lab.cluster.guest(100).text = lab.cluster.guest(100).text.replace("affinity: 0-3", "affinity: 8-9,40-41")
    agreeing = plan_for(lab.cluster, {100: {"affinity": "8-9,40-41"}})
    assert run_module(guest_placement, plan=agreeing, **connection(lab))["changed"] is False


# --- single guests are left out ----------------------------------------------------------------------------------------


def test_a_locked_guest_and_an_offline_host_are_skipped(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.guest(100).text += "lock: backup\n"
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}, 200: {"affinity": "1"}})
    lab.cluster.node("pve3").online = False
    checked = run_module(guest_placement, check_mode=True, plan=plan, **connection(lab))
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert checked["guests"] == result["guests"]
    assert [(guest["skipped"], guest["reason"]) for guest in result["guests"]] == [
        (True, "its config is locked (backup)"),
        (False, None),
        (True, "its host is offline"),
    ]
    assert [path for path, _params in puts(lab)] == ["/nodes/pve1/qemu/101/config"]


def test_a_guest_that_is_locked_only_when_it_is_written(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    lab.faults.add(method="PUT", path="/100/config", status=500, reason="VM is locked (migrate)")
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert [(guest["changed"], guest["reason"]) for guest in result["guests"]] == [(False, "its config is locked (migrate)"), (True, None)]


# --- failures on the way -----------------------------------------------------------------------------------------------


def test_a_failure_in_the_middle_says_what_was_done(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}, 102: {"affinity": "4-5"}, 200: {"affinity": None}})
    fault = lab.faults.add(method="PUT", path="/101/config", status=500, reason="checksum mismatch (file change by other user?)")
    result = run_module(guest_placement, diff=True, plan=plan, **connection(lab))
    assert result["failed"]
    assert result["changed"] is True
    assert "Guest 101 on pve1: The guest's config was changed by somebody else" in result["msg"]
    assert "(changed before it: 100; left as they were: 101, 102)" in result["msg"]
    assert [(guest["vmid"], guest["changed"]) for guest in result["guests"]] == [(100, True), (200, False)]
    assert result["not_applied"] == [101, 102]
    assert "guest 100" in result["diff"]["after"]
    assert "guest 101" not in result["diff"]["after"]

    lab.faults.remove(fault)
    again = run_module(guest_placement, plan=plan, **connection(lab))
    assert [guest["changed"] for guest in again["guests"]] == [False, True, True, False]


def test_a_lock_that_is_held_too_long(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.lock_timeout = 0.2
    plan = plan_for(lab.cluster, {101: {"numa": "1"}})
    with lab.cluster.held_lock(101):
        result = run_module(guest_placement, plan=plan, **connection(lab))
    assert result["failed"]
    assert "could not get the lock" in result["msg"]
    assert result["not_applied"] == [101]
    assert run_module(guest_placement, plan=plan, **connection(lab))["changed"] is True


def test_a_token_that_is_revoked_on_the_way(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: {"numa0": CELL}, 101: {"numa": "1"}})
    original = lab.cluster.changed

    def revoke() -> None:
        original()
        lab.cluster.access.tokens.pop("ops@pve!corepin", None)

    lab.cluster.changed = revoke  # type: ignore[method-assign]
    result = run_module(guest_placement, plan=plan, **connection(lab, **CPU_ADMIN))
    assert result["failed"]
    assert "does not accept the token ops@pve!corepin" in result["msg"]
    assert ([guest["vmid"] for guest in result["guests"]], result["not_applied"]) == ([100], [101])
    assert CPU_ADMIN["api_token_secret"] not in str(result)


@pytest.mark.usefixtures("hasty_writes")
@pytest.mark.parametrize("fault", [{"delay": 4.0}, {"drop": True}, {"status": 596, "reason": "Broken pipe"}])
def test_an_answer_that_is_lost_after_acceptance_is_found_by_reading_back(
    lab: Lab, run_module: ModuleRunner, fault: dict[str, t.Any]
) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    lab.faults.add(method="PUT", path="/100/config", after_acceptance=True, **fault)
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert "failed" not in result, result
    assert [guest["changed"] for guest in result["guests"]] == [True, True]
    assert "reading back shows that the change was made" in warnings_of(result)[0]
    assert len(lab.writes) == 2


@pytest.mark.usefixtures("hasty_writes")
def test_a_change_that_is_made_only_after_the_client_has_gone(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {101: {"numa": "1"}})
    lab.faults.add(method="PUT", path="/101/config", delay=3.0)
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert "failed" not in result, result
    assert result["changed"] is True
    assert lab.cluster.guest(101).load().main["numa"] == "1"


def test_an_answer_that_is_lost_before_acceptance(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "READ_BACK_S", 0.5)
    monkeypatch.setattr(placement, "READ_BACK_PAUSE_S", 0.1)
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    lab.faults.add(method="PUT", path="/100/config", drop=True)
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert result["failed"]
    assert "reading back shows that the change was not made" in result["msg"]
    assert (result["guests"], result["not_applied"], result["changed"]) == ([], [100, 101], False)
    assert len(lab.writes) == 1


def test_an_answer_that_is_lost_and_cannot_be_looked_up(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "READ_BACK_S", 0.5)
    monkeypatch.setattr(placement, "READ_BACK_PAUSE_S", 0.1)
    plan = plan_for(lab.cluster, {101: {"numa": "1"}})
    lab.faults.add(method="PUT", path="/101/config", status=596, reason="Broken pipe", after_acceptance=True)
    original = lab.cluster.changed

    def vanish() -> None:
        original()
        lab.faults.add(method="GET", path="/101/", status=595, reason="No route to host")

    lab.cluster.changed = vanish  # type: ignore[method-assign]
    result = run_module(guest_placement, plan=plan, **connection(lab))
    assert result["failed"]
    assert "cannot be read back" in result["msg"]
    assert "audit this guest" in result["msg"]
