# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinning running guests on generated hosts that change as the kernel and systemd change them, and real threads of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError, SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host import kept, locks, memory_move, qmp, scope
from ansible_collections.corepin.proxmox.plugins.module_utils._host import pin_guests as pin_guests_module
from ansible_collections.corepin.proxmox.plugins.module_utils._host.container_cpuset import stored_key, with_key
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.hands import Unanswered
from ansible_collections.corepin.proxmox.plugins.module_utils._host.pin_guests import pin_guests
from ansible_collections.corepin.proxmox.plugins.module_utils._host.pinning_text import diff_of
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from ansible_collections.corepin.proxmox.plugins.modules import guest_pinning
from runtime_trees import RunningHost, StuckQmpServer
from runtime_trees.kernel_rules import RuledHands
from runtime_trees.memory_rules import RuledPages
from sysfs_trees import write_tree

Facts = t.Dict[str, t.Any]
CGROUP = "sys/fs/cgroup"
KEPT = "var/lib/corepin/guest-pinning.json"
SERVICES = ("system.slice", "user.slice", "init.scope")


class Host:
    """A generated host of 64 CPUs in 4 NUMA nodes, with running guests, and the options of the module."""

    def __init__(self, root: Path) -> None:
        self.running = RunningHost(write_tree("epyc-9354-nps4", root), cpus="0-63")
        self.tree = Tree(str(root))
        self.hands = RuledHands(self.tree)
        self.warnings: t.List[str] = []
        self.failures: t.List[str] = []
        self.wait_s = 0.0
        for name in ("qemu.slice", "lxc", *SERVICES):
            self.running.cgroup(name, [], asked="", effective="0-63")
        self.running.write(f"{CGROUP}/cpuset.mems.effective", "0-3\n")
        self.fingerprint = read_host(str(root))["fingerprint"]

    def plan(self, *placements: Facts, **more: t.Any) -> Facts:
        full = [
            {"node": "pve1", "class": "dedicated", "numa_cells": [], "vcpu_pinning": True, "emulator": "shared", **entry}
            for entry in placements
        ]
        pools = {"pve1": {"reserved": "0,32", "shared": "24-31,56-63"}}
        return {"hosts": {"pve1": self.fingerprint}, "pools": pools, "placements": full, "refused": [], "skipped": [], **more}

    def pin(self, plan: t.Optional[Facts], check: bool = False, **options: t.Any) -> Facts:
        self.hands.writes.clear()
        full = {"node": "pve1", "state": "present", "memory_move": False, "memory_timeout": 60, "housekeeping": False, **options}
        result, self.warnings, self.failures = pin_guests(self.tree, self.hands, full, plan, check, wait_s=self.wait_s)
        return result

    def row(self, result: Facts, vmid: int) -> Facts:
        return next(row for row in result["guests"] if row["vmid"] == vmid)

    def masks(self, pid: int) -> t.Dict[int, str]:
        return {
            int(tid): self.tree.text(f"proc/{pid}/task/{tid}/status").rpartition("Cpus_allowed_list:\t")[2].split()[0]
            for tid in self.tree.names(f"proc/{pid}/task")
        }

    def scope(self, vmid: int) -> str:
        return self.tree.text(f"{CGROUP}/qemu.slice/{vmid}.scope/cpuset.cpus")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


DB = {"vmid": 101, "cpus": "8,40,9,41"}
WEB = {"vmid": 102, "cpus": "24-31,56-63", "class": "shared", "vcpu_pinning": False}


def with_guests(host: Host) -> Facts:
    host.running.vm(101, 5000, vcpus=4, cpus="16-19", iothreads=["iothread-virtioscsi0"], vhost=1)
    host.running.vm(102, 6000, vcpus=2)
    return host.plan(DB, WEB)


def test_scope_first_then_threads_then_one_cpu_per_vcpu(host):
    plan = with_guests(host)
    result = host.pin(plan)
    assert host.masks(5000) == {
        5000: "8-9,40-41", 5001: "8", 5002: "40", 5003: "9", 5004: "41", **dict.fromkeys((5005, 5006, 5007, 5008), "8-9,40-41")
    }  # fmt: skip
    assert set(host.masks(6000).values()) == {"24-31,56-63"}
    assert (host.scope(101), host.scope(102)) == ("8-9,40-41", "24-31,56-63")
    order = [what for _kind, what, _value in host.hands.writes]
    assert order.index("102.scope") < order.index("101.scope") < order.index(5001)
    assert host.row(result, 101)["before"] == {
        "scope": "0-63",
        "threads": {"vcpu": ["16-19"] * 4, "emulator": ["16-19"], "iothread": ["16-19"], "vhost": ["16-19"]},
    }
    assert host.row(result, 101)["after"]["threads"]["vcpu"] == ["8", "40", "9", "41"]
    assert not host.warnings
    assert diff_of(result)["after"]["guests"]["102"]["scope"] == "24-31,56-63"
    assert result["lines"] == [
        "Guest 101: CPUs 0-63 -> 8-9,40-41, one vCPU each on 8,40,9,41.",
        "Guest 102: CPUs 0-63 -> 24-31,56-63.",
    ]


def test_a_converged_host_is_not_written_to(host):
    plan = with_guests(host)
    host.pin(plan)
    before = os.stat(host.tree.full(KEPT)).st_mtime_ns, os.stat(host.tree.full(KEPT)).st_ino
    again = host.pin(plan)
    assert not again["changed"]
    assert host.hands.writes == []
    assert (os.stat(host.tree.full(KEPT)).st_mtime_ns, os.stat(host.tree.full(KEPT)).st_ino) == before
    assert diff_of(again) == {"before": {"guests": {}, "units": {}}, "after": {"guests": {}, "units": {}}}


def test_check_mode_says_the_same_and_writes_nothing(host):
    plan = with_guests(host)
    expected = host.pin(plan, check=True, housekeeping=True)
    assert host.hands.writes == []
    assert not host.tree.exists(KEPT)
    assert host.pin(plan, housekeeping=True) == expected


def test_moving_on_to_other_cpus_and_back(host):
    plan = with_guests(host)
    for cpus in ("16-19", "8,40,9,41", "17,16,48,49"):
        host.pin(host.plan({**DB, "cpus": cpus}, WEB))
        assert not host.pin(host.plan({**DB, "cpus": cpus}, WEB))["changed"]
    assert [host.masks(5000)[tid] for tid in (5001, 5002, 5003, 5004)] == ["17", "16", "48", "49"]
    assert not host.warnings
    assert host.pin(plan)["changed"]


def test_the_emulator_on_reserved_cpus(host):
    host.running.vm(101, 5000, vcpus=4, iothreads=["iothread-virtioscsi0"], vhost=1)
    host.running.process(5100, "swtpm", "0-63", cgroup="qemu.slice/101.scope", command=["swtpm"])
    host.running.cgroup("qemu.slice/101.scope", [5000, 5100], asked="", effective="0-63")
    plan = host.plan({**DB, "emulator": "reserved"})
    host.pin(plan)
    assert host.scope(101) == "0,8-9,32,40-41"
    masks = host.masks(5000)
    assert (masks[5000], masks[5001], masks[5007], masks[5008]) == ("0,32", "8", "8-9,40-41", "8-9,40-41")
    assert host.masks(5100) == {5100: "0,32"}
    assert not host.pin(plan)["changed"]


def test_vhost_workers_of_old_kernels_and_helpers_elsewhere(host):
    host.running.vm(101, 5000, vcpus=4)
    host.running.process(7001, "vhost-5000", "0-63", parent=2)
    host.running.cgroup("system.slice/swtpm.service", [7100], asked="0-8", effective="0-8")
    swtpm = ["swtpm", "--ctrl", "path=/var/run/qemu-server/101.swtpm"]
    host.running.process(7100, "swtpm", "0-8", cgroup="system.slice/swtpm.service", command=swtpm)
    host.running.cgroup("system.slice/far.service", [7200], asked="0-3", effective="0-3")
    host.running.process(7200, "swtpm", "0-3", cgroup="system.slice/far.service", command=swtpm)
    plan = host.plan(DB)
    host.pin(plan)
    assert (host.masks(7001)[7001], host.masks(7100)[7100], host.masks(7200)[7200]) == ("8-9,40-41", "8", "0-3")
    assert not host.failures
    assert not host.pin(plan)["changed"]


def test_threads_that_come_and_go_meanwhile(host):
    plan = with_guests(host)
    comings = iter(range(5010, 5014))

    def meanwhile() -> None:
        if host.hands.writes and (tid := next(comings, None)):
            host.running.thread(5000, tid, "worker", "16-19" if len(host.hands.writes) < 2 else "8-9,40-41")
        if len(host.hands.writes) == 4 and host.tree.exists("proc/5000/task/5006"):
            host.running.end(5000, 5006)

    host.hands.meanwhile = meanwhile
    host.pin(plan)
    masks = host.masks(5000)
    assert {masks[tid] for tid in range(5010, 5014)} == {"8-9,40-41"}
    assert 5006 not in masks
    assert not host.failures


def test_a_tighter_mask_of_somebody_else_is_named_and_ours_is_not(host):
    plan = with_guests(host)
    host.pin(plan)
    host.running.thread(5000, 5006, "worker", "9")
    host.pin(host.plan({**DB, "vcpu_pinning": False}, WEB))
    assert [text for text in host.warnings if "somebody else" in text] == []
    host.running.thread(5000, 5006, "worker", "9,41")
    host.pin(host.plan({**DB, "vcpu_pinning": False}, WEB))
    assert host.warnings == [
        "Thread 5006 (worker) of guest 101 had been held to CPUs 9,41 by somebody else; it gets 8-9,40-41, as planned."
    ]
    assert host.masks(5000)[5006] == "8-9,40-41"


def test_a_helper_with_less_room_is_told_what_it_gets_and_that_is_ours_later(host):
    host.running.vm(101, 5000, vcpus=4)
    host.running.cgroup("system.slice/swtpm.service", [7100], asked="0-9", effective="0-9")
    swtpm = ["swtpm", "--ctrl", "path=/var/run/qemu-server/101.swtpm"]
    host.running.process(7100, "swtpm", "0-9", cgroup="system.slice/swtpm.service", command=swtpm)
    host.running.thread(7100, 7101, "worker", "8")
    host.pin(host.plan(DB))
    assert [text for text in host.warnings if "7101" in text] == [
        "Thread 7101 (worker) of guest 101 had been held to CPUs 8 by somebody else; it gets 8-9, as planned."
    ]
    host.pin(host.plan({**DB, "cpus": "7,8,9,41"}))
    assert host.masks(7100) == {7100: "7-9", 7101: "7-9"}
    assert host.warnings == []


def test_a_scope_that_only_asked_for_more_is_no_opened_memory(host):
    host.running.vm(102, 6000)
    host.pin(host.plan(WEB))
    host.running.write(f"{CGROUP}/qemu.slice/102.scope/cpuset.cpus", "23-31,56-63\n")
    assert host.pin(host.plan(WEB))["lines"] == ["Guest 102: held to CPUs 24-31,56-63."]


def test_a_stopped_guest_a_busy_socket_and_a_guest_of_another_host(host, monkeypatch):
    monkeypatch.setattr(qmp.query_threads, "__defaults__", (0.05,))
    host.running.vm(101, 5000, vcpus=4)
    host.running.vm(104, 8000, vcpus=4)
    elsewhere = {**DB, "vmid": 104, "node": "pve2"}
    with StuckQmpServer(host.running.root / "run/qemu-server/101.qmp"):
        result = host.pin(host.plan(DB, {**DB, "vmid": 103, "cpus": "10,42"}, elsewhere))
    assert host.masks(5000)[5002] == "40"
    assert [(row["vmid"], row["skipped"], row["reason"]) for row in result["guests"]] == [
        (101, False, None),
        (103, True, "it does not run here"),
    ]
    assert set(host.masks(8000).values()) == {"0-63"}


@pytest.mark.parametrize("refused", ["101.scope", 5003])
def test_a_failing_step_puts_that_guest_back_and_the_others_go_on(host, refused):
    plan = with_guests(host)
    host.running.vm(103, 7000, vcpus=2, cpus="16-19")
    plan = host.plan(DB, WEB, {**DB, "vmid": 103, "cpus": "10,42"})
    before = host.masks(5000)
    host.hands.refuse.add(refused)
    result = host.pin(plan)
    assert host.failures == [f"{refused} was refused. Guest 101 was put back as it was."]
    assert host.masks(5000) == before
    assert host.scope(101) in ("", "0-63")
    assert [(row["vmid"], row["changed"], row["failed"]) for row in result["guests"]] == [
        (101, False, True),
        (102, True, False),
        (103, True, False),
    ]
    assert set(host.masks(7000).values()) == {"10", "42", "10,42"}
    host.hands.refuse.clear()
    assert host.row(host.pin(plan), 101)["changed"]
    assert host.masks(5000)[5003] == "9"


def test_a_partition_of_somebody_else(host, monkeypatch):
    plan = with_guests(host)
    host.running.cgroup("rt", [], asked="9", effective="9")
    host.running.write(f"{CGROUP}/rt/cpuset.cpus.partition", "isolated\n")
    before = host.masks(5000)
    # It comes while we are at work: the kernel cuts the scope silently.
    monkeypatch.setattr(scope, "_PATIENCE_S", 0.1)
    host.hands.cut = 1 << 9
    host.pin(plan)
    (failure,) = host.failures
    assert failure == (
        "The scope of guest 101 got CPUs 8,40-41 instead of 8-9,40-41, because the cpuset partition rt of somebody else has the others; "
        "release them, or plan again. Guest 101 was put back as it was."
    )
    assert host.masks(5000) == before
    # It was there before: nothing is tried.
    host.running.write(f"{CGROUP}/qemu.slice/cpuset.cpus.effective", "0-8,10-63\n")
    host.hands.cut = 0
    host.pin(plan)
    assert host.failures == [
        "CPUs 9 cannot be given to guest 101, because the cpuset partition rt of somebody else has them; release them, or plan again."
    ]
    assert host.hands.writes == []


def test_isolated_cpus_take_pins_and_no_crowd(host):
    host.running.vm(101, 5000, vcpus=4)
    host.running.write("sys/devices/system/cpu/isolated", "8-15,40-47\n")
    host.pin(host.plan({**DB, "emulator": "reserved"}))
    assert host.warnings == []
    host.pin(host.plan({**DB, "vcpu_pinning": False}))
    (warning,) = host.warnings
    assert warning == (
        "Threads of guest 101 float over the isolated CPUs 8-9,40-41, where the kernel moves none from CPU to CPU; set vcpu_pinning and "
        "emulator: reserved, or take these CPUs out of isolcpus."
    )


def test_absent_gives_all_that_is_not_reserved(host):
    plan = with_guests(host)
    host.running.vm(103, 7000)
    host.pin(plan, housekeeping=True)
    assert host.tree.text(f"{CGROUP}/system.slice/cpuset.cpus") == "0,32"
    result = host.pin(None, state="absent")
    assert result["changed"]
    assert set(host.masks(5000).values()) == set(host.masks(6000).values()) == {"1-31,33-63"}
    assert host.scope(101) == host.scope(102) == "1-31,33-63"
    assert {value for kind, what, value in host.hands.writes if what in SERVICES} == {"AllowedCPUs=0-63"}
    assert not any(value.endswith("=") for _kind, _what, value in host.hands.writes)
    assert set(host.masks(7000).values()) == {"0-63"}
    assert not host.tree.exists(KEPT)
    assert not host.pin(None, state="absent")["changed"]
    assert host.hands.writes == []


@pytest.mark.parametrize(("pools", "cpus"), [
    ({"pve1": {"reserved": "0-15", "shared": "31"}}, "16-63"),
    ({"pve1": {"reserved": "0-63", "shared": ""}}, "0-63"),
    ({}, "1-31,33-63"),
])  # fmt: skip
def test_absent_with_a_plan_takes_its_reserved_cpus(host, pools, cpus):
    host.pin(with_guests(host))
    host.pin(host.plan(pools=pools), state="absent")
    assert set(host.masks(5000).values()) == {cpus}


def test_a_guest_that_nobody_places_any_more_is_released_and_one_that_is_skipped_is_not(host):
    plan = with_guests(host)
    host.pin(plan)
    host.pin(host.plan(WEB, skipped=[{"vmid": 101, "rule": "locked", "reason": "is locked (backup)"}]))
    assert host.masks(5000)[5001] == "8"
    assert host.hands.writes == []
    host.pin(host.plan(WEB, skipped=[{"vmid": 101, "rule": "no_rule", "reason": "matches no rule"}]))
    assert set(host.masks(5000).values()) == {"24-31,56-63"}
    assert not host.pin(host.plan(WEB))["changed"]


def test_a_guest_that_was_started_anew_is_a_new_one(host):
    plan = with_guests(host)
    host.pin(plan)
    host.running.end(5000)
    host.running.vm(101, 5500, vcpus=4, cpus="16-19")
    result = host.pin(None, state="absent")
    assert host.row(result, 101)["reason"] == "it was started anew and is not touched since"
    assert set(host.masks(5500).values()) == {"16-19"}
    assert host.pin(plan)["changed"]
    assert host.masks(5500)[5501] == "8"


def test_housekeeping_is_undone_by_the_same_switch(host):
    plan = with_guests(host)
    result = host.pin(plan, housekeeping=True)
    assert [(unit["unit"], unit["before"], unit["after"]) for unit in result["units"]] == [(unit, "0-63", "0,32") for unit in SERVICES]
    assert not host.pin(plan, housekeeping=True)["changed"]
    result = host.pin(plan)
    assert [(unit["unit"], unit["after"]) for unit in result["units"]] == [(unit, "0-63") for unit in SERVICES]
    assert not host.pin(plan)["changed"]
    assert host.hands.writes == []
    with pytest.raises(SettingError, match="housekeeping keeps services on reserved CPUs, but host pve1 has none"):
        host.pin({**plan, "pools": {"pve1": {"reserved": "", "shared": "24-31"}}}, housekeeping=True)


# --- what happens meanwhile ---------------------------------------------------------------------------------------------------


def started_anew(host: Host, vmid: int, old: int, new: int, at: int) -> None:
    """Let a VM stop and start before the change number `at`, from 0."""

    def meanwhile() -> None:
        if host.tree.exists(f"proc/{old}") and len(host.hands.writes) == at:
            host.running.end(old)
            host.running.vm(vmid, new, vcpus=4, cpus="16-19")

    host.hands.meanwhile = meanwhile


def test_a_guest_that_is_started_anew_meanwhile_is_left_alone(host):
    plan = with_guests(host)
    started_anew(host, 101, 5000, 5500, at=0)
    result = host.pin(plan)
    row = host.row(result, 101)
    assert (row["skipped"], row["changed"], row["reason"], row["before"]) == (True, False, "it stopped meanwhile", None)
    assert "101.scope" not in [what for _kind, what, _value in host.hands.writes]
    assert host.pin(None, state="absent")["guests"][0]["vmid"] != 101
    assert host.scope(101) == ""


NUMA_1 = {"numa_cells": [{"cpus": "0-3", "hostnodes": "1", "memory_mib": 96, "policy": "bind"}]}


def with_memory(host: Host) -> Facts:
    """Two guests on NUMA node 1, with their memory there."""
    host.running.vm(101, 5000, vcpus=4, memory={1: 96})
    host.running.vm(102, 6000, vcpus=4, memory={1: 96})
    return host.plan({**DB, **NUMA_1}, {**DB, **NUMA_1, "vmid": 102, "cpus": "10,42,11,43"})


def test_memory_comes_after_the_cpus_of_all_guests(host):
    host.pin(with_memory(host), memory_move=True)
    values = [value for _kind, _what, value in host.hands.writes]
    assert values[-2:] == ["AllowedMemoryNodes=1"] * 2
    assert not any(value.startswith("AllowedMemory") for value in values[:-2])


def test_a_guest_that_stops_before_its_memory_was_held_is_left_alone(host):
    plan = with_memory(host)
    started_anew(host, 102, 6000, 6500, at=10)
    result = host.pin(plan, memory_move=True)
    assert [value for _kind, what, value in host.hands.writes if what == "102.scope"] == ["AllowedCPUs=10-11,42-43"]
    row = host.row(result, 102)
    assert (row["skipped"], row["changed"], row["reason"]) == (True, False, "it stopped meanwhile")
    assert "memory" not in row
    host.running.end(6500)
    host.pin(plan, memory_move=True)
    started_anew(host, 101, 5000, 5500, at=1)
    result = host.pin(None, state="absent")
    assert "AllowedMemoryNodes=0-3" not in [value for _kind, _what, value in host.hands.writes]
    assert not host.tree.exists(KEPT)


class LateHands(RuledHands):
    """systemd does not answer to changes of `late` units, and does them after a while (`catch_up`)."""

    def __init__(self, tree: Tree, late: t.Collection[str]) -> None:
        super().__init__(tree)
        self.late, self.queue = late, []

    def set_property(self, unit: str, name: str, value: str) -> None:
        if unit in self.late:
            self.queue.append((unit, name, value))
            raise Unanswered(f"systemd did not set {name} of {unit} within 60 s.")
        super().set_property(unit, name, value)

    def catch_up(self) -> None:
        for call in self.queue:
            super().set_property(*call)


def test_what_systemd_does_late_is_undone_and_remembered(host):
    plan = with_guests(host)
    host.hands = LateHands(host.tree, ("101.scope", "system.slice"))
    result = host.pin(plan, housekeeping=True)
    assert host.failures[0].endswith("of 101.scope within 60 s. Guest 101 is put back as it was once systemd answers.")
    assert "101" in host.tree.text(KEPT)
    assert [unit["unit"] for unit in result["units"]] == ["user.slice", "init.scope"]
    host.hands.catch_up()
    assert host.scope(101) == host.tree.text(f"{CGROUP}/system.slice/cpuset.cpus") == "0-63"
    host.hands = RuledHands(host.tree)
    assert host.row(host.pin(None, state="absent"), 101)["changed"]
    assert not host.tree.exists(KEPT)


def test_a_refused_unit_is_no_change(host):
    host.hands.refuse.update(SERVICES)
    result = host.pin(host.plan(), housekeeping=True)
    assert not result["changed"]
    assert result["units"] == []
    assert result["lines"] == [f"Failed: {unit} was refused." for unit in SERVICES]
    assert diff_of(result)["after"]["units"] == {}


def test_cpus_stay_as_planned_where_only_the_memory_fails(host):
    plan = with_memory(host)
    host.pin(plan)
    host.hands.refuse.update(["101.scope", "102.scope"])
    result = host.pin(plan, memory_move=True)
    assert host.failures == [f"{vmid}.scope was refused. The CPUs of guest {vmid} are as planned." for vmid in (101, 102)]
    row = host.row(result, 101)
    assert (row["failed"], row["changed"]) == (True, False)
    assert host.masks(5000)[5002] == "40"
    host.hands.refuse.clear()
    result = host.pin(plan, memory_move=True)
    assert diff_of(result)["before"]["guests"]["101"]["memory_nodes"] == "0-3"
    assert diff_of(result)["after"]["guests"]["101"]["memory_nodes"] == "1"
    assert not host.pin(plan, memory_move=True)["changed"]
    host.pin(None, state="absent")
    host.pin(plan, memory_move=True)
    assert [value for _kind, _what, value in host.hands.writes if "Memory" in value] == ["AllowedMemoryNodes=1"] * 2


PREFERRED_1 = [{**NUMA_1["numa_cells"][0], "policy": "preferred"}]
NUMA_0_AND_1 = [{**NUMA_1["numa_cells"][0], "hostnodes": "0-1"}]


@pytest.mark.parametrize(("cells", "memory_move"), [([], True), ([], False), (PREFERRED_1, True), (NUMA_0_AND_1, True)])
def test_memory_is_open_again_where_the_plan_does_not_hold_it_any_more(host, cells, memory_move):
    plan = with_memory(host)
    host.pin(plan, memory_move=True)
    changed = {**plan, "placements": [{**plan["placements"][0], "numa_cells": cells}, plan["placements"][1]]}
    expected = host.pin(changed, check=True, memory_move=memory_move)
    result = host.pin(changed, memory_move=memory_move)
    assert result == expected
    assert host.hands.writes == [("property", "101.scope", "AllowedMemoryNodes=0-3")]
    assert result["lines"] == ["Guest 101: memory is open again."]
    assert [diff_of(result)[side]["guests"]["101"]["memory_nodes"] for side in ("before", "after")] == ["1", "0-3"]
    assert not host.pin(changed, memory_move=memory_move)["changed"]
    host.hands.set_property("101.scope", "AllowedMemoryNodes", "1")  # by its owner
    assert not host.pin(changed, memory_move=memory_move)["changed"]


def test_held_memory_is_opened_without_memory_move_only_where_it_is_planned_elsewhere(host):
    plan = with_memory(host)
    host.pin(plan, memory_move=True)
    assert not host.pin(plan)["changed"]
    elsewhere = [{**entry, "numa_cells": [{**entry["numa_cells"][0], "hostnodes": "0"}]} for entry in plan["placements"]]
    host.pin({**plan, "placements": elsewhere[:1] + plan["placements"][1:]})
    assert host.hands.writes == [("property", "101.scope", "AllowedMemoryNodes=0-3")]
    backend = "memory-backend-ram,id=ram-node0,size=96M,host-nodes=1,policy=bind"
    host.running.write("proc/6000/cmdline", "\0".join(["/usr/bin/kvm", "-id", "102", "-object", backend]))
    assert not host.pin({**plan, "placements": elsewhere})["changed"]  # QEMU's own binding would become one to another NUMA node


def test_memory_without_room_is_tried_again_by_the_next_run(host):
    host.running.vm(101, 5000, vcpus=4, memory={0: 96})
    host.hands = RuledPages(host.running, 5000, [(0x7F0000000000, 96, "bind:0", 0)])
    host.hands.room = {1: 64}
    plan = host.plan({**DB, **NUMA_1})
    assert host.row(host.pin(plan, memory_move=True), 101)["memory"]["refused"] == {"0": 32}
    again = host.pin(plan, memory_move=True)
    assert not again["changed"]
    (warning,) = host.warnings
    assert warning.startswith("NUMA node 1 has no room for memory of guest 101, which still has 32 MiB on NUMA node 0; ")
    host.hands.room = {}
    assert host.pin(plan, memory_move=True)["lines"] == ["Guest 101: 32 MiB to NUMA node 1."]
    assert host.hands.writes[-1] == ("property", "101.scope", "AllowedMemoryNodes=1")


def has_moved(host: Host) -> bool:
    return any(kind == "pages" for kind, _what, _value in host.hands.writes)


def test_a_move_that_its_deadline_stops_half_way_is_finished_by_the_next_run(host, monkeypatch):
    host.running.vm(101, 5000, vcpus=4, memory={0: 192})
    host.hands = RuledPages(host.running, 5000, [(0x7F0000000000, 192, "bind:0", 0)])
    plan = host.plan({**DB, **NUMA_1})
    # Time flies once pages have moved.
    monkeypatch.setattr(memory_move, "time", SimpleNamespace(monotonic=lambda: 1e12 if has_moved(host) else 0.0))
    memory = host.row(host.pin(plan, memory_move=True), 101)["memory"]
    assert (memory["moved_mib"], memory["left"], memory["finished"]) == (64, {"0": 128}, False)
    assert host.warnings == ["Time was up for the memory of guest 101, which still has 128 MiB on NUMA node 0; run it again to go on."]
    assert "AllowedMemoryNodes=1" not in [value for _kind, _what, value in host.hands.writes]
    monkeypatch.undo()
    memory = host.row(host.pin(plan, memory_move=True), 101)["memory"]
    assert (memory["moved_mib"], memory["left"], memory["finished"]) == (128, {}, True)
    assert host.warnings == []
    assert host.hands.writes[-1] == ("property", "101.scope", "AllowedMemoryNodes=1")


def test_the_module_says_in_the_log_how_far_memory_is(host, run_module, monkeypatch):
    said: t.List[str] = []

    def pin(tree, hands, options, plan, check, say):
        say("corepin: 64 MiB of guest 101 have moved, 32 MiB are left.")
        return {"changed": False, "guests": [], "units": [], "lines": []}, [], []

    monkeypatch.setattr(guest_pinning, "pin_guests", pin)
    monkeypatch.setattr(guest_pinning.AnsibleModule, "log", lambda _module, text, **_more: said.append(text))
    assert not run_module(guest_pinning, node="pve1", state="absent").get("failed")
    assert [text for text in said if "guest" in text] == ["corepin: 64 MiB of guest 101 have moved, 32 MiB are left."]


# --- two runs at once ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def another_run(host: Host) -> t.Iterator[None]:
    descriptor = os.open(host.tree.full(kept.FOLDER), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def test_two_runs_exclude_each_other(host, monkeypatch):
    plan = with_guests(host)
    host.pin(plan)
    with another_run(host):
        assert not host.pin(plan, check=True)["changed"]
        with pytest.raises(SettingError, match=r"^Another run of corepin works on this host .it holds .*/var/lib/corepin.; run"):
            host.pin(None, state="absent")
    assert host.hands.writes == []
    other = another_run(host)
    other.__enter__()
    monkeypatch.setattr(locks.time, "sleep", lambda _seconds: other.__exit__(None, None, None))
    host.wait_s = 60
    assert host.pin(None, state="absent")["changed"]
    with another_run(host):  # nobody has it now
        pass


def test_what_another_first_run_did_meanwhile_is_known(host, monkeypatch):
    plan = with_guests(host)
    alone = pin_guests_module.alone

    def late(tree: Tree, wait_s: float) -> t.ContextManager[None]:
        monkeypatch.setattr(pin_guests_module, "alone", alone)
        host.pin({**plan, "placements": [{**DB, **plan["placements"][0], "cpus": "16-19"}, plan["placements"][1]]})
        host.hands.writes.clear()
        return alone(tree, wait_s)

    monkeypatch.setattr(pin_guests_module, "alone", late)
    result = host.pin(plan)
    assert host.row(result, 101)["before"]["scope"] == "16-19"
    assert not host.row(result, 102)["changed"]


def test_a_run_with_nothing_to_do_makes_no_folder(host):
    host.running.vm(101, 5000, vcpus=4)
    assert not host.pin(host.plan({**DB, "cpus": "0-63", "vcpu_pinning": False}))["changed"]
    assert not host.tree.exists(kept.FOLDER)


# --- killed ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed_at", range(0, 30, 3))
def test_killed_at_any_change_the_next_run_converges_and_absent_works(host, killed_at):
    with_guests(host)
    host.running.container(103, [9000, 9001], "0-63")
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "arch: amd64\ncores: 2\n")
    box = {**WEB, "vmid": 103}
    host.pin(host.plan({**DB, "cpus": "16-19"}, WEB, box, pools={"pve1": {"reserved": "0,32", "shared": "24-31,56-63"}}))
    host.hands.die_at = killed_at
    moved = host.plan(DB, {**WEB, "cpus": "24-31"}, {**box, "cpus": "24-31"})
    try:
        host.pin(moved, housekeeping=True)
    except KeyboardInterrupt:
        assert killed_at < len(host.hands.writes) + 1
    host.hands.die_at = None
    host.pin(moved, housekeeping=True)
    assert not host.warnings
    assert not host.pin(moved, housekeeping=True)["changed"]
    assert host.masks(5000)[5002] == "40"
    assert stored_key(config.read_text()) == "24-31"
    host.pin(None, state="absent")
    assert set(host.masks(5000).values()) == {"1-31,33-63"}
    assert host.tree.text(f"{CGROUP}/lxc/103/cpuset.cpus") == "1-31,33-63"
    assert host.tree.text(f"{CGROUP}/init.scope/cpuset.cpus") == "0-63"
    assert config.read_text() == "arch: amd64\ncores: 2\n"
    assert not host.tree.exists(KEPT)


@pytest.mark.parametrize("killed_at", [0, 1])
def test_killed_while_memory_is_held_or_opened_the_next_run_goes_on(host, killed_at):
    held = with_memory(host)
    opened = host.plan(*({**entry, "numa_cells": []} for entry in held["placements"]))
    host.pin(held)
    for plan, mems in ((held, "1"), (opened, "0-3")):
        host.hands.die_at = killed_at
        with pytest.raises(KeyboardInterrupt):
            host.pin(plan, memory_move=True)
        host.hands.die_at = None
        assert host.pin(plan, memory_move=True)["changed"]
        assert not host.pin(plan, memory_move=True)["changed"]
        assert {host.tree.text(f"{CGROUP}/qemu.slice/{vmid}.scope/cpuset.mems") for vmid in (101, 102)} == {mems}
    host.pin(None, state="absent")
    assert not host.tree.exists(KEPT)


def test_what_a_killed_writer_left_is_removed_by_the_next(host):
    folder = "var/lib/corepin"
    for name in (".corepin-guest-pinning.json.99999999", f".corepin-guest-pinning.json.{os.getpid()}", ".corepin-guest-pinning.json.1"):
        host.running.write(f"{folder}/{name}", "half")
    host.running.write(f"{folder}/.corepin-governor.json.99999999", "of another purpose")
    host.pin(with_guests(host))
    assert host.tree.names(folder) == [".corepin-governor.json.99999999", ".corepin-guest-pinning.json.1", "guest-pinning.json"]


# --- containers --------------------------------------------------------------------------------------------------------------

CONFIG = "arch: amd64\ncores: 2\n\n[before-upgrade]\narch: amd64\nlxc.cgroup2.cpuset.cpus: 0-3\n"


def test_a_container_is_kept_off_by_its_cgroup_and_its_key(host):
    host.running.container(103, [9000, 9001], "0-63")
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", CONFIG)
    box = {**WEB, "vmid": 103}
    result = host.pin(host.plan(box))
    assert host.hands.writes == [("cpuset", "lxc/103", "24-31,56-63")]
    assert result["lines"] == ["Guest 103: CPUs 0-63 -> 24-31,56-63, cpuset of its next start unset -> 24-31,56-63."]
    assert host.row(result, 103)["after"] == {"scope": "24-31,56-63", "threads": {}, "stored": "24-31,56-63"}
    assert config.read_text() == CONFIG.replace("\n\n[", "\nlxc.cgroup2.cpuset.cpus: 24-31,56-63\n\n[")
    assert not host.pin(host.plan(box))["changed"]
    assert host.pin(host.plan({**box, "cpus": "24-31"}))["changed"]
    assert stored_key(config.read_text()) == "24-31"
    host.pin(None, state="absent")
    assert config.read_text() == CONFIG
    assert host.tree.text(f"{CGROUP}/lxc/103/cpuset.cpus") == "1-31,33-63"


def test_a_key_inside_the_pool_and_a_stopped_container(host):
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 2\nlxc.cgroup2.cpuset.cpus = 25,27\n")
    box = {**WEB, "vmid": 103}
    assert not host.pin(host.plan(box))["changed"]
    config.write_text("cores: 2\nlxc.cgroup2.cpuset.cpus: 0-9\n")
    assert host.row(host.pin(host.plan(box)), 103)["changed"]
    assert stored_key(config.read_text()) == "24-31,56-63"
    host.pin(None, state="absent")
    assert config.read_text() == "cores: 2\nlxc.cgroup2.cpuset.cpus: 0-9\n"


@pytest.mark.parametrize("first", [True, False])
def test_a_key_of_its_owner_never_becomes_ours(host, first):
    host.running.container(103, [9000], "0-63")
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "lxc.cgroup2.cpuset.cpus: 25,27\n" if first else "cores: 2\n")
    plan = host.plan({**WEB, "vmid": 103})
    host.pin(plan)
    config.write_text("lxc.cgroup2.cpuset.cpus: 25,27\n")
    for _run in range(2):
        host.pin(plan)
        assert stored_key(config.read_text()) == "25,27"
        assert host.tree.text(f"{CGROUP}/lxc/103/cpuset.cpus") == "25,27"
    host.pin(None, state="absent")
    assert stored_key(config.read_text()) == "25,27"
    assert not host.tree.exists(KEPT)


@pytest.mark.parametrize("moved", [True, False])
def test_a_container_that_is_not_here_any_more_is_forgotten(host, moved):
    config = host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 2\n")
    host.pin(host.plan({**WEB, "vmid": 103}))
    if moved:
        host.running.write("etc/pve/nodes/pve2/lxc/103.conf", config.read_text())
    config.unlink()
    config.parent.parent.rename(host.tree.full("etc/away"))
    host.pin(None, state="absent")
    assert host.tree.exists(KEPT)  # PVE's own file system may just not be there
    host.running.write("etc/pve/nodes/pve1/lxc/104.conf", "")
    host.pin(None, state="absent")
    assert not host.tree.exists(KEPT)


def test_a_locked_config_stays(host):
    host.running.container(103, [9000], "0-63")
    host.running.write("etc/pve/nodes/pve1/lxc/103.conf", "cores: 2\nlock: backup\n")
    result = host.pin(host.plan({**WEB, "vmid": 103}))
    assert host.failures == ["The config of container 103 is locked (backup); try again when that is over."]
    assert host.row(result, 103)["failed"]
    assert host.hands.writes == []


@pytest.mark.parametrize("text", ["", "cores: 1", "cores: 1\n\n\n", "lxc.cgroup2.cpuset.cpus: 1\n", CONFIG])
def test_the_key_of_a_config(text):
    changed = with_key(text, "4-7")
    assert stored_key(changed) == "4-7"
    assert with_key(changed, "4-7") == changed
    assert stored_key(with_key(changed, None)) is None
    assert changed.endswith(CONFIG[CONFIG.index("[") :]) == ("[" in text)


# --- refusals ------------------------------------------------------------------------------------------------------------------


def test_plans_for_something_else_change_nothing(host):
    plan = with_guests(host)
    bad = {
        "The plan says nothing of host pve9": ({}, {"node": "pve9"}),
        "The CPUs of host pve1 are laid out otherwise": ({"hosts": {"pve1": "0" * 64}}, {}),
        "The plan was made by an earlier version": ({"pools": None}, {}),
    }
    for message, (change, options) in bad.items():
        with pytest.raises(PlanError, match=message):
            host.pin({**plan, **change}, **options)
    with pytest.raises(PlanError, match="does not say emulator of guest 101"):
        host.pin({**plan, "placements": [{key: value for key, value in plan["placements"][0].items() if key != "emulator"}]})
    assert host.hands.writes == []
    assert not host.tree.exists(KEPT)


def test_a_guest_outside_its_scope_is_named(host):
    host.running.vm(101, 5000, vcpus=4)
    host.running.process(5000, "kvm", "0-63", cgroup="user.slice/session-3.scope", command=["/usr/bin/kvm", "-id", "101"])
    host.pin(host.plan(DB))
    assert host.failures[0].startswith("Guest 101 runs in the cgroup user.slice/session-3.scope and not in qemu.slice/101.scope; ")
