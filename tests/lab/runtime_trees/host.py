# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of running guests below a root: DIRECTORY/proc, DIRECTORY/sys/fs/cgroup and DIRECTORY/run/qemu-server.

Formats follow the kernel's filesystems/proc and admin-guide/cgroup-v2, names those of PVE 9: /run/qemu-server/VMID.pid,
qemu.slice/VMID.scope, lxc/VMID/ns.
"""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

CGROUP = "sys/fs/cgroup"
Memory = t.Mapping[int, int]  # MiB by NUMA node


class RunningHost:
    """A tree to which running guests are added. `root` may hold the tree of sysfs_trees already."""

    def __init__(self, root: t.Union[str, os.PathLike[str]], cpus: str = "0-7") -> None:
        self.root = Path(root)
        self.cpus = cpus
        self.write(f"{CGROUP}/cpuset.cpus.effective", f"{cpus}\n")
        self.write(f"{CGROUP}/cgroup.procs", "")

    def write(self, path: str, content: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def vm(
        self,
        vmid: int,
        pid: int,
        vcpus: int = 2,
        cpus: t.Optional[str] = None,
        pins: t.Sequence[str] = (),
        scope_cpus: t.Optional[str] = None,
        iothreads: t.Sequence[str] = (),
        vhost: int = 0,
        memory: t.Optional[Memory] = None,
    ) -> t.List[int]:
        """A VM as PVE starts it; returns the ids of its vCPU threads.

        `cpus`: what every thread is held to; `pins`: what each vCPU thread is held to instead; `scope_cpus`: what
        somebody wrote into the scope's cpuset.cpus. Threads have the ids after the pid: emulator, vCPUs, I/O threads, vhost.
        """
        everywhere = cpus or scope_cpus or self.cpus
        scope = f"qemu.slice/{vmid}.scope"
        tids = [pid + 1 + number for number in range(vcpus)]
        self.process(pid, "kvm", everywhere, cgroup=scope, command=["/usr/bin/kvm", "-id", str(vmid), "-name", f"vm{vmid}"])
        for number, tid in enumerate(tids):
            self.thread(pid, tid, f"CPU {number}/KVM", pins[number] if pins else everywhere)
        others = ["call_rcu", "IO mon_iothread"]
        others += [f"IO {name}"[:15] for name in iothreads] + [f"vhost-{pid}"] * vhost
        for number, name in enumerate(others):
            self.thread(pid, pid + 1 + vcpus + number, name, everywhere)
        self.cgroup(scope, [pid], asked="" if scope_cpus is None else scope_cpus, effective=scope_cpus or self.cpus, memory=memory)
        self.write(f"run/qemu-server/{vmid}.pid", f"{pid}\n")
        return tids

    def container(self, vmid: int, pids: t.Sequence[int], cpus: str, asked: str = "", memory: t.Optional[Memory] = None) -> None:
        """A running container whose processes, the first of them its init, may run on `cpus`."""
        self.cgroup(f"lxc/{vmid}", [], asked=asked, effective=cpus, memory=memory)
        self.cgroup(f"lxc/{vmid}/ns", pids[1:], asked="", effective=cpus)
        self.cgroup(f"lxc/{vmid}/ns/init.scope", pids[:1])
        for inner, pid in enumerate(pids, start=1):
            name = "systemd" if inner == 1 else "nginx"
            self.process(pid, name, cpus, cgroup=f"lxc/{vmid}/ns", command=[name], inner_pid=inner)

    def process(
        self,
        pid: int,
        name: str,
        cpus: str,
        cgroup: str = "",
        command: t.Sequence[str] = (),
        parent: int = 1,
        started: int = 4711,
        inner_pid: t.Optional[int] = None,
    ) -> None:
        """A process with its main thread. A kernel thread has the parent 2 and no command line."""
        fields = [str(pid), f"({name})", "S", str(parent), *["0"] * 17, str(started), *["0"] * 30]
        self.write(f"proc/{pid}/comm", f"{name}\n")
        self.write(f"proc/{pid}/stat", " ".join(fields) + "\n")
        self.write(f"proc/{pid}/cgroup", f"0::/{cgroup}\n")
        self.write(f"proc/{pid}/cmdline", "".join(f"{word}\0" for word in command))
        self.write(f"proc/{pid}/status", self._status(name, pid, pid, parent, cpus, inner_pid))
        self.thread(pid, pid, name, cpus)

    def thread(self, pid: int, tid: int, name: str, cpus: str) -> None:
        self.write(f"proc/{pid}/task/{tid}/comm", f"{name}\n")
        self.write(f"proc/{pid}/task/{tid}/status", self._status(name, pid, tid, 1, cpus, None))

    def end(self, pid: int, tid: t.Optional[int] = None) -> None:
        """Take a process, or one thread of it, away."""
        shutil.rmtree(self.root / (f"proc/{pid}" if tid is None else f"proc/{pid}/task/{tid}"))

    def cgroup(
        self,
        path: str,
        pids: t.Sequence[int],
        asked: t.Optional[str] = None,
        effective: t.Optional[str] = None,
        memory: t.Optional[Memory] = None,
    ) -> None:
        """A cgroup with its processes; `asked` None: without a cpuset of its own."""
        folder = f"{CGROUP}/{path}"
        self.write(f"{folder}/cgroup.procs", "".join(f"{pid}\n" for pid in pids))
        if asked is not None:
            self.write(f"{folder}/cpuset.cpus", f"{asked}\n")
        if effective is not None:
            self.write(f"{folder}/cpuset.cpus.effective", f"{effective}\n")
        if memory is not None:
            self.write(f"{folder}/memory.numa_stat", _numa_stat(memory))

    def numa_maps(self, pid: int, pages: t.Mapping[int, int], page_kib: int = 4) -> None:
        """One anonymous mapping of so many pages by NUMA node, beside a mapping without pages and one of a file."""
        values = " ".join(f"N{numa_node}={number}" for numa_node, number in pages.items())
        total = sum(pages.values())
        self.write(
            f"proc/{pid}/numa_maps",
            "55d0c0000000 default file=/usr/bin/qemu-system-x86_64 mapped=2 mapmax=3 active=0 N0=2 kernelpagesize_kB=4\n"
            f"7f0000000000 bind:0 anon={total} dirty={total} active=0 {values} kernelpagesize_kB={page_kib}\n"
            "7f1000000000 default\n",
        )

    @staticmethod
    def _status(name: str, pid: int, tid: int, parent: int, cpus: str, inner_pid: t.Optional[int]) -> str:
        spaces = f"{tid}" if inner_pid is None else f"{tid}\t{inner_pid}"
        return (
            f"Name:\t{name}\nUmask:\t0027\nState:\tS (sleeping)\nTgid:\t{pid}\nPid:\t{tid}\nPPid:\t{parent}\nNSpid:\t{spaces}\n"
            f"HugetlbPages:\t       0 kB\nThreads:\t8\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\nMems_allowed_list:\t0\n"
        )


def _numa_stat(memory: Memory) -> str:
    """Guest memory as anon, and the two kinds beside it that are the host's own: page cache and kernel stacks."""

    def line(kind: str, amounts: Memory) -> str:
        return f"{kind} " + " ".join(f"N{numa_node}={mib * 1024 * 1024}" for numa_node, mib in amounts.items())

    some = dict.fromkeys(memory, 7)
    return "\n".join((line("anon", memory), line("file", some), line("kernel_stack", some), line("shmem", dict.fromkeys(memory, 0)), ""))
