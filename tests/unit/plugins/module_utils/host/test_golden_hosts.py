# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Well-known machines, read from generated trees and compared with what is known of them."""

from __future__ import annotations


def domain_cpus(domains):
    return [domain["cpus"] for domain in domains]


def test_epyc_9354_has_two_l3_domains_in_each_numa_node(read):
    host = read("epyc-9354-nps4")
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
    assert [numa_node["memory_free_mib"] for numa_node in host["numa_nodes"]] == [96490, 96764, 96764, 96732]
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


def test_two_epyc_7742_have_32_l3_domains_in_8_numa_nodes(read):
    host = read("epyc-7742-2s-nps4")
    assert domain_cpus(host["packages"]) == ["0-63,128-191", "64-127,192-255"]
    assert domain_cpus(host["numa_nodes"])[:2] == ["0-15,128-143", "16-31,144-159"]
    assert len(host["numa_nodes"]) == 8
    assert host["numa_nodes"][3]["distances"] == {"0": 12, "1": 12, "2": 12, "3": 10, "4": 32, "5": 32, "6": 32, "7": 32}
    assert len(host["l3_domains"]) == 32
    assert host["l3_domains"][31] == {"id": 31, "cpus": "124-127,252-255", "size_kib": 16384, "numa_node": 7}
    assert host["cores"][127] == "127,255"


def test_epyc_7742_in_nps1_has_16_l3_domains_in_one_numa_node(read):
    host = read("epyc-7742-nps1")
    assert domain_cpus(host["numa_nodes"]) == ["0-127"]
    assert len(host["l3_domains"]) == 16
    assert {domain["numa_node"] for domain in host["l3_domains"]} == {0}


def test_two_xeon_6338_have_one_l3_each(read):
    host = read("xeon-6338-2s")
    assert domain_cpus(host["packages"]) == ["0-31,64-95", "32-63,96-127"]
    assert domain_cpus(host["l3_domains"]) == ["0-31,64-95", "32-63,96-127"]
    assert host["cores"][40] == "40,104"


def test_interleaved_xeons_have_even_and_odd_packages(read):
    host = read("xeon-5118-2s-interleaved")
    even, odd = (",".join(str(cpu) for cpu in range(first, 48, 2)) for first in (0, 1))
    assert host["packages"] == [{"id": 0, "cpus": even}, {"id": 1, "cpus": odd}]
    assert domain_cpus(host["numa_nodes"]) == [even, odd]
    assert domain_cpus(host["l3_domains"]) == [even, odd]
    assert host["cores"][:2] == ["0,24", "1,25"]


def test_an_l3_domain_over_two_numa_nodes_has_no_numa_node(read):
    host = read("xeon-snc2")
    assert domain_cpus(host["numa_nodes"]) == ["0-3,16-19", "4-7,20-23", "8-11,24-27", "12-15,28-31"]
    assert [(domain["cpus"], domain["numa_node"]) for domain in host["l3_domains"]] == [("0-7,16-23", None), ("8-15,24-31", None)]


def test_ryzen_5950x_has_two_l3_domains_in_one_numa_node(read):
    host = read("ryzen-5950x")
    assert domain_cpus(host["numa_nodes"]) == ["0-31"]
    assert domain_cpus(host["l3_domains"]) == ["0-7,16-23", "8-15,24-31"]
    assert host["cores"][0] == "0,16"
    assert len(host["cores"]) == 16


def test_i9_13900_has_two_types_of_cores(read):
    host = read("i9-13900")
    assert host["core_types"] == {"performance": "0-15", "efficiency": "16-31"}
    assert host["cores"][:2] == ["0-1", "2-3"]
    assert host["cores"][7:10] == ["14-15", "16", "17"]
    assert len(host["cores"]) == 24
    assert domain_cpus(host["l3_domains"]) == ["0-31"]
    assert domain_cpus(host["l2_domains"])[7:10] == ["14-15", "16-19", "20-23"]
    assert domain_cpus(host["clusters"])[-1] == "28-31"
    assert [(group["cpus"], group["max_khz"]) for group in host["cpufreq"]] == [("0-15", 5200000), ("16-31", 4200000)]


def test_altra_has_clusters_and_no_l3(read):
    host = read("altra-q80-30")
    assert host["architecture"] == "aarch64"
    assert host["vendor"] == "0x41"
    assert host["model"] is None
    assert host["cores"] == [str(cpu) for cpu in range(80)]
    assert host["l3_domains"] == []
    assert host["l2_domains"] is None
    assert domain_cpus(host["clusters"])[:2] == ["0-1", "2-3"]


def test_big_little_tells_core_types_by_capacity(read):
    host = read("arm-big-little")
    assert host["core_types"] == {"performance": "4-7", "efficiency": "0-3"}
    assert [(group["cpus"], group["max_khz"]) for group in host["cpufreq"]] == [("0-3", 1800000), ("4-7", 2256000)]


def test_power9_has_smt8_and_numa_nodes_0_and_8(read):
    host = read("power9-smt8")
    assert host["cores"][:2] == ["0-7", "8-15"]
    assert len(host["cores"]) == 20
    assert [(numa_node["id"], numa_node["cpus"]) for numa_node in host["numa_nodes"]] == [(0, "0-79"), (8, "80-159")]
    assert host["numa_nodes"][1]["distances"] == {"0": 40, "8": 10}
    assert domain_cpus(host["l2_domains"])[:2] == ["0-15", "16-31"]
    assert host["l3_domains"][9] == {"id": 9, "cpus": "144-159", "size_kib": 10240, "numa_node": 8}


def test_thunderx2_has_smt4_with_split_numbering(read):
    host = read("thunderx2-smt4")
    assert host["cores"][5] == "5,69,133,197"
    assert domain_cpus(host["packages"]) == ["0-31,64-95,128-159,192-223", "32-63,96-127,160-191,224-255"]
