# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers of io_uring inside QEMU: they go where the thread goes that they work for, unless the kernel lets nobody move them."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.hands import Hands
from ansible_collections.corepin.proxmox.plugins.module_utils._host.threads import qemu_threads

from .test_guest_pinning import DB, Host

NO_SETAFFINITY = 0x04000000
EMULATOR, VCPU, IOTHREAD = 5000, 5001, 5007  # the threads of the VM below


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.running.vm(101, 5000, vcpus=4, iothreads=["iothread-virtioscsi0"])
    return host


def worker(host: Host, tid: int, serves: int, cpus: str, flags: int = 0, kind: str = "wrk") -> None:
    name = f"iou-{kind}-{serves}"
    host.running.thread(5000, tid, name, cpus)
    host.running.write(f"proc/5000/task/{tid}/stat", f"{tid} ({name}) S 1 1 1 0 -1 {flags} 0 0\n")


def test_a_worker_has_the_cpus_of_the_thread_that_it_serves(host):
    plan = host.plan({**DB, "emulator": "reserved"})
    for tid, serves in ((5020, EMULATOR), (5021, VCPU), (5022, IOTHREAD), (5024, 5023), (5025, 9999)):
        worker(host, tid, serves, "0-63")
    worker(host, 5023, IOTHREAD, "0-63", kind="sqp")
    host.pin(plan)
    masks = host.masks(5000)
    assert [masks[tid] for tid in range(5020, 5026)] == ["0,32", "8", "8-9,40-41", "8-9,40-41", "8-9,40-41", "0,32"]
    for tid, serves, cpus in ((5030, EMULATOR, "0,32"), (5031, VCPU, "8"), (5032, IOTHREAD, "8-9,40-41")):
        worker(host, tid, serves, cpus)
    again = host.pin(plan)
    assert not again["changed"]
    assert host.row(again, 101)["after"]["threads"]["vcpu"] == ["8", "40", "9", "41"]


def test_workers_in_a_ring_end(host):
    worker(host, 5020, 5021, "0-63")
    worker(host, 5021, 5020, "0-63")
    roles = {thread.tid: thread.role for thread in qemu_threads(host.tree, 5000, None)}
    assert (roles[5020], roles[5021]) == ("emulator", "emulator")


def test_a_worker_that_nobody_may_move_is_named_once_and_left(host):
    worker(host, 5020, IOTHREAD, "0-15", NO_SETAFFINITY)
    host.hands.refuse.add(5020)
    plan = host.plan(DB)
    host.pin(plan)
    assert host.failures == []
    assert host.warnings == ["The kernel lets nobody move threads of guest 101 (iou-wrk-5007); its scope alone holds them."]
    assert not host.pin(plan)["changed"]
    assert host.warnings == []


def test_what_the_kernel_refuses_for_such_a_thread_is_no_error(host, monkeypatch):
    def refuse(_tid: int, _cpus: t.Iterable[int]) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    worker(host, 5020, IOTHREAD, "0-63", NO_SETAFFINITY)
    worker(host, 5021, IOTHREAD, "0-63")
    threads = {thread.tid: thread for thread in qemu_threads(host.tree, 5000, None)}
    Hands(host.tree).set_mask(threads[5020], 1)
    with pytest.raises(SettingError, match="The kernel refused CPUs 0 for thread 5021"):
        Hands(host.tree).set_mask(threads[5021], 1)
