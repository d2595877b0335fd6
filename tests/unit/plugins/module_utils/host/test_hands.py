# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hands on real threads and pages of this machine, and memory moves on generated mappings."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import cpus_of, lowest, mask_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Cell
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.hands import Hands
from ansible_collections.corepin.proxmox.plugins.module_utils._host.mappings import read_mappings
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory_move import move
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory_work import carry_out_memory, memory_work, release_work
from ansible_collections.corepin.proxmox.plugins.module_utils._host.runtime import read_vm
from ansible_collections.corepin.proxmox.plugins.module_utils._host.threads import Thread, qemu_threads
from runtime_trees import RunningHost
from runtime_trees.kernel_rules import RuledHands

MIB = 1 << 20
_VM = """
import threading, time
named = threading.Barrier(5)
def run(name):
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write(name)
    named.wait()
    time.sleep(60)
for name in ("CPU 0/KVM", "CPU 1/KVM", "IO iothread-virt", "worker"):
    threading.Thread(target=run, args=(name,), daemon=True).start()
named.wait()
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def process() -> t.Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", _VM], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        yield running.pid
        running.kill()


def _by_name(tree: Tree, process: int) -> t.Dict[str, Thread]:
    """Its threads, whose ids say nothing of their order where the kernel begins anew with low ones."""
    return {"main" if thread.tid == process else thread.name: thread for thread in qemu_threads(tree, process, None)}


def test_each_real_thread_gets_its_mask(process):
    tree, hands = Tree(), Hands(Tree())
    first = 1 << lowest(mask_of(os.sched_getaffinity(0)))
    threads = _by_name(tree, process)
    assert {name: thread.role for name, thread in threads.items()} == {
        "main": "emulator",
        "CPU 0/KVM": "vcpu",
        "CPU 1/KVM": "vcpu",
        "IO iothread-vir": "iothread",
        "worker": "emulator",
    }
    descriptors = len(os.listdir("/proc/self/fd"))
    confined = ("CPU 0/KVM", "CPU 1/KVM", "IO iothread-vir")
    for name in confined:
        hands.set_mask(threads[name], first)
    assert [_by_name(tree, process)[name].cpus for name in confined] == [first] * 3
    assert len(os.listdir("/proc/self/fd")) == descriptors
    hands.set_mask(Thread(tid=2**22 + 1, pid=process, name="gone", role="emulator", cpus=1), first)
    with pytest.raises(SettingError, match=r"The kernel refused CPUs 8000 for thread \d+ \(CPU 0/KVM\): Invalid argument; "):
        hands.set_mask(threads["CPU 0/KVM"], 1 << 8000)


def _status(name: str) -> str:
    """A line of this process's /proc/self/status: its value."""
    found = re.search(rf"^{name}:\s*(\S+)", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def _may_move_pages() -> bool:
    cap_sys_nice = 23
    return bool(int(_status("CapEff"), 16) >> cap_sys_nice & 1)


def _look(hands: Hands, addresses: t.Sequence[int]) -> t.List[int]:
    """Where pages of this process are, which needs no privilege; the seccomp filter of a container may forbid it all the same."""
    try:
        return hands.pages(os.getpid(), addresses)
    except SettingError:
        if _status("Seccomp") == "2":
            pytest.skip("a seccomp filter forbids move_pages here")
        raise


def test_where_real_pages_are():
    with mmap.mmap(-1, 8 * mmap.PAGESIZE) as memory:
        memory[0] = memory[3 * mmap.PAGESIZE] = 1
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        addresses = [start + number * mmap.PAGESIZE for number in range(8)]
        hands = Hands(Tree())
        there = _look(hands, addresses)
        assert [place >= 0 for place in there] == [True, False, False, True, False, False, False, False]
        assert there[1] in (-errno.ENOENT, -errno.EFAULT)
        if _may_move_pages():
            assert hands.pages(os.getpid(), [addresses[0], addresses[3]], [there[0], there[3]]) == [there[0], there[3]]
        assert set(hands.pages(2**22 + 1, addresses)) == {-errno.ESRCH}
        mapping = next(mapping for mapping in read_mappings(Tree(), os.getpid()) if mapping.start <= start < mapping.end)
        assert mapping.page == mmap.PAGESIZE
        assert sum(mapping.pages.values()) >= 2
        del memory  # the address is not used any more


def test_only_a_move_asks_for_pages_that_others_share(monkeypatch):
    """For that takes CAP_SYS_NICE, which whoever looks need not have."""
    flags = []
    monkeypatch.setattr(Hands, "_move_pages", lambda _self, *arguments: flags.append(arguments[-1].value) or 0)
    Hands(Tree()).pages(1, [4096])
    Hands(Tree()).pages(1, [4096], [0])
    assert flags == [0, 4]


def test_what_systemd_refuses_is_a_sentence():
    with pytest.raises(SettingError, match=r"^(systemd refused AllowedCPUs=0 for corepin-no-such\.scope|systemctl could not be run) ?\("):
        Hands(Tree()).set_property("corepin-no-such.scope", "AllowedCPUs", "0")


# --- memory --------------------------------------------------------------------------------------------------------------------


class Pages(RuledHands):
    """Pages of a generated process, by address; `pinned` ones stay."""

    def __init__(self, host: RunningHost, pid: int, mappings: t.Sequence[t.Tuple[int, int, str, int]]) -> None:
        """`mappings`: address, MiB, policy, NUMA node."""
        super().__init__(Tree(str(host.root)))
        self.host, self.pid, self.mappings = host, pid, mappings
        self.place = {address + offset: node for address, mib, _policy, node in mappings for offset in range(0, mib * MIB, 4096)}
        self.pinned: t.Set[int] = set()
        self.show()

    def show(self) -> None:
        maps, numa_maps = [], []
        for address, mib, policy, _node in self.mappings:
            found: t.Dict[int, int] = {}
            for page in range(address, address + mib * MIB, 4096):
                found[self.place[page]] = found.get(self.place[page], 0) + 1
            maps.append(f"{address:x}-{address + mib * MIB:x} rw-p 00000000 00:00 0\n")
            numbers = " ".join(f"N{node}={pages}" for node, pages in sorted(found.items()))
            numa_maps.append(f"{address:x} {policy} anon={mib * 256} dirty={mib * 256} {numbers} kernelpagesize_kB=4\n")
        self.host.write(f"proc/{self.pid}/maps", "00400000-00500000 r-xp 00000000 08:01 1  /usr/bin/kvm\n" + "".join(maps))
        self.host.write(f"proc/{self.pid}/numa_maps", "00400000 default file=/usr/bin/kvm N0=90 kernelpagesize_kB=4\n" + "".join(numa_maps))

    def pages(self, pid: int, addresses: t.Sequence[int], numa_nodes: t.Optional[t.Sequence[int]] = None) -> t.List[int]:
        for address, node in zip(addresses, numa_nodes or ()):
            if address not in self.pinned:
                self.place[address] = node
        if numa_nodes:
            self.writes.append(("pages", len(addresses), str(numa_nodes[0])))
            self.show()
        return [-errno.EBUSY if numa_nodes and address in self.pinned else self.place[address] for address in addresses]


CELLS = (Cell(0b11, 32, 0b10, "bind"), Cell(0b1100, 32, 0b1000, "bind"))


@pytest.fixture
def host(tmp_path: Path) -> RunningHost:
    host = RunningHost(tmp_path / "host")
    host.vm(101, 5000, vcpus=4, memory={0: 96})
    host.write("sys/fs/cgroup/cpuset.mems.effective", "0-3\n")
    return host


def backends(host: RunningHost, *nodes: str) -> None:
    words = [
        word
        for number, node in enumerate(nodes)
        for word in ("-object", f"memory-backend-ram,id=ram-node{number},size=32M,host-nodes={node},policy=bind")
    ]
    host.write("proc/5000/cmdline", "".join(f"{word}\0" for word in ["/usr/bin/kvm", "-id", "101", *words]))


def test_one_numa_node_takes_all_and_new_memory_follows(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 80, "bind:0", 0), (0x7F1000000000, 16, "default", 0)])
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    assert (work.astray_mib, work.narrow, work.settings) == ({0: 96}, 0b10, ["1"])
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60)
    assert (moved.before, moved.after, moved.moved_mib, moved.left_mib, moved.steps) == ({0: 96}, {1: 96}, 96, {}, 2)
    assert hands.writes[-1] == ("property", "101.scope", "AllowedMemoryNodes=1")
    host.vm(101, 5000, vcpus=4, memory={1: 96})
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "1\n")
    assert not memory_work(hands.tree, read_vm(hands.tree, 101), CELLS[:1], {"memory_nodes": ["1"], "left_mib": {}})


def test_the_way_back_is_opened_before_the_move(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 32, "bind:0", 0)])
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "0\n")
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], {"memory_nodes": ["0"], "left_mib": {}})
    carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60)
    assert [value for kind, _what, value in hands.writes if kind == "property"] == ["AllowedMemoryNodes=0-1", "AllowedMemoryNodes=1"]
    assert memory_work(hands.tree, guest, CELLS[:1], {"memory_nodes": [], "left_mib": {}}).narrow is None  # somebody else's


def test_memory_that_somebody_else_holds_stays(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 32, "bind:0", 0)])
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "0\n")
    work = memory_work(hands.tree, read_vm(hands.tree, 101), CELLS[:1], None)
    assert not work
    assert work.why_not == "somebody else holds it to NUMA nodes 0 (AllowedMemoryNodes)"


def test_a_binding_that_qemu_was_started_with_is_kept(host):
    host.vm(101, 5000, vcpus=4, memory={1: 96})
    tree, entry = Tree(str(host.root)), {"memory_nodes": ["1"], "left_mib": {}}
    guest = read_vm(tree, 101)
    assert memory_work(tree, guest, CELLS[:1], None).narrow == 0b10
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "1\n")
    assert release_work(tree, guest, entry).settings == ["0-3"]
    backends(host, "1")
    assert release_work(tree, guest, entry) is None
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "\n")
    assert not memory_work(tree, guest, CELLS[:1], None)


def test_cell_by_cell_to_several_numa_nodes(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 32, "bind:2", 0), (0x7F1000000000, 32, "bind:0", 0), (0x7F2000000000, 8, "default", 0)])
    backends(host, "0", "2")
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS, None)
    assert (work.astray_mib, work.narrow) == ({0: 64}, None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60)
    assert (moved.after, moved.left_mib) == ({0: 8, 1: 32, 3: 32}, {})
    assert (hands.place[0x7F0000000000], hands.place[0x7F1000000000]) == (3, 1)
    assert not memory_work(hands.tree, guest, CELLS, None)


def test_cells_that_cannot_be_told_apart_stay(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 32, "default", 0), (0x7F1000000000, 32, "default", 0)])
    guest = read_vm(hands.tree, 101)
    assert memory_work(hands.tree, guest, CELLS, None).why_not.startswith("it was started with other cells than planned")
    backends(host, "0", "0")
    assert memory_work(hands.tree, guest, CELLS, None).why_not == "the memory of its cell 0 cannot be told from that of others"


def test_pinned_memory_is_reported_and_not_tried_again(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 32, "bind:0", 0)])
    hands.pinned = {0x7F0000000000 + page * 4096 for page in range(16 * 256)}
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60)
    assert (moved.moved_mib, moved.left_mib, moved.finished) == (16, {0: 16}, True)
    assert not any(kind == "property" for kind, _what, _value in hands.writes)
    again = memory_work(hands.tree, guest, CELLS[:1], {"memory_nodes": [], "left_mib": {"0": 16}})
    assert not again


def test_a_time_limit(host):
    hands = Pages(host, 5000, [(0x7F0000000000, 96, "bind:0", 0)])
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    moved = move(hands.tree, hands, guest, work.ranges, time.monotonic() - 1)
    assert (moved.finished, moved.moved_mib, moved.left_mib) == (False, 0, {0: 96})
    assert list(cpus_of(work.homes)) == [1]
