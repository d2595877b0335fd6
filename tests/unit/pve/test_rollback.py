# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan that is undone: exactly what was there before, only what the plan wrote, and nobody else's change overwritten."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.modules import guest_placement
from pve_lab import Lab

from .conftest import connection, plan_for
from .ways import Way, open_way

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

PINNED = {"affinity": "8-9,40-41", "numa": "1", "numa0": "cpus=0-3,hostnodes=1,memory=8192,policy=bind"}
ODD = "affinity: 0, 1,\ncores: 4\nmemory: 2048\nnuma: 0\n"  # PVE stores this affinity, and no guest starts with it


@pytest.fixture(params=["api", "host"])
def way(request: pytest.FixtureRequest, lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Way]:
    lab.cluster.guest(101).text = ODD
    yield from open_way(request.param, lab, run_module, monkeypatch)


def texts(lab: Lab) -> dict[int, str]:
    return {vmid: guest.text for vmid, guest in lab.cluster.guests.items()}


def strip(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in result.items() if key != "invocation"}


def test_all_is_as_before_and_a_second_time_changes_nothing(way: Way) -> None:
    lab = way.lab
    before = texts(lab)
    plan = plan_for(lab.cluster, {100: PINNED, 101: {"affinity": "0-1", "numa": "1", "numa0": "cpus=0-3,memory=2048"}})
    assert way.place(plan)["changed"] is True
    applied = texts(lab)
    assert applied[100] != before[100]
    assert applied[101] != before[101]

    checked = way.place(plan, rollback=True, check_mode=True, diff=True)
    assert texts(lab) == applied
    real = way.place(plan, rollback=True, diff=True)
    assert "failed" not in real, real
    assert strip(real) == strip(checked)
    assert texts(lab) == before
    assert "  affinity: 0, 1,\n  numa: 0\n  numa0: null\n" in real["diff"]["after"]
    assert real["guests"][1]["after"] == {"affinity": "0, 1,", "numa": "0", "numa0": None}

    writes = len(lab.writes)
    again = way.place(plan, rollback=True)
    assert again["changed"] is False
    assert len(lab.writes) == writes


def test_a_guest_that_was_never_changed_stays(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED, 101: {"affinity": "0-1"}})
    before = texts(way.lab)
    assert way.place(plan, rollback=True)["changed"] is False
    assert texts(way.lab) == before
    assert way.lab.writes == []


def test_what_somebody_else_changed_since_is_left_and_named(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED, 101: {"affinity": "0-1", "numa": "1"}})
    assert way.place(plan)["changed"] is True
    guest = way.lab.cluster.guest(101)
    guest.text = guest.text.replace("affinity: 0-1", "affinity: 5-6")
    way.settle()
    kept = guest.text
    result = way.place(plan, rollback=True)
    assert "failed" not in result, result
    assert [(entry["vmid"], entry["changed"], entry["skipped"]) for entry in result["guests"]] == [(100, True, False), (101, False, True)]
    assert result["guests"][1]["reason"] == "somebody else has changed it since (affinity is '5-6', which this plan did not write)"
    assert guest.text == kept


def test_keys_that_the_plan_does_not_name_keep_what_they_have_now(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {101: {"affinity": "0-1"}})
    assert way.place(plan)["changed"] is True
    guest = way.lab.cluster.guest(101)
    guest.text = guest.text.replace("memory: 2048", "memory: 4096") + "onboot: 1\n"
    way.settle()
    assert way.place(plan, rollback=True)["changed"] is True
    config = guest.load().main
    assert (config["affinity"], config["memory"], config["onboot"]) == ("0, 1,", "4096", "1")


def test_a_running_guest_loses_what_was_pending_for_it(lab: Lab, run_module: ModuleRunner) -> None:
    guest = lab.cluster.guest(100)
    guest.text += "\n[PENDING]\naffinity: 20-23\n"
    plan = plan_for(lab.cluster, {100: PINNED})
    assert plan["changes"][0]["before"]["affinity"] == "20-23"
    assert run_module(guest_placement, plan=plan, **connection(lab))["guests"][0]["effect"] == "pending"
    result = run_module(guest_placement, plan=plan, rollback=True, **connection(lab))
    assert result["guests"][0]["effect"] == "pending"
    assert guest.load().pending == {"affinity": "20-23"}
    assert guest.load().pending_deletes == {}


def test_the_other_guards_hold_too(lab: Lab, run_module: ModuleRunner) -> None:
    plan = plan_for(lab.cluster, {100: PINNED, 102: {"affinity": "4-5"}}, hosts={"pve1": "a" * 64, "pve2": "b" * 64})
    assert run_module(guest_placement, plan=plan, **connection(lab))["changed"] is True
    writes = len(lab.writes)
    now = {"pve1": "a" * 64, "pve2": "c" * 64}
    refused = run_module(guest_placement, plan=plan, rollback=True, fingerprints=now, **connection(lab))
    assert "guest 102: the CPUs, NUMA nodes or caches of its host are not those" in refused["msg"]
    assert len(lab.writes) == writes
    skipped = run_module(guest_placement, plan=plan, rollback=True, fingerprints=now, on_conflict="skip", **connection(lab))
    assert [(entry["vmid"], entry["changed"]) for entry in skipped["guests"]] == [(100, True), (102, False)]
    lab.cluster.quorate = False
    assert "no quorum" in run_module(guest_placement, plan=plan, rollback=True, **connection(lab))["msg"]
    edited = {**plan, "changes": plan["changes"][:1]}
    assert "was edited" in run_module(guest_placement, plan=edited, rollback=True, **connection(lab))["msg"]
