# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, processor, and the kernel's state."""

from __future__ import annotations

import datetime
import os
import re

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host


def test_state_of_a_plain_host(read):
    host = read("odd-nul-bytes")
    assert host["kernel"] == {"release": "6.14.8-2-pve", "cmdline_isolation": {}}
    assert host["numa_balancing"] == 1
    assert host["ksm"] == {"run": 0, "merge_across_nodes": None}
    assert host["swap_mib"] == 8192
    assert host["psi"]["io"] == {
        "some": {"avg10": 0.5, "avg60": 0.5, "avg300": 0.5},
        "full": {"avg10": 0.4, "avg60": 0.4, "avg300": 0.4},
    }


def test_the_name_is_the_parameter_or_the_kernels_without_its_domain(tree):
    host = tree("odd-nul-bytes")
    host.write("proc/sys/kernel/hostname", "pve7.example.com\n")
    assert host.read()["node"] == "pve7"
    assert host.read("other")["node"] == "other"


def test_gathered_at_is_utc(tree):
    host = tree("odd-nul-bytes")
    moment = datetime.datetime(2026, 1, 31, 12, 0, 0, tzinfo=datetime.timezone.utc)
    assert read_host(str(host.root), now=moment)["gathered_at"] == "2026-01-31T12:00:00Z"
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", host.read()["gathered_at"])


def test_the_release_may_stand_in_proc_version(tree):
    host = tree("odd-bare-proc")
    host.write("proc/version", "Linux version 6.8.12-4-pve (build@proxmox) (gcc) #1 SMP\n")
    assert host.read()["kernel"]["release"] == "6.8.12-4-pve"


@pytest.mark.parametrize(
    ("cpuinfo", "architecture"),
    [
        ("processor\t: 0\nflags\t\t: fpu lm ht\n", "x86_64"),
        ("processor\t: 0\nflags\t\t: fpu ht\n", "i686"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\n", "aarch64"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 7\n", "arm"),
        ("processor\t: 0\n", None),
    ],
)
def test_captures_of_older_kernels_tell_the_architecture_by_cpuinfo(tree, cpuinfo, architecture):
    host = tree("odd-nul-bytes")
    host.remove("proc/sys/kernel/arch")
    host.write("proc/cpuinfo", cpuinfo)
    assert host.read()["architecture"] == architecture


@pytest.mark.skipif(not os.path.exists("/sys/devices/system/cpu/online"), reason="no Linux sysfs here")
def test_the_machine_that_runs_this():
    host = read_host("/")
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        assert host["cpus"]["online"] == file.read().strip()
    assert host["node"] == os.uname().nodename.split(".")[0]
    assert host["architecture"] == os.uname().machine
    assert host["kernel"]["release"] == os.uname().release


def test_irqbalance_runs_or_not_or_nobody_knows(tree):
    host = tree("ryzen-5950x")
    assert host.read()["irqbalance"] is None
    host.write("sys/fs/cgroup/system.slice/cgroup.procs", "")
    assert host.read()["irqbalance"] == {"running": False, "banned_cpus": ""}
    host.write("sys/fs/cgroup/system.slice/irqbalance.service/cgroup.procs", "812\n")
    assert host.read()["irqbalance"] == {"running": True, "banned_cpus": ""}
    host.write("etc/default/irqbalance", '#IRQBALANCE_BANNED_CPULIST="1"\nIRQBALANCE_BANNED_CPULIST="0-3,16-19"\n')
    assert host.read()["irqbalance"] == {"running": True, "banned_cpus": "0-3,16-19"}
