# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that do not follow a request to shut down, the health of Ceph, and faults that change the world."""

from __future__ import annotations

import typing as t

import pytest
from pve_lab import Cluster
from pve_lab.errors import ApiError
from pve_lab.faults import Faults
from pve_lab.routes import answer

PATH = "/nodes/pve1/qemu/100/status/"


def cluster(**other: t.Any) -> Cluster:
    guest = {"vmid": 100, "node": "pve1", "status": "running", "config": {"cores": 2, "memory": 512}}
    return Cluster.from_dict({"name": "lab", "nodes": [{"name": "pve1"}, {"name": "pve2"}], "guests": [guest], **other})


def exit_status(made: Cluster, action: str, **params: t.Any) -> t.Optional[str]:
    with made.mutex:
        upid = answer(made, "POST", PATH + action, params, "root@pam")
    return made.tasks.all[upid].exitstatus


@pytest.mark.parametrize("action", ["shutdown", "reboot"])
def test_a_deaf_guest_runs_on(action: str) -> None:
    made = cluster()
    made.guest(100).deaf = True
    process = made.guest(100).live
    assert exit_status(made, action, timeout=1) == "VM quit/powerdown failed - got timeout"
    assert made.guest(100).live is process


def test_a_deaf_guest_is_stopped_by_force_where_that_is_asked_and_by_the_resource_manager() -> None:
    asked = cluster()
    asked.guest(100).deaf = True
    assert exit_status(asked, "shutdown", timeout=1, forceStop=1) == "OK"
    assert not asked.guest(100).running
    managed = cluster(ha={"resources": {"vm:100": {"state": "started"}}})
    managed.guest(100).deaf = True
    assert exit_status(managed, "shutdown", timeout=1) == "OK"
    assert not managed.guest(100).running


def test_the_health_of_ceph_where_there_is_ceph() -> None:
    made = cluster(ceph="HEALTH_WARN")
    assert answer(made, "GET", "/cluster/ceph/status", {}, "root@pam")["health"]["status"] == "HEALTH_WARN"
    assert made.to_dict()["ceph"] == "HEALTH_WARN"
    with pytest.raises(ApiError, match="binary not installed"):
        answer(cluster(), "GET", "/cluster/ceph/status", {}, "root@pam")


def test_a_fault_comes_into_force_after_some_requests() -> None:
    faults = Faults()
    fault = faults.add(method="PUT", skip=2, times=1, status=500)
    assert [faults.meet("PUT", "/a") for _n in range(4)] == [None, None, fault, None]
    assert fault.hits == 1
