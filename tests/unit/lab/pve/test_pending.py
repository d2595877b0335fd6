# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a running VM: what waits for the next start, what acts at once, and how to take it back."""

from __future__ import annotations

import pytest


@pytest.fixture
def ask(make):
    return make({"affinity": "0-1", "memory": 512, "cores": 2, "numa": 1, "balloon": 256}, status="running")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("affinity", "1", "1"),
        ("numa", 0, 0),
        ("numa0", "cpus=0-1,memory=512", "cpus=0-1,memory=512"),
        ("cores", 1, 1),
        ("sockets", 2, 2),
        ("cpu", "host", "host"),
        ("hugepages", "2", "2"),
        ("keephugepages", 1, 1),
        ("args", "-S", "-S"),
        ("hostpci0", "0000:01:00.0", "0000:01:00.0"),
        ("memory", 1024, "1024"),
        ("vcpus", 1, 1),
        ("machine", "q35", "q35"),
        ("bios", "ovmf", "ovmf"),
        ("template", 1, 1),
        ("balloon", 0, 0),
    ],
)
def test_waits_for_the_next_start(ask, key, value, shown):
    before = ask.shown(100, current=1).get(key)
    assert ask.config(100, **{key: value}).status == 200
    assert ask.pending(100) == {key: {"key": key, "pending": shown, **({} if before is None else {"value": before})}}
    assert ask.shown(100)[key] == shown
    assert ask.shown(100, current=1).get(key) == before
    assert ask.cluster.guest(100).live_affinity == "0-1"
    assert ask.task(100, "reboot")[0] in ("OK", "start failed: QEMU exited with code 1", "you can't start a vm if it's a template")
    assert ask.pending(100) == {}
    assert ask.shown(100, current=1)[key] == shown


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "new"),
        ("tags", "x"),
        ("description", "d"),
        ("onboot", 1),
        ("protection", 1),
        ("startup", "order=1"),
        ("shares", 500),
        ("balloon", 128),
    ],
)
def test_acts_at_once(ask, key, value):
    assert ask.config(100, **{key: value}).status == 200
    assert ask.pending(100) == {}
    assert ask.shown(100, current=1)[key] == value


def test_cpulimit_and_cpuunits_go_to_the_control_group(ask):
    ask.config(100, cpulimit="1.5", cpuunits=200)
    live = ask.cluster.guest(100).live
    assert (live.cpulimit, live.cpuunits) == ("1.5", "200")
    ask.config(100, delete="cpulimit,cpuunits")
    assert (live.cpulimit, live.cpuunits, ask.pending(100)) == ("0", "100", {})


def test_a_broken_control_group_leaves_the_rest_done(ask):
    ask.cluster.node("pve1").cgroup_failure = "no bus\nat line 1.\n"
    got = ask.config(100, cpulimit="1.5", cpuunits=200, tags="z")
    assert (got.status, got.message) == (500, "no bus\nat line 1.\n")
    assert ask.shown(100, current=1)["tags"] == "z"
    assert set(ask.pending(100)) == {"cpulimit", "cpuunits"}


def test_the_present_value_takes_the_pending_one_away(ask):
    clean = ask.cluster.guest(100).digest
    ask.config(100, affinity="1")
    first = ask.cluster.guest(100).digest
    assert first != clean
    ask.config(100, affinity="1")
    assert ask.cluster.guest(100).digest == first
    ask.config(100, affinity="0-1")
    assert ask.cluster.guest(100).digest == clean


def test_revert(ask):
    clean = ask.cluster.guest(100).text
    ask.config(100, affinity="1", numa0="cpus=0-1,memory=512", delete="numa")
    assert set(ask.pending(100)) == {"affinity", "numa0", "numa"}
    assert ask.config(100, revert="affinity,numa0,numa").status == 200
    assert ask.cluster.guest(100).text == clean
    assert ask.config(100, revert="affinity").status == 200


def test_delete_waits_too(ask):
    ask.config(100, delete="affinity")
    assert ask.pending(100) == {"affinity": {"key": "affinity", "value": "0-1", "delete": 1}}
    assert "affinity" not in ask.shown(100)
    assert ask.shown(100, current=1)["affinity"] == "0-1"
    ask.config(100, affinity="3")
    assert ask.pending(100) == {"affinity": {"key": "affinity", "value": "0-1", "pending": "3"}}
    ask.task(100, "stop")
    assert ask.shown(100, current=1)["affinity"] == "3"


def test_vcpus_and_memory_with_hotplug(make):
    ask = make({"cores": 4, "vcpus": 2, "memory": 2048, "numa": 1, "hotplug": "cpu,memory"}, status="running")
    assert len(ask.cluster.guest(100).live.vcpu_threads) == 2
    assert ask.config(100, vcpus=4, memory=4096).status == 200
    assert ask.pending(100) == {}
    assert len(ask.cluster.guest(100).live.vcpu_threads) == 4
    assert ask.config(100, vcpus=9).errors == {"vcpus": "hotplug problem - you can't add more vcpus than maxcpus\n"}


def test_a_stopped_guest_is_changed_at_once(make):
    ask = make({"affinity": "0-1"})
    ask.config(100, affinity="1", cores=4)
    assert ask.pending(100) == {}
    assert ask.cluster.guest(100).text == "affinity: 1\ncores: 4\n"


@pytest.mark.parametrize("digest", ["0" * 40, "xyz"])
def test_a_stale_digest(ask, digest):
    got = ask.config(100, affinity="1", digest=digest)
    assert (got.status, got.message) == (500, "checksum mismatch (file change by other user?)\n")
    assert ask.config(100, affinity="1", digest=ask.cluster.guest(100).digest).status == 200


def test_in_the_background(ask):
    path = "/nodes/pve1/qemu/100/config"
    assert ask("POST", path, {"affinity": "1", "digest": "0" * 40}).message == "checksum mismatch (file change by other user?)\n"
    assert ask("POST", path, {"cores": "x"}).status == 400
    upid = ask("POST", path, {"affinity": "1", "delete": "args"}).data
    assert upid.split(":")[5:8] == ["qmconfig", "100", "root@pam"]
    task = ask.cluster.tasks.all[upid]
    assert task.log == [
        "update VM 100: -affinity 1 -delete args",
        "WARN: cannot delete 'args' - not set in current configuration!",
        "TASK WARNINGS: 1",
    ]
    assert ask("GET", f"/nodes/pve1/tasks/{upid}/status").data["exitstatus"] == "WARNINGS: 1"
    assert ask("POST", path, {"affinity": "0", "background_delay": 5}).data is None
    assert ask.pending(100)["affinity"]["pending"] == "0"
