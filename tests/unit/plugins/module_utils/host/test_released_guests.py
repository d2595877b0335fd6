# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that earlier runs touched and that the plan does not place any more, while others are dedicated still."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.audit import audit
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._host.runtime import read_running
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host

from .test_guest_pinning import CGROUP, DB, WEB, Host

CONFIG = "etc/pve/nodes/pve1/qemu-server/101.conf"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """With guest 101 pinned to CPUs 8-9,40-41."""
    host = Host(tmp_path / "host")
    host.running.vm(101, 5000, vcpus=4)
    host.pin(host.plan(DB))
    return host


def released(host: Host, reserved: str = "0,32", shared: str = "24-31,56-63") -> str:
    """The CPUs that guest 101 has once the plan does not place it any more."""
    host.pin(host.plan(pools={"pve1": {"reserved": reserved, "shared": shared}}))
    (cpus,) = {host.scope(101), *host.masks(5000).values()}
    assert not host.failures
    return cpus


def drift(host: Host, config: t.Mapping[str, str], pending: t.Mapping[str, str]) -> t.List[t.Dict[str, t.Any]]:
    """What the audit, with a policy for running guests, says of guest 101."""
    guest = {
        "vmid": 101, "name": "db", "node": "pve1", "type": "qemu", "status": "running", "vcpus": 4, "memory_mib": 64,
        "config": {"cores": "4", **config}, "pending": pending,
    }  # fmt: skip
    facts = {**read_host(str(host.running.root)), "node": "pve1"}
    runtime = {"pve1": [running.as_facts() for running in read_running(host.tree, {101})]}
    snapshot = {"schema": 1, "hosts": {"pve1": facts}, "guests": [guest], "cluster": {}, "groups": {}, "runtime": runtime}
    return audit(snapshot, Policy.from_dict({"mode": "both"}), None)["drift"]


@pytest.mark.parametrize(("config", "cpus"), [
    ("cores: 4\naffinity: 8-9,70\n\n[PENDING]\ncpu: host\n\n[old]\naffinity: 16-17\n", "8-9"),
    ("cores: 4\naffinity: 0-0\n", "0"),
    ("cores: 4\naffinity: 0\n", "24-31,56-63"),
    ("cores: 4\naffinity: 8 - 9\n", "24-31,56-63"),
    ("cores: 4\naffinity: 70-71\n", "24-31,56-63"),
    ("cores: 4\n\n[PENDING]\naffinity: 8-9\n", "24-31,56-63"),
])  # fmt: skip
def test_it_gets_what_it_was_started_with_else_what_is_open(host, config, cpus):
    host.running.write(CONFIG, config)
    assert released(host) == cpus
    assert not host.pin(host.plan())["changed"]


def test_the_audit_finds_nothing_afterwards(host):
    host.running.write(CONFIG, "cores: 4\naffinity: 8-11\n\n[PENDING]\naffinity: 16-19\n")
    (row, *_others) = drift(host, {"affinity": "8-11"}, {})
    assert (row["what"], row["kind"]) == ("scope", "live")
    released(host)
    assert [row for row in drift(host, {"affinity": "8-11"}, {"affinity": "16-19"}) if row["kind"] == "live"] == []


def test_absent_for_the_whole_host_gives_all_that_is_not_reserved(host):
    host.running.write(CONFIG, "cores: 4\naffinity: 8-9\n")
    host.pin(None, state="absent")
    assert host.scope(101) == "1-31,33-63"


@pytest.mark.parametrize(("state", "isolated", "cpus"), [
    ("present", "8-24,40-56", "25-31,57-63"),
    ("present", "24-63", "24-31,56-63"),
    ("absent", "8-15,40-47", "1-7,16-31,33-39,48-63"),
    ("absent", "1-63", "1-31,33-63"),
])  # fmt: skip
def test_it_does_not_float_over_isolated_cpus_and_needs_no_advice_on_them(host, state, isolated, cpus):
    host.running.write("sys/devices/system/cpu/isolated", f"{isolated}\n")
    host.pin(host.plan(), state=state)
    assert host.scope(101) == cpus
    assert host.warnings == []


@pytest.mark.parametrize(("reserved", "cpus", "said"), [("0,32", "0,32", "the reserved CPUs 0,32"), ("", "0-63", "all CPUs")])
def test_where_nothing_is_open_it_gets_the_reserved_cpus(host, reserved, cpus, said):
    assert released(host, reserved, shared="") == cpus
    (warning,) = host.warnings
    assert warning == (
        "Guest 101 is not placed any more, and no CPU of host pve1 is open to shared guests, so it gets "
        f"{said}; leave some to shared guests, and plan again."
    )
    host.pin(host.plan())
    assert host.warnings == []


@pytest.mark.parametrize(("key", "cpus"), [("", "0,32"), ("lxc.cgroup2.cpuset.cpus: 3-60\n", "3-60")])
def test_a_container_does_too_unless_it_has_a_key_of_its_own(host, key, cpus):
    host.running.container(103, [9000], "0-63")
    host.running.write("etc/pve/nodes/pve1/lxc/103.conf", f"cores: 2\n{key}")
    host.pin(host.plan(DB, {**WEB, "vmid": 103}))
    host.pin(host.plan(DB, pools={"pve1": {"reserved": "0,32", "shared": ""}}))
    assert host.tree.text(f"{CGROUP}/lxc/103/cpuset.cpus") == cpus
    assert len(host.warnings) == (not key)
