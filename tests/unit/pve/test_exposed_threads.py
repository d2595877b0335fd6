# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the plan that shows a guest its threads to its start and back, through both doors."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.modules import guest_info, guest_placement
from pve_lab import Lab
from pve_lab.routes import answer
from sample_hosts import epyc_9354, snapshot

from .conftest import CPU_ADMIN, connection
from .ways import Way, open_way

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

EXPOSED = "-smp 4,sockets=2,cores=1,threads=2,maxcpus=4"


@pytest.fixture(params=["api", "host"])
def way(request: pytest.FixtureRequest, lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Way]:
    yield from open_way(request.param, lab, run_module, monkeypatch)


def planned(info: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    document = snapshot([epyc_9354("pve1")], info["guests"], cluster={**info["cluster"], "nodes": [{"name": "pve1", "online": True}]})
    policy = {"rules": [{"match": {"vmids": 101}, "siblings": "require", "expose_threads": True}]}
    return place(Snapshot.from_dict(document), Policy.from_dict(policy))


def starts(lab: Lab, vmid: int) -> list[str]:
    """Start the guest as PVE does, and stop it again; the command line that it was started with."""
    guest = lab.cluster.guest(vmid)
    path = f"/nodes/{guest.node}/qemu/{vmid}/status"
    with lab.cluster.mutex:
        task = lab.cluster.tasks.all[answer(lab.cluster, "POST", f"{path}/start", {}, "root@pam")]
        assert task.exitstatus == "OK", task.log
        command = guest.live_command
        answer(lab.cluster, "POST", f"{path}/stop", {}, "root@pam")
    return command


def test_args_are_written_start_and_go_back_as_they_were(way: Way) -> None:
    way.lab.cluster.guest(101).text += "args: -no-reboot  -device 'x y'\n"
    way.settle()
    before = way.lab.cluster.guest(101).text
    plan = planned(way.info())
    [change] = plan["changes"]
    assert change["before"]["args"] == "-no-reboot  -device 'x y'"
    assert change["after"]["args"] == f"-no-reboot  -device 'x y' {EXPOSED}"
    assert way.place(plan)["guests"][0]["after"]["args"] == change["after"]["args"]
    assert way.place(plan)["changed"] is False
    assert starts(way.lab, 101)[-2:] == EXPOSED.split()
    assert planned(way.info())["changes"] == []
    assert way.place(plan, rollback=True)["changed"] is True
    assert sorted(way.lab.cluster.guest(101).text.split("\n")) == sorted(before.split("\n"))


def test_a_guest_without_args_has_none_afterwards(way: Way) -> None:
    plan = planned(way.info())
    assert plan["changes"][0]["before"]["args"] is None
    way.place(plan)
    way.place(plan, rollback=True)
    assert "args" not in way.lab.cluster.guest(101).text


def test_no_token_can_write_args(lab: Lab, run_module: ModuleRunner) -> None:
    plan = planned(run_module(guest_info, **connection(lab)))
    result = run_module(guest_placement, plan=plan, nodes=["pve1"], **connection(lab, **CPU_ADMIN))
    assert result["failed"] is True
    assert "affinity of guest 101 and args of guest 101, which PVE lets only root@pam with a password set" in result["msg"]
    assert lab.writes == []
