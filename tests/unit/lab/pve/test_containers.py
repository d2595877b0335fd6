# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: typed config, raw keys, and what the API will not do."""

from __future__ import annotations

import pytest

NOT_DEFINED = "property is not defined in schema and the schema does not allow additional properties"
FILE = "arch: amd64\ncores: 2\nhostname: ct\nmemory: 256\nostype: debian\nswap: 0\nlxc.cgroup2.cpuset.cpus: 0-1\n"


@pytest.fixture
def ask(make):
    return make(type="lxc", text=FILE)


def test_config_with_raw_keys(ask):
    assert ask.shown(100) == {
        "arch": "amd64",
        "cores": 2,
        "hostname": "ct",
        "memory": 256,
        "ostype": "debian",
        "swap": 0,
        "lxc": [["lxc.cgroup2.cpuset.cpus", "0-1"]],
        "digest": ask.cluster.guest(100).digest,
    }


def test_a_change_keeps_raw_keys(ask):
    assert ask.config(100, cores=1, cpulimit=1, cpuunits=50).status == 200
    assert ask.cluster.guest(100).text == (FILE.replace("cores: 2", "cores: 1\ncpulimit: 1\ncpuunits: 50"))
    assert ask.shown(100)["cpulimit"] == "1"


@pytest.mark.parametrize("key", ["affinity", "numa", "lxc", "lxc.cgroup2.cpuset.cpus"])
def test_keys_that_containers_do_not_have(ask, key):
    got = ask.config(100, **{key: "0-1"})
    assert (got.status, got.errors) == (400, {key: NOT_DEFINED})


def test_there_is_no_background_change(ask):
    got = ask("POST", "/nodes/pve1/lxc/100/config", {"cores": 1})
    assert (got.status, got.message) == (501, "Method 'POST /nodes/pve1/lxc/100/config' not implemented")


def test_where_a_container_runs(ask):
    assert ask.task(100, "start")[0] == "OK"
    assert ask.cluster.guest(100).live_affinity == "0-1"
    ask.task(100, "stop")
    for line, live in (("lxc.cgroup2.cpuset.cpus: 3-4\n", "3-4"), ("", "0-1"), ("cores: 4\n", "0-3")):
        ask.cluster.guest(100).text = (
            FILE.replace("lxc.cgroup2.cpuset.cpus: 0-1\n", "").replace("cores: 2\n", "" if "cores" in line else "cores: 2\n") + line
        )
        assert ask.task(100, "start")[0] == "OK"
        assert ask.cluster.guest(100).live_affinity == live
        ask.task(100, "stop")
    ask.cluster.guest(100).text = FILE.replace("0-1", "99")
    assert ask.task(100, "start")[0] == "startup for container '100' failed"


def test_running_containers_take_cores_and_memory_at_once(ask):
    ask.task(100, "start")
    ask.config(100, cores=1, memory=512, hostname="new")
    assert set(ask.pending(100)) == {"hostname"}
    assert ask.shown(100, current=1)["cores"] == 1


def test_other_words_than_for_vms(ask):
    assert ask.config(100, cores=1, digest="0" * 40).message == "detected modified configuration - file changed by other user? Try again.\n"
    assert ask("POST", "/nodes/pve1/lxc/100/status/stop").message == "CT 100 not running\n"
    ask.task(100, "start")
    assert ask("POST", "/nodes/pve1/lxc/100/status/start").message == "CT 100 already running\n"
    ask.cluster.guest(100).text += "lock: backup\n"
    assert ask.config(100, cores=1).message == "CT is locked (backup)\n"
    ask.cluster.lock_timeout = 0.05
    with ask.cluster.held_lock(100):
        assert ask.config(100, cores=1).message == "can't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout\n"


def test_privileges(make):
    ask = make(
        type="lxc",
        text=FILE,
        cluster={
            "users": [{"userid": "ops@pve"}],
            "roles": {"Cpu": "VM.Audit,VM.Config.CPU"},
            "acl": [{"path": "/vms/100", "ugid": "ops@pve", "roleid": "Cpu"}],
        },
    )
    assert ask.config(100, user="ops@pve", cores=1).status == 200
    assert ask.config(100, user="ops@pve", memory=512).message == "Permission check failed (/vms/100, VM.Config.Memory)\n"
    assert ask.config(100, user="ops@pve", delete="hookscript").message == "Permission check failed (user != root@pam)\n"
