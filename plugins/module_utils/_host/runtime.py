# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a host for its guests: processes, threads with their CPUs, scopes, memory. Reads, and changes nothing.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._engine.cpuset import format_cpulist, format_known
from .._engine.errors import FactsError
from .domains import Facts
from .files import Tree
from .memory import Memory, read_memory
from .qmp import query_threads
from .scope import Scope, cgroup_of, containers, processes_in, read_scope, scope_of_container, scope_of_vm
from .threads import ROLES, Company, Thread, command_line, qemu_threads, read_company, read_mask, threads_beside

RUN = "run/qemu-server"

_STARTED = 22 - 3  # starttime is field 22 of /proc/PID/stat; the name before field 3 may hold blanks and brackets
_IN_NAMESPACES = re.compile(r"^NSpid:\s*(?:\d+\s+)+1$", re.MULTILINE)


@dataclass(frozen=True)
class Running:
    """One running guest.

    `pid` is QEMU's process, or the first process of a container; `started` its start in clock ticks after the host's boot:
    a process with the same pid and another start is another one. `ids_from` says who named the vCPUs: qmp or names.
    `threads`: those of a VM and its helpers, by role in the order of ROLES, vCPUs by number. `processes`: of a container,
    how many may run on which CPUs (mask -> number). `memory_mib` by NUMA node; None where nothing says so.
    """

    vmid: int
    type: str
    pid: t.Optional[int]
    started: t.Optional[int]
    scope: t.Optional[Scope]
    threads: t.Tuple[Thread, ...] = ()
    ids_from: t.Optional[str] = None
    processes: t.Tuple[t.Tuple[int, int], ...] = ()
    memory_mib: t.Optional[Memory] = None

    def as_facts(self) -> Facts:
        """The shape of guest_runtime_info's `runtime`."""
        return {
            "vmid": self.vmid,
            "type": self.type,
            "pid": self.pid,
            "started": self.started,
            "scope": self.scope.path if self.scope else None,
            "scope_cpus": format_known(self.scope.effective if self.scope else None),
            "scope_cpus_asked": format_known(self.scope.asked if self.scope else None),
            "ids_from": self.ids_from,
            "threads": [_thread_facts(thread) for thread in self.threads],
            "processes": [{"cpus": format_cpulist(cpus), "count": number} for cpus, number in self.processes],
            "memory_mib": None if self.memory_mib is None else {str(numa_node): mib for numa_node, mib in self.memory_mib.items()},
        }


def _thread_facts(thread: Thread) -> Facts:
    return {
        "tid": thread.tid,
        "pid": thread.pid,
        "name": thread.name,
        "role": thread.role,
        "vcpu": thread.vcpu,
        "cpus": format_cpulist(thread.cpus),
    }


def read_running(tree: Tree, vmids: t.Optional[t.Collection[int]] = None) -> t.List[Running]:
    """The guests that run on a host, by vmid, those of `vmids` alone where given. Raises FactsError for garbage."""
    if not tree.exists(""):
        raise FactsError(
            f"There is no directory {tree.root}; set root to / or to a directory that holds the proc/, sys/ and run/ of a host."
        )
    found: t.List[t.Optional[Running]] = []
    wanted = [vmid for vmid in vms_with_pid_file(tree) if vmids is None or vmid in vmids]
    if wanted:
        company = read_company(tree)
        found += [read_vm(tree, vmid, company) for vmid in wanted]
    found += [read_container(tree, vmid) for vmid in containers(tree) if vmids is None or vmid in vmids]
    return sorted((guest for guest in found if guest), key=lambda guest: guest.vmid)


def vms_with_pid_file(tree: Tree) -> t.List[int]:
    """The ids of the VMs that have been started and not stopped through PVE, ascending."""
    names = tree.names(RUN) or []
    return sorted(int(name[:-4]) for name in names if name.endswith(".pid") and name[:-4].isdigit())


def read_vm(tree: Tree, vmid: int, company: t.Optional[Company] = None) -> t.Optional[Running]:
    """A running VM; None where it does not run (any more). `company` spares the pass over all processes of the host."""
    pid = pid_of_vm(tree, vmid)
    if pid is None:
        return None
    qmp = query_threads(tree.full(f"{RUN}/{vmid}.qmp"))
    scope = cgroup_of(tree, pid)
    inside = qemu_threads(tree, pid, qmp)
    in_scope = processes_in(tree, scope) if scope == scope_of_vm(vmid) else []
    beside = threads_beside(tree, vmid, pid, in_scope, company or read_company(tree))
    if not inside:
        return None
    return Running(
        vmid=vmid,
        type="qemu",
        pid=pid,
        started=start_of(tree, pid),
        scope=None if scope is None else read_scope(tree, scope),
        threads=tuple(sorted(inside + beside, key=lambda x: (ROLES.index(x.role), x.vcpu or 0, x.tid))),
        ids_from="names" if qmp is None else "qmp",
        memory_mib=read_memory(tree, pid, scope if in_scope else None),
    )


def pid_of_vm(tree: Tree, vmid: int) -> t.Optional[int]:
    """The process of a VM by its pid file; None where there is none, or the pid belongs to something else by now.

    PVE starts QEMU with `-id VMID` and `-pidfile`, inside a scope of the VM's name; each of them is proof enough.
    """
    text = tree.text(f"{RUN}/{vmid}.pid") or ""
    if not text.isdigit():
        return None
    pid = int(text)
    words = command_line(tree, pid)
    pairs = zip(words, words[1:])
    if any((key == "-id" and value == str(vmid)) or (key == "-pidfile" and value.endswith(f"/{vmid}.pid")) for key, value in pairs):
        return pid
    return pid if cgroup_of(tree, pid) == scope_of_vm(vmid) else None


def start_of(tree: Tree, pid: int) -> t.Optional[int]:
    """When a process started, in clock ticks after the host's boot; None once it is gone."""
    fields = (tree.text(f"proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(fields[_STARTED]) if len(fields) > _STARTED else None


def still_runs(tree: Tree, guest: Running) -> bool:
    """Whether it is still the same process."""
    return guest.pid is not None and start_of(tree, guest.pid) == guest.started


def read_container(tree: Tree, vmid: int) -> t.Optional[Running]:
    """A running container; None where it has no process (any more)."""
    path = scope_of_container(vmid)
    numbers: t.Dict[int, int] = {}
    pids = processes_in(tree, path)
    for pid in pids:
        mask = read_mask(tree, pid)
        if mask is not None:
            numbers[mask] = numbers.get(mask, 0) + 1
    if not numbers:
        return None
    first = next((pid for pid in pids if _IN_NAMESPACES.search(tree.text(f"proc/{pid}/status") or "")), None)
    return Running(
        vmid=vmid,
        type="lxc",
        pid=first,
        started=None if first is None else start_of(tree, first),
        scope=read_scope(tree, path),
        processes=tuple(sorted(numbers.items())),
        memory_mib=read_memory(tree, None, path),
    )
