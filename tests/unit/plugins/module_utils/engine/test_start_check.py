# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule about a start with a config that breaks it, in the words of PVE 9.2, taskset and QEMU where they have any."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.start_check import start_errors

BASE = {"cores": "2", "memory": "512", "numa": "1"}
CELL = "cpus=0-1,hostnodes=0,memory=512,policy=bind"
SMP = "kvm: Invalid CPU topology: maxcpus must be equal to or greater than smp: sockets (1) * dies (1) * modules (1) * cores"


def host(**more: t.Any) -> t.Dict[str, t.Any]:
    """8 CPUs in 2 NUMA nodes."""
    return {
        "node": "pve1",
        "cpus": {"online": "0-7", "present": "0-7", "isolated": ""},
        "packages": [{"id": 0, "cpus": "0-7"}],
        "cores": ["0,4", "1,5", "2,6", "3,7"],
        "l3_domains": [],
        "numa_nodes": [{"id": 0, "cpus": "0-1,4-5", "memory_mib": 4096}, {"id": 1, "cpus": "2-3,6-7", "memory_mib": 4096}],
        **more,
    }


def guest(config: t.Mapping[str, str], **more: t.Any) -> t.Dict[str, t.Any]:
    return {"vmid": 100, "node": "pve1", "config": {**BASE, **config}, **more}


def found(config: t.Mapping[str, str], facts: t.Optional[t.Mapping[str, t.Any]] = None, **more: t.Any) -> t.List[t.Dict[str, t.Any]]:
    return start_errors(guest(config, **more), facts or host())


FATAL = [
    ({"cores": "9"}, "max_vcpus", "MAX 8 vcpus allowed per VM on this node"),
    ({"affinity": "0, 1"}, "affinity_syntax", "taskset: failed to parse CPU list: 0, 1"),
    ({"affinity": "0 ,1"}, "affinity_syntax", "taskset: failed to parse CPU list: 0 ,1"),
    ({"affinity": "0,1,"}, "affinity_syntax", "taskset: failed to parse CPU list: 0,1,"),
    ({"affinity": "200"}, "affinity_not_online", "taskset: failed to set pid N's affinity: Invalid argument"),
    ({"affinity": "99999"}, "affinity_not_online", "taskset: failed to set pid N's affinity: Invalid argument"),
    ({"numa0": "cpus=0-1"}, "cell_memory_missing", "missing NUMA node0 memory value"),
    ({"numa0": "cpus=0-1,memory=0"}, "cell_memory_missing", "missing NUMA node0 memory value"),
    ({"numa0": "cpus=0-1,hostnodes=0,memory=512"}, "policy_missing", "you need to define a policy for hostnode 0"),
    ({"numa0": "cpus=0-1,hostnodes=0;1,memory=512"}, "policy_missing", "you need to define a policy for hostnode 0,1"),
    ({"numa0": "cpus=0-1,hostnodes=7,memory=512,policy=bind"}, "hostnode_missing", "host NUMA node7 doesn't exist"),
    ({"numa0": "cpus=0-1,hostnodes=0-2,memory=512,policy=bind"}, "hostnode_missing", "host NUMA node2 doesn't exist"),
    ({"numa0": "cpus=0-1,memory=256"}, "memory_sum", "total memory for NUMA nodes must be equal to vm static memory"),
    ({"numa0": "cpus=0-1,memory=512.5"}, "memory_sum", "total memory for NUMA nodes must be equal to vm static memory"),
    ({"numa0": "cpus=0-1,memory=-512"}, "memory_sum", "total memory for NUMA nodes must be equal to vm static memory"),
    ({"numa0": "cpus=1-0,memory=512"}, "invalid_range", "invalid range: 1-0 (0 < 1)"),
    (
        {"numa0": "cpus=0,memory=1024", "numa1": "cpus=1,memory=-512"},
        "cell_memory_negative",
        "numa1 of guest 100 has the memory -512, which QEMU refuses.",
    ),
    (
        {"numa0": "cpus=0,memory=256", "numa1": "cpus=0-1,memory=256"},
        "vcpu_twice",
        "kvm: -numa node,nodeid=1,cpus=0-1,memdev=ram-node1: CPU is already assigned to node-id: 0",
    ),
    (
        {"numa0": "cpus=0-3,memory=512"},
        "vcpu_range",
        "kvm: -numa node,nodeid=0,cpus=0-3,memdev=ram-node0: CPU index (2) should be smaller than maxcpus (2)",
    ),
    ({"numa1": "cpus=0-1,memory=512"}, "cell_gap", "kvm: numa: Node ID missing: 0"),
    ({"numa0": "cpus=0,memory=256", "numa2": "cpus=1,memory=256"}, "cell_gap", "kvm: numa: Node ID missing: 1"),
    ({"vcpus": "99"}, "vcpus", f"{SMP} (2) * threads (1) == maxcpus (2) < smp_cpus (99)"),
    ({"kvm": "0", "cpu": "host"}, "cpu_model", "kvm: CPU model 'host' requires KVM or HVF"),
    ({"hotplug": "memory", "numa0": CELL}, "hotplug_cells", "cannot enable memory hotplugging with custom NUMA topology"),
    ({"hotplug": "disk,memory", "numa": "0"}, "hotplug_numa", "NUMA needs to be enabled for memory hotplug"),
    ({"hotplug": "memory"}, "hotplug_memory", "minimum memory must be 1024MB"),
    ({"hotplug": "memory", "memory": "1300"}, "hotplug_memory", "memory size (1300) must be aligned to 512 for hotplugging"),
    ({"hotplug": "memory", "memory": "600000"}, "hotplug_memory", "Total memory is bigger than 524288MB"),
    (
        {"hotplug": "memory", "memory": "2048", "virtiofs0": "dirid=a"},
        "hotplug_virtiofs",
        "Memory hotplug does not work in combination with virtio-fs.",
    ),
    ({"hugepages": "2", "numa": "0"}, "hugepages_numa", "numa needs to be enabled to use hugepages"),
    ({"hugepages": "2", "numa0": "cpus=0-1,memory=512"}, "hugepages_hostnodes", "numa hostnodes need to be defined to use hugepages"),
    (
        {"hugepages": "2", "numa0": "cpus=0-1,hostnodes=0-1,memory=512,policy=bind"},
        "hugepages_one_hostnode",
        "more than 1 hostnode value in numa node is not supported when hugepages are enabled",
    ),
    ({"hugepages": "1024", "numa0": CELL}, "hugepages_size", "Memory size 512 is not a multiple of the requested hugepages size 1024"),
    (
        {"hugepages": "any", "memory": "513", "numa0": CELL.replace("512", "513")},
        "hugepages_size",
        "memory size '513' is not a positive even integer; cannot use for hugepages",
    ),
    (
        {"hugepages": "2", "sockets": "2", "cores": "1", "memory": "1026"},
        "hugepages_size",
        "memory size '513' is not a positive even integer; cannot use for hugepages",
    ),
    ({"hugepages": "2", "sockets": "3", "cores": "1", "memory": "3072"}, "hostnode_missing", "host NUMA node2 doesn't exist"),
]


@pytest.mark.parametrize(("config", "rule", "message"), FATAL)
def test_configs_that_do_not_start(config, rule, message):
    first = found(config)[0]
    assert (first["rule"], first["message"], first["fatal"]) == (rule, message, True)
    assert first["fix"].endswith(".")


@pytest.mark.parametrize(
    ("config", "rule", "words"),
    [
        ({"affinity": "0"}, "affinity_zero", "runs on all CPUs"),
        ({"affinity": "1,200"}, "affinity_narrowed", "runs on 1 only"),
        ({"affinity": "0-7:2"}, "affinity_dropped", "drops the line"),
        ({"affinity": "1-0"}, "affinity_dropped", "drops the line"),
        ({"numa": "0", "numa0": "cpus=0-1,memory=99999"}, "numa_off", "numa0 of guest 100 is ignored"),
        ({"numa0": "cpu=1"}, "cell_dropped", "'cpu=1'"),
    ],
)
def test_configs_that_quietly_do_something_else(config, rule, words):
    [finding] = found(config)
    assert (finding["rule"], finding["fatal"]) == (rule, False)
    assert words in finding["message"]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"affinity": "0-0"},
        {"affinity": "0,0,0-1"},
        {"affinity": "00-01"},
        {"numa": "0"},
        {"numa0": CELL},
        {"numa0": "cpus=0,memory=512"},
        {"numa0": "cpus=0,hostnodes=0,memory=256,policy=bind", "numa1": "cpus=1,hostnodes=0,memory=256,policy=bind"},
        {"numa0": "cpus=0,memory=256.5", "numa1": "cpus=1,memory=255.5"},
        {"vcpus": "1", "numa0": "cpus=0-1,memory=512"},
        {"hugepages": "2"},
        {"hugepages": "1024", "memory": "1024", "numa0": CELL.replace("512", "1024")},
        {"hotplug": "memory", "memory": "2048"},
        {"hotplug": "1", "numa0": CELL},
        {"memory": "current=1024"},
    ],
)
def test_configs_that_start_as_they_say(config):
    assert found(config) == []


def test_what_the_start_reports_first_comes_first_and_the_rest_follows():
    config = {"affinity": "0, 1", "cores": "9", "vcpus": "12", "hotplug": "memory", "numa": "0", "numa1": "cpus=20"}
    rules = [finding["rule"] for finding in found(config)]
    assert rules == ["max_vcpus", "hotplug_numa", "hotplug_cells", "hotplug_memory", "affinity_syntax", "vcpus", "numa_off"]
    config = {"numa0": "cpus=0-1,hostnodes=9", "numa2": "cpus=1-0,memory=5"}
    rules = [finding["rule"] for finding in found(config)]
    assert rules == ["cell_memory_missing", "hostnode_missing", "policy_missing", "invalid_range", "cell_gap"]


def test_pending_changes_are_judged_and_not_what_they_replace():
    assert found({"affinity": "200"}, pending={"affinity": "0-1"}) == []
    assert found({"affinity": "200"}, pending={"affinity": None}) == []
    assert found({}, pending={"hotplug": "memory", "memory": "1024", "numa0": CELL})[0]["rule"] == "hotplug_cells"


def test_the_same_guest_on_another_host():
    bound = {"affinity": "2-3", "numa0": "cpus=0-1,hostnodes=1,memory=512,policy=bind"}
    small = host(
        node="pve2",
        cpus={"online": "0,2", "present": "0-2"},
        numa_nodes=[{"id": 0, "cpus": "0,2", "memory_mib": 4096}],
    )
    assert found(bound) == []
    assert [finding["rule"] for finding in found(bound, small)] == ["hostnode_missing", "affinity_narrowed"]


def test_a_numa_node_without_memory():
    nodes = [{"id": 0, "cpus": "0-7", "memory_mib": 0}, {"id": 2, "cpus": "", "memory_mib": 4096}]
    assert found({"numa0": CELL}, host(numa_nodes=nodes))[0]["rule"] == "hostnode_without_memory"
    assert found({"numa0": CELL.replace("hostnodes=0", "hostnodes=2")}, host(numa_nodes=nodes)) == []


def test_vcpus_pile_up_on_isolated_cpus():
    facts = host(cpus={"online": "0-7", "present": "0-7", "isolated": "2-3,6-7"})
    [finding] = found({"affinity": "2-3"}, facts)
    assert (finding["rule"], finding["fatal"]) == ("affinity_isolated", False)
    assert "CPU 2-3" in finding["message"]
    assert found({"affinity": "2"}, facts) == found({"affinity": "0-1"}, facts) == found({}, facts) == []


def _with_pages(pages, free):
    node = {"id": 0, "cpus": "0-7", "memory_mib": 4096, "memory_free_mib": free, "hugepages": pages}
    return host(numa_nodes=[node])


def test_hugepages_that_the_host_does_not_have():
    small, big = {"2048": {"total": 0, "free": 0}}, {"1048576": {"total": 4, "free": 4}}
    message = "your system doesn't support hugepages of 1024 MB"
    assert found({"hugepages": "1024", "memory": "1024"}, _with_pages(small, 4096))[0]["message"] == message
    message = "host only supports 1024 GB hugepages, but requested size '512' is not a multiple of 1024 MB"
    assert found({"hugepages": "any"}, _with_pages(big, 4096))[0]["message"] == message
    message = "your system doesn't support hugepages"
    assert found({"hugepages": "2"}, _with_pages({"64": {"total": 0, "free": 0}}, 4096))[0]["message"] == message


def test_room_for_hugepages_is_what_is_free_now():
    pages = {"2048": {"total": 100, "free": 100}}
    assert found({"hugepages": "2", "numa0": CELL}, _with_pages(pages, 312)) == []
    [finding] = found({"hugepages": "2", "numa0": CELL}, _with_pages(pages, 311))
    assert (finding["rule"], finding["message"], finding["fatal"]) == ("hugepages_room", "hugepage allocation failed", False)
    assert "511 MiB" in finding["fix"]
    assert found({"hugepages": "2", "numa0": CELL}, _with_pages(pages, 311), status="running") == []


def test_templates_never_start():
    [finding] = found({"affinity": "0, 1"}, template=True)
    assert (finding["rule"], finding["message"]) == ("template", "you can't start a vm if it's a template")
    [finding] = found({}, template=True, type="lxc")
    assert finding["message"] == "you can't start a CT if it's a template"


def test_containers_and_their_cpusets():
    key = "lxc.cgroup2.cpuset.cpus"
    assert found({key: "0-7"}, type="lxc") == found({"affinity": "0, 1"}, type="lxc") == []
    [finding] = found({key: "8-9"}, type="lxc")
    assert (finding["rule"], finding["fatal"]) == ("cpuset_not_online", True)
    assert finding["message"] == 'lxc-start: 100: cgfsng: Invalid argument - Could not set "cpuset.cpus" to 8-9'
    [finding] = found({key: "6-9"}, type="lxc")
    assert (finding["rule"], finding["fatal"]) == ("cpuset_narrowed", False)
    assert "runs on 6-7 only" in finding["message"]


def test_karpenters_dummy_guest_is_exempt():
    assert found({"cores": "99"}, name="node-capacity", tags=["karpenter"]) == []
    assert found({"cores": "99", "name": "node-capacity", "tags": "karpenter"}) == []
    assert found({"cores": "99"}, name="node-capacity", tags=["other"]) != []


def test_a_guest_that_is_hardly_known():
    assert start_errors({"vmid": 100, "node": "pve1", "vcpus": 4, "memory_mib": 4096}, host()) == []
    assert start_errors({"vmid": 100, "node": "pve1", "vcpus": 9, "memory_mib": 4096}, host())[0]["rule"] == "max_vcpus"
    cells = [{"cpus": "0-3", "hostnodes": "0", "memory_mib": 4000, "policy": "bind"}]
    minimal = {"vmid": 100, "node": "pve1", "vcpus": 4, "memory_mib": 4096, "affinity": "0-3", "numa_cells": cells}
    assert [finding["rule"] for finding in start_errors(minimal, host())] == ["memory_sum"]
    with pytest.raises(FactsError, match="is no dictionary"):
        start_errors("100", host())  # type: ignore[arg-type]
    for config in (5, {"cores": "two"}):
        with pytest.raises(FactsError, match="config of guest 100 cannot be read"):
            start_errors({"vmid": 100, "config": config}, host())
