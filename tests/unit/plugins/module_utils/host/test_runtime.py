# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running guests read from generated trees, from a fake QMP socket, and from real processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError
from ansible_collections.corepin.proxmox.plugins.module_utils._host import qmp
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory import memory_of_process
from ansible_collections.corepin.proxmox.plugins.module_utils._host.runtime import pid_of_vm, read_running, read_vm, start_of
from ansible_collections.corepin.proxmox.plugins.module_utils._host.scope import read_scope
from ansible_collections.corepin.proxmox.plugins.module_utils._host.threads import read_thread_ids
from ansible_collections.corepin.proxmox.plugins.modules import guest_runtime_info
from runtime_trees import QmpServer, RunningHost, StuckQmpServer

Facts = t.Dict[str, t.Any]


@pytest.fixture
def host(tmp_path: Path) -> RunningHost:
    return RunningHost(tmp_path / "host")


def read(host: RunningHost, vmids: t.Optional[t.List[int]] = None) -> t.Dict[int, Facts]:
    return {guest.vmid: guest.as_facts() for guest in read_running(Tree(str(host.root)), vmids)}


def roles(guest: Facts) -> t.Dict[str, t.List[int]]:
    by_role: t.Dict[str, t.List[int]] = {}
    for thread in guest["threads"]:
        by_role.setdefault(thread["role"], []).append(thread["tid"])
    return by_role


def test_a_vm_thread_by_thread(host):
    host.vm(101, 5000, vcpus=2, pins=["1", "3"], scope_cpus="0-3", iothreads=["iothread-virtioscsi0"], vhost=1, memory={0: 2048, 1: 3})
    guest = read(host)[101]
    assert guest["threads"][:2] == [
        {"tid": 5001, "pid": 5000, "name": "CPU 0/KVM", "role": "vcpu", "vcpu": 0, "cpus": "1"},
        {"tid": 5002, "pid": 5000, "name": "CPU 1/KVM", "role": "vcpu", "vcpu": 1, "cpus": "3"},
    ]
    assert roles(guest) == {"vcpu": [5001, 5002], "emulator": [5000, 5003, 5004], "iothread": [5005], "vhost": [5006]}
    assert {thread["cpus"] for thread in guest["threads"][2:]} == {"0-3"}
    assert guest["ids_from"] == "names"
    assert (guest["type"], guest["pid"], guest["started"], guest["scope"]) == ("qemu", 5000, 4711, "qemu.slice/101.scope")
    assert (guest["scope_cpus"], guest["scope_cpus_asked"]) == ("0-3", "0-3")
    assert guest["memory_mib"] == {"0": 2048, "1": 3}
    assert guest["processes"] == []


def test_a_scope_without_a_cpuset_has_that_of_the_cgroup_above(host):
    host.vm(101, 5000)
    for name in ("cpuset.cpus", "cpuset.cpus.effective"):
        (host.root / "sys/fs/cgroup/qemu.slice/101.scope" / name).unlink()
    guest = read(host)[101]
    assert (guest["scope_cpus"], guest["scope_cpus_asked"]) == ("0-7", None)
    host.write("sys/fs/cgroup/qemu.slice/cpuset.cpus.effective", "2-5\n")
    assert read(host)[101]["scope_cpus"] == "2-5"


@pytest.fixture
def patience(monkeypatch):
    """QMP's time limit is not what the test is about."""
    monkeypatch.setattr(qmp.query_threads, "__defaults__", (60.0,))


@pytest.mark.usefixtures("patience")
def test_qmp_says_which_thread_is_which(host):
    host.vm(101, 5000, vcpus=3, iothreads=["a"])
    for tid in (5001, 5002, 5003, 5006):
        host.thread(5000, tid, "worker", "0-7")  # without debug-threads all have the name of the process
    with QmpServer(host.root / "run/qemu-server/101.qmp", [5003, 5001, 5002], {"a": 5006}) as server:
        guest = read(host)[101]
    assert [(thread["vcpu"], thread["tid"]) for thread in guest["threads"] if thread["role"] == "vcpu"] == [(0, 5003), (1, 5001), (2, 5002)]
    assert roles(guest)["iothread"] == [5006]
    assert guest["ids_from"] == "qmp"
    assert (server.clients, server.commands) == (1, ["qmp_capabilities", "query-cpus-fast", "query-iothreads"])


def test_a_busy_socket_leaves_the_names_of_the_threads(host, monkeypatch):
    monkeypatch.setattr(qmp.query_threads, "__defaults__", (0.05,))
    host.vm(101, 5000, vcpus=2)
    with StuckQmpServer(host.root / "run/qemu-server/101.qmp"):
        guest = read(host)[101]
    assert guest["ids_from"] == "names"
    assert roles(guest)["vcpu"] == [5001, 5002]


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    ("command", "answer"), [("query-cpus-fast", [{"cpu-index": 0}]), ("query-cpus-fast", 7), ("query-iothreads", [None])]
)
def test_an_odd_answer_is_no_answer(tmp_path, command, answer):
    path = tmp_path / ("a-folder-with-a-name-longer-than-an-address-of-a-unix-socket-may-be" * 2) / "101.qmp"
    with QmpServer(path, [1]) as server:
        assert qmp.query_threads(str(path)) == qmp.QmpThreads({1: 0}, {})
        server.answers[command] = answer
        assert qmp.query_threads(str(path)) is None
        del server.answers[command]
        assert qmp.query_threads(str(path)) is None
    assert qmp.query_threads(str(path)) is None


def test_old_kernels_have_vhost_workers_of_their_own(host):
    host.vm(101, 5000)
    host.vm(102, 6000)
    host.process(7001, "vhost-5000", "0-7", parent=2)
    host.process(7002, "vhost-5000", "4", parent=2)
    host.process(7003, "vhost-6000", "0-7", parent=1)  # somebody's program of that name
    guests = read(host)
    assert [(x["tid"], x["name"], x["cpus"]) for x in guests[101]["threads"] if x["role"] == "vhost"] == [
        (7001, "vhost-5000", "0-7"),
        (7002, "vhost-5000", "4"),
    ]
    assert "vhost" not in roles(guests[102])


def test_helpers_are_in_the_scope_or_name_the_guest(host):
    host.vm(101, 5000)
    host.vm(1010, 9000)
    host.process(5100, "anything", "0-7", cgroup="qemu.slice/101.scope")
    host.cgroup("qemu.slice/101.scope", [5000, 5100], asked="", effective="0-7")
    host.process(
        5200, "swtpm", "0-7", command=["swtpm", "socket", "--tpm2", "--ctrl", "type=unixio,path=/var/run/qemu-server/101.swtpm,mode=0600"]
    )
    host.process(5300, "virtiofsd", "0-3", command=["/usr/libexec/virtiofsd", "--socket-path=/run/qemu-server/virtiofsd/vm101-fs0.sock"])
    host.thread(5300, 5301, "virtiofsd", "0-3")
    host.process(5400, "swtpm", "0-7", command=["swtpm", "--ctrl", "path=/run/qemu-server/1010.swtpm"])
    guests = read(host)
    assert roles(guests[101])["helper"] == [5100, 5200, 5300, 5301]
    assert roles(guests[1010])["helper"] == [5400]


def test_a_pid_that_is_somebody_elses_by_now_is_no_guest(host):
    host.vm(101, 5000)
    host.process(5000, "sshd", "0-7", cgroup="system.slice/ssh.service", command=["sshd", "-D"])
    assert read(host) == {}
    host.end(5000)
    assert read(host) == {}
    host.write("run/qemu-server/101.pid", "")
    assert pid_of_vm(Tree(str(host.root)), 101) is None


@pytest.mark.parametrize(
    ("command", "cgroup"),
    [
        (["kvm", "-id", "101"], ""),
        (["qemu-system-x86_64", "-pidfile", "/var/run/qemu-server/101.pid"], "init.scope"),
        (["whatever"], "qemu.slice/101.scope"),
    ],
)
def test_each_trace_of_the_vmid_proves_the_pid(host, command, cgroup):
    host.vm(101, 5000)
    host.process(5000, "kvm", "0-7", cgroup=cgroup, command=command)
    assert list(read(host)) == [101]


def test_threads_that_vanish_are_left_out(host, monkeypatch):
    host.vm(101, 5000, vcpus=2)
    tree = Tree(str(host.root))
    listed = tree.numbered

    def list_and_lose(path: str, prefix: str) -> t.Any:
        numbers = listed(path, prefix)
        if path == "proc/5000/task":
            host.end(5000, 5002)
        return numbers

    monkeypatch.setattr(tree, "numbered", list_and_lose)
    guest = read_vm(tree, 101)
    assert guest is not None
    assert [thread.tid for thread in guest.threads if thread.role == "vcpu"] == [5001]


def test_a_container_is_counted_by_its_masks(host):
    host.container(200, [8000, 8001, 8002], "2-3", asked="2-3", memory={1: 512})
    host.process(8002, "nginx", "3", cgroup="lxc/200/ns", inner_pid=9)
    assert read(host)[200] == {
        "vmid": 200,
        "type": "lxc",
        "pid": 8000,
        "started": 4711,
        "scope": "lxc/200",
        "scope_cpus": "2-3",
        "scope_cpus_asked": "2-3",
        "ids_from": None,
        "threads": [],
        "processes": [{"cpus": "3", "count": 1}, {"cpus": "2-3", "count": 2}],
        "memory_mib": {"1": 512},
    }


def test_memory_comes_from_numa_maps_where_the_cgroup_cannot_say(host):
    host.vm(101, 5000)
    host.numa_maps(5000, {0: 256 * 600, 1: 256 * 20})
    assert read(host)[101]["memory_mib"] == {"0": 600, "1": 20}
    host.vm(101, 5000, memory={0: 5})
    assert read(host)[101]["memory_mib"] == {"0": 5}
    status = host.root / "proc/5000/status"
    status.write_text(status.read_text().replace("       0 kB", " 2097152 kB"))
    host.numa_maps(5000, {1: 1024}, page_kib=2048)
    assert read(host)[101]["memory_mib"] == {"1": 2048}  # huge pages are not in the cgroup's figures
    (host.root / "proc/5000/numa_maps").unlink()
    assert read(host)[101]["memory_mib"] is None


def test_only_the_guests_asked_for_are_read(host):
    host.vm(101, 5000)
    host.vm(102, 6000)
    host.container(200, [8000], "0-7")
    assert list(read(host)) == [101, 102, 200]
    assert list(read(host, [102, 200, 999])) == [102, 200]


def test_garbage_names_the_file(host):
    host.vm(101, 5000)
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.cpus", "a-b\n")
    with pytest.raises(FactsError, match=r"qemu.slice/101.scope/cpuset.cpus holds 'a-b'"):
        read(host)


def test_the_module_reads_a_tree(host, run_module):
    host.vm(101, 5000)
    result = run_module(guest_runtime_info, root=str(host.root), node="pve1", vmids=[101])
    assert (result["changed"], result["node"], [guest["vmid"] for guest in result["runtime"]]) == (False, "pve1", [101])
    host.thread(5000, 5001, "CPU 0/KVM", "0-")
    failed = run_module(guest_runtime_info, root=str(host.root))
    assert failed["failed"]
    assert "which is not a cpulist" in failed["msg"]
    nowhere = run_module(guest_runtime_info, root=str(host.root / "nowhere"))
    assert nowhere["msg"].startswith(f"There is no directory {host.root}/nowhere; set root to / or")


PROGRAM = """
import ctypes, os, sys, threading
ready = threading.Barrier(4)
def work(number):
    ctypes.CDLL(None).prctl(15, f"CPU {number}/KVM".encode(), 0, 0, 0)  # PR_SET_NAME
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number % len(os.sched_getaffinity(0))]})
    ready.wait()
    sys.stdin.read()
for number in range(3):
    threading.Thread(target=work, args=(number,), daemon=True).start()
ready.wait()
memory = bytearray(64 << 20)
memory[::4096] = b"x" * len(memory[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


class LiveTree(Tree):
    """The running machine, with /run/qemu-server somewhere else."""

    def __init__(self, run: Path) -> None:
        super().__init__("/")
        self.run = run

    def _read(self, path: str, size: t.Optional[int]) -> t.Optional[str]:
        if path.startswith("run/qemu-server/"):
            return (self.run / path[16:]).read_text().strip()
        return super()._read(path, size)


def test_a_process_of_this_machine(tmp_path):
    command = [sys.executable, "-c", PROGRAM, "-id", "987654"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (tmp_path / "987654.pid").write_text(f"{process.pid}\n")
        tree = LiveTree(tmp_path)
        guest = read_vm(tree, 987654)
        assert guest is not None
        ids = set(read_thread_ids(tree, process.pid))
        started = start_of(tree, process.pid)
        memory = memory_of_process(tree, process.pid)
        process.stdin.close()
        process.wait(30)
    own = sorted(os.sched_getaffinity(0))
    vcpus = [thread for thread in guest.threads if thread.role == "vcpu"]
    assert [thread.vcpu for thread in vcpus] == [0, 1, 2]
    assert [thread.cpus for thread in vcpus] == [1 << own[number % len(own)] for number in range(3)]
    assert {thread.tid for thread in guest.threads} == ids
    assert {thread.cpus for thread in guest.threads if thread.role == "emulator"} == {sum(1 << cpu for cpu in own)}
    assert guest.started == started
    assert 0 < (started or 0) / os.sysconf("SC_CLK_TCK") <= time.clock_gettime(time.CLOCK_BOOTTIME)
    if memory is not None:  # without NUMA in the kernel there is no numa_maps
        assert 64 <= sum(memory.values()) < 512
    assert read_vm(tree, 987654) is None


def test_the_scopes_of_this_machine_are_read_or_unknown():
    scope = read_scope(Tree("/"), "qemu.slice/1.scope")
    assert scope.asked is None
    assert scope.effective is None or scope.effective > 0
