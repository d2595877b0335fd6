# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: options, the shape of its result, errors without a traceback."""

from __future__ import annotations

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host, describe
from ansible_collections.corepin.proxmox.plugins.modules import host_topology_facts

KEYS = {
    "schema", "node", "gathered_at", "fingerprint", "architecture", "vendor", "model", "cpus", "packages", "dies", "clusters",
    "l2_domains", "numa_nodes", "l3_domains", "cores", "core_types", "cpufreq", "pci_devices", "nics", "cluster_networks", "kernel",
    "numa_balancing", "ksm", "swap_mib", "psi", "irqbalance", "ceph", "zfs",
}  # fmt: skip


def test_it_returns_one_fact(tree, run_module):
    result = run_module(host_topology_facts, root=str(tree("epyc-9354-nps4").root))
    result.pop("invocation")
    assert set(result) == {"ansible_facts"}
    assert set(result["ansible_facts"]) == {"corepin_host"}
    facts = result["ansible_facts"]["corepin_host"]
    assert set(facts) == KEYS
    assert describe(Host.from_facts(facts)) == "64 CPUs, 32 cores, 8 L3 domains, 4 NUMA nodes, 1 package"


def test_check_mode_and_a_second_run_say_the_same(tree, run_module):
    root = str(tree("ryzen-5950x").root)
    first, second = (run_module(host_topology_facts, root=root, check_mode=check)["ansible_facts"] for check in (False, True))
    for facts in (first, second):
        del facts["corepin_host"]["gathered_at"]
    assert first == second


def test_the_name_can_be_given(tree, run_module):
    root = str(tree("ryzen-5950x").root)
    assert run_module(host_topology_facts, root=root)["ansible_facts"]["corepin_host"]["node"] == "ryzen1"
    assert run_module(host_topology_facts, root=root, node="pve3")["ansible_facts"]["corepin_host"]["node"] == "pve3"


def test_the_running_host_needs_no_option(run_module):
    facts = run_module(host_topology_facts)["ansible_facts"]["corepin_host"]
    assert facts["cpus"]["online"]
    assert facts["node"]


def test_garbage_fails_with_one_sentence(tree, run_module):
    host = tree("odd-no-cpufreq")
    host.write("sys/devices/system/cpu/online", "0-x\n")
    result = run_module(host_topology_facts, root=str(host.root))
    assert result["failed"] is True
    assert result["msg"].startswith(f"{host.root}/sys/devices/system/cpu/online holds '0-x', which is not a cpulist")
    assert "Traceback" not in str(result)
