# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hands on real threads and pages of this machine."""

from __future__ import annotations

import ctypes
import errno
import gc
import mmap
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import lowest, mask_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.hands import REFUSALS, Hands
from ansible_collections.corepin.proxmox.plugins.module_utils._host.mappings import read_mappings
from ansible_collections.corepin.proxmox.plugins.module_utils._host.threads import Thread, qemu_threads

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
    gc.collect()  # files that earlier tests have left open may be closed at any time
    descriptors = len(os.listdir("/proc/self/fd"))
    confined = ("CPU 0/KVM", "CPU 1/KVM", "IO iothread-vir")
    for name in confined:
        hands.set_mask(threads[name], first)
    assert [_by_name(tree, process)[name].cpus for name in confined] == [first] * 3
    assert len(os.listdir("/proc/self/fd")) <= descriptors
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


@pytest.mark.parametrize("code", REFUSALS)
def test_the_page_that_a_numa_node_refuses_is_named(monkeypatch, code):
    """The kernel fails the whole call, and leaves the status of that page and of all after it as they were."""

    def full_after_one_page(_self: Hands, *arguments: t.Any) -> int:
        arguments[4][0] = 1
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(Hands, "_move_pages", full_after_one_page)
    assert Hands(Tree()).pages(1, [4096, 8192, 12288], [1, 1, 1]) == [1, -code, -errno.EAGAIN]


def test_systemctl_waits_longer_for_an_answer_than_we_do_for_it(tmp_path, monkeypatch):
    """Its own limit would end it as a refusal does, while systemd may still do what was asked for."""
    said = tmp_path / "limit"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$SYSTEMD_BUS_TIMEOUT" >{said}\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Hands(Tree(), timeout_s=60).set_property("100.scope", "AllowedCPUs", "3")
    assert float(said.read_text(encoding="utf-8")) > 60
