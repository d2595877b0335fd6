# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of the lab host are started as PVE starts them, and leave nothing behind."""

from __future__ import annotations

from host_lab.guests import GuestState

from .host import LabHost
from .waiting import wait_for

BUSY_CONFIG = {
    "cores": 4,
    "memory": 128,
    "affinity": "0-3,8",
    "numa": 1,
    "numa0": "cpus=0-1,hostnodes=0,memory=64,policy=bind",
    "numa1": "cpus=2-3,hostnodes=1,memory=64,policy=bind",
    "scsihw": "virtio-scsi-single",
    "scsi0": "local-lvm:vm-100-disk-0,iothread=1,size=8G",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
}


def test_a_busy_guest_has_its_scope_its_mask_and_its_threads_and_works(lab_host: LabHost) -> None:
    guest = lab_host.start_guest(100, busy=True, helper=True, **BUSY_CONFIG)

    assert {thread.cpus for thread in guest.threads} == {"0-3,8"}
    assert [thread.name for thread in guest.vcpus] == [f"CPU {number}/TCG" for number in range(4)]
    assert guest.scope == "100.scope"
    assert lab_host.read(f"/proc/{guest.pid}/cgroup") == "0::/qemu.slice/100.scope"
    assert guest.scope_cpus is None
    assert lab_host.read("/run/qemu-server/100.pid") == str(guest.pid)
    assert " -id 100 " in lab_host.run(f"tr '\\0' ' ' </proc/{guest.pid}/cmdline").stdout
    assert lab_host.read("/etc/pve/nodes/pve1/qemu-server/100.conf").startswith("cores: 4\nmemory: 128\n")

    # The I/O thread's name is too long for this QEMU to set, so that it has the program's, as the main thread has.
    assert len(guest.named("kvm")) >= 2  # and, for a moment, a thread that has just been born
    # The worker of vhost is a thread of QEMU since kernel 6.4; the helper was no child of taskset's.
    assert [thread.name for thread in guest.named("vhost-")] == [f"vhost-{guest.pid}"]
    assert [thread.cpus for thread in guest.helpers] == ["0-15"]
    _works_on_all_its_vcpus_in_both_cells(lab_host, guest)


def _works_on_all_its_vcpus_in_both_cells(lab_host: LabHost, guest: GuestState) -> None:
    stats = " ".join(f"/proc/{guest.pid}/task/{vcpu.tid}/stat" for vcpu in guest.vcpus)

    def pages(number: int) -> int:
        """Pages on NUMA node `number` of the cell that is bound to it."""
        line = next(line for line in lab_host.read(f"/proc/{guest.pid}/numa_maps").splitlines() if f" bind:{number} " in line)
        return sum(int(word.partition("=")[2]) for word in line.split() if word.startswith(f"N{number}="))

    def ticks() -> list[int]:
        return [int(line.rpartition(")")[2].split()[11]) for line in lab_host.run(f"cat {stats}").stdout.splitlines()]

    before = ticks()
    # All of 64 MiB but the first MiB, which nobody writes to.
    wait_for(lambda: pages(0), lambda seen: seen >= 63 * 256)
    wait_for(lambda: pages(1), lambda seen: seen == 64 * 256)
    wait_for(ticks, lambda seen: all(now > then for now, then in zip(seen, before)))


def test_a_guest_without_affinity_may_run_anywhere_and_rests(lab_host: LabHost) -> None:
    guest = lab_host.start_guest(101, cores=2, sockets=2)
    assert {thread.cpus for thread in guest.threads} == {"0-15"}
    assert len(guest.vcpus) == 4
    assert not guest.helpers
    assert not guest.named("vhost-")


def test_stopping_leaves_the_config_alone(lab_host: LabHost) -> None:
    before = _traces(lab_host)
    guest = lab_host.start_guest(100, helper=True, net0="virtio,bridge=vmbr0")
    assert _traces(lab_host) != before

    lab_host.stop_guest(100)

    stopped = lab_host.guest(100)
    assert (stopped.pid, stopped.scope, stopped.threads, stopped.helpers) == (None, None, [], [])
    assert _traces(lab_host) == before
    assert lab_host.run(f"ls -d /proc/{guest.pid} /proc/{guest.helpers[0].tid}", check=False).stdout == ""
    assert lab_host.read("/etc/pve/qemu-server/100.conf") == "cores: 1\nmemory: 64\nnet0: virtio,bridge=vmbr0"


def _traces(lab_host: LabHost) -> str:
    """What guests leave on a host while they run: files, scopes, network devices, processes."""
    return lab_host.run("ls /run/qemu-server /sys/class/net; ls -d /sys/fs/cgroup/qemu.slice/*/; pgrep -x kvm", check=False).stdout
