# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads that work for a VM: what each does, and on which CPUs it may run (kernel: filesystems/proc.rst).

From kernel 6.4 on the vhost workers are threads of QEMU, before that kernel threads of their own, named vhost-PID
(kernel commit e297cd54b3f8). Helpers are processes beside QEMU, such as swtpm and virtiofsd. Threads come and go: one
that vanishes while it is read is not reported.

Workers of io_uring are threads of QEMU too (io_uring/io-wq.c and sqpoll.c: iou-wrk-TID, iou-sqp-TID). Each serves the thread of that
id and starts with its CPUs. Before kernel 6.3 nobody may move them (kernel commit 01e68ce08a30).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .files import Tree
from .qmp import QmpThreads

ROLES = ("vcpu", "emulator", "iothread", "vhost", "helper")

_VCPU_NAME = re.compile(r"^CPU (\d+)/", re.ASCII)  # qemu_thread_create in accel/kvm/kvm-accel-ops.c and accel/tcg
_NAME = re.compile(r"^Name:[ \t]*(.*)$", re.MULTILINE)
_CPUS = re.compile(r"^Cpus_allowed_list:\s*(\S+)$", re.MULTILINE)
_PARENT = re.compile(r"^PPid:\s*(\d+)$", re.MULTILINE)
_VHOST_NAME = re.compile(r"^vhost-(\d+)$", re.ASCII)
_HELPER_NAMES = ("swtpm", "virtiofsd")
_IO_WORKER = re.compile(r"^iou-(?:wrk|sqp)-(\d+)$", re.ASCII)
_KTHREADD = 2
_NO_SETAFFINITY = 0x04000000  # PF_NO_SETAFFINITY in include/linux/sched.h
_FLAGS = 9 - 3  # flags is field 9 of /proc/PID/stat; the name before field 3 may hold blanks and brackets


@dataclass(frozen=True)
class Thread:
    """`cpus` is the mask that the kernel holds the thread to, which is never wider than its cgroup's; `pid` its process.

    `vcpu`: the number of the vCPU that it runs or, as a worker of io_uring, serves. `fixed`: the kernel lets nobody move it.
    """

    tid: int
    pid: int
    name: str
    role: str
    cpus: int
    vcpu: t.Optional[int] = None
    fixed: bool = False


def read_thread_ids(tree: Tree, pid: int) -> t.List[int]:
    """The ids of a process's threads, ascending; [] once it is gone."""
    return tree.numbered(f"proc/{pid}/task", "") or []


def read_mask(tree: Tree, pid: int, tid: t.Optional[int] = None) -> t.Optional[int]:
    """The CPUs that a process's main thread, or the thread `tid` of it, may run on; None once it is gone."""
    status = tree.text(f"proc/{pid}/status" if tid is None else f"proc/{pid}/task/{tid}/status")
    return None if status is None else _mask(tree, status, pid)


def _mask(tree: Tree, status: str, pid: int) -> t.Optional[int]:
    found = _CPUS.search(status)
    return tree.as_cpulist(found.group(1), f"proc/{pid}/status") if found else None


def qemu_threads(tree: Tree, pid: int, qmp: t.Optional[QmpThreads]) -> t.List[Thread]:
    """The threads inside a QEMU process, by id. Without an answer of QMP their names tell the vCPUs and I/O threads."""

    def role(tid: int, name: str) -> t.Tuple[str, t.Optional[int]]:
        if qmp is not None and tid in qmp.vcpus:
            return "vcpu", qmp.vcpus[tid]
        if qmp is not None and tid in qmp.iothreads:
            return "iothread", None
        return _role_of_name(name, qmp is not None)

    return _threads(tree, pid, role)


def _role_of_name(name: str, rest: bool) -> t.Tuple[str, t.Optional[int]]:
    """`rest`: QMP has named the vCPUs and I/O threads already, so that a name no longer makes one."""
    if _VHOST_NAME.match(name):
        return "vhost", None
    vcpu = _VCPU_NAME.match(name)
    if vcpu and not rest:
        return "vcpu", int(vcpu.group(1))
    # The monitor's own I/O thread (`IO mon_iothread`) serves no device.
    return ("iothread" if name.startswith("IO ") and name != "IO mon_iothread" and not rest else "emulator"), None


def _threads(tree: Tree, pid: int, role: t.Callable[[int, str], t.Tuple[str, t.Optional[int]]]) -> t.List[Thread]:
    found: t.Dict[int, t.Tuple[str, int]] = {}
    for tid in read_thread_ids(tree, pid):
        status = tree.text(f"proc/{pid}/task/{tid}/status") or ""
        name, cpus = _NAME.search(status), _mask(tree, status, pid)
        if name is not None and cpus is not None:
            found[tid] = name.group(1), cpus
    threads = []
    for tid, (text, cpus) in found.items():
        served = _served_by(tid, found)
        what, vcpu = role(served, found[served][0])
        if served != tid and what == "vcpu":
            what = "iothread"
        fixed = text.startswith(("iou-", "vhost-")) and is_fixed(tree, pid, tid)
        threads.append(Thread(tid, pid, text, what, cpus, vcpu, fixed))
    return threads


def _served_by(tid: int, names: t.Mapping[int, t.Tuple[str, int]]) -> int:
    """The thread that a worker of io_uring works for; of any other one itself."""
    for _link in range(2):  # a polling thread (sqp), which serves one of QEMU's, can have workers of its own
        owner = _IO_WORKER.match(names[tid][0])
        if owner is None or int(owner.group(1)) not in names:
            break
        tid = int(owner.group(1))
    return tid


def is_fixed(tree: Tree, pid: int, tid: int) -> bool:
    """Whether the kernel refuses to change a thread's CPUs for everybody."""
    fields = (tree.text(f"proc/{pid}/task/{tid}/stat") or "").rpartition(")")[2].split()
    return len(fields) > _FLAGS and fields[_FLAGS].isdigit() and bool(int(fields[_FLAGS]) & _NO_SETAFFINITY)


@dataclass(frozen=True)
class Company:
    """Processes of a host that may work for guests: vhost kernel threads by QEMU's pid, and helpers with their command lines."""

    vhost: t.Mapping[int, t.Tuple[int, ...]]
    helpers: t.Mapping[int, t.Tuple[str, ...]]


def read_company(tree: Tree) -> Company:
    """One pass over all processes, for all guests of a host."""
    vhost: t.Dict[int, t.Tuple[int, ...]] = {}
    helpers: t.Dict[int, t.Tuple[str, ...]] = {}
    for pid in tree.numbered("proc", "") or []:
        name = tree.text(f"proc/{pid}/comm") or ""
        owner = _VHOST_NAME.match(name)
        if owner and _is_kernel_thread(tree, pid):
            vhost[int(owner.group(1))] = (*vhost.get(int(owner.group(1)), ()), pid)
        elif name in _HELPER_NAMES:
            helpers[pid] = command_line(tree, pid)
    return Company(vhost, helpers)


def _is_kernel_thread(tree: Tree, pid: int) -> bool:
    parent = _PARENT.search(tree.text(f"proc/{pid}/status") or "")
    return parent is not None and int(parent.group(1)) == _KTHREADD


def command_line(tree: Tree, pid: int) -> t.Tuple[str, ...]:
    """The words of a process's command line; () once it is gone, and for kernel threads."""
    text = tree.text(f"proc/{pid}/cmdline")
    return tuple(text.split("\0")) if text else ()


def threads_beside(tree: Tree, vmid: int, pid: int, in_scope: t.Iterable[int], company: Company) -> t.List[Thread]:
    """The threads that work for a VM outside its QEMU process `pid`: vhost kernel threads, then helper processes.

    Helpers are the other processes in the VM's scope (`in_scope`), and those of `company` whose command line names it.
    """
    vhost = company.vhost.get(pid, ())
    named = [helper for helper, words in company.helpers.items() if _names_vm(words, vmid)]
    pids = {*vhost, *named, *in_scope} - {pid}
    workers = [thread for other in sorted(pids & {*vhost}) for thread in _threads(tree, other, lambda _tid, _name: ("vhost", None))]
    helpers = [thread for other in sorted(pids - {*vhost}) for thread in _threads(tree, other, lambda _tid, _name: ("helper", None))]
    return workers + helpers


def _names_vm(words: t.Iterable[str], vmid: int) -> bool:
    """Whether a helper's command line has a file of the VM: `/run/qemu-server/101.swtpm`, `.../virtiofsd/vm101-fs0.sock`."""
    pattern = re.compile(rf"/qemu-server/(?:virtiofsd/)?(?:vm)?{vmid}(?!\d)")
    return any(pattern.search(word) for word in words)
