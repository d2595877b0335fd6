# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which networks a cluster depends on, by the files of Corosync and Ceph."""

from __future__ import annotations

import pytest

COROSYNC = """\
totem {
  cluster_name: lab
  interface {
    linknumber: 0
  }
}
nodelist {
  node {
    name: pve1
    ring0_addr: 192.0.2.11
    ring1_addr: 2001:db8::11  # the second link
  }
  # node { ring0_addr: 198.51.100.1 }
  node {
    name: pve2
    ring0_addr: pve2
    ring1_addr: 2001:db8::12
  }
}
"""
CEPH = """\
[global]
\tcluster_network = 10.20.0.11/24
\tpublic network = 10.30.0.0/24, 2001:db8:30::/64
\tfsid = 1ae8d8a5-2b26-4a4f-a9c9-3d2f4a7dd01e
\tmon_host = 10.30.0.11 [v2:10.31.0.12:3300/0,v1:10.31.0.12:6789/0]
[mon.pve1]
\tpublic_addr = [v2:[2001:db8:30::1]:3300/0]
"""


def test_links_and_networks(tree):
    host = tree("odd-no-cpufreq")
    assert host.read()["cluster_networks"] is None
    host.write("etc/pve/datacenter.cfg", "")
    assert host.read()["cluster_networks"] == []
    host.write("etc/pve/corosync.conf", COROSYNC)
    assert host.read()["cluster_networks"] is None  # nobody knows where pve2 is
    host.write("etc/hosts", "127.0.0.1 localhost\n192.0.2.12 pve2.example.com pve2\n")
    assert host.read()["cluster_networks"] == ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"]
    host.write("etc/pve/ceph.conf", CEPH)
    assert host.read()["cluster_networks"] == [
        "10.20.0.0/24",
        "10.30.0.0/24",
        "10.30.0.11",
        "10.31.0.12",
        "192.0.2.11",
        "192.0.2.12",
        "2001:db8::11",
        "2001:db8::12",
        "2001:db8:30::/64",
        "2001:db8:30::1",
    ]


@pytest.mark.parametrize("name", ["corosync.conf", "ceph.conf"])
def test_a_file_that_cannot_be_read_leaves_them_unknown(tree, name):
    host = tree("odd-no-cpufreq")
    host.write(f"etc/pve/{name}/in-the-way", "")
    assert host.read()["cluster_networks"] is None
