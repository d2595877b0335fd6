# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running containers whose inner cgroup has a cpuset of its own, as PVE's rebalancing leaves it, and limits of their key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .test_guest_pinning import CGROUP, KEPT, WEB, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def inner_cpuset(host: Host, asked: str, effective: str) -> None:
    """What PVE's own rebalancing leaves in a container's inner cgroup."""
    host.running.cgroup("lxc/103/ns", [9001], asked=asked, effective=effective)


def test_the_inner_cpuset_of_a_container_follows(host):
    host.running.container(103, [9000, 9001], "5,17,24,40", asked="5,17,24,40")
    inner_cpuset(host, "5,17,24,40", "5,17,24,40")
    host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 4\n")
    plan = host.plan({**WEB, "vmid": 103})
    result = host.pin(plan)
    assert host.tree.text(f"{CGROUP}/lxc/103/ns/cpuset.cpus.effective") == "24-31,56-63"
    assert host.hands.writes == [("cpuset", "lxc/103", "24-31,56-63"), ("cpuset", "lxc/103/ns", "24-31,56-63")]
    assert result["lines"][0].startswith("Guest 103: CPUs 5,17,24,40 -> 24-31,56-63, ")
    assert not host.pin(plan)["changed"]
    host.hands.set_cpuset("lxc/103/ns", "24")
    again = host.pin(plan)
    assert host.hands.writes == [("cpuset", "lxc/103/ns", "24-31,56-63")]
    assert again["lines"] == ["Guest 103: CPUs 24 -> 24-31,56-63."]
    host.pin(None, state="absent")
    assert {host.tree.text(f"{CGROUP}/lxc/103{inner}/cpuset.cpus") for inner in ("", "/ns")} == {"1-31,33-63"}
    assert host.tree.text(f"{CGROUP}/lxc/103/ns/cpuset.cpus.effective") == "1-31,33-63"


@pytest.mark.parametrize("refused", ["lxc/103", "lxc/103/ns"])
def test_both_cpusets_of_a_container_are_put_back(host, refused):
    host.running.container(103, [9000, 9001], "5,17,24,40", asked="5,17,24,40")
    inner_cpuset(host, "5,24", "5,24")
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 4\n")
    host.hands.refuse.add(refused)
    host.pin(host.plan({**WEB, "vmid": 103}))
    assert host.failures == [f"{refused} was refused. Container 103 was put back as it was."]
    assert [host.tree.text(f"{CGROUP}/lxc/103{inner}/cpuset.cpus") for inner in ("", "/ns")] == ["5,17,24,40", "5,24"]
    assert config.read_text() == "cores: 4\n"


def test_cores_that_the_key_switches_off_are_named_when_it_is_written(host):
    host.running.container(103, [9000, 9001], "0-63")
    host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 2\n")
    plan = host.plan({**WEB, "vmid": 103})
    host.pin(plan)
    (warning,) = host.warnings
    assert warning == (
        "Container 103 has cores: 2, which PVE does not apply beside lxc.cgroup2.cpuset.cpus, so that it may use all of CPUs "
        "24-31,56-63; limit it with cpulimit."
    )
    host.pin(plan)
    assert host.warnings == []
    host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 16\n\n[old]\ncores: 2\n")
    host.pin(plan)
    assert host.warnings == []


@pytest.mark.parametrize("keyed", [False, True])
def test_a_container_that_stops_meanwhile_keeps_its_key(host, keyed):
    host.running.container(103, [9000, 9001], "0-63")
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "lxc.cgroup2.cpuset.cpus: 24-31\n" if keyed else "cores: 16\n")
    host.hands.meanwhile = lambda: shutil.rmtree(host.tree.full(f"{CGROUP}/lxc/103"), ignore_errors=True)
    result = host.pin(host.plan({**WEB, "vmid": 103}))
    assert host.failures == []
    row = host.row(result, 103)
    if keyed:
        assert (row["changed"], row["skipped"], row["reason"]) == (False, True, "it stopped meanwhile")
    else:
        assert result["lines"] == ["Guest 103: cpuset of its next start unset -> 24-31,56-63."]
        assert host.warnings == ["Container 103 stopped meanwhile, so that only the cpuset of its next start was set."]
        assert config.read_text() == "cores: 16\nlxc.cgroup2.cpuset.cpus: 24-31,56-63\n"
    assert not host.pin(host.plan({**WEB, "vmid": 103}))["changed"]
    host.pin(None, state="absent")
    assert ("cores" in config.read_text()) != keyed
    assert not host.tree.exists(KEPT)


def test_what_a_killed_writer_left_beside_the_config_is_removed(host):
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 16\n")
    plan = host.plan({**WEB, "vmid": 103})
    host.pin(plan)
    for options in [{}, {"state": "absent"}]:
        (config.parent / "103.conf.tmp.corepin").write_text("half")
        (config.parent / "103.conf.tmp.4711").write_text("of PVE")
        host.pin(plan, **options)
        assert sorted(path.name for path in config.parent.iterdir()) == ["103.conf", "103.conf.tmp.4711"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_check_mode_sees_the_lock_of_a_config(host, state):
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 16\n")
    plan = host.plan({**WEB, "vmid": 103})
    if state == "absent":
        host.pin(plan)
    config.write_text(f"lock: backup\n{config.read_text()}")
    expected = host.pin(plan, check=True, state=state)
    assert host.failures == ["The config of container 103 is locked (backup); try again when that is over."]
    assert not expected["changed"]
    assert host.pin(plan, state=state) == expected
