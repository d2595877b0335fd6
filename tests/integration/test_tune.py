# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governors and interrupts as the plan wants them, by the playbooks: look, set, find nothing left, find drift, restore."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_ordered
from sysfs_trees import MODELS, Model, Nic, PciDevice, write_tree

from .cluster_world import World, description
from .harness import Run

SET = "Set the governors"
SEND = "Send the interrupts to the guests' CPUs"
# PCI functions of pve1. Corosync goes through 0000:41:00.0; the others of that card are its neighbours, but for virtual functions.
DEVICE = "0000:41:00.2"  # a virtual function, held by vfio-pci
STORAGE = "0000:82:00.0"  # another card by which the host talks, though not to the cluster
NEIGHBOUR, NEIGHBOUR_NIC = "0000:41:00.1", "enp65s0f1np1"
SILENT = "0000:41:00.3"  # a virtual function whose guest is off
GONE = "0000:c5:00.0"  # goes after the plan
VECTORS = {NEIGHBOUR: (134, 135), DEVICE: (140, 141), STORAGE: (150,)}
COROSYNC = "nodelist {\n  node {\n    name: pve1\n    ring0_addr: 192.0.2.11\n  }\n}\n"
POLICIES = "sys/devices/system/cpu/cpufreq"


def described() -> dict[str, t.Any]:
    """The cluster whose guests 100 and 101 have devices."""
    guests = description()["guests"]
    for guest, devices in zip(guests, ((DEVICE, STORAGE), (NEIGHBOUR, SILENT, GONE)), strict=False):
        guest["config"].update({f"hostpci{number}": device for number, device in enumerate(devices)})
    return {"guests": guests}


def two_cards() -> Model:
    model = MODELS["epyc-9354-nps4"]
    storage = PciDevice(STORAGE, "0x020000", "0x15b3", "0x101d", "mlx5_core", 2, 71, VECTORS[STORAGE])
    nic = Nic("enp130s0np0", STORAGE, ("10.30.0.11/24",))
    return dataclasses.replace(model, pci_devices=(*model.pci_devices, storage), nics=(*model.nics, nic))


@pytest.fixture
def tuned(make_world: t.Callable[..., World], tmp_path: Path) -> World:
    """Hosts whose files a test may change, and rules for governors and interrupts."""
    world = make_world(**described())
    for name, model in (("pve1", two_cards()), ("pve2", "xeon-6338-2s")):
        world.hosts[name]["corepin_root"] = str(write_tree(model, tmp_path / name))
    (tmp_path / "pve1/etc/pve").mkdir(parents=True)
    (tmp_path / "pve1/etc/pve/corosync.conf").write_text(COROSYNC, encoding="utf-8")
    world.variables["corepin_rules"] = [
        {"match": {"tags": ["pinned"], "nodes": ["pve2"]}, "governor": "powersave", "epp": "power"},
        {"match": {"tags": ["pinned"]}, "governor": "performance", "irq": "follow"},
    ]
    world.variables["corepin_free_cpus"] = {"governor": "powersave", "epp": "balance_power"}
    world.variables["corepin_interrupt_wait"] = 0.1
    return world


def root_of(world: World, host: str) -> Path:
    return Path(world.hosts[host]["corepin_root"])


def governors(world: World, name: str = "scaling_governor") -> dict[str, dict[str, str]]:
    """Of each host what its policies have, by policy."""
    files = {host: sorted(root_of(world, host).glob(f"{POLICIES}/policy*/{name}")) for host in world.hosts}
    return {host: {file.parent.name: file.read_text(encoding="utf-8").strip() for file in found} for host, found in files.items()}


def preferences(world: World) -> dict[str, dict[str, str]]:
    return governors(world, "energy_performance_preference")


def masks(world: World, name: str = "smp_affinity_list") -> dict[str, list[str]]:
    """Of each device the CPUs of its vectors."""
    folder = root_of(world, "pve1") / "proc/irq"
    return {
        device: [(folder / f"{number}/{name}").read_text(encoding="utf-8").strip() for number in numbers]
        for device, numbers in VECTORS.items()
    }


def allow(world: World, device: str, index: int, cpus: str, effective: str) -> None:
    """The vector may go to `cpus`, and goes to `effective`."""
    for name, value in (("smp_affinity_list", cpus), ("effective_affinity_list", effective)):
        path = root_of(world, "pve1") / f"proc/irq/{VECTORS[device][index]}" / name
        path.write_text(f"{value}\n", encoding="utf-8")


def settle(world: World) -> None:
    """The interrupts go where they may, as the kernel has them."""
    for device, entries in masks(world).items():
        for index, cpus in enumerate(entries):
            allow(world, device, index, cpus, cpus)


def warned(run: Run) -> str:
    """The output without its line breaks."""
    return " ".join(run.output.split())


def test_tune_looks_sets_finds_nothing_left_and_restores(tuned: World, tmp_path: Path) -> None:
    world = tuned
    plan = world.run("plan")
    assert plan.ok, plan.output
    assert "get governor performance for guests 100, 101." in plan.output
    assert f"the interrupts of {DEVICE} go to CPUs" in plan.output
    (root_of(world, "pve1") / "sys/bus/pci/devices" / GONE).unlink()
    before = governors(world), preferences(world), masks(world)

    look = world.run("tune", "--check", "--diff")
    assert look.ok, look.output
    assert (governors(world), preferences(world), masks(world)) == before
    assert '"governor": "performance"' in look.output

    done = world.run("tune")
    assert done.ok, done.output
    for task, key in ((SET, "policies"), (SEND, "interrupts")):
        found = [[run.task(task, host).result.get(key) for host in world.hosts] for run in (look, done)]
        assert found[0] == found[1]
        assert found[1][0]
    assert list(governors(world)["pve1"].values()).count("performance") == 4 + 2
    placed = {placement["vmid"]: placement["cpus"] for placement in world.saved_plan["placements"]}
    own, others, saving = ([str(cpu) for cpu in parse_ordered(placed[vmid])] for vmid in (100, 101, 200))
    assert preferences(world)["pve2"] == {
        **dict.fromkeys(before[1]["pve2"], "balance_power"),
        **{f"policy{cpu}": "power" for cpu in saving},
    }
    assert masks(world) == {**before[2], DEVICE: own[:2], STORAGE: own[:1]}
    left_out = done.task(SEND, "pve1").result
    assert (left_out["refused"], left_out["missing"]) == ([NEIGHBOUR], [GONE])
    for text in (f"were left out: {NEIGHBOUR};", f"were left out: {GONE};", f"PCI device {SILENT} has no interrupts after 0.1 s"):
        assert text in warned(done)
    assert (root_of(world, "pve1") / "etc/systemd/system/corepin-cpu-governor.service").is_file()

    settle(world)
    again = world.run("tune")
    assert again.ok, again.output
    assert again.changed == 0

    (root_of(world, "pve1") / f"{POLICIES}/policy{own[0]}/scaling_governor").write_text("powersave\n", encoding="utf-8")
    allow(world, DEVICE, 1, "0-63", "20")
    audit = world.run("audit")
    assert audit.ok, audit.output
    found = json.loads((world.controller.folder / "corepin-audit.json").read_text(encoding="utf-8"))
    tuning = [(row["vmid"], row["what"], row["live"]) for row in found["drift"] if row["what"] in ("governor", "irq")]
    assert tuning == [(100, "governor", "powersave"), (100, "irq", "20")]
    devices = [(finding["id"], finding["vmids"]) for finding in found["findings"] if finding["id"].startswith("device-")]
    assert devices == [("device-missing", [101]), ("device-protected", [101])]

    allowed = world.run("tune", corepin_allow_protected_nics=[NEIGHBOUR_NIC])
    assert allowed.ok, allowed.output
    assert masks(world) == {NEIGHBOUR: others[:2], DEVICE: own[:2], STORAGE: own[:1]}
    assert not allowed.task(SEND, "pve1").result["refused"]

    undone = world.run("tune", corepin_tune="absent")
    assert undone.ok, undone.output
    assert (governors(world), preferences(world), masks(world)) == before

    world.hosts["pve1"]["corepin_root"] = str(write_tree("ryzen-5950x", tmp_path / "other"))
    refused = world.run("tune")
    assert not refused.ok
    assert refused.message.startswith("The layout of host pve1 has changed since the plan")
    assert refused.task(SET, "pve2").result["changed"]
