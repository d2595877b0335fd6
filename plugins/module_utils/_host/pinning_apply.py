# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making one running VM agree with its target: its scope, then each thread; all of it put back where a step fails.

The scope comes first, because a thread can only be given CPUs that its cgroup has, and because it holds every thread that
the guest may get meanwhile. Threads come and go: passes are repeated until one finds nothing to do.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from .._engine.cpuset import format_cpulist
from .._engine.errors import SettingError
from .files import Tree
from .hands import Hands, Unanswered
from .pinning import Target, Work, check_available, threads_to_set, work_for
from .qmp import QmpThreads
from .runtime import Running, still_runs
from .scope import CGROUP, Scope, cgroup_of, processes_in, read_scope, scope_of_vm, settled_scope, unit_of_vm
from .threads import Company, Thread, qemu_threads, threads_beside

_PASSES = 20


@dataclass
class VmJob:
    """A running VM, what it shall have, and what that takes. `rooms` and `available` as in pinning.work_for."""

    guest: Running
    target: Target
    rooms: t.Dict[int, int]
    available: int
    work: Work

    @property
    def unit(self) -> str:
        return unit_of_vm(self.guest.vmid)

    @property
    def masks(self) -> t.Set[int]:
        """All masks that threads get, those of processes with less room included."""
        masks = self.target.masks
        return {*masks, *(mask & room for mask in masks for room in self.rooms.values() if mask & room)}


def prepare(tree: Tree, guest: Running, target: Target) -> VmJob:
    """Look at what a VM has. Raises SettingError where its target is out of reach."""
    if guest.scope is None or guest.scope.path != scope_of_vm(guest.vmid):
        raise SettingError(
            f"Guest {guest.vmid} runs in the cgroup {guest.scope.path if guest.scope else '/'} and not in {scope_of_vm(guest.vmid)}; "
            "stop it and start it through PVE, on a host with cgroup v2."
        )
    available = read_scope(tree, "qemu.slice").effective or 0
    missing = target.scope & ~available
    check_available(target, available, partition_with(tree, missing) if missing else None)
    rooms = _rooms(tree, guest)
    return VmJob(guest, target, rooms, available, work_for(target, guest, rooms, available))


def _rooms(tree: Tree, guest: Running) -> t.Dict[int, int]:
    """What their cgroups leave to the processes that work for the guest outside its scope, by pid."""
    rooms = {}
    for pid in {thread.pid for thread in guest.threads} - {guest.pid}:
        path = cgroup_of(tree, pid)
        if path is not None and guest.scope is not None and path != guest.scope.path:
            effective = read_scope(tree, path).effective
            if effective is not None:
                rooms[pid] = effective
    return rooms


def partition_with(tree: Tree, cpus: int) -> t.Optional[str]:
    """The cgroup that holds some of `cpus` as a partition of its own (admin-guide/cgroup-v2.rst); None where none is near the root."""
    outer = tree.folders(CGROUP)
    for path in [*outer, *(f"{above}/{name}" for above in outer for name in tree.folders(f"{CGROUP}/{above}"))]:
        kind = tree.word(f"{CGROUP}/{path}/cpuset.cpus.partition")
        if kind in ("root", "isolated") and (tree.cpulist(f"{CGROUP}/{path}/cpuset.cpus.effective") or 0) & cpus:
            return path
    return None


def carry_out(tree: Tree, hands: Hands, job: VmJob, company: Company) -> bool:
    """Do the work of a job and read it back; False where the guest stopped meanwhile. `company` as the host was read.

    Raises SettingError with everything as it was before.
    """
    if not still_runs(tree, job.guest):
        return False
    try:
        if job.work.scope is not None:
            hands.set_property(job.unit, "AllowedCPUs", format_cpulist(job.work.scope))
            _check_scope(tree, job)
        _settle_threads(tree, hands, job, company)
    except SettingError as e:
        if not still_runs(tree, job.guest):
            return False
        late = isinstance(e, Unanswered)
        _put_back(tree, hands, job, company, late)
        raise type(e)(
            f"{e} Guest {job.guest.vmid} {'is put back as it was once systemd answers' if late else 'was put back as it was'}."
        ) from None
    return still_runs(tree, job.guest)


def _check_scope(tree: Tree, job: VmJob) -> None:
    """Wait until the scope's cpuset is what was asked for. Raises SettingError where it is not, or the kernel cut it silently."""
    wanted = job.target.scope
    scope = _settled(tree, job, wanted)
    if scope.asked == wanted and scope.effective == wanted:
        return
    missing = wanted & ~(scope.effective or 0)
    holder = partition_with(tree, missing)
    where = f"the cpuset partition {holder} of somebody else has the others" if holder else "another cgroup has the others"
    raise SettingError(
        f"The scope of guest {job.guest.vmid} got CPUs {format_cpulist(scope.effective or 0) or 'none'} instead of "
        f"{format_cpulist(wanted)}, because {where}; release them, or plan again."
    )


def _settle_threads(tree: Tree, hands: Hands, job: VmJob, company: Company) -> None:
    """Set every thread's mask until a pass over all of them finds nothing to do. Raises SettingError."""
    todo = job.work.threads if job.work.scope is None else ()
    for _pass in range(_PASSES):
        for thread, mask in todo:
            hands.set_mask(thread, mask)
        todo = threads_to_set(job.target, threads_now(tree, job.guest, company), job.rooms)
        if not todo:
            return
    thread, mask = todo[0]
    raise SettingError(
        f"Thread {thread.tid} ({thread.name}) of guest {job.guest.vmid} keeps having CPUs {format_cpulist(thread.cpus)} instead of "
        f"{format_cpulist(mask)}; stop what else sets it."
    )


def threads_now(tree: Tree, guest: Running, company: Company) -> t.List[Thread]:
    """The threads that work for the guest at this moment, with their roles as they were told before; [] once it is gone."""
    if guest.pid is None or not still_runs(tree, guest):
        return []
    told = None
    if guest.ids_from == "qmp":
        told = QmpThreads(
            {thread.tid: thread.vcpu for thread in guest.threads if thread.vcpu is not None},
            {thread.tid: thread.name for thread in guest.threads if thread.role == "iothread"},
        )
    in_scope = processes_in(tree, scope_of_vm(guest.vmid))
    return qemu_threads(tree, guest.pid, told) + threads_beside(tree, guest.vmid, guest.pid, in_scope, company)


def _put_back(tree: Tree, hands: Hands, job: VmJob, company: Company, late: bool) -> None:
    """As well as possible: the scope's cpuset (all that it had, where nobody had asked for one), then each thread's mask.

    `late`: systemd may still give the scope what it was asked for. What is asked for now comes after that, so it is asked in any case.
    """
    now = read_scope(tree, scope_of_vm(job.guest.vmid))
    before = job.guest.scope.to_restore if job.guest.scope else 0
    differs = now.asked != before and (bool(now.asked) or now.effective != before)
    if before and job.work.scope is not None and (late or differs) and still_runs(tree, job.guest):
        with contextlib.suppress(SettingError):
            hands.set_property(job.unit, "AllowedCPUs", format_cpulist(before))
            _settled(tree, job, before)
    masks = {thread.tid: thread.cpus for thread in job.guest.threads}
    for thread in threads_now(tree, job.guest, company):
        cpus = masks.get(thread.tid, masks.get(thread.pid, thread.cpus))
        if thread.cpus != cpus:
            with contextlib.suppress(SettingError):
                hands.set_mask(thread, cpus)


def _settled(tree: Tree, job: VmJob, asked: int) -> Scope:
    return settled_scope(tree, scope_of_vm(job.guest.vmid), asked, lambda: still_runs(tree, job.guest))
