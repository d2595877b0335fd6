# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving the memory of generated guests."""

from __future__ import annotations

import errno
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import cpus_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Cell
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory_move import Moved, move
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory_progress import Progress
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory_rounds import carry_out_all
from ansible_collections.corepin.proxmox.plugins.module_utils._host.memory_work import carry_out_memory, memory_work, release_work
from ansible_collections.corepin.proxmox.plugins.module_utils._host.pinning_text import left_over
from ansible_collections.corepin.proxmox.plugins.module_utils._host.runtime import read_vm
from runtime_trees import RunningHost
from runtime_trees.memory_rules import RuledPages

A, B, C = 0x7F0000000000, 0x7F1000000000, 0x7F2000000000  # addresses of mappings

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
    hands = RuledPages(host, 5000, [(A, 80, "bind:0", 0), (B, 16, "default", 0)])
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    assert (work.astray_mib, work.narrow, work.settings) == ({0: 96}, 0b10, ["1"])
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (moved.before, moved.after, moved.moved_mib, moved.left_mib, moved.steps) == ({0: 96}, {1: 96}, 96, {}, 2)
    assert hands.writes[-1] == ("property", "101.scope", "AllowedMemoryNodes=1")
    host.vm(101, 5000, vcpus=4, memory={1: 96})
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "1\n")
    assert not memory_work(hands.tree, read_vm(hands.tree, 101), CELLS[:1], {"memory_nodes": ["1"], "left_mib": {}})


def test_the_way_back_is_opened_before_the_move(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
    host.write("sys/fs/cgroup/qemu.slice/101.scope/cpuset.mems", "0\n")
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], {"memory_nodes": ["0"], "left_mib": {}})
    carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert [value for kind, _what, value in hands.writes if kind == "property"] == ["AllowedMemoryNodes=0-1", "AllowedMemoryNodes=1"]
    assert memory_work(hands.tree, guest, CELLS[:1], {"memory_nodes": [], "left_mib": {}}).narrow is None  # somebody else's


def test_memory_that_somebody_else_holds_stays(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
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
    hands = RuledPages(host, 5000, [(A, 32, "bind:2", 0), (B, 32, "bind:0", 0), (C, 8, "default", 0)])
    backends(host, "0", "2")
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS, None)
    assert (work.astray_mib, work.narrow) == ({0: 64}, None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (moved.after, moved.left_mib) == ({0: 8, 1: 32, 3: 32}, {})
    assert (hands.place[A], hands.place[B]) == (3, 1)
    assert not memory_work(hands.tree, guest, CELLS, None)


def test_cells_that_cannot_be_told_apart_stay(host):
    hands = RuledPages(host, 5000, [(A, 32, "default", 0), (B, 32, "default", 0)])
    guest = read_vm(hands.tree, 101)
    assert memory_work(hands.tree, guest, CELLS, None).why_not.startswith("it was started with other cells than planned")
    backends(host, "0", "0")
    assert memory_work(hands.tree, guest, CELLS, None).why_not == "the memory of its cell 0 cannot be told from that of others"


def test_pinned_memory_is_reported_and_not_tried_again(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
    hands.pinned = {A + page * 4096 for page in range(16 * 256)}
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (moved.moved_mib, moved.left_mib, moved.finished) == (16, {0: 16}, True)
    assert not any(kind == "property" for kind, _what, _value in hands.writes)
    again = memory_work(hands.tree, guest, CELLS[:1], {"memory_nodes": [], "left_mib": {"0": 16}})
    assert not again


def test_a_page_that_stays_does_not_keep_those_after_it(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
    hands.pinned, hands.place[A + 4096] = {A}, 1
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (sum(place == 0 for place in hands.place.values()), moved.left_mib) == (1, {})


# --- NUMA nodes that refuse ----------------------------------------------------------------------------------------------------


def test_what_a_full_numa_node_does_not_take_is_told_from_what_is_pinned(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
    hands.room = {1: 16}
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (moved.moved_mib, moved.left_mib, moved.refused_mib, moved.stuck_mib) == (16, {0: 16}, {0: 16}, {})
    assert (moved.finished, moved.lacks_room) == (True, True)
    assert [kind for kind, _what, _value in hands.writes] == ["pages"]  # neither tried again nor held there


def test_the_other_numa_nodes_of_a_guest_take_their_own(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:2", 0), (B, 32, "bind:0", 0)])
    backends(host, "0", "2")
    hands.room = {3: 0}
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS, None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (moved.after, moved.refused_mib, moved.refused) == ({0: 32, 1: 32}, {0: 32}, {3: errno.ENOMEM})


@pytest.mark.parametrize(("room", "after"), [({}, {1: 16, 2: 16}), ({1: 0}, {2: 32})])
def test_memory_that_belongs_on_several_numa_nodes_is_shared_out_by_huge_pages(host, room, after):
    hands = RuledPages(host, 5000, [(A, 32, "default", 0)])
    hands.room = room
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, [Cell(0b11, 32, 0b110, "interleave")], None)
    moved = carry_out_memory(hands.tree, hands, guest, work, time.monotonic() + 60, Progress())
    assert (moved.after, moved.left_mib) == (after, {})
    assert all(hands.place[A + huge] == hands.place[A + huge + (1 << 20)] for huge in range(0, 32 << 20, 2 << 20))


@pytest.mark.parametrize(("room", "places"), [(8, [1, 0]), (0, [0, 1])])
def test_two_guests_swap_numa_nodes_in_one_run_where_there_is_some_room(host, room, places):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
    host.vm(102, 6000, vcpus=4, memory={1: 96})
    hands.also(6000, [(B, 32, "bind:1", 1)])
    hands.room = {0: room, 1: room}
    jobs = []
    for vmid, home in ((101, 0b10), (102, 0b01)):
        guest = read_vm(hands.tree, vmid)
        jobs.append((guest, memory_work(hands.tree, guest, [Cell(0b11, 32, home, "bind")], None)))
    done = carry_out_all(hands.tree, hands, jobs, time.monotonic() + 60, Progress())
    assert [hands.place[A], hands.place[B]] == places
    assert [moved.after for moved in done.values()] == [{place: 32} for place in places]
    held = [value for kind, _what, value in hands.writes if kind == "property"]
    assert sorted(held) == (["AllowedMemoryNodes=0", "AllowedMemoryNodes=1"] if room else [])
    assert [moved.moved_mib for moved in done.values()] == ([32, 32] if room else [0, 0])
    assert len(hands.writes) == (5 + 2 if room else 2)


AGAIN = "and run this again, or plan again."
PINNED = "which the kernel would not move, as a device may use it directly."


@pytest.mark.parametrize(("moved", "sentences"), [
    ({}, []),
    ({"left_mib": {0: 16}}, [f"Guest 101 still has 16 MiB on NUMA node 0, {PINNED}"]),
    (
        {"left_mib": {0: 16, 2: 4}, "refused_mib": {0: 12}, "refused": {1: errno.ENOMEM}},
        [
            f"NUMA node 1 has no room for memory of guest 101, which still has 12 MiB on NUMA node 0; free some of it {AGAIN}",
            f"Guest 101 still has 4 MiB on NUMA node 0 and 4 MiB on NUMA node 2, {PINNED}",
        ],
    ),
    (
        {"left_mib": {0: 16}, "refused_mib": {0: 16}, "refused": {1: errno.EACCES}},
        [f"NUMA node 1 is closed by a cgroup (cpuset.mems) to memory of guest 101, which still has 16 MiB on NUMA node 0; open it {AGAIN}"],
    ),
    (
        {"left_mib": {0: 16}, "finished": False},
        ["Time was up for the memory of guest 101, which still has 16 MiB on NUMA node 0; run it again to go on."],
    ),
])  # fmt: skip
def test_what_is_said_of_memory_that_stays(moved, sentences):
    assert left_over(101, Moved(**moved)) == sentences


def test_a_numa_node_that_a_cgroup_closes_is_no_pinned_memory(host):
    hands = RuledPages(host, 5000, [(A, 32, "bind:0", 0)])
    hands.closed = {1}
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    done = carry_out_all(hands.tree, hands, [(guest, work)], time.monotonic() + 60, Progress())
    assert (done[101].refused, done[101].stuck_mib, len(hands.writes)) == ({1: errno.EACCES}, {}, 1)


# --- time and progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_told_now_and_then_and_only_while_memory_moves(host):
    hands = RuledPages(host, 5000, [(A, 96, "bind:0", 0)])
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    often: t.List[str] = []
    seldom: t.List[str] = []
    move(hands.tree, hands, guest, [(A, A + (32 << 20), 0b10)], time.monotonic() + 60, Progress(seldom.append, every_s=3600))
    assert seldom == []
    hands.also(5000, [(A, 96, "bind:0", 0)])
    for _time in range(2):
        move(hands.tree, hands, guest, work.ranges, time.monotonic() + 60, Progress(often.append, every_s=0))
    assert often == [
        "corepin: 64 MiB of guest 101 have moved, 32 MiB are left.",
        "corepin: 96 MiB of guest 101 have moved, 0 MiB are left.",
    ]


def test_a_time_limit(host):
    hands = RuledPages(host, 5000, [(A, 96, "bind:0", 0)])
    guest = read_vm(hands.tree, 101)
    work = memory_work(hands.tree, guest, CELLS[:1], None)
    moved = move(hands.tree, hands, guest, work.ranges, time.monotonic() - 1, Progress())
    assert (moved.finished, moved.moved_mib, moved.left_mib) == (False, 0, {0: 96})
    assert list(cpus_of(work.homes)) == [1]
