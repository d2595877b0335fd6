# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting guests: everything that PVE, taskset, QEMU and the kernel have to say about CPUs and memory."""

from __future__ import annotations

import pathlib

import pytest

FAILED = "start failed: QEMU exited with code 1"
BASE = {"cores": 2, "memory": 512, "numa": 1}
TOO_MANY_VCPUS = (
    "kvm: Invalid CPU topology: maxcpus must be equal to or greater than smp: "
    "sockets (1) * dies (1) * modules (1) * cores (2) * threads (1) == maxcpus (2) < smp_cpus (99)"
)
MEMORY_PM = "/usr/share/perl5/PVE/QemuServer/Memory.pm"


@pytest.mark.parametrize(
    ("affinity", "live"),
    [
        ("0-1", "0-1"),
        ("0", "0-7"),
        ("0-0", "0"),
        ("00", "0"),
        ("00-01", "0-1"),
        ("1,200", "1"),
        ("0-99", "0-7"),
        ("0,0,0-1", "0-1"),
        ("7,1,3-4", "1,3-4,7"),
    ],
)
def test_affinity_that_starts(make, affinity, live):
    """ "0" is false in Perl and so not applied; CPUs that are not there are dropped without a word."""
    ask = make({**BASE, "affinity": affinity})
    assert ask.task(100, "start")[0] == "OK"
    assert ask.cluster.guest(100).live_affinity == live
    assert (ask.cluster.guest(100).live_command[0] == "/usr/bin/taskset") == (affinity != "0")


@pytest.mark.parametrize("affinity", ["0, 1", "0 ,1", "0,1,"])
def test_affinity_that_taskset_refuses(make, affinity):
    ask = make({**BASE, "affinity": affinity})
    assert ask.task(100, "start") == (FAILED, [f"taskset: failed to parse CPU list: {affinity}", f"TASK ERROR: {FAILED}"])
    assert ask.cluster.guest(100).live_affinity is None


def test_no_cpu_of_the_affinity_is_there(make):
    status, log = make({**BASE, "affinity": "200"}).task(100, "start")
    assert status == FAILED
    assert log[0].startswith("taskset: failed to set pid ")
    assert log[0].endswith("'s affinity: Invalid argument")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"numa0": "cpus=0-1,memory=256"}, "total memory for NUMA nodes must be equal to vm static memory"),
        ({"numa0": "cpus=0-1"}, "missing NUMA node0 memory value"),
        ({"numa0": "cpus=0-1,memory=0"}, "missing NUMA node0 memory value"),
        ({"numa0": "cpus=0-1,hostnodes=0,memory=512"}, "you need to define a policy for hostnode 0"),
        ({"numa0": "cpus=0-1,hostnodes=0-1,memory=512"}, "you need to define a policy for hostnode 0-1"),
        ({"numa0": "cpus=0-1,hostnodes=7,memory=512,policy=bind"}, "host NUMA node7 doesn't exist"),
        ({"numa0": "cpus=0-1,hostnodes=0-2,memory=512,policy=bind"}, "host NUMA node2 doesn't exist"),
        ({"numa0": "cpus=0-1,memory=512.5"}, "total memory for NUMA nodes must be equal to vm static memory"),
        ({"numa0": "cpus=0-1,memory=-512"}, "total memory for NUMA nodes must be equal to vm static memory"),
        ({"numa0": "cpus=1-0,memory=512"}, "invalid range: 1-0 (0 < 1)"),
        ({"cores": 16}, "MAX 8 vcpus allowed per VM on this node"),
        ({"hugepages": "2", "numa": 0}, f"numa needs to be enabled to use hugepages at {MEMORY_PM} line 388."),
        (
            {"hugepages": "2", "numa0": "cpus=0-1,memory=512"},
            f"numa hostnodes need to be defined to use hugepages at {MEMORY_PM} line 430.",
        ),
        (
            {"hugepages": "1024", "numa0": "cpus=0-1,memory=512,hostnodes=0,policy=bind"},
            "Memory size 512 is not a multiple of the requested hugepages size 1024",
        ),
        ({"hotplug": "memory", "numa0": "cpus=0-1,memory=512"}, "cannot enable memory hotplugging with custom NUMA topology"),
        ({"hotplug": "memory", "numa": 0}, "NUMA needs to be enabled for memory hotplug"),
        ({"hotplug": "memory"}, "minimum memory must be 1024MB"),
        ({"lock": "backup"}, "VM is locked (backup)"),
        ({"template": 1}, "you can't start a vm if it's a template"),
    ],
)
def test_pve_refuses(make, config, message):
    assert make({**BASE, **config}).task(100, "start") == (message, [f"TASK ERROR: {message}"])


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (
            {"numa0": "cpus=0,memory=256", "numa1": "cpus=0-1,memory=256"},
            "kvm: -numa node,nodeid=1,cpus=0-1,memdev=ram-node1: CPU is already assigned to node-id: 0",
        ),
        (
            {"numa0": "cpus=0-3,memory=512"},
            "kvm: -numa node,nodeid=0,cpus=0-3,memdev=ram-node0: CPU index (2) should be smaller than maxcpus (2)",
        ),
        ({"numa1": "cpus=0-1,memory=512"}, "kvm: numa: Node ID missing: 0"),
        ({"numa0": "cpus=0,memory=256", "numa2": "cpus=1,memory=256"}, "kvm: numa: Node ID missing: 1"),
        ({"cpu": "host", "kvm": 0}, "kvm: CPU model 'host' requires KVM or HVF"),
        ({"vcpus": 99}, TOO_MANY_VCPUS),
    ],
)
def test_qemu_refuses(make, config, complaint):
    assert make({**BASE, **config}).task(100, "start") == (FAILED, [complaint, f"TASK ERROR: {FAILED}"])


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({"numa": 0, "numa0": "cpus=0-1,memory=99999"}, ["-m", "512", "-machine"]),
        ({"vcpus": 1, "numa0": "cpus=0-1,memory=512"}, ["-smp", "1,sockets=1,cores=2,maxcpus=2"]),
        (
            {"numa0": "cpus=0,memory=512"},
            ["-object", "memory-backend-ram,id=ram-node0,size=512M", "-numa", "node,nodeid=0,cpus=0,memdev=ram-node0"],
        ),
        (
            {"numa0": "cpus=0;1,hostnodes=0;1,memory=512,policy=interleave"},
            [
                "-object",
                "memory-backend-ram,id=ram-node0,size=512M,host-nodes=0,1,policy=interleave",
                "-numa",
                "node,nodeid=0,cpus=0,cpus=1,memdev=ram-node0",
            ],
        ),
        (
            {"sockets": 2, "cores": 2},
            ["-object", "memory-backend-ram,id=ram-node1,size=256M", "-numa", "node,nodeid=1,cpus=2-3,memdev=ram-node1"],
        ),
        (
            {"hugepages": "2"},
            ["-object", "memory-backend-file,id=ram-node0,size=512M,mem-path=/run/hugepages/kvm/2048kB,share=on,prealloc=yes"],
        ),
        ({"memory": "current=1024"}, ["-m", "1024"]),
    ],
)
def test_command_line(make, config, arguments):
    ask = make({**BASE, **config})
    assert ask.task(100, "start")[0] == "OK"
    command = ask.cluster.guest(100).live_command
    assert any(command[at : at + len(arguments)] == arguments for at in range(len(command))), command


def test_huge_pages_are_counted_where_the_host_says_how_many(make):
    cells = {**BASE, "memory": 2048, "hugepages": "1024", "numa0": "cpus=0-1,memory=2048,hostnodes=1,policy=bind"}
    enough, few = {"0": {"1024": 0}, "1": {"1024": 2}}, {"0": {"1024": 9}, "1": {"1024": 1}}
    host = {"name": "pve1", "cpus": 8, "numa_nodes": 2}
    assert make(cells, cluster={"nodes": [{**host, "hugepages": enough}]}).task(100, "start")[0] == "OK"
    assert (
        make(cells, cluster={"nodes": [{**host, "hugepages": few}]}).task(100, "start")[0]
        == f"hugepage allocation failed at {MEMORY_PM} line 730."
    )
    assert (
        make({**cells, "hugepages": "2"}, cluster={"nodes": [{**host, "hugepages": few}]}).task(100, "start")[0]
        == "your system doesn't support hugepages of 2 MB"
    )


def test_a_host_from_a_tree(make, tmp_path: pathlib.Path):
    """Online CPUs and NUMA nodes come from a captured tree; CPU 3 is offline."""
    cpu = tmp_path / "sys/devices/system/cpu"
    for number, package, siblings in ((0, 0, "0,4"), (1, 0, "1"), (2, 1, "2"), (4, 0, "0,4")):
        (cpu / f"cpu{number}/topology").mkdir(parents=True)
        (cpu / f"cpu{number}/topology/physical_package_id").write_text(f"{package}\n")
        (cpu / f"cpu{number}/topology/thread_siblings_list").write_text(f"{siblings}\n")
    (cpu / "online").write_text("0-2,4\n")
    for number in (0, 2):
        (tmp_path / f"sys/devices/system/node/node{number}").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        8388608 kB\n")
    ask = make(
        {**BASE, "affinity": "2-4", "numa0": "cpus=0-1,hostnodes=2,memory=512,policy=bind"},
        cluster={"nodes": [{"name": "pve1", "root": str(tmp_path)}]},
    )
    info = ask("GET", "/nodes/pve1/status").data
    assert (info["cpuinfo"]["cpus"], info["cpuinfo"]["cores"], info["cpuinfo"]["sockets"]) == (4, 3, 2)
    assert info["memory"]["total"] == 8388608 * 1024
    assert ask.task(100, "start")[0] == "OK"
    assert ask.cluster.guest(100).live_affinity == "2,4"
    ask.task(100, "stop")
    ask.config(100, numa0="cpus=0-1,hostnodes=1,memory=512,policy=bind")
    assert ask.task(100, "start")[0] == "host NUMA node1 doesn't exist"


def test_power_calls_and_what_they_say_when_there_is_nothing_to_do(make):
    ask = make({**BASE})
    assert ask.task(100, "stop")[0] == "OK"
    assert ask("POST", "/nodes/pve1/qemu/100/status/reboot").message == "VM 100 not running\n"
    assert ask.task(100, "start")[0] == "OK"
    assert ask.task(100, "start")[0] == "VM 100 already running"
    pid = ask.cluster.guest(100).live.pid
    assert ask("GET", "/nodes/pve1/qemu/100/status/current").data["pid"] == pid
    assert ask.task(100, "reboot")[0] == "OK"
    assert ask.cluster.guest(100).live.pid != pid
    assert ask.task(100, "shutdown")[0] == "OK"
    assert ask("GET", "/nodes/pve1/qemu/100/status/current").data["status"] == "stopped"
    assert ask.cluster.tasks.all[ask("POST", "/nodes/pve1/qemu/999/status/start").data].exitstatus == (
        "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"
    )


def test_hookscripts(make):
    ask = make(
        {**BASE, "hookscript": "local:snippets/hook.sh"}, cluster={"nodes": [{"name": "pve1", "cpus": 8, "snippets": {"hook.sh": {}}}]}
    )
    ask.task(100, "start")
    ask.task(100, "stop")
    assert [call.phase for call in ask.cluster.hook_calls] == ["pre-start", "post-start", "pre-stop", "post-stop"]
    script = ask.cluster.node("pve1").snippets["hook.sh"]
    script["fails"] = ["post-start", "pre-stop", "post-stop"]
    assert [ask.task(100, "start")[0], ask.task(100, "stop")[0]] == ["OK", "OK"]
    script["fails"] = ["pre-start"]
    assert ask.task(100, "start")[0] == (
        "hookscript error for 100 on pre-start: command '/var/lib/vz/snippets/hook.sh 100 pre-start' failed: exit code 3"
    )
    script["executable"] = False
    assert ask.task(100, "start")[0] == "hookscript error for 100 on pre-start: script 'local:snippets/hook.sh' is not executable"


def test_the_monitor_names_the_threads(make):
    ask = make({**BASE}, status="running")
    threads = ask.cluster.guest(100).live.vcpu_threads
    text = ask("POST", "/nodes/pve1/qemu/100/monitor", {"command": "info cpus"}).data
    assert text == f"* CPU #0: thread_id={threads[0]}\r\n  CPU #1: thread_id={threads[1]}\r\n"
    ask.task(100, "stop")
    assert ask("POST", "/nodes/pve1/qemu/100/monitor", {"command": "info cpus"}).message == "VM 100 not running\n"
