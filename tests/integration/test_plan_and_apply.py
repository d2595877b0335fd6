# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main chain by its playbooks: plan, look at it, apply it, and find nothing left to do."""

from __future__ import annotations

import json
import tempfile
import typing as t

import pytest
from pve_lab.door import Door

from .cluster_world import CPU_TOKEN, RIGHT_SETS, World
from .harness import Run

WRITE_PLAN = "Write the plan file"
PLACE = "Make the config of the guests agree with the plan"
SHOW_APPLIED = "Show what was changed"


def shown(run: Run, task: str) -> str:
    return "\n".join(run.task(task).result["msg"])


def planned(run: Run) -> str:
    return shown(run, "Show the plan")


def test_root_plans_looks_applies_and_finds_nothing_left(world: World) -> None:
    before = world.texts()

    plan = world.run("plan")
    assert plan.ok, plan.output
    changes = {change["vmid"]: change for change in world.saved_plan["changes"]}
    wanted = {vmid: change["after"]["affinity"] for vmid, change in changes.items()}
    assert set(wanted) == {100, 101, 200}
    line = next(line for line in plan.task("Show the plan").result["msg"] if "100 (db)" in line)
    assert line.startswith(f"Guest 100 (db) on pve1: CPUs 62-65 -> {wanted[100]}, memory on NUMA node ")
    assert "from its next start on" in line
    assert f"Guest 200 (ci) on pve2: CPUs any -> {wanted[200]}, memory on NUMA node 0, at once." in planned(plan)
    assert not any(line.startswith("Guest 102") for line in plan.task("Show the plan").result["msg"])
    text = world.plan_path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) + "\n"
    assert (
        world.saved_plan["plan_id"]
        in plan.task("Hand the numbers on to the next job").result["ansible_stats"]["data"]["corepin_plan_stats"]["plan_id"]
    )

    again = world.run("plan")
    assert again.ok, again.output
    assert again.changed == 0
    assert world.plan_path.read_text(encoding="utf-8") == text

    look = world.run("apply", "--check", "--diff")
    assert look.ok, look.output
    assert "-  affinity: 62-65" in look.output
    assert f"+  affinity: {wanted[100]}" in look.output
    assert world.lab.writes == []
    assert world.texts() == before

    apply = world.run("apply")
    assert apply.ok, apply.output
    assert apply.changed == look.changed == 1
    assert apply.task(PLACE).result["guests"] == look.task(PLACE).result["guests"]
    assert apply.task(PLACE).result["diff"] == look.task(PLACE).result["diff"]
    assert "Pending until their next start (stop and start): 100." in shown(apply, SHOW_APPLIED)
    assert {vmid: world.config(vmid)["affinity"] for vmid in wanted} == wanted
    assert [request.params["digest"] for request in world.lab.writes] == [change["digest"] for change in changes.values()]
    assert world.lab.cluster.guests[102].text == before[102]

    second = world.run("apply")
    assert second.ok, second.output
    assert second.changed == 0
    assert len(world.lab.writes) == len(changes)
    assert "Pending until their next start (stop and start): 100." in shown(second, SHOW_APPLIED)

    assert "The plan changes nothing." in shown(world.run("report"), "Show what the report says")


def test_the_same_on_the_hosts_without_any_login(world: World) -> None:
    over_api = world.planned()
    world.plan_path.unlink()
    with tempfile.TemporaryDirectory(prefix="door-") as folder, Door(world.lab, folder) as door:
        world.work_on_the_hosts(door)
        seen = len(world.lab.requests)
        plan = world.run("plan")
        assert plan.ok, plan.output
        wanted = {change["vmid"]: change["after"] for change in world.saved_plan["changes"]}
        assert wanted == {change["vmid"]: change["after"] for change in over_api["changes"]}
        look = world.run("apply", "--check")
        assert look.ok, look.output
        assert world.lab.writes == []
        apply = world.run("apply")
        assert apply.ok, apply.output
        assert [entry["changed"] for entry in apply.facts("corepin_results")] == [True, True, True]
        assert apply.facts("corepin_results") == look.facts("corepin_results")
        assert {vmid: {key: world.config(vmid).get(key) for key in after} for vmid, after in wanted.items()} == wanted
        assert len(world.lab.writes) == 3
        second = world.run("apply")
        assert second.ok, second.output
        assert second.changed == 0
        assert len(world.lab.writes) == 3
        assert not [request for request in world.lab.requests[seen:] if request.path == "/access/ticket"]
        assert door.violations == []


@pytest.mark.long
def test_the_plan_file_lies_where_it_is_told(world: World) -> None:
    plan = world.run("plan", corepin_plan_file="plans/today/plan.json")
    assert plan.ok, plan.output
    path = world.controller.folder / "plans" / "today" / "plan.json"
    assert path.is_file()
    assert not world.plan_path.exists()
    assert f"Plan file: {path}" in planned(plan)
    unwritten = world.run("plan", "--check", corepin_plan_file="plans/tomorrow/plan.json")
    assert unwritten.ok, unwritten.output
    assert unwritten.task(WRITE_PLAN).result["changed"]
    assert not (path.parent.parent / "tomorrow").exists()


def test_a_token_is_refused_whole_where_an_affinity_differs_and_writes_what_it_may(make_world: t.Callable[..., World]) -> None:
    world = make_world(affinities={**RIGHT_SETS, 200: "0"})
    world.log_in(CPU_TOKEN)
    plan = world.run("plan", "-vvv")
    assert plan.ok, plan.output
    assert {change["vmid"]: set(change["after"]) for change in world.saved_plan["changes"]} == {
        100: {"numa", "numa0"},
        101: {"numa", "numa0"},
        200: {"numa", "numa0", "affinity"},
    }
    before = world.texts()

    refused = world.run("apply")
    assert not refused.ok
    for word in ("affinity", "200", "root@pam", "ops@pve", "nothing was written"):
        assert word in refused.message
    assert world.lab.writes == []
    assert world.texts() == before

    part = world.run("apply", "--limit", "pve1")
    assert part.ok, part.output
    assert len(world.lab.writes) == 2
    assert world.config(101)["numa0"] == "cpus=0-1,hostnodes=0,memory=2048,policy=bind"
    for run in (plan, refused, part):
        assert CPU_TOKEN["corepin_api_token_secret"] not in run.output


def test_limit_applies_a_part_and_a_changed_guest_refuses_the_rest_or_is_skipped(world: World) -> None:
    world.planned()
    part = world.run("apply", "--limit", "pve2")
    assert part.ok, part.output
    assert {request.path for request in world.lab.writes} == {"/nodes/pve2/qemu/200/config"}
    assert "100, 101" in part.task("Name the guests on hosts outside this run").result["msg"]

    world.lab.cluster.guests[101].text += "onboot: 1\n"
    refused = world.run("apply")
    assert "guest 101" in refused.message
    assert len(world.lab.writes) == 1

    skipped = world.run("apply", corepin_on_conflict="skip")
    assert skipped.ok, skipped.output
    assert skipped.changed == 1
    assert "Skipped: guest 101 on pve1, because its config was changed after the plan was made." in shown(skipped, SHOW_APPLIED)
    assert [request.path for request in world.lab.writes[1:]] == ["/nodes/pve1/qemu/100/config"]
    assert world.config(101)["affinity"] == "0"


@pytest.mark.long
def test_hosts_may_have_other_names_and_credentials_come_from_the_environment(world: World) -> None:
    login = {
        "PROXMOX_HOST": world.lab.host,
        "PROXMOX_PORT": str(world.lab.port),
        "PROXMOX_CA_PATH": world.lab.ca_path,
        "PROXMOX_PASSWORD": "lab-root-password",
    }
    hosts = {f"{name}.example.com": {**variables, "corepin_node": name} for name, variables in world.hosts.items()}
    inventory = {"proxmox_nodes": {"hosts": hosts, "vars": {"corepin_rules": world.variables["corepin_rules"]}}}
    for playbook in ("plan", "apply"):
        run = world.controller.playbook(f"corepin.proxmox.{playbook}", inventory, env=login)
        assert run.ok, run.output
        assert run.changed == 1
    assert len(world.lab.writes) == 3
