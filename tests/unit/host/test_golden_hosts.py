# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Well-known machines, read from generated trees and compared with what is written in their data sheets."""

from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from sysfs_trees import write_tree


def domain_cpus(domains):
    return [domain["cpus"] for domain in domains]


@pytest.fixture
def host(request, tmp_path):
    return read_host(str(write_tree(request.param, tmp_path)))


@pytest.mark.parametrize("host", ["epyc-9354-nps4"], indirect=True)
def test_epyc_9354_has_two_l3_domains_in_each_numa_node(host):
    assert host["schema"] == 1
    assert host["node"] == "epyc1"
    assert host["architecture"] == "x86_64"
    assert host["vendor"] == "AuthenticAMD"
    assert host["model"] == "AMD EPYC 9354 32-Core Processor"
    assert host["cpus"] == {"possible": "0-63", "present": "0-63", "online": "0-63", "isolated": "", "nohz_full": ""}
    assert host["packages"] == [{"id": 0, "cpus": "0-63"}]
    assert host["cores"] == [f"{cpu},{cpu + 32}" for cpu in range(32)]
    assert domain_cpus(host["numa_nodes"]) == ["0-7,32-39", "8-15,40-47", "16-23,48-55", "24-31,56-63"]
    assert [numa_node["memory_mib"] for numa_node in host["numa_nodes"]] == [128654, 129019, 129019, 128977]
    assert host["numa_nodes"][1]["distances"] == {"0": 12, "1": 10, "2": 12, "3": 12}
    assert host["numa_nodes"][0]["hugepages"] == {"2048": {"total": 0, "free": 0}, "1048576": {"total": 0, "free": 0}}
    assert host["l3_domains"][:3] == [
        {"id": 0, "cpus": "0-3,32-35", "size_kib": 32768, "numa_node": 0},
        {"id": 1, "cpus": "4-7,36-39", "size_kib": 32768, "numa_node": 0},
        {"id": 2, "cpus": "8-11,40-43", "size_kib": 32768, "numa_node": 1},
    ]
    assert len(host["l3_domains"]) == 8
    assert host["l2_domains"] is None
    assert host["clusters"] is None
    assert host["core_types"] is None


@pytest.mark.parametrize("host", ["ryzen-5950x"], indirect=True)
def test_ryzen_5950x_has_two_l3_domains_in_one_numa_node(host):
    assert domain_cpus(host["numa_nodes"]) == ["0-31"]
    assert domain_cpus(host["l3_domains"]) == ["0-7,16-23", "8-15,24-31"]
    assert host["cores"][0] == "0,16"
    assert len(host["cores"]) == 16


@pytest.mark.parametrize("host", ["i9-13900"], indirect=True)
def test_i9_13900_has_two_types_of_cores(host):
    assert host["core_types"] == {"performance": "0-15", "efficiency": "16-31"}
    assert host["cores"][:2] == ["0-1", "2-3"]
    assert host["cores"][7:10] == ["14-15", "16", "17"]
    assert domain_cpus(host["l3_domains"]) == ["0-31"]
    assert domain_cpus(host["l2_domains"])[7:10] == ["14-15", "16-19", "20-23"]
    assert domain_cpus(host["clusters"])[-1] == "28-31"
    assert [(group["cpus"], group["max_khz"]) for group in host["cpufreq"]] == [("0-15", 5200000), ("16-31", 4200000)]
