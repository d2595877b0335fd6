# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a change from being made: locks, a missing quorum, a host that is away."""

from __future__ import annotations

import threading


def test_a_lock_in_the_config(make):
    ask = make({"lock": "backup", "cores": 2})
    got = ask.config(100, cores=4)
    assert (got.status, got.message) == (500, "VM is locked (backup)\n")
    assert ask("POST", "/nodes/pve1/qemu/100/config", {"cores": 4}).message == "VM is locked (backup)\n"
    assert ask.config(100, skiplock=1, delete="lock").status == 200
    assert ask.config(100, cores=4).status == 200


def test_a_busy_lock_file(make):
    ask = make({"cores": 2})
    assert ask.cluster.lock_timeout == 10.0
    ask.cluster.lock_timeout = 0.05
    with ask.cluster.held_lock(100):
        got = ask.config(100, cores=4)
        assert (got.status, got.message) == (500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout\n")
        assert ask("GET", "/nodes/pve1/qemu/100/config").data["cores"] == 2
        assert ask.task(100, "start")[0] == "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
    assert ask.config(100, cores=4).status == 200


def test_a_change_waits_for_the_lock_and_others_do_not(make):
    ask = make({"cores": 2}, cluster={"guests": [{"vmid": 101, "node": "pve1"}]})
    results = []
    with ask.cluster.held_lock(100):
        waiting = threading.Thread(target=lambda: results.append(ask.config(100, cores=4)))
        waiting.start()
        assert ask.config(101, cores=4).status == 200
        assert ask.shown(100)["cores"] == 2
    waiting.join(timeout=60)
    assert results[0].status == 200
    assert ask.shown(100)["cores"] == 4


def test_without_quorum(make):
    ask = make({"cores": 2}, cluster={"name": "lab", "nodes": [{"name": "pve1"}, {"name": "pve2"}]})
    ask.cluster.quorate = False
    got = ask.config(100, cores=4)
    assert got.status == 500
    assert got.message.startswith("unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.")
    assert got.message.endswith("' - Permission denied\n")
    assert ask.shown(100)["cores"] == 2
    assert ask("GET", "/cluster/status").data[0]["quorate"] == 0
    upid = ask("POST", "/nodes/pve1/qemu/100/config", {"cores": 4}).data
    assert "Permission denied" in ask.cluster.tasks.all[upid].exitstatus
    for path, params in (("/nodes/pve1/qemu/100/status/start", {}), ("/nodes/pve1/qemu/100/migrate", {"target": "pve2"})):
        assert ask("POST", path, params).message == "cluster not ready - no quorum?\n"
    ask.cluster.quorate = True
    assert ask.config(100, cores=4).status == 200


def test_a_change_of_nothing_needs_no_quorum(make):
    ask = make({"cores": 2})
    ask.cluster.quorate = False
    assert ask.config(100, delete="affinity").status == 200


def test_a_host_that_is_away(make):
    ask = make(
        cluster={
            "name": "lab",
            "nodes": [{"name": "pve1"}, {"name": "pve2"}],
            "guests": [{"vmid": 200, "node": "pve2", "config": {"tags": "x"}}],
        }
    )
    ask.cluster.node("pve2").online = False
    for method, path in (("GET", "/nodes/pve2/status"), ("GET", "/nodes/pve2/qemu"), ("PUT", "/nodes/pve2/qemu/200/config")):
        got = ask(method, path)
        assert (got.status, got.message) == (595, "No route to host")
    assert {entry["name"]: entry["online"] for entry in ask("GET", "/cluster/status").data[1:]} == {"pve1": 1, "pve2": 0}
    assert {entry["node"]: entry["status"] for entry in ask("GET", "/nodes").data} == {"pve1": "online", "pve2": "offline"}
    away = {entry["vmid"]: entry for entry in ask("GET", "/cluster/resources", {"type": "vm"}).data}[200]
    assert away == {"id": "qemu/200", "type": "qemu", "vmid": 200, "node": "pve2", "status": "unknown"}


def test_a_delayed_task_is_seen_running(make):
    ask = make()
    ask.cluster.tasks.delay = 0.05
    with ask.cluster.mutex:  # without which no task ends
        upid = ask("POST", "/nodes/pve1/qemu/100/status/start").data
        path = f"/nodes/pve1/tasks/{upid}"
        assert ask("GET", f"{path}/status").data["status"] == "running"
        task = ask.cluster.tasks.all[upid]
        assert ask.cluster.mutex.wait_for(lambda: not task.running, timeout=10)
    assert ask("GET", f"{path}/status").data["exitstatus"] == "OK"
    assert ask("GET", f"{path}/log").data == [{"n": 1, "t": "TASK OK"}]
    assert [entry["status"] for entry in ask("GET", "/nodes/pve1/tasks").data] == ["OK"]


def test_protection_and_running_keep_a_guest(make):
    ask = make({"protection": 1}, cluster={"nodes": [{"name": "pve1"}]})
    assert ask("DELETE", "/nodes/pve1/qemu/100").message == "can't remove VM 100 - protection mode enabled\n"
    ask.config(100, protection=0)
    ask.task(100, "start")
    assert ask("DELETE", "/nodes/pve1/qemu/100").message == "VM 100 is running - destroy failed\n"
    ask.task(100, "stop")
    assert ask("DELETE", "/nodes/pve1/qemu/100").status == 200
    assert ask("GET", "/nodes/pve1/qemu/100/config").status == 500
