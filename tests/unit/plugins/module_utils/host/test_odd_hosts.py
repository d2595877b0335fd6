# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose kernel leaves things out or shows them in its own way: one generated tree for each oddity.

The plain host behind them has 16 CPUs: packages and NUMA nodes 0-3,8-11 and 4-7,12-15, siblings c and c+8, L3 domains
of two cores each.
"""

from __future__ import annotations

import dataclasses

import pytest
from sysfs_trees import MODELS, Core, Oddities

PLAIN_CORES = ["0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7,15"]
PLAIN_HALVES = ["0-3,8-11", "4-7,12-15"]
PLAIN_L3 = ["0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"]


def domain_cpus(domains):
    return [domain["cpus"] for domain in domains]


def layout(host):
    return {
        "cores": host["cores"],
        "packages": domain_cpus(host["packages"]),
        "numa_nodes": domain_cpus(host["numa_nodes"]),
        "l3_domains": domain_cpus(host["l3_domains"]),
    }


PLAIN_LAYOUT = {"cores": PLAIN_CORES, "packages": PLAIN_HALVES, "numa_nodes": PLAIN_HALVES, "l3_domains": PLAIN_L3}


@pytest.mark.parametrize(
    "model",
    ["odd-no-cpufreq", "odd-nul-bytes", "odd-masks-only", "odd-lists-only", "odd-no-cache-ids", "odd-same-cache-ids", "odd-bare-proc"],
)
def test_a_plain_host_in_other_words_reads_the_same(read, model):
    assert layout(read(model)) == PLAIN_LAYOUT


def test_offline_cpus_are_in_no_list(read):
    host = read("odd-offline-sibling")
    assert host["cpus"]["present"] == "0-15"
    assert host["cpus"]["online"] == "0-4,6-8,10-12,14-15"
    assert host["cores"] == ["0,8", "1", "2,10", "3,11", "4,12", "6,14", "7,15"]
    assert domain_cpus(host["packages"]) == ["0-3,8,10-11", "4,6-7,12,14-15"]
    assert domain_cpus(host["numa_nodes"]) == ["0-3,8,10-11", "4,6-7,12,14-15"]
    assert domain_cpus(host["l3_domains"]) == ["0-1,8", "2-3,10-11", "4,12", "6-7,14-15"]
    assert domain_cpus(host["cpufreq"]) == ["0-4,6-8,10-12,14-15"]


def test_smt_off(read):
    host = read("odd-smt-off")
    assert host["cpus"]["present"] == "0-15"
    assert host["cores"] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert domain_cpus(host["l3_domains"]) == ["0-1", "2-3", "4-5", "6-7"]


def test_gaps_in_the_numbering(read):
    host = read("odd-gaps")
    assert host["cpus"]["online"] == "2-5,10-13,70-77"
    assert host["cores"] == ["2-3", "4-5", "10-11", "12-13", "70,74", "71,75", "72,76", "73,77"]
    assert domain_cpus(host["packages"]) == ["2-5,10-13", "70-77"]
    assert domain_cpus(host["l3_domains"]) == ["2-5", "10-13", "70-71,74-75", "72-73,76-77"]


def test_numa_nodes_without_cpus_or_memory(read):
    numa_nodes = read("odd-numa-without-cpus-or-memory")["numa_nodes"]
    assert [(n["id"], n["cpus"], n["memory_mib"]) for n in numa_nodes] == [
        (0, "0-3,8-11", 32000),
        (1, "4-7,12-15", 0),
        (2, "", 65000),
        (5, "", 0),
    ]
    assert numa_nodes[2]["distances"] == {"0": 17, "1": 28, "2": 10, "5": 28}


def test_no_cache_directory(read):
    host = read("odd-no-cache")
    assert host["l3_domains"] == []
    assert host["l2_domains"] is None
    assert host["cores"] == PLAIN_CORES


def test_caches_without_a_third_level(read):
    host = read("odd-no-l3")
    assert host["l3_domains"] == []
    assert host["cores"] == PLAIN_CORES


def test_no_numa_directory_is_numa_node_0_with_all_memory(read):
    assert read("odd-no-numa")["numa_nodes"] == [
        {
            "id": 0,
            "cpus": "0-15",
            "memory_mib": 64100,
            "memory_free_mib": 48075,
            "distances": None,
            "hugepages": {"2048": {"total": 0, "free": 0}, "1048576": {"total": 0, "free": 0}},
        }
    ]


def test_no_cpufreq_is_null(read):
    assert read("odd-no-cpufreq")["cpufreq"] is None


def test_no_topology_makes_each_cpu_a_core_of_one_package(read):
    host = read("odd-no-topology")
    assert host["cores"] == [str(cpu) for cpu in range(16)]
    assert host["packages"] == [{"id": 0, "cpus": "0-15"}]
    assert host["dies"] is None
    assert host["clusters"] is None


def test_numa_nodes_that_list_the_same_cpus_are_shown_as_they_are(read):
    host = read("odd-numa-overlap")
    assert domain_cpus(host["numa_nodes"]) == ["0-15", "0-15"]
    assert [domain["numa_node"] for domain in host["l3_domains"]] == [None, None, None, None]


def test_sparse_numa_node_ids(read):
    host = read("odd-numa-sparse")
    assert [(n["id"], n["cpus"], n["distances"]) for n in host["numa_nodes"]] == [
        (2, "0-3,8-11", {"2": 10, "7": 31}),
        (7, "4-7,12-15", {"2": 32, "7": 10}),
    ]
    assert [domain["numa_node"] for domain in host["l3_domains"]] == [2, 2, 7, 7]


def test_numa_node_0_offline(read):
    numa_nodes = read("odd-numa0-offline")["numa_nodes"]
    assert [(n["id"], n["cpus"], n["memory_mib"], n["distances"]) for n in numa_nodes] == [(1, "0-15", 64100, {"1": 10})]


def test_a_numa_node_over_two_packages(read):
    host = read("odd-numa-spans-packages")
    assert domain_cpus(host["numa_nodes"]) == ["0-15"]
    assert domain_cpus(host["packages"]) == PLAIN_HALVES


def test_missing_online_file(read):
    host = read("odd-no-online-file")
    assert host["cpus"]["online"] == "0-8,10-15"
    assert host["cpus"]["present"] is None
    assert host["cpus"]["possible"] is None
    assert host["cores"][:2] == ["0,8", "1"]


def test_cache_ids_that_are_missing_or_the_same_are_counted_by_lowest_cpu(read, tree):
    assert [domain["id"] for domain in read("odd-same-cache-ids")["l3_domains"]] == [0, 1, 2, 3]


def test_cache_ids_of_the_kernel_are_kept(read):
    cores = tuple(dataclasses.replace(core, l3=(7, 3, 12, 5)[core.l3]) for core in MODELS["odd-no-cpufreq"].cores)
    host = read(dataclasses.replace(MODELS["odd-no-cpufreq"], cores=cores))
    assert [(domain["id"], domain["cpus"]) for domain in host["l3_domains"]] == [
        (3, "2-3,10-11"),
        (5, "6-7,14-15"),
        (7, "0-1,8-9"),
        (12, "4-5,12-13"),
    ]


def test_missing_distances_are_null(read):
    assert [numa_node["distances"] for numa_node in read("odd-no-distances")["numa_nodes"]] == [None, None]


def test_isolation(read):
    host = read("odd-isolated")
    assert host["cpus"]["isolated"] == "2-3,10-11"
    assert host["cpus"]["nohz_full"] == "2-3,10-11"
    assert host["kernel"]["cmdline_isolation"] == {
        "isolcpus": "managed_irq,domain,2-3,10-11",
        "nohz_full": "2-3,10-11",
        "rcu_nocbs": "2-3,10-11",
        "rcu_nocb_poll": "",
        "irqaffinity": "0-1,8-9",
    }


def test_next_to_nothing_below_proc(read):
    host = read("odd-bare-proc")
    assert host["node"] is None
    assert host["cpus"]["nohz_full"] is None
    assert host["kernel"] == {"release": None, "cmdline_isolation": None}
    assert [host[key] for key in ("numa_balancing", "ksm", "swap_mib", "psi", "nics", "pci_devices")] == [None] * 6


def test_hybrid_types_folder(read):
    assert read("odd-hybrid-types")["core_types"] == {"performance": "0-3", "efficiency": "4-15"}


def test_dies_count_anew_in_each_package_but_their_ids_do_not(read):
    cores = tuple(Core((c,), package=c // 4, numa_node=c // 4, l3=c // 2, die=c // 2 % 2) for c in range(8))
    host = read(dataclasses.replace(MODELS["odd-no-cpufreq"], cores=cores))
    assert host["dies"] == [{"id": 0, "cpus": "0-1"}, {"id": 1, "cpus": "2-3"}, {"id": 2, "cpus": "4-5"}, {"id": 3, "cpus": "6-7"}]


def test_packages_by_id_where_no_file_lists_their_cpus(tree):
    host = tree("odd-masks-only")
    for cpu in range(16):
        host.remove(f"sys/devices/system/cpu/cpu{cpu}/topology/core_siblings")
    assert domain_cpus(host.read()["packages"]) == PLAIN_HALVES


@pytest.mark.parametrize("number", ["-1", "0"])
def test_packages_with_useless_ids_are_counted_by_lowest_cpu(tree, number):
    host = tree("odd-no-cpufreq")
    for cpu in range(16):
        host.write(f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", f"{number}\n")
    assert host.read()["packages"] == [{"id": 0, "cpus": "0-3,8-11"}, {"id": 1, "cpus": "4-7,12-15"}]


def test_thread_siblings_win_over_core_cpus(tree):
    host = tree("odd-no-cpufreq")
    for cpu in range(16):
        host.write(f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list", "0-15\n")
    assert host.read()["cores"] == PLAIN_CORES


def test_a_list_without_its_own_cpu_gives_way_to_the_mask(tree):
    host = tree("odd-no-cpufreq")
    for cpu in range(4, 16):
        host.write(f"sys/devices/system/cpu/cpu{cpu}/cache/index3/shared_cpu_list", "0-3\n")
    assert domain_cpus(host.read()["l3_domains"]) == PLAIN_L3


def test_a_cache_that_nobody_shares_is_its_cores(tree):
    host = tree("odd-masks-only")
    for cpu in range(16):
        host.write(f"sys/devices/system/cpu/cpu{cpu}/cache/index3/shared_cpu_map", "00000000\n")
    assert domain_cpus(host.read()["l3_domains"]) == PLAIN_CORES


def test_an_l3_cache_for_data_counts_and_one_for_instructions_does_not(tree):
    host = tree("odd-no-cpufreq")
    for cpu in range(16):
        host.write(f"sys/devices/system/cpu/cpu{cpu}/cache/index3/type", "Data\n" if cpu % 8 < 4 else "Instruction\n")
    assert domain_cpus(host.read()["l3_domains"]) == PLAIN_L3[:2]


def test_numa_nodes_whose_cpus_show_only_as_links(tree):
    host = tree("odd-no-cpufreq")
    for number in (0, 1):
        host.remove(f"sys/devices/system/node/node{number}/cpulist")
        host.remove(f"sys/devices/system/node/node{number}/cpumap")
    assert domain_cpus(host.read()["numa_nodes"]) == PLAIN_HALVES


def test_numa_nodes_of_gpus_are_left_out(tree):
    host = tree("odd-numa-without-cpus-or-memory")
    host.write("proc/driver/nvidia/gpus/0004:05:00.0/numa_status", "Node:      2\nStatus:    online\nSize:      3f0000000\n")
    numa_nodes = host.read()["numa_nodes"]
    assert [numa_node["id"] for numa_node in numa_nodes] == [0, 1, 5]
    assert numa_nodes[0]["distances"] == {"0": 10, "1": 20, "2": 17, "5": 28}


def test_core_types_show_only_where_there_are_two(tree):
    host = tree("odd-no-cpufreq")
    host.write("sys/devices/cpu_core/cpus", "0-15\n")
    assert host.read()["core_types"] is None


def test_equal_capacities_are_no_core_types(tree):
    host = tree("odd-no-cpufreq")
    for cpu in range(16):
        host.write(f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity", "1024\n")
    assert host.read()["core_types"] is None


def test_one_cpu_is_a_host(read):
    model = dataclasses.replace(MODELS["odd-no-cpufreq"], cores=(Core((0,)),), numa_nodes=MODELS["odd-no-cpufreq"].numa_nodes[:1])
    assert layout(read(model)) == {"cores": ["0"], "packages": ["0"], "numa_nodes": ["0"], "l3_domains": []}


def test_a_tree_with_nothing_but_cpu_folders(tmp_path, tree):
    bare = dataclasses.replace(
        MODELS["odd-no-cpufreq"], oddities=Oddities(topology=False, cache=False, numa=False, online_files=False, distances=False)
    )
    host = tree(bare)
    host.remove("proc/meminfo")
    facts = host.read()
    assert facts["cpus"]["online"] == "0-15"
    assert facts["numa_nodes"][0]["memory_mib"] is None
    assert facts["l3_domains"] == []
