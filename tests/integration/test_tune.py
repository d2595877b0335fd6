# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governors as the plan wants them, by the playbooks: look, set, find nothing left, restore."""

from __future__ import annotations

from pathlib import Path

import pytest
from sysfs_trees import write_tree

from .cluster_world import World

SET = "Set the governors"


@pytest.fixture
def writable(world: World, tmp_path: Path) -> World:
    """The cluster with hosts whose files a test may change."""
    for name, model in (("pve1", "epyc-9354-nps4"), ("pve2", "xeon-6338-2s")):
        world.hosts[name]["corepin_root"] = str(write_tree(model, tmp_path / name))
    world.variables["corepin_rules"] = [{"match": {"tags": ["pinned"]}, "governor": "performance"}]
    world.variables["corepin_free_cpus"] = {"governor": "powersave", "epp": "balance_power"}
    return world


def governors(world: World, host: str) -> list[str]:
    files = sorted(Path(world.hosts[host]["corepin_root"]).glob("sys/devices/system/cpu/cpufreq/policy*/scaling_governor"))
    return [file.read_text(encoding="utf-8").strip() for file in files]


def test_tune_looks_sets_finds_nothing_left_restores_and_refuses(writable: World, tmp_path: Path) -> None:
    world = writable
    plan = world.run("plan")
    assert plan.ok, plan.output
    assert "get governor performance for guests 100, 101." in plan.output
    before = {host: governors(world, host) for host in world.hosts}

    look = world.run("tune", "--check", "--diff")
    assert look.ok, look.output
    assert {host: governors(world, host) for host in world.hosts} == before
    assert '"governor": "performance"' in look.output

    done = world.run("tune")
    assert done.ok, done.output
    assert [done.task(SET, host).result["policies"] for host in world.hosts] == [
        look.task(SET, host).result["policies"] for host in world.hosts
    ]
    assert governors(world, "pve1").count("performance") == before["pve1"].count("performance") + 4 + 2
    assert (Path(world.hosts["pve1"]["corepin_root"]) / "etc/systemd/system/corepin-cpu-governor.service").is_file()

    again = world.run("tune")
    assert again.ok, again.output
    assert again.changed == 0

    undone = world.run("tune", corepin_tune="absent")
    assert undone.ok, undone.output
    assert {host: governors(world, host) for host in world.hosts} == before

    world.hosts["pve1"]["corepin_root"] = str(write_tree("ryzen-5950x", tmp_path / "other"))
    refused = world.run("tune")
    assert not refused.ok
    assert refused.message.startswith("The layout of host pve1 has changed since the plan")
    assert refused.task(SET, "pve2").result["changed"]
