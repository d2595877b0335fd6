# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governors and interrupts as the plan wants them, by the playbooks: look, set, find nothing left, find drift, restore."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from sysfs_trees import write_tree
from sysfs_trees.irq_rules import IrqTree

from .cluster_world import World, description

SET = "Set the governors"
SEND = "Send the interrupts to the guests' CPUs"
DEVICE = "0000:41:00.2"  # a virtual function in the tree of pve1, held by vfio-pci
VECTORS = (140, 141)
POLICIES = "sys/devices/system/cpu/cpufreq"


def described() -> dict[str, t.Any]:
    """The cluster whose guest 100 has the virtual function."""
    guests = description()["guests"]
    guests[0]["config"]["hostpci0"] = DEVICE
    return {"guests": guests}


@pytest.fixture
def tuned(make_world: t.Callable[..., World], tmp_path: Path) -> World:
    """Hosts whose files a test may change, and rules for governors and interrupts."""
    world = make_world(**described())
    for name, model in (("pve1", "epyc-9354-nps4"), ("pve2", "xeon-6338-2s")):
        world.hosts[name]["corepin_root"] = str(write_tree(model, tmp_path / name))
    interrupts = IrqTree(str(tmp_path / "pve1"), range(64))
    for number in VECTORS:
        interrupts.add(number)
    world.variables["corepin_rules"] = [{"match": {"tags": ["pinned"]}, "governor": "performance", "irq": "follow"}]
    world.variables["corepin_free_cpus"] = {"governor": "powersave", "epp": "balance_power"}
    return world


def root_of(world: World, host: str) -> Path:
    return Path(world.hosts[host]["corepin_root"])


def governors(world: World) -> dict[str, list[str]]:
    files = {host: sorted(root_of(world, host).glob(f"{POLICIES}/policy*/scaling_governor")) for host in world.hosts}
    return {host: [file.read_text(encoding="utf-8").strip() for file in found] for host, found in files.items()}


def masks(world: World, name: str) -> list[str]:
    return [(root_of(world, "pve1") / f"proc/irq/{number}/{name}").read_text(encoding="utf-8").strip() for number in VECTORS]


def settle(world: World) -> None:
    """The interrupts go where they may, as the kernel has them."""
    for number, cpus in zip(VECTORS, masks(world, "smp_affinity_list"), strict=True):
        (root_of(world, "pve1") / f"proc/irq/{number}/effective_affinity_list").write_text(f"{cpus}\n", encoding="utf-8")


def test_tune_looks_sets_finds_nothing_left_and_restores(tuned: World, tmp_path: Path) -> None:
    world = tuned
    plan = world.run("plan")
    assert plan.ok, plan.output
    assert "get governor performance for guests 100, 101." in plan.output
    assert f"the interrupts of {DEVICE} go to CPUs" in plan.output
    before = governors(world), masks(world, "smp_affinity_list")

    look = world.run("tune", "--check", "--diff")
    assert look.ok, look.output
    assert (governors(world), masks(world, "smp_affinity_list")) == before
    assert '"governor": "performance"' in look.output

    done = world.run("tune")
    assert done.ok, done.output
    for task, key in ((SET, "policies"), (SEND, "interrupts")):
        found = [[run.task(task, host).result.get(key) for host in world.hosts] for run in (look, done)]
        assert found[0] == found[1]
        assert found[1][0]
    assert governors(world)["pve1"].count("performance") == 4 + 2
    placed = {placement["vmid"]: placement["cpus"] for placement in world.saved_plan["placements"]}
    assert masks(world, "smp_affinity_list") == placed[100].split(",")[:2]
    assert (root_of(world, "pve1") / "etc/systemd/system/corepin-cpu-governor.service").is_file()

    settle(world)
    again = world.run("tune")
    assert again.ok, again.output
    assert again.changed == 0

    own = placed[100].split(",")[0]
    (root_of(world, "pve1") / f"{POLICIES}/policy{own}/scaling_governor").write_text("powersave\n", encoding="utf-8")
    for name, cpus in (("smp_affinity_list", "0-63"), ("effective_affinity_list", "20")):
        (root_of(world, "pve1") / f"proc/irq/{VECTORS[1]}" / name).write_text(f"{cpus}\n", encoding="utf-8")
    audit = world.run("audit")
    assert audit.ok, audit.output
    drift = json.loads((world.controller.folder / "corepin-audit.json").read_text(encoding="utf-8"))["drift"]
    assert [(row["what"], row["live"]) for row in drift if row["vmid"] == 100 and row["what"] in ("governor", "irq")] == [
        ("governor", "powersave"),
        ("irq", "20"),
    ]

    undone = world.run("tune", corepin_tune="absent")
    assert undone.ok, undone.output
    assert (governors(world), masks(world, "smp_affinity_list")) == before

    world.hosts["pve1"]["corepin_root"] = str(write_tree("ryzen-5950x", tmp_path / "other"))
    refused = world.run("tune")
    assert not refused.ok
    assert refused.message.startswith("The layout of host pve1 has changed since the plan")
    assert refused.task(SET, "pve2").result["changed"]
