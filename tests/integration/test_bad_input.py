# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong ends in one sentence that names the thing, its value and the fix, and nothing is written."""

from __future__ import annotations

import json
import shutil
import socket
import typing as t
from pathlib import Path

import pytest
from sysfs_trees import write_tree

from .cluster_world import BARE_TOKEN, World
from .harness import Run, local_host

Words = t.Sequence[str]


def ends_in_one_sentence(world: World, run: Run, *words: str) -> None:
    """The run failed with a single line that holds all `words`; PVE got no write and there is no plan."""
    assert not run.ok
    said = {failure.result["msg"] for failure in run.failures if failure.outcome == "failed"}
    assert len(said) == 1, said
    (message,) = said
    assert "\n" not in message
    for word in words:
        assert word in message
    assert "Traceback" not in run.output
    assert world.lab.writes == []
    assert not world.plan_path.exists()


def planned(run: Run) -> str:
    return "\n".join(run.task("Show the plan").result["msg"])


@pytest.fixture
def closed_port() -> t.Iterator[int]:
    """A port of this machine at which nobody listens, and nobody else can for as long as it is bound."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@pytest.fixture
def silent_host(closed_port: int) -> dict[str, t.Any]:
    """An inventory host that does not answer."""
    if not shutil.which("ssh"):
        pytest.skip("needs the program ssh, to find that a host does not answer")
    return {"ansible_host": "127.0.0.1", "ansible_port": closed_port, "ansible_ssh_args": "-o ControlMaster=no -o ControlPath=none"}


def test_variables_that_nobody_knows_and_values_that_are_not_allowed(world: World) -> None:
    plan = world.run("plan", corepin_reserved={"default": {"cpus": "0-x"}})
    ends_in_one_sentence(world, plan, "reserved.default.cpus", "0-x")
    ends_in_one_sentence(world, world.run("apply", corepin_plan_flie="other.json"), "corepin_plan_flie", "corepin_plan_file")
    assert world.lab.requests == []


def test_a_cluster_that_does_not_answer(world: World, closed_port: int) -> None:
    run = world.run("plan", corepin_api_port=closed_port)
    ends_in_one_sentence(world, run, f"127.0.0.1:{closed_port}", "Connection refused", "api_host")


def test_wrong_credentials(world: World) -> None:
    run = world.run("plan", corepin_api_password="not-the-password")
    ends_in_one_sentence(world, run, "root@pam", "api_password")
    assert "not-the-password" not in "\n".join(line for line in run.output.splitlines() if "fatal" in line)


def test_a_token_without_rights(world: World) -> None:
    world.log_in(BARE_TOKEN)
    ends_in_one_sentence(world, world.run("plan"), "Sys.Audit on /", "PVEAuditor")


def test_hosts_that_do_not_answer(world: World, silent_host: dict[str, t.Any]) -> None:
    readable = dict(world.hosts)
    world.hosts["pve2"] = silent_host
    refused = world.run("plan", corepin_partial="refuse")
    ends_in_one_sentence(world, refused, "pve2", "inventory", "corepin_partial")

    frozen = world.run("plan")
    assert frozen.ok, frozen.output
    assert "Warning: Host pve2 has no topology facts, so that nothing is planned for it and its guests" in planned(frozen)
    assert {change["vmid"] for change in world.saved_plan["changes"]} == {100, 101}
    assert world.lab.writes == []
    world.plan_path.unlink()

    world.hosts = dict.fromkeys(readable, silent_host)
    ends_in_one_sentence(world, world.run("plan"), "pve1, pve2", "ansible_host")


def test_a_host_that_is_offline(make_world: t.Callable[..., World]) -> None:
    world = make_world(nodes=[{"name": "pve1"}, {"name": "pve2", "online": False}])
    run = world.run("plan")
    assert run.ok, run.output
    assert "Host pve2 is offline" in planned(run)
    assert {change["vmid"] for change in world.saved_plan["changes"]} == {100, 101}
    assert world.lab.writes == []


@pytest.mark.long
def test_hosts_that_the_inventory_lacks(world: World) -> None:
    world.hosts["pve3"] = world.hosts.pop("pve2")
    frozen = world.run("plan")
    assert frozen.ok, frozen.output
    assert "Host pve2 has no topology facts" in planned(frozen)
    assert "Host pve3 was read, but the cluster has no host of that name (pve1, pve2); set corepin_node" in planned(frozen)
    world.plan_path.unlink()
    nobody = world.run("plan", corepin_hosts="proxmox_nodez")
    ends_in_one_sentence(world, nobody, "proxmox_nodez", "proxmox_nodes", "corepin_hosts")


def test_a_tree_with_garbage(world: World, tmp_path: Path) -> None:
    root = write_tree("ryzen-5950x", tmp_path / "broken")
    (root / "sys/devices/system/cpu/online").write_text("0-banana\n", encoding="utf-8")
    world.hosts["pve2"] = local_host(corepin_root=str(root))
    run = world.run("plan")
    assert not run.ok
    assert run.failures[0].host == "pve2"
    for word in ("sys/devices/system/cpu/online", "0-banana"):
        assert word in run.message
    assert "Traceback" not in run.output
    assert "Host pve2 has no topology facts" in planned(run)
    assert world.lab.writes == []


@pytest.mark.long
def test_a_guest_with_invalid_lines(world: World) -> None:
    guest = world.lab.cluster.guests[200]
    guest.text += "affinity: 0-3, \nnuma: 1\nnuma0: cpus=0-3,hostnodes=0,memory=99,policy=bind\n"
    run = world.run("plan")
    assert run.ok, run.output
    assert "Traceback" not in run.output
    warnings = json.dumps(run.task("Read the guests over the API").result)
    assert "Guest 200 (ci) on pve2" in warnings
    assert "0-3," in warnings
    assert world.lab.writes == []
    assert world.run("apply").ok
    assert world.config(200)["affinity"] == next(c["after"]["affinity"] for c in world.saved_plan["changes"] if c["vmid"] == 200)
    assert "memory=4096" in world.config(200)["numa0"]


def test_a_plan_file_that_is_not_what_plan_wrote(world: World) -> None:
    ends_in_one_sentence(world, world.run("apply"), str(world.plan_path), "corepin.proxmox.plan", "corepin_plan_file")
    plan = world.planned()
    path = world.controller.folder / "edited.json"
    world.plan_path.rename(world.controller.folder / "plan.json")
    plan["changes"][0]["after"]["affinity"] = "0-3"
    path.write_text(json.dumps(plan), encoding="utf-8")
    ends_in_one_sentence(world, world.run("apply", corepin_plan_file=str(path)), str(path), "was edited", "new plan")


def test_a_plan_of_another_cluster(make_world: t.Callable[..., World]) -> None:
    world = make_world()
    world.planned()
    other = make_world(name="other")
    world.variables["corepin_api_port"] = other.lab.port
    world.variables["corepin_ca_path"] = other.lab.ca_path
    run = world.run("apply")
    world.plan_path.unlink()
    ends_in_one_sentence(world, run, "lab", "other", "nothing was written")
    assert other.lab.writes == []
