# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running guests of the lab host are given other CPUs and other memory, others are kept away, and all of it is undone."""

from __future__ import annotations

import json
import os
import random
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed
from host_lab.guests import CONFIGS, REMOVE_ALL, GuestState, Thread
from host_lab.programs import FOLDER, GUEST

from .host import LabHost
from .waiting import wait_for

LONG = os.environ.get("COREPIN_LONG") == "1"
PIN = f"python3 {FOLDER}/pin.py"
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
SERVICES = ("system.slice", "user.slice", "init.scope")
# A disk with an I/O thread, and a network card with a worker of vhost.
DEVICES = {"scsihw": "virtio-scsi-single", "scsi0": "local-lvm:vm-100-disk-0,iothread=1,size=8G", "net0": "virtio,bridge=vmbr0"}
Facts = t.Dict[str, t.Any]

# Threads that come and go, in a process that is put into a guest's scope.
CHURN = """
import threading, time
while True:
    for thread in [threading.Thread(target=time.sleep, args=(0.05,)) for _ in range(8)]:
        thread.start()
    time.sleep(0.02)
"""


class Pinned:
    """A lab host with the collection's utilities on it, and plans for its guests."""

    def __init__(self, host: LabHost, fingerprint: str) -> None:
        self.host, self.fingerprint = host, fingerprint

    def plan(self, *placements: Facts, shared: str = "2-7", reserved: str = "0-1") -> Facts:
        full = [
            {"node": "pve1", "class": "dedicated", "numa_cells": [], "vcpu_pinning": True, "emulator": "shared", "reason": "", **entry}
            for entry in placements
        ]
        unused = {"changes": [], "refused": [], "skipped": [], "moves": [], "warnings": [], "summary": {}, "score": {}, "tuning": {}}
        pools = {"pve1": {"reserved": reserved, "shared": shared}}
        head = {"schema": 1, "created_at": None, "cluster": "lab", "hosts": {"pve1": self.fingerprint}, "pools": pools}
        return sealed({**head, **unused, "placements": full})

    def pin(self, plan: t.Optional[Facts], **options: t.Any) -> Facts:
        return t.cast(Facts, ask(self.host, "once", job(plan, **options)))

    def absent(self) -> Facts:
        return self.pin(None, state="absent")


def job(plan: t.Optional[Facts], **options: t.Any) -> Facts:
    return {"plan": plan, "options": options}


def ask(host: LabHost, act: str, jobs: t.Any = None, patient: t.Union[int, str] = "") -> t.Any:
    """What pin.py says, which lies in host_lab/inside; it is `patient` with the QMP socket of that guest."""
    return json.loads(host.run(f"PATIENT={patient} {PIN} {act}", text=json.dumps(jobs), timeout=3600).stdout)


@pytest.fixture(scope="module")
def fingerprint(common_host: LabHost) -> str:
    """That of the host, which has the collection's utilities from now on."""
    common_host.run(f"rm -rf {FOLDER}/corepin")
    paths = sorted(PLUGINS.glob("module_utils/_*/*.py"))
    common_host.instance.remote.copy(f"{FOLDER}/corepin", {f"plugins/{path.relative_to(PLUGINS)}": path for path in paths})
    return str(ask(common_host, "fingerprint"))


@pytest.fixture
def pinned(lab_host: LabHost, fingerprint: str) -> t.Iterator[Pinned]:
    yield Pinned(lab_host, fingerprint)
    # Without guests there is little left to undo.
    lab_host.run(f"{REMOVE_ALL} && {PIN} once >/dev/null", text=json.dumps(job(None, state="absent")))


def db(cpus: str, vmid: int = 100, **more: t.Any) -> Facts:
    return {"vmid": vmid, "cpus": cpus, **more}


def cell(vcpus: str, numa_node: int, memory_mib: int) -> Facts:
    return {"cpus": vcpus, "hostnodes": str(numa_node), "memory_mib": memory_mib, "policy": "bind"}


def memory(host: LabHost, pid: t.Optional[int], policy: str = "") -> t.Dict[int, int]:
    """MiB by NUMA node of the mappings of a process that are no file's; with a policy, as in numa_maps, of those alone that have it."""
    found: t.Dict[int, int] = {}
    for line in host.read(f"/proc/{pid}/numa_maps").splitlines():
        words = [] if " file=" in line or policy not in ("", line.split()[1]) else line.split()
        for word in words:
            if word.startswith("N") and word[1].isdigit():
                node, _equals, pages = word[1:].partition("=")
                found[int(node)] = found.get(int(node), 0) + int(pages)
    return {node: pages // 256 for node, pages in sorted(found.items())}


# --- a guest under load ------------------------------------------------------------------------------------------------------


def test_a_busy_guest_moves_with_its_memory(pinned: Pinned, tell: t.Callable[[str], None]) -> None:
    host = pinned.host
    numa0 = "cpus=0-7,hostnodes=0,memory=256,policy=bind"
    guest = host.start_guest(100, cores=8, memory=256, affinity="0-7", numa=1, numa0=numa0, busy=True)
    _wait_for_memory(host, guest.pid, 0, 254, "bind:0")  # all but the first MiB
    plan = pinned.plan(db("8,12,9,13,10,14,11,15", numa_cells=[cell("0-7", 1, 256)]))
    before = memory(host, guest.pid)
    begin = time.monotonic()
    done = pinned.pin(plan, memory_move=True)
    seconds = time.monotonic() - begin
    host.run(f"kill -STOP {guest.pid}")  # what is looked at next goes faster on a host without load
    assert not done["failures"], done
    moved = done["result"]["guests"][0]["memory"]
    now = host.guest(100)
    assert now.pid == guest.pid
    assert [thread.cpus for thread in now.vcpus] == ["8", "12", "9", "13", "10", "14", "11", "15"]
    assert {thread.cpus for thread in now.threads if thread not in now.vcpus} == {"8-15"}
    assert now.scope_cpus == "8-15"
    after = memory(host, guest.pid)
    assert after.get(0, 0) <= 4, (before, after)
    assert after[1] >= before[0] - 8
    assert moved["finished"]
    assert moved["left"] == {}
    said = ask(host, "runtime")[0]["memory_mib"]  # with pages of QEMU's files that it has written to, a few MiB
    assert all(abs(said.get(str(numa_node), 0) - after.get(numa_node, 0)) <= 16 for numa_node in (0, 1)), (said, after)
    assert host.read("/sys/fs/cgroup/qemu.slice/100.scope/cpuset.mems") == "1"
    assert not pinned.pin(plan, memory_move=True)["result"]["changed"]

    pinned.absent()
    host.run(f"kill -CONT {guest.pid}")
    begin, end = host.run(f"date +%s.%N; migratepages {guest.pid} 1 0; date +%s.%N; kill -STOP {guest.pid}").stdout.split()
    back = memory(host, guest.pid)
    assert back[0] >= 200
    tell(
        f"MiB by NUMA node {before}, then {after}: {moved['moved_mib']} MiB moved in {moved['seconds']:.1f} s and {moved['steps']} steps "
        f"(the whole task: {seconds:.1f} s); migratepages back to {back} in {float(end) - float(begin):.1f} s"
    )


def _wait_for_memory(host: LabHost, pid: t.Optional[int], numa_node: int, mib: int, policy: str = "") -> None:
    """Until a busy guest has touched its memory."""
    wait_for(lambda: memory(host, pid, policy), lambda seen: seen.get(numa_node, 0) >= mib)


def test_cells_go_to_several_numa_nodes(pinned: Pinned) -> None:
    host = pinned.host
    cells = {f"numa{n}": f"cpus={n},hostnodes={n},memory=48,policy=bind" for n in (0, 1)}
    guest = host.start_guest(100, cores=2, memory=96, numa=1, busy=True, **cells)
    for numa_node, mib in ((0, 46), (1, 48)):  # all but the first MiB; what is touched during the move comes from where it was
        _wait_for_memory(host, guest.pid, numa_node, mib, f"bind:{numa_node}")
    crossed = pinned.plan(db("8,0", numa_cells=[cell("0", 1, 48), cell("1", 0, 48)]))
    done = pinned.pin(crossed, memory_move=True)
    assert not done["failures"]
    assert done["result"]["guests"][0]["memory"]["moved_mib"] >= 88
    for policy, old, new in (("bind:0", 0, 1), ("bind:1", 1, 0)):
        after = memory(host, guest.pid, policy)
        assert after[new] >= 44, (policy, after)
        assert after.get(old, 0) <= 4, (policy, after)
    assert not pinned.pin(crossed, memory_move=True)["result"]["changed"]


def test_to_and_fro_while_threads_come_and_go(pinned: Pinned) -> None:
    pinned.host.start_guest(100, cores=2, memory=64, affinity="2-5", busy=True)
    _start_churn(pinned.host, "/sys/fs/cgroup/qemu.slice/100.scope/cgroup.procs")
    times = 200 if LONG else 20
    done = ask(pinned.host, f"alternate {times}", [job(pinned.plan(db(cpus))) for cpus in ("2,3", "3,9")])
    assert done.pop("came") >= times
    [_remembered] = done.pop("remembered")  # as many masks after each run
    assert done == {"outside": 0, "astray": 0, "failures": [], "more_descriptors": 0, "changed": times}


def _start_churn(host: LabHost, processes: str) -> None:
    """Start a process whose threads come and go, in the cgroup whose cgroup.procs is given; it ends with the cgroup's guest."""
    host.write("/root/churn.py", CHURN)
    it_works = "until [ $(ls /proc/$(pgrep -f ^python3./root/churn.py)/task | wc -l) -gt 1 ]; do sleep 0.1; done"
    host.run(
        f"sh -c 'echo $$ >{processes}; exec setsid python3 /root/churn.py' </dev/null >/dev/null 2>&1 & timeout 120 sh -c '{it_works}'"
    )


def test_killed_at_any_moment_the_next_run_converges(pinned: Pinned) -> None:
    host = pinned.host
    guest = host.start_guest(100, cores=2, memory=64, affinity="2-5")
    times, chance = 50 if LONG else 5, random.Random(20)
    moments = [f"{(number + chance.random()) / times:.3f}" for number in range(times)]  # one in each of as many parts of a run
    plans = [pinned.plan(db(cpus, numa_cells=[cell("0-1", numa_node, 64)])) for numa_node, cpus in enumerate(("2,3", "12,13"))]
    jobs = [job(plan, housekeeping=LONG and number == 1, memory_move=LONG) for number, plan in enumerate(plans)]
    done = ask(host, f"kill {' '.join(moments)}", jobs)
    for whole, scope, vcpus in zip(done["whole"], ("2-3", "12-13"), (["2", "3"], ["12", "13"]), strict=True):
        assert whole["scope"] == scope
        assert [whole["threads"][str(vcpu.tid)] for vcpu in guest.vcpus] == vcpus
    assert not done["failures"]
    assert not done["warnings"]
    assert {name: done[name] for name in ("astray", "unremembered", "leftovers")} == {"astray": 0, "unremembered": 0, "leftovers": 0}
    assert done["killed"] >= 0.8 * times, done
    assert done["between"] >= 1, done
    pinned.absent()
    assert {thread.cpus for thread in host.guest(100).threads} == {"2-15"}
    assert not host.run("ls -A /var/lib/corepin | grep guest-pinning", check=False).stdout
    assert [host.read(f"/sys/fs/cgroup/{unit}/cpuset.cpus.effective") for unit in SERVICES if LONG] == ["0-15"] * 3 * LONG


def test_a_step_that_fails_puts_back_what_was_done(pinned: Pinned) -> None:
    pinned.host.start_guest(100, cores=2, memory=64, affinity="2-5", helper=True, **DEVICES)
    wanted = pinned.plan(db("8,9", emulator="reserved"))
    # Threads have the CPUs of their start, and a scope that had no cpuset; then those of a plan.
    for earlier, has in ((None, {"2-5", "0-15"}), (db("2,3"), {"2-3", "2", "3"})):
        if earlier:
            assert not pinned.pin(pinned.plan(earlier))["failures"]
        done = ask(pinned.host, "refuse 2 6", job(wanted))
        assert set(done["before"]["threads"].values()) == has
        assert done["before"]["remembered"] == bool(earlier)
        assert done["after"] == [done["before"]] * 2
        assert len(done["failures"]) == 2
        assert all(text.endswith("was refused. Guest 100 was put back as it was.") for text in done["failures"])


def test_a_converged_run_writes_nothing(pinned: Pinned, tell: t.Callable[[str], None]) -> None:
    host = pinned.host
    host.run(f"for vmid in $(seq 100 119); do printf 'cores: 1\\nmemory: 16\\n' >{CONFIGS}/$vmid.conf; done")
    host.run(f"{GUEST} start $(seq 100 119)")
    # 8 guests with a CPU each, 12 shared ones.
    placements = [db(str(8 + n), 100 + n) for n in range(8)]
    placements += [db("2-7", vmid, **{"class": "shared", "vcpu_pinning": False}) for vmid in range(108, 120)]
    plan = pinned.plan(*placements)
    done = pinned.pin(plan)
    assert not done["failures"]
    assert sum(row["changed"] for row in done["result"]["guests"]) == 20
    host.write("/root/job.json", json.dumps(job(plan)))
    calls = "sched_setaffinity,execve,openat,open,creat,write,rename,renameat,renameat2,unlink,unlinkat,mkdir,move_pages,migrate_pages"
    host.run(f"strace -f -o /root/trace -e trace={calls} {PIN} once </root/job.json >/dev/null")
    trace = host.read("/root/trace").splitlines()
    writes = [line for line in trace if _writes(line)]
    assert writes == []
    assert sum("execve(" in line for line in trace) == 1
    cost = ask(host, "cost", job(plan))
    tell(f"a converged run for 20 guests takes {cost['seconds']:.2f} s of CPU, {cost['multiple']:.1f} x python3 -c pass")


def _writes(line: str) -> bool:
    if "open" in line.split("(")[0]:
        return any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT"))
    if " write(" in line:
        return " write(1," not in line
    return "execve(" not in line and any(
        f" {call}" in line for call in ("sched_seta", "rename", "unlink", "mkdir", "move_p", "migrate_p", "creat")
    )


# --- all kinds of threads and guests --------------------------------------------------------------------------------------------


def test_iothread_vhost_helper_busy_socket_and_a_stopped_guest(pinned: Pinned) -> None:
    host = pinned.host
    host.start_guest(100, cores=2, memory=64, helper=True, **DEVICES)
    host.start_guest(101, cores=2, memory=64)
    host.guests.configure(102, cores=1, memory=64)
    until_held = "until grep -qs held /root/held; do sleep 0.1; done"
    host.run(f"rm -f /root/held; {GUEST} hold 101 600 >/root/held 2>&1 & timeout 60 sh -c '{until_held}'")
    plan = pinned.plan(db("8,9", emulator="reserved"), db("10,11", 101), db("12", 102))
    done = ask(host, "once", job(plan), patient=100)
    assert not done["failures"], done
    assert [row["reason"] for row in done["result"]["guests"]] == [None, None, "it does not run here"]
    runtime = ask(host, "runtime", patient=100)
    assert [(entry["vmid"], entry["ids_from"]) for entry in runtime] == [(100, "qmp"), (101, "names")]
    now, held, _stopped = host.guests.states()
    assert now.scope_cpus == "0-1,8-9"
    assert [vcpu.cpus for vcpu in now.vcpus] == ["8", "9"]
    assert [vcpu.cpus for vcpu in held.vcpus] == ["10", "11"]
    roles = _by_role(now)
    for role, cpus in (("emulator", "0-1"), ("iothread", "8-9"), ("vhost", "8-9"), ("helper", "0-1")):
        assert {thread.cpus for thread in roles[role]} == {cpus}, role
    # guest_runtime_info tells the same of each thread. Those of QEMU's pool come and go between two looks.
    said = {thread["tid"]: (thread["role"], thread["vcpu"], thread["cpus"]) for thread in runtime[0]["threads"]}
    seen = {
        thread.tid: (role, number if role == "vcpu" else None, thread.cpus)
        for role, threads in roles.items()
        for number, thread in enumerate(threads)
    }
    assert {tid: said[tid] for tid in said if tid in seen} == {tid: seen[tid] for tid in seen if tid in said}
    assert {{**said, **seen}[tid][0] for tid in said.keys() ^ seen.keys()} <= {"emulator"}


def _by_role(guest: GuestState) -> t.Dict[str, t.List[Thread]]:
    """The threads of a guest with one I/O thread, by the names that the kernel has for them."""
    # It bears QEMU's own name (see README.md), and so does, for a moment, a thread that has just been born.
    iothread = min((thread for thread in guest.named("kvm") if thread.tid != guest.pid), key=lambda thread: thread.tid)
    others = {"iothread": [iothread], "vhost": guest.named("vhost-"), "helper": guest.helpers}
    known = [*guest.vcpus, iothread, *others["vhost"]]
    return {"vcpu": guest.vcpus, "emulator": [thread for thread in guest.threads if thread not in known], **others}


def test_a_guest_that_is_started_anew(pinned: Pinned) -> None:
    host = pinned.host
    host.start_guest(100, cores=2, memory=64, affinity="2-3")
    assert pinned.pin(pinned.plan(db("8,9")))["result"]["changed"]
    host.stop_guest(100)
    # The scope of the next start has no cpuset: an affinity outside the earlier CPUs works.
    again = host.start_guest(100, cores=2, memory=64, affinity="4-5")
    assert again.scope_cpus is None
    assert not pinned.absent()["result"]["changed"]
    assert {thread.cpus for thread in host.guest(100).threads} == {"4-5"}


def test_a_cpuset_partition_of_somebody_else(pinned: Pinned) -> None:
    host = pinned.host
    host.start_guest(100, cores=2, memory=64, affinity="2-5")
    others = f"cd /sys/fs/cgroup; for unit in {' '.join(SERVICES)}; do [ ! -f $unit/cpuset.cpus ] || echo %s >$unit/cpuset.cpus; done"
    try:
        # A partition's CPUs must not be in the cpuset of another cgroup, where housekeeping leaves all.
        host.run(others % "0-8,10-15")
        host.run("mkdir /sys/fs/cgroup/rt && cd /sys/fs/cgroup/rt && echo +cpuset >../cgroup.subtree_control && echo 9 >cpuset.cpus")
        host.run("echo isolated >/sys/fs/cgroup/rt/cpuset.cpus.partition")
        assert host.read("/sys/fs/cgroup/rt/cpuset.cpus.partition") == "isolated"
        before = host.guest(100)
        done = pinned.pin(pinned.plan(db("8,9")))
        assert done["failures"] == [
            "CPUs 9 cannot be given to guest 100, because the cpuset partition rt of somebody else has them; release them, or plan again."
        ]
        now = host.guest(100)
        had, has = ({thread.tid: thread.cpus for thread in guest.threads} for guest in (before, now))
        both = had.keys() & has.keys()  # workers come and go
        assert {vcpu.tid for vcpu in before.vcpus} <= both
        assert {tid: has[tid] for tid in both} == {tid: had[tid] for tid in both}
        assert now.scope_cpus == before.scope_cpus
    finally:
        undone = "echo member >/sys/fs/cgroup/rt/cpuset.cpus.partition; rmdir /sys/fs/cgroup/rt; " + others % "0-15"
        host.run(undone, check=False)
    assert not pinned.pin(pinned.plan(db("8,9")))["failures"]


@pytest.mark.long
def test_cpus_that_are_isolated_at_boot(pinned: Pinned) -> None:
    host = pinned.host
    host.reboot(append="isolcpus=12-15")
    isolated = Pinned(host, ask(host, "fingerprint"))  # which CPUs are isolated is part of it
    assert isolated.fingerprint != pinned.fingerprint
    try:
        host.start_guest(100, cores=2, memory=64, affinity="2-5", busy=True)
        done = isolated.pin(isolated.plan(db("12,13", emulator="reserved")))
        assert not done["failures"]
        assert not done["warnings"]
        assert [vcpu.cpus for vcpu in host.guest(100).vcpus] == ["12", "13"]
        crowd = isolated.pin(isolated.plan(db("12,13", vcpu_pinning=False)))
        assert ["isolated CPUs 12-13" in warning for warning in crowd["warnings"]] == [True]
    finally:
        host.reboot(append="")


# --- keeping others away -----------------------------------------------------------------------------------------------------


def test_shared_guests_containers_and_services_are_kept_away_and_let_go(pinned: Pinned) -> None:
    host = pinned.host
    host.start_guest(100, cores=2, memory=64, affinity="2-5")
    host.start_guest(101, cores=1, memory=64)
    cgroup = "/sys/fs/cgroup/lxc/103"
    shared = {"class": "shared", "vcpu_pinning": False}
    plan = pinned.plan(db("8,9"), db("2-7", 101, **shared), db("2-7", 103, **shared))
    try:
        _start_container(host, cgroup)
        expected = host.ansible("corepin.proxmox.guest_pinning", check=True, diff=True, plan=plan, housekeeping=True)
        assert {thread.cpus for thread in host.guest(101).threads} == {"0-15"}
        done = host.ansible("corepin.proxmox.guest_pinning", diff=True, plan=plan, housekeeping=True)
        assert done.outcome == "ok", done.result
        assert {**done.result, "invocation": None} == {**expected.result, "invocation": None}
        assert {thread.cpus for thread in host.guest(101).threads} == {"2-7"}
        assert host.read(f"{cgroup}/cpuset.cpus.effective") == "2-7"
        assert host.read("/etc/pve/lxc/103.conf").endswith("lxc.cgroup2.cpuset.cpus: 2-7")
        assert [host.read(f"/sys/fs/cgroup/{unit}/cpuset.cpus.effective") for unit in SERVICES] == ["0-1"] * 3
        assert not pinned.pin(plan, housekeeping=True)["result"]["changed"]
        assert pinned.pin(plan)["result"]["changed"]
        assert [host.read(f"/sys/fs/cgroup/{unit}/cpuset.cpus.effective") for unit in SERVICES] == ["0-15"] * 3
        pinned.absent()
        assert {thread.cpus for thread in host.guest(100).threads} == {"2-15"}
        assert host.read("/etc/pve/lxc/103.conf") == "arch: amd64\ncores: 2"
        assert host.read(f"{cgroup}/cpuset.cpus") == "2-15"
    finally:
        gone = f"timeout 30 sh -c 'until rmdir {cgroup}; do sleep 0.1; done'"
        host.run(f"kill $(cat {cgroup}/cgroup.procs); {gone}; rmdir /sys/fs/cgroup/lxc; rm -f /etc/pve/lxc/103.conf", check=False)


def _start_container(host: LabHost, cgroup: str) -> None:
    """Container 103, as far as guest_pinning looks: a config, and a cgroup with a process."""
    host.write("/etc/pve/nodes/pve1/lxc/103.conf", "arch: amd64\ncores: 2\n")
    host.run(f"mkdir -p {cgroup}; cd /sys/fs/cgroup; for above in . lxc; do echo +cpuset >$above/cgroup.subtree_control; done")
    there = f"timeout 120 sh -c 'until grep -q . {cgroup}/cgroup.procs; do sleep 0.1; done'"
    host.run(f"sh -c 'echo $$ >{cgroup}/cgroup.procs; exec sleep 3600' </dev/null >/dev/null 2>&1 & {there}")


@pytest.mark.long
def test_apply_in_mode_runtime_leaves_what_is_stored_alone_and_rollback_releases(pinned: Pinned, tmp_path: Path) -> None:
    host = pinned.host
    host.start_guest(100, cores=2, memory=64, affinity="2-5")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(pinned.plan(db("8,9"))), encoding="utf-8")
    variables = {"corepin_hosts": "pve_hosts", "corepin_mode": "runtime", "corepin_plan_file": str(path), "corepin_plan_max_age": "0"}
    run = host.playbook("corepin.proxmox.apply", **variables)
    assert run.ok, run.output
    assert "Guest 100: CPUs 0-15 -> 8-9, one vCPU each on 8,9." in run.output
    assert [vcpu.cpus for vcpu in host.guest(100).vcpus] == ["8", "9"]
    assert host.read("/etc/pve/qemu-server/100.conf") == "cores: 2\nmemory: 64\naffinity: 2-5"
    run = host.playbook("corepin.proxmox.rollback", **variables)
    assert run.ok, run.output
    assert {thread.cpus for thread in host.guest(100).threads} == {"2-15"}
