# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module guest_pinning does, from its options to its result.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from .._engine.cpuset import format_cpulist, format_known
from .._engine.errors import CorepinError, SettingError
from .container_cpuset import ContainerJob, carry_out_container, config_path, prepare_container, prepare_release, remove_half_written
from .files import Tree
from .hands import Hands, Unanswered
from .housekeeping import note_units, set_unit, shown_unit, units_to_set
from .kept import FOLDER, alone
from .memory_move import Moved
from .memory_progress import Progress
from .memory_rounds import carry_out_all
from .memory_work import MemoryWork, all_memory_nodes, memory_job
from .pin_wishes import Wishes, wishes_of
from .pinning import Target, fixed_warning, shown_after, shown_before, tighter, warnings_for
from .pinning_apply import VmJob, carry_out, prepare
from .pinning_kept import Kept
from .pinning_text import Row, left_over, lines_of, memory_row, row_of
from .runtime import Running, read_running
from .scope import read_scope, scope_of_vm
from .threads import Company, read_company

Result = t.Dict[str, t.Any]


@dataclass
class Run:
    """One run over the guests of a host: what there is, what is remembered, and what becomes of it."""

    tree: Tree
    hands: Hands
    wishes: Wishes
    kept: Kept
    say: t.Callable[[str], None]
    rows: t.List[Row] = field(default_factory=list)
    units: t.List[Row] = field(default_factory=list)
    warnings: t.List[str] = field(default_factory=list)
    failures: t.List[str] = field(default_factory=list)
    failed_units: t.List[str] = field(default_factory=list)
    vms: t.List[t.Tuple[Row, VmJob, t.Optional[MemoryWork]]] = field(default_factory=list)
    containers: t.List[t.Tuple[Row, ContainerJob]] = field(default_factory=list)
    services: t.Dict[str, int] = field(default_factory=dict)
    known: t.Set[int] = field(default_factory=set)
    company: Company = field(default_factory=lambda: Company({}, {}))

    # --- looking --------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out what every guest and service lacks. Changes nothing."""
        everybody = {*self.wishes.targets, *self.wishes.release}
        running = {guest.vmid: guest for guest in read_running(self.tree, everybody)} if everybody else {}
        for vmid in sorted(everybody):
            target = self.wishes.targets.get(vmid)
            row = row_of(vmid, target)
            self.rows.append(row)
            try:
                self._look_at(row, vmid, target, running.get(vmid))
            except CorepinError as e:
                self._failed(row, str(e))
        try:
            self._look_at_services()
        except SettingError as e:
            self.failures.append(str(e))

    def _look_at(self, row: Row, vmid: int, target: t.Optional[Target], guest: t.Optional[Running]) -> None:
        is_container = guest.type == "lxc" if guest else self.tree.exists(config_path(self.wishes.node, vmid))
        if is_container:
            row["type"] = "lxc"
            self._look_at_container(row, vmid, target, guest)
        elif guest is None:
            row.update(skipped=True, reason="it does not run here")
        elif target is None and self.kept.of(guest) is None:
            row.update(type="qemu", skipped=True, reason="it was started anew and is not touched since")
        else:
            row["type"] = "qemu"
            self._look_at_vm(row, target or self.wishes.release[vmid], guest)

    def _look_at_vm(self, row: Row, target: Target, guest: Running) -> None:
        job = prepare(self.tree, guest, target)
        entry = self.kept.of(guest)
        memory = memory_job(self.tree, guest, target.cells, entry, self.wishes.memory_move)
        row.update(changed=bool(job.work) or bool(memory), before=shown_before(guest), after=shown_after(target, guest, job.rooms))
        if memory and memory.narrow is not None:
            self._show_held(row, memory.has, memory.narrow)
        if memory and memory.moves:
            row["memory"] = memory_row(memory, None)
        self.warnings += warnings_for(target, tighter(target, guest, job.rooms, self.kept.masks(guest)), self.wishes.isolated)
        if job.work:
            self.warnings += fixed_warning(target, guest)
        if memory and memory.why_not:
            self.warnings.append(f"The memory of guest {guest.vmid} stays where it is: {memory.why_not}.")
        self.vms.append((row, job, memory))

    def _show_held(self, row: Row, before: int, after: int) -> None:
        for side, numa_nodes in (("before", before), ("after", after)):
            row[side]["memory_nodes"] = format_cpulist(numa_nodes or all_memory_nodes(self.tree))

    def _look_at_container(self, row: Row, vmid: int, target: t.Optional[Target], guest: t.Optional[Running]) -> None:
        entry = self.kept.containers.get(str(vmid))
        if target is None:
            if entry is None:
                return
            job = prepare_release(self.tree, self.wishes.node, vmid, guest, entry, self.wishes.release[vmid])
        else:
            job = prepare_container(self.tree, self.wishes.node, vmid, guest, target, entry["set"] if entry else ())
        if job.warning:
            self.warnings.append(job.warning)
        after = job.live if job.live is not None else job.now
        row.update(
            changed=bool(job),
            before={"scope": format_known(job.now), "threads": {}, "stored": job.stored},
            after={"scope": format_known(after), "threads": {}, "stored": job.wanted},
        )
        self.containers.append((row, job))

    def _look_at_services(self) -> None:
        self.services = units_to_set(self.tree, self.wishes.services, self.kept.units)
        for unit, cpus in self.services.items():
            self.units.append({"unit": unit, "before": shown_unit(self.tree, unit), "after": format_cpulist(cpus)})

    # --- doing ----------------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Do what is to be done, guest by guest; what fails is put back, and the others go on. Raises SettingError for the memory file."""
        on_disk = self.kept.copy()
        self.known = {job.guest.vmid for _row, job, _memory in self.vms if self.kept.of(job.guest)}
        self._intend()
        if self.kept != on_disk:
            self.kept.write(self.tree)
            on_disk = self.kept.copy()
        if any(job.work or memory for _row, job, memory in self.vms):
            self.company = read_company(self.tree)
        for row, job in self.containers:
            self._act_on_container(row, job)
        vms = sorted(self.vms, key=lambda entry: bool(entry[1].target.pins))
        for row, vm, _memory in vms:
            self._act_on_cpus(row, vm)
        for unit, cpus in self.services.items():
            self._act_on_unit(unit, cpus)
        self._act_on_memory([entry for entry in vms if not entry[0]["failed"] and not entry[0]["skipped"]])
        self.kept.forget(self.tree, self.wishes.node)
        if self.kept != on_disk:
            self.kept.write(self.tree)

    def _intend(self) -> None:
        """Note what is about to be set, for the disk."""
        for _row, job, memory in self.vms:
            if job.work or memory or self.kept.of(job.guest):
                entry = self.kept.enter(job.guest, job.masks, more=bool(job.work))
                entry["memory_nodes"] = sorted({*entry["memory_nodes"], *(memory.settings if memory else ())})
        for row, container in self.containers:
            if row["class"] is not None and (container or str(container.vmid) in self.kept.containers):
                self.kept.enter_container(container)
        note_units(self.tree, self.kept.units, self.services, keep=self.wishes.services is not None)
        if self.wishes.targets and (self.kept.guests or self.kept.containers or self.kept.units):
            self.kept.reserved = format_cpulist(self.wishes.reserved)

    def _act_on_cpus(self, row: Row, job: VmJob) -> None:
        guest = job.guest
        try:
            if job.work and not carry_out(self.tree, self.hands, job, self.company):
                self._stopped(row)
            elif self.kept.of(guest):
                self.kept.enter(guest, job.masks, more=False)
        except SettingError as e:
            self._failed(row, str(e))
            as_before = read_scope(self.tree, scope_of_vm(guest.vmid)).effective == (guest.scope and guest.scope.effective)
            if guest.vmid not in self.known and as_before and not isinstance(e, Unanswered):
                self.kept.guests.pop(str(guest.vmid), None)

    def _act_on_memory(self, vms: t.Sequence[t.Tuple[Row, VmJob, t.Optional[MemoryWork]]]) -> None:
        """After the CPUs of all guests, because moving takes long. The CPUs stay as planned where it fails."""
        deadline = time.monotonic() + self.wishes.memory_timeout_s
        works = [(job.guest, memory) for _row, job, memory in vms if memory]
        done = carry_out_all(self.tree, self.hands, works, deadline, Progress(self.say))
        for row, job, memory in vms:
            moved = done.get(job.guest.vmid)
            if memory and moved:
                self._note_memory(row, job, memory, moved)
            elif memory:
                self._stopped(row)
            if row["class"] is None and not row["skipped"] and not row["failed"]:
                self.kept.guests.pop(str(job.guest.vmid), None)

    def _note_memory(self, row: Row, job: VmJob, memory: MemoryWork, moved: Moved) -> None:
        row["changed"] = bool(job.work) or moved.moved_mib > 0 or moved.held != memory.has
        if memory.narrow is not None:
            self._show_held(row, memory.has, moved.held)
        if memory.moves:
            row["memory"] = memory_row(memory, moved)
        entry = self.kept.of(job.guest)
        if entry is not None:
            entry["left_mib"] = {str(numa_node): mib for numa_node, mib in moved.stuck_mib.items()} if moved.finished else {}
            if not moved.failure:
                entry["memory_nodes"] = [text for text in entry["memory_nodes"] if text == format_cpulist(moved.held)]
        if moved.failure:
            row.update(failed=True, reason=f"{moved.failure} The CPUs of guest {job.guest.vmid} are as planned.")
            self.failures.append(row["reason"])
        else:
            self.warnings += left_over(job.guest.vmid, moved)

    def _act_on_container(self, row: Row, job: ContainerJob) -> None:
        try:
            remove_half_written(self.tree, job)
            if job and not carry_out_container(self.tree, self.hands, job):
                self._stopped_container(row, job)
            if row["class"] is None:
                self.kept.containers.pop(str(job.vmid), None)
            elif str(job.vmid) in self.kept.containers:
                self.kept.settle_container(job)
        except SettingError as e:
            self._failed(row, str(e))

    def _act_on_unit(self, unit: str, cpus: int) -> None:
        try:
            set_unit(self.tree, self.hands, unit, cpus, keep=self.wishes.services is not None)
            if self.wishes.services is None:
                del self.kept.units[unit]
            else:
                self.kept.units[unit]["set"] = [format_cpulist(cpus)]
        except SettingError as e:
            self.failures.append(str(e))
            self.failed_units.append(str(e))
            self.units = [row for row in self.units if row["unit"] != unit]

    def _stopped(self, row: Row) -> None:
        row.update(skipped=True, changed=False, reason="it stopped meanwhile", before=None, after=None)
        row.pop("memory", None)

    def _stopped_container(self, row: Row, job: ContainerJob) -> None:
        if job.stored == job.wanted:
            self._stopped(row)
            return
        row["after"]["scope"] = row["before"]["scope"]
        self.warnings.append(f"Container {job.vmid} stopped meanwhile, so that only the cpuset of its next start was set.")

    def _failed(self, row: Row, message: str) -> None:
        row.pop("memory", None)
        row.update(failed=True, changed=False, reason=message, after=row["before"])
        self.failures.append(message)

    @property
    def changes(self) -> bool:
        """Whether anything was changed or, before it acts, has to be."""
        return any(row["changed"] for row in self.rows) or bool(self.units)

    def outcome(self) -> t.Tuple[Result, t.List[str], t.List[str]]:
        """What RETURN of the module says, warnings and failures."""
        lines = lines_of(self.rows, self.units, self.failed_units)
        result = {"changed": self.changes, "node": self.wishes.node, "guests": self.rows, "units": self.units, "lines": lines}
        return result, self.warnings, self.failures


def pin_guests(
    tree: Tree,
    hands: Hands,
    options: t.Mapping[str, t.Any],
    plan: t.Optional[t.Mapping[str, t.Any]],
    check: bool,
    say: t.Callable[[str], None] = lambda _sentence: None,
    wait_s: float = 10.0,
) -> t.Tuple[Result, t.List[str], t.List[str]]:
    """Make what runs on the host agree with `plan` as `options` say (node, state, memory_move, memory_timeout, housekeeping).

    With `check` only say what would change. `say` gets a sentence now and then while memory moves; `wait_s`: how long to wait for
    another run on this host. Returns the result, warnings, and a sentence for each thing that failed, everything else being done.
    Raises PlanError, FactsError and SettingError with nothing changed.
    """

    def look() -> Run:
        kept = Kept.read(tree)
        run = Run(tree, hands, wishes_of(tree, options, plan, kept), kept, say)
        run.look()
        return run

    if check or not tree.exists(FOLDER):  # it is only made where there is something to do
        run = look()
        if check or not run.changes:
            return run.outcome()
    with alone(tree, wait_s):
        run = look()  # another run may have ended since
        run.act()
    return run.outcome()
