# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each thread and each scope of a running guest shall have, by the plan. Decides, and touches nothing.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import count, format_cpulist, mask_of, parse_cpulist, parse_ordered
from .._engine.errors import PlanError, SettingError
from .._engine.guest import Cell, cell_from_mapping
from .runtime import Running
from .threads import ROLES, Thread

Shown = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Target:
    """What one guest shall have while it runs. CPU sets are masks.

    `own`: its CPUs. `pins`: the CPU of each vCPU, by vCPU number; () lets all of them float over `own`. `aside`: the CPUs of
    its emulator and helper threads; I/O threads and vhost workers, which move the guest's data, stay on `own`. `cpu_class` None:
    nobody places it any more. `warning`: what is to be said of its CPUs, "" for nothing.
    """

    vmid: int
    cpu_class: t.Optional[str]
    own: int
    pins: t.Tuple[int, ...] = ()
    aside: int = 0
    cells: t.Tuple[Cell, ...] = ()
    warning: str = ""

    @property
    def scope(self) -> int:
        """What the guest's scope has to hold: every thread's CPUs."""
        return self.own | self.aside

    @property
    def masks(self) -> t.Set[int]:
        """All masks that its threads get."""
        return {self.own, *([self.aside] if self.aside else []), *(1 << cpu for cpu in self.pins)}

    def of(self, thread: Thread) -> int:
        if thread.vcpu is not None and thread.vcpu < len(self.pins):
            return 1 << self.pins[thread.vcpu]
        return self.aside if self.aside and thread.role in ("emulator", "helper") else self.own


@dataclass(frozen=True)
class HostPlan:
    """A plan's word on one host: CPUs that it keeps for itself and that are open to shared guests (masks), and its guests.

    `left_alone`: guests that the plan places on another host, refuses or skips, so that what they have is left to them.
    """

    node: str
    fingerprint: t.Optional[str]
    reserved: int
    shared: int
    targets: t.Mapping[int, Target]
    left_alone: t.Collection[int]


def host_plan(plan: t.Mapping[str, t.Any], node: str) -> HostPlan:
    """What `plan` says of the host `node` (PVE's name of it). Raises PlanError."""
    pools = plan.get("pools")
    if pools is None:
        raise PlanError("The plan was made by an earlier version, which says nothing of running guests; make a new plan.")
    if node not in pools:
        raise PlanError(f"The plan says nothing of host {node}; give its name in PVE with node, or plan again with its facts.")
    reserved, shared = (parse_cpulist(pools[node][name]) for name in ("reserved", "shared"))
    here = [entry for entry in plan["placements"] if entry["node"] == node]
    unplaced = [*plan["refused"], *(entry for entry in plan.get("skipped", ()) if entry["rule"] != "no_rule")]
    return HostPlan(
        node=node,
        fingerprint=plan["hosts"].get(node),
        reserved=reserved,
        shared=shared,
        targets={int(entry["vmid"]): target_of(entry, reserved) for entry in here},
        left_alone=frozenset(int(entry["vmid"]) for entry in [*plan["placements"], *unplaced]) - {int(entry["vmid"]) for entry in here},
    )


def target_of(placement: t.Mapping[str, t.Any], reserved: int) -> Target:
    """One placement of a plan. Raises PlanError where it is of an earlier version."""
    missing = {"vcpu_pinning", "emulator"} - set(placement)
    if missing:
        raise PlanError(f"The plan does not say {min(missing)} of guest {placement['vmid']}; make a new plan.")
    cpus = parse_ordered(placement["cpus"])
    return Target(
        vmid=int(placement["vmid"]),
        cpu_class=placement["class"],
        own=mask_of(cpus),
        pins=tuple(cpus) if placement["vcpu_pinning"] else (),
        aside=reserved if placement["emulator"] == "reserved" else 0,
        cells=tuple(cell_from_mapping(cell) for cell in placement["numa_cells"]),
    )


@dataclass(frozen=True)
class Work:
    """What a running VM lacks: its scope's CPUs (None: has them), and the threads with other CPUs than they shall have."""

    scope: t.Optional[int]
    threads: t.Tuple[t.Tuple[Thread, int], ...]

    def __bool__(self) -> bool:
        return self.scope is not None or bool(self.threads)


def work_for(target: Target, guest: Running, rooms: t.Mapping[int, int], available: int) -> Work:
    """What has to be done for a VM. `rooms`: what the cgroups of processes outside its scope leave them, by pid (masks);
    `available`: what the cgroup above its scope has."""
    return Work(scope_to_set(target.scope, guest, available), threads_to_set(target, guest.threads, rooms))


def scope_to_set(wanted: int, guest: Running, available: int) -> t.Optional[int]:
    """The CPUs that the guest's cgroup still has to be given; None where it has just them, or needs no cpuset to have them."""
    scope = guest.scope
    if scope is None:
        return wanted
    unbounded = not scope.asked and wanted == available
    return None if scope.effective == wanted and (scope.asked == wanted or unbounded) else wanted


def threads_to_set(target: Target, threads: t.Iterable[Thread], rooms: t.Mapping[int, int]) -> t.Tuple[t.Tuple[Thread, int], ...]:
    pairs = ((thread, mask_for(target, thread, rooms)) for thread in threads)
    return tuple((thread, mask) for thread, mask in pairs if thread.cpus != mask)


def mask_for(target: Target, thread: Thread, rooms: t.Mapping[int, int]) -> int:
    """The CPUs of one thread: of a process outside the guest's scope as far as its own cgroup has them, else as they are.

    One that nobody may move keeps what it has.
    """
    if thread.fixed:
        return thread.cpus
    wanted = target.of(thread)
    if thread.pid not in rooms:
        return wanted
    return wanted & rooms[thread.pid] or thread.cpus


def check_available(target: Target, available: int, holder: t.Optional[str]) -> None:
    """Raises SettingError where the guest's scope could not have all its CPUs; `holder`: the cgroup that holds them as a partition."""
    missing = target.scope & ~available
    if not missing:
        return
    where = f"the cpuset partition {holder} of somebody else has them" if holder else "they are offline or kept from the guests' cgroups"
    raise SettingError(
        f"CPUs {format_cpulist(missing)} cannot be given to guest {target.vmid}, because {where}; release them, or plan again."
    )


def tighter(target: Target, guest: Running, rooms: t.Mapping[int, int], ours: t.Collection[int]) -> t.List[t.Tuple[Thread, int]]:
    """Threads that somebody else has held to fewer CPUs than they shall have, with these.

    What `ours` (masks) holds was set by an earlier run; what the whole process has is from its start.
    """
    common = {thread.cpus for thread in guest.threads if thread.tid == guest.pid}
    return [
        (thread, mask)
        for thread, mask in threads_to_set(target, guest.threads, rooms)
        if not thread.cpus & ~mask and thread.cpus not in ours and thread.cpus not in common
    ]


def warnings_for(target: Target, threads: t.Sequence[t.Tuple[Thread, int]], isolated: int) -> t.List[str]:
    """Sentences on threads that somebody else has bound, with what they get, and on floating over isolated CPUs by plan
    (kernel-parameters.txt, isolcpus)."""
    warnings = [target.warning] if target.warning else []
    warnings += [
        f"Thread {thread.tid} ({thread.name}) of guest {target.vmid} had been held to CPUs {format_cpulist(thread.cpus)} by somebody else; "
        f"it gets {format_cpulist(mask)}, as planned."
        for thread, mask in threads
    ]
    if target.cpu_class is None:
        return warnings
    floating = [mask for mask in (target.aside or target.own, 0 if target.pins else target.own) if mask & isolated and count(mask) > 1]
    if floating:
        warnings.append(
            f"Threads of guest {target.vmid} float over the isolated CPUs {format_cpulist(floating[0] & isolated)}, where the kernel moves "
            "none from CPU to CPU; set vcpu_pinning and emulator: reserved, or take these CPUs out of isolcpus."
        )
    return warnings


def fixed_warning(target: Target, guest: Running) -> t.List[str]:
    """A sentence on threads that nobody may move from where they are to where they shall be."""
    fixed = [thread.name for thread in guest.threads if thread.fixed and thread.cpus != target.of(thread)]
    if not fixed:
        return []
    return [f"The kernel lets nobody move threads of guest {guest.vmid} ({', '.join(fixed)}); its scope alone holds them."]


def shown(scope: t.Optional[int], threads: t.Iterable[t.Tuple[Thread, int]]) -> Shown:
    """For results: the scope's cpulist, and by role the cpulists of the threads, of vCPUs in their order, of others each once."""
    by_role: t.Dict[str, t.List[str]] = {}
    for role in ROLES:
        masks = [mask for thread, mask in threads if thread.role == role]
        if masks:
            by_role[role] = [format_cpulist(mask) for mask in (masks if role == "vcpu" else sorted(set(masks)))]
    return {"scope": None if scope is None else format_cpulist(scope), "threads": by_role}


def shown_before(guest: Running) -> Shown:
    return shown(guest.scope.effective if guest.scope else None, [(thread, thread.cpus) for thread in guest.threads])


def shown_after(target: Target, guest: Running, rooms: t.Mapping[int, int]) -> Shown:
    return shown(target.scope, [(thread, mask_for(target, thread, rooms)) for thread in guest.threads])
