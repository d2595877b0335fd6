# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cgroup in which a guest's processes run, and the CPUs that it leaves them (kernel: admin-guide/cgroup-v2.rst).

A VM of PVE is in `qemu.slice/VMID.scope`, a container in `lxc/VMID`. Paths of cgroups are relative to the mount.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from .files import Tree

CGROUP = "sys/fs/cgroup"
_PATIENCE_S = 10.0
_IN_FORCE_S = 1.0
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Scope:
    """CPU sets as masks.

    `asked` is what somebody wrote into cpuset.cpus: 0 where nobody has, None where the cgroup has no such file.
    `effective` are the CPUs that its processes can have (cpuset.cpus.effective of itself or, where it has no cpuset, of the
    nearest cgroup above); None where no file says so.
    """

    path: str
    asked: t.Optional[int]
    effective: t.Optional[int]

    @property
    def to_restore(self) -> int:
        """What to ask for so that it is again as it is: all that it has, where nobody has asked; 0 where that is not known."""
        return self.asked or self.effective or 0


def unit_of_vm(vmid: int) -> str:
    return f"{vmid}.scope"


def scope_of_vm(vmid: int) -> str:
    return f"qemu.slice/{unit_of_vm(vmid)}"


def scope_of_container(vmid: int) -> str:
    return f"lxc/{vmid}"


def cgroup_of(tree: Tree, pid: int) -> t.Optional[str]:
    """The cgroup (version 2) of a process; None where it is gone or the host has none."""
    for line in (tree.text(f"proc/{pid}/cgroup") or "").splitlines():
        if line.startswith("0::"):
            return line[3:].strip("/")
    return None


def read_scope(tree: Tree, path: str) -> Scope:
    """The CPU sets of a cgroup. Raises FactsError for garbage in its files."""
    effective = None
    for above in _upwards(path):
        effective = tree.cpulist(f"{above}/cpuset.cpus.effective")
        if effective is not None:
            break
    return Scope(path, tree.cpulist(f"{CGROUP}/{path}/cpuset.cpus"), effective)


def settled_scope(tree: Tree, path: str, asked: int, worth_it: t.Callable[[], bool]) -> Scope:
    """The CPU sets of a cgroup once systemd has written `asked` into it, or as they are after a while, or once it is not `worth_it`."""
    await_cpuset(tree, f"{CGROUP}/{path}/cpuset.cpus", asked, worth_it)
    return read_scope(tree, path)


def await_cpuset(tree: Tree, path: str, asked: int, worth_it: t.Callable[[], bool]) -> None:
    """Wait until a file of a cpuset has what systemd was asked for, and until that is in force; not long, nor where it is not `worth_it`
    any more.

    systemd writes it after it has answered, and the kernel shows what was written a moment before what comes of it (kernel/cgroup/cpuset.c,
    update_cpumask). What comes of it may stay less than that, as a partition of somebody else may have the rest.
    """
    _await(lambda: tree.cpulist(path) == asked, worth_it, _PATIENCE_S)
    _await(lambda: tree.cpulist(f"{path}.effective") in (asked, None), worth_it, _IN_FORCE_S)


def _await(done: t.Callable[[], bool], worth_it: t.Callable[[], bool], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not done() and time.monotonic() < end and worth_it():
        time.sleep(_PAUSE_S)


def _upwards(path: str) -> t.Iterator[str]:
    """The folder of the cgroup and of those above it, up to the root."""
    parts = path.split("/")
    for length in range(len(parts), -1, -1):
        yield "/".join([CGROUP, *parts[:length]])


def processes_in(tree: Tree, path: str) -> t.List[int]:
    """The ids of all processes in a cgroup and those below it, ascending; [] where there is no such cgroup."""
    return sorted(_processes_below(tree, f"{CGROUP}/{path}"))


def _processes_below(tree: Tree, folder: str) -> t.Iterator[int]:
    for word in tree.words(f"{folder}/cgroup.procs") or []:
        if word.isdigit() and word != "0":  # 0 stands for a process that this process cannot see (another PID namespace)
            yield int(word)
    for name in tree.folders(folder):
        yield from _processes_below(tree, f"{folder}/{name}")


def containers(tree: Tree) -> t.List[int]:
    """The ids of the containers that have a cgroup, ascending."""
    return sorted(int(name) for name in tree.folders(f"{CGROUP}/lxc") if name.isdigit())
