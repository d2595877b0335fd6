# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saved plans by their playbooks: too old, for other hosts, host by host, restarts, and undone again."""

from __future__ import annotations

import json
import tempfile
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed
from pve_lab.door import Door

from .cluster_world import World
from .harness import Run

SHOW_APPLIED = "Show what was changed"
PLACE = "Make the config of the guests agree with the plan"


def shown(run: Run, task: str) -> str:
    return "\n".join(run.task(task).result["msg"])


def resave(world: World, **changes: t.Any) -> None:
    """Write the plan file anew with other content and a hash that fits."""
    world.plan_path.write_text(json.dumps(sealed({**world.saved_plan, **changes})), encoding="utf-8")


def test_a_plan_that_is_too_old_or_for_other_hosts_is_refused_and_an_applied_one_undone(make_world: t.Callable[..., World]) -> None:
    world = make_world(nodes=[{"name": "pve1", "numa_nodes": 4}, {"name": "pve2", "cpus": 32}])
    before = world.texts()
    assert world.run("plan", corepin_restart=["100"]).ok
    assert [change["effect"] for change in world.saved_plan["changes"]] == ["restart", "now", "now"]
    good = world.plan_path.read_text(encoding="utf-8")

    resave(world, created_at="2026-01-01T00:00:00Z")
    old = world.run("apply")
    assert "older than 7d" in old.message
    assert "nothing was written" in old.message
    world.plan_path.write_text(good, encoding="utf-8")
    resave(world, hosts={**world.saved_plan["hosts"], "pve2": "f" * 64})
    changed = world.run("apply")
    assert "guest 200: the CPUs, NUMA nodes or caches of its host are not those that were planned for" in changed.message
    assert world.lab.writes == []
    assert world.texts() == before

    world.plan_path.write_text(good, encoding="utf-8")
    apply = world.run("apply", corepin_canary=200, corepin_plan_max_age="1h")
    assert apply.ok, apply.output
    assert [request.path.split("/")[4] for request in world.lab.writes if request.method == "PUT"] == ["200", "100", "101"]
    assert "Restarted: 100." in shown(apply, SHOW_APPLIED)
    stats = apply.task("Hand the numbers on to the next job").result["ansible_stats"]["data"]["corepin_apply_stats"]
    assert (stats["changed"], stats["restarted"], stats["stopped"]) == ([100, 101, 200], [100], "")
    assert world.lab.cluster.guests[100].load().pending == {}

    look = world.run("rollback", "--check", "--diff")
    assert look.ok, look.output
    assert "+  affinity: 62-65" in look.output
    rollback = world.run("rollback", corepin_plan_max_age="1m")
    assert rollback.ok, rollback.output
    assert rollback.task(PLACE).result["guests"] == look.task(PLACE).result["guests"]
    assert world.texts() == before


@pytest.mark.long
def test_on_the_hosts_a_conflict_of_one_refuses_all_and_a_stop_is_named(world: World) -> None:
    with tempfile.TemporaryDirectory(prefix="door-") as folder, Door(world.lab, folder) as door:
        world.work_on_the_hosts(door)
        assert world.run("plan").ok
        guest = world.lab.cluster.guests[200]
        kept = guest.text
        guest.text += "onboot: 1\n"
        with world.lab.cluster.mutex:
            world.lab.cluster.changed()
        refused = world.run("apply")
        assert "guest 200: its config was changed" in refused.message
        assert world.lab.writes == []
        guest.text = kept
        with world.lab.cluster.mutex:
            world.lab.cluster.changed()

        world.lab.faults.add(
            method="PUT", path="/101/", times=1, after_acceptance=True, act=lambda: setattr(world.lab.cluster, "quorate", False)
        )
        stopped = world.run("apply")
        assert not stopped.ok
        assert "pve2: The cluster has no quorum" in stopped.message
        assert stopped.task("Name the guests that were not reached").result["msg"].endswith("the run stopped before them: 200.")
        assert [entry["vmid"] for entry in stopped.facts("corepin_results") if entry["changed"]] == [100, 101]
        assert guest.text == kept

        world.lab.cluster.quorate = True
        world.lab.cluster.ceph = "HEALTH_ERR"
        rest = world.run("apply", corepin_rolling=False)
        assert rest.ok, rest.output
        assert [(entry["vmid"], entry["changed"]) for entry in rest.facts("corepin_results")] == [(200, True), (100, False), (101, False)]
        assert "Ceph is at HEALTH_ERR" in world.run("rollback", corepin_rolling=False, corepin_canary=101).message
        world.lab.cluster.ceph = "HEALTH_OK"
        undone = world.run("rollback", corepin_canary=101)
        assert undone.ok, undone.output
        puts = [request.path.split("/")[4] for request in world.lab.writes if request.method == "PUT"]
        assert puts[-3:] == ["101", "100", "200"]
        assert guest.text == kept
        assert door.violations == []
