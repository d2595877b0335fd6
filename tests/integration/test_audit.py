# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook audit: drift made on purpose and found, with its exit code; a saved snapshot; bad input."""

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import pytest
from runtime_trees import QmpServer, RunningHost

from .cluster_world import World
from .conftest import TreeWriter
from .harness import Run


def shown(run: Run) -> str:
    return "\n".join(run.task("Show what the audit says").result["msg"])


def audit_of(world: World) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((world.controller.folder / "corepin-audit.json").read_text(encoding="utf-8")))


def differences(world: World) -> list[tuple[t.Any, ...]]:
    return [(row["vmid"], row["what"], row["kind"], row["live"]) for row in audit_of(world)["drift"]]


@pytest.fixture
def live_host(world: World, tree: TreeWriter, tmp_path: Path) -> RunningHost:
    """pve1 with room for running guests: a tree of its own."""
    root = tmp_path / "pve1"
    shutil.copytree(tree("epyc-9354-nps4"), root, symlinks=True)
    world.hosts["pve1"]["corepin_root"] = str(root)
    return RunningHost(root, cpus="0-63")


def test_drift_is_found_thread_by_thread_and_gives_an_exit_code(world: World, live_host: RunningHost) -> None:
    tids = live_host.vm(100, 5000, vcpus=4, cpus="62-63", memory={3: 8192})
    planned = {placement["vmid"]: placement["cpus"] for placement in world.planned()["placements"]}
    assert world.run("apply").ok
    # 100 runs and waits for its next start; one of its threads strays; somebody gives 200 other CPUs.
    live_host.thread(5000, tids[2], "CPU 2/KVM", "0-63")
    ci = world.lab.cluster.guests[200]
    ci.text = ci.text.replace(f"affinity: {planned[200]}", "affinity: 8-11")
    before = world.texts()

    with QmpServer(live_host.root / "run/qemu-server/100.qmp", tids) as qmp:
        first = world.run("audit", corepin_fail_on_drift=True)
        second = world.run("audit")
    assert first.code != 0
    assert "differences found, of guests 100 and 200; " in first.message
    assert first.message.endswith("corepin-audit.json says which (corepin_fail_on_drift is set).")
    assert (qmp.clients, audit_of(world)["live"]) == (2, ["pve1", "pve2"])
    found = differences(world)
    assert (100, "affinity", "pending", "0-63") in found
    assert (100, "vcpu 2", "live", "0-63") in found
    assert (200, "affinity", "unapplied", None) in found
    assert {vmid for vmid, *_rest in found} == {100, 200}
    assert f"Drift (live): Vcpu 2 of guest 100 (db) (thread {tids[2]}) may run on CPUs 0-63 instead of CPUs 62-63." in shown(first)
    assert f"Drift (unapplied): Guest 200 (ci) has affinity 8-11 and the plan has affinity {planned[200]}; apply" in shown(first)
    assert "| 100 | pve1 | vcpu 2 |" in (world.controller.folder / "corepin-audit.md").read_text(encoding="utf-8")
    stats = first.task("Hand the numbers on to the next job").result["ansible_stats"]["data"]["corepin_audit_stats"]
    assert (stats["ok"], stats["drifted"], stats["plan_id"]) == (False, [100, 200], world.saved_plan["plan_id"])

    assert second.ok, second.output
    assert second.changed == 0
    assert world.texts() == before


def test_a_saved_snapshot_is_audited_without_asking_any_host(world: World, live_host: RunningHost) -> None:
    snapshot = {
        "schema": 1,
        "hosts": {"pve1": world_facts(live_host)},
        "guests": [{"vmid": 1, "node": "pve1", "vcpus": 2, "memory_mib": 1024, "config": {"affinity": "0,1,"}}],
    }
    (world.controller.folder / "snapshot.json").write_text(json.dumps(snapshot), encoding="utf-8")
    run = world.run("audit", corepin_snapshot_file="snapshot.json", corepin_audit_file="audits/today.json", corepin_fail_on_drift="true")
    assert run.ok, run.output
    assert {result.host for result in run.results} == {"localhost"}
    assert "There is no plan file" in shown(run)
    assert "taskset: failed to parse CPU list: 0,1," in shown(run)
    assert sorted(path.name for path in (world.controller.folder / "audits").iterdir()) == ["today.json", "today.md"]

    (world.controller.folder / "corepin-plan.json").write_text("{}", encoding="utf-8")
    refused = world.run("audit", corepin_snapshot_file="snapshot.json")
    assert not refused.ok
    assert "corepin-plan.json: The plan is empty" in refused.message
    assert not (world.controller.folder / "corepin-audit.json").exists()


def world_facts(host: RunningHost) -> dict[str, t.Any]:
    from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host

    return read_host(str(host.root), "pve1")
