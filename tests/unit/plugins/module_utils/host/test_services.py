# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceph daemons and the ARC of ZFS."""

from __future__ import annotations

import pytest

ARCSTATS = "proc/spl/kstat/zfs/arcstats"
PARAMETER = "sys/module/zfs/parameters/zfs_arc_max"
STATS = "13 1 0x01 147 39984 5078 1\nname                            type data\nhits                            4    99\n"


def c_max(number):
    more = {"c_min": 2098758272, "c_max": number, "size": 5}
    return STATS + "".join(f"{name:<32}4    {value}\n" for name, value in more.items())


@pytest.mark.parametrize("system", ["sys/fs/cgroup/system.slice", "sys/fs/cgroup/systemd/system.slice"])
def test_running_ceph_daemons_are_counted(tree, system):
    host = tree("odd-nul-bytes")
    for unit in ("osd.slice/ceph-osd@0", "osd.slice/ceph-osd@11", "mon.slice/ceph-mon@pve1", "mgr.slice/ceph-mgr@pve1"):
        host.write(f"{system}/system-ceph\\x2d{unit}.service/cgroup.procs", "1\n")
    host.write(f"{system}/system-ceph\\x2dosd.slice/cgroup.procs", "")
    host.write(f"{system}/ceph-crash.service/cgroup.procs", "2\n")
    assert host.read()["ceph"] == {"osd": 2, "mon": 1, "mgr": 1, "mds": 0}


def test_a_host_without_ceph_has_no_daemons(tree):
    host = tree("odd-nul-bytes")
    host.write("sys/fs/cgroup/system.slice/ssh.service/cgroup.procs", "1\n")
    assert host.read()["ceph"] == {"osd": 0, "mon": 0, "mgr": 0, "mds": 0}


def test_what_the_tree_does_not_show_is_null(read):
    host = read("odd-nul-bytes")
    assert (host["ceph"], host["zfs"]) == (None, None)


@pytest.mark.parametrize(
    ("files", "zfs"),
    [
        ({ARCSTATS: c_max(17179869184)}, {"arc_max_mib": 16384}),
        ({ARCSTATS: c_max(17179869184), PARAMETER: "8589934592"}, {"arc_max_mib": 16384}),
        ({PARAMETER: "8589934592"}, {"arc_max_mib": 8192}),
        ({PARAMETER: "0"}, None),
        ({ARCSTATS: c_max("much"), PARAMETER: "much"}, None),
        ({"sys/module/kvm/parameters/halt_poll_ns": "1"}, {"arc_max_mib": 0}),
    ],
)
def test_what_the_arc_may_grow_to(tree, files, zfs):
    host = tree("odd-nul-bytes")
    for path, text in files.items():
        host.write(path, text)
    assert host.read()["zfs"] == zfs
