# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the changes of a plan, or undo them: decide everything first, then go from host to host, and say what came of it.

`prepare` reads each guest once and settles what is to be done, so that check mode and a real run give the same results.
`carry_out` writes and restarts. Neither knows through which door it works, nor in which direction.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field, replace

from .._engine.errors import PlanError
from .._engine.guest_config import GuestConfig
from .changes import Change
from .errors import BusyError, ConflictError, LockedError, PveError, UncertainError
from .gates import Gate, Status, check_cluster, check_quorum, host_conflict, opened
from .reading import Door, offline_hosts
from .restart import Patience, RestartError, restart
from .steps import ApplyError, Outcome, Read, Step, conflict, make_step

READ_BACK_S = 15.0  # PVE carries out a request whose client has gone, after up to 10 s of waiting for the guest's lock
READ_BACK_PAUSE_S = 1.0
BUSY_TRIES = 3  # PVE waits 10 s for a guest's lock file each time, and has written nothing when it gives up


@dataclass(frozen=True)
class Terms:
    """On which terms a plan is carried out.

    cluster, hosts: the cluster's name and the fingerprints of its hosts as planned. fingerprints: those of now, None where
    nobody has read them. rolling: host after host, with a look at quorum and Ceph in between; canary: the guest to begin with.
    ceph: the worst health of Ceph to go on with, None for what it is before the first write.
    """

    cluster: t.Optional[str] = None
    hosts: t.Mapping[str, t.Optional[str]] = field(default_factory=dict)
    fingerprints: t.Optional[t.Mapping[str, t.Optional[str]]] = None
    skip_conflicts: bool = False
    rolling: bool = True
    canary: t.Optional[int] = None
    ceph: t.Optional[str] = None
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Prepared:
    """What is to be done: the steps in the order of the plan, all of them still to be carried out."""

    outcome: Outcome
    gate: t.Optional[Gate] = None
    managed: t.FrozenSet[int] = frozenset()


def prepare(door: Door, changes: t.Sequence[Change], terms: Terms) -> Prepared:
    """Read the guests of `changes` and settle each step; nothing is written.

    Raises PlanError or PveError where the plan as a whole must not be carried out: it was made for another cluster, the
    login may not do something, the cluster has no quorum, or (unless conflicts are skipped) a guest or host has changed.
    """
    status = door.read_status()
    warnings = check_cluster(status, terms.cluster, list(terms.hosts))
    offline = offline_hosts(status or ())
    reachable = [change for change in changes if change.node not in offline]
    read = door.read_guests([change.ref for change in reachable])
    steps = [
        make_step(change, read[change.vmid]) if change.vmid in read else Step(change).skip("its host is offline") for change in changes
    ]
    steps = _with_effects(door, steps)
    steps = _settle_conflicts(steps, read, terms)
    _refuse_lame_canary(steps, terms.canary)
    _refuse_whole(door, steps, status)
    gate, health = None, None
    if terms.rolling and any(step.acts for step in steps):
        gate, health, more = opened(door, status, terms.ceph)
        warnings += more
    managed = door.ha_managed() if any(step.restarts for step in steps) else frozenset()
    warnings += _down(door, steps)
    warnings += [f"{step.about} was skipped: {step.skipped}." for step in steps if step.skipped]
    return Prepared(Outcome(tuple(steps), (), tuple(warnings), (), health), gate, managed)


def _with_effects(door: Door, steps: t.Sequence[Step]) -> t.List[Step]:
    """When each change takes effect; PVE keeps what it cannot change on a running guest for the next start."""

    def undecided(step: Step) -> bool:
        return step.skipped is None and (step.to_do or (step.waits and step.change.restarts))

    running = door.running([step.change.ref for step in steps if undecided(step)])
    return [
        replace(step, effect=("restart" if step.change.restarts else "pending") if step.waits and running[step.change.vmid] else "now")
        if undecided(step)
        else step
        for step in steps
    ]


def _down(door: Door, steps: t.Sequence[Step]) -> t.List[str]:
    """Warnings about guests that ran when it was planned to restart them and do not run now: perhaps an earlier run was cut off."""
    done = [step.change.ref for step in steps if step.change.restarts and not step.acts and step.effect == "now"]
    running = door.running(done)
    return [
        f"Guest {ref.vmid} on {ref.node} ran when its restart was planned and does not run now; start it, unless it was stopped on purpose."
        for ref in done
        if not running[ref.vmid]
    ]


def _settle_conflicts(steps: t.Sequence[Step], read: t.Mapping[int, Read], terms: Terms) -> t.List[Step]:
    """Guests and hosts that are not as they were planned for: the plan as a whole stops, or these guests are skipped.

    While a plan is undone, a guest that somebody else has changed is always left to them.
    """
    conflicts: t.Dict[int, str] = {}
    fatal: t.Dict[int, str] = {}
    for step in steps:
        change = step.change
        host = host_conflict(change.node, terms.hosts, terms.fingerprints) if step.acts else None
        reason = host or conflict(step, read.get(change.vmid))
        if reason:
            conflicts[change.vmid] = reason
            if not terms.skip_conflicts and (host or not change.guarded_by_values):
                fatal[change.vmid] = reason
    if fatal:
        named = "; ".join(f"guest {vmid}: {reason}" for vmid, reason in sorted(fatal.items())[:5])
        more = f"; and {len(fatal) - 5} more" if len(fatal) > 5 else ""
        raise ConflictError(
            f"The plan does not fit the cluster any more ({named}{more}); gather and plan again, or skip such guests with "
            "on_conflict: skip (nothing was written)."
        )
    return [step.skip(conflicts[step.change.vmid]) if step.change.vmid in conflicts else step for step in steps]


def _refuse_lame_canary(steps: t.Sequence[Step], canary: t.Optional[int]) -> None:
    for step in steps:
        if step.change.vmid == canary and step.skipped:
            raise PlanError(f"The canary, guest {canary}, cannot be changed: {step.skipped}; name another (nothing was written).")


def _refuse_whole(door: Door, steps: t.Sequence[Step], status: Status) -> None:
    if not any(step.acts for step in steps):
        return
    try:
        check_quorum(status)
    except PveError as e:
        raise PveError(f"{e} (nothing was written).") from e
    wanted = {step.change.ref: step.keys for step in steps if step.to_do}
    refusal = (door.refuse_keys(wanted) if wanted else None) or door.refuse_restarts([step.change.ref for step in steps if step.restarts])
    if refusal:
        raise PveError(refusal)


def carry_out(door: Door, prepared: Prepared, terms: Terms) -> Outcome:
    """Do the steps, batch by batch; stop at the first that does not go as it should. Raises ApplyError."""
    run = _Run(door, prepared, terms)
    batches = _batches([step for step in prepared.outcome.done if step.acts], terms)
    for position, batch in enumerate(batches):
        if position and prepared.gate:
            run.guarded(batch[0], prepared.gate.check)
        for step in batch:
            run.write(step)
        for step in batch:
            run.restart(step)
    return run.outcome()


def _batches(steps: t.Sequence[Step], terms: Terms) -> t.List[t.List[Step]]:
    """What is done between two looks at the cluster: the canary alone, then a host at a time; all at once if not rolling."""
    if not terms.rolling and terms.canary is None:
        return [list(steps)]
    home = next((step.change.node for step in steps if step.change.vmid == terms.canary), None)
    batches: t.Dict[t.Tuple[bool, bool, str], t.List[Step]] = {}
    for step in steps:
        node = step.change.node
        batches.setdefault((step.change.vmid != terms.canary, node != home, node), []).append(step)
    return [batches[key] for key in sorted(batches)]


class _Run:
    """A plan while it is carried out: what has been settled, by vmid, and the warnings."""

    def __init__(self, door: Door, prepared: Prepared, terms: Terms) -> None:
        self._door = door
        self._prepared = prepared
        self._terms = terms
        self._settled = {step.change.vmid: _waiting(step) for step in prepared.outcome.done if not step.to_do}
        self._warnings = list(prepared.outcome.warnings)

    def outcome(self) -> Outcome:
        steps = self._prepared.outcome.done
        done = [self._settled[step.change.vmid] for step in steps if step.change.vmid in self._settled]
        left = [step for step in steps if step.change.vmid not in self._settled]
        unrestarted = [
            step.change.vmid
            for step in steps
            if step.restarts and step.change.vmid in self._settled and self._settled[step.change.vmid].effect == "pending"
        ]
        return Outcome(tuple(done), tuple(left), tuple(self._warnings), tuple(unrestarted), self._prepared.outcome.ceph)

    def guarded(self, step: Step, action: t.Callable[[], t.Any]) -> t.Any:
        """What an action returns; a failure of PVE becomes one that says what was done and what was not."""
        try:
            return action()
        except PveError as e:
            raise self._stopped(step, e) from e

    def write(self, step: Step) -> None:
        """Write a step and note it; a guest that was locked since it was read is skipped, unless it is the canary."""
        if step.to_do:
            try:
                self.guarded(step, lambda: self._write(step))
            except ApplyError as e:
                if not isinstance(e.__cause__, LockedError) or step.change.vmid == self._terms.canary:
                    raise
                step = step.skip(f"its config is locked ({e.__cause__.lock})")
                self._warnings.append(f"{step.about} was skipped: {step.skipped}.")
        self._settled[step.change.vmid] = _waiting(step)
        if step.change.vmid == self._terms.canary and step.to_do:
            self.guarded(step, lambda: _look_at_canary(self._door, step))

    def restart(self, step: Step) -> None:
        vmid = step.change.vmid
        if not step.restarts or self._settled[vmid].skipped:
            return
        try:
            restart(self._door, step, vmid in self._prepared.managed, self._terms.patience)
        except RestartError as e:
            if e.undone:
                del self._settled[vmid]
            raise self._stopped(step, e) from e
        self._settled[vmid] = step

    def _stopped(self, step: Step, error: PveError) -> ApplyError:
        """The failure, with the guest that it happened to first among those that are left."""
        outcome = self.outcome()
        left = sorted(outcome.left, key=lambda other: other.change.vmid != step.change.vmid)
        unrestarted = sorted(outcome.unrestarted, key=lambda vmid: vmid != step.change.vmid)
        outcome = replace(outcome, left=tuple(left), unrestarted=tuple(unrestarted))
        parts = [f"changed before it: {_listed([done.change.vmid for done in outcome.done if done.acts])}"]
        parts += [f"left as they were: {_listed([other.change.vmid for other in left])}"]
        parts += [f"not restarted: {_listed(unrestarted)}"] if unrestarted else []
        return ApplyError(f"{step.about}: {str(error).rstrip('.')} ({'; '.join(parts)}).", outcome)

    def _write(self, step: Step) -> None:
        for attempt in range(1, BUSY_TRIES + 1):
            try:
                self._write_once(step)
                return
            except BusyError:
                if attempt == BUSY_TRIES:
                    raise

    def _write_once(self, step: Step) -> None:
        deadline = time.monotonic() + READ_BACK_S
        try:
            self._door.write(step.change.ref, step.send, step.delete, step.digest)
        except UncertainError as e:
            lost = str(e).rstrip(".")
            if not _happened(self._door, step, deadline):
                raise UncertainError(f"{lost}, and reading back shows that the change was not made") from e
            self._warnings.append(f"{step.about}: {lost}, but reading back shows that the change was made.")


def _waiting(step: Step) -> Step:
    """The step once it is written: a guest that is still to be restarted waits for that."""
    if not step.restarts:
        return step
    return replace(step, effect="pending")


def _look_at_canary(door: Door, step: Step) -> None:
    read = door.read_guests([step.change.ref])[step.change.vmid]
    if not isinstance(read, GuestConfig) or make_step(step.change, read).to_do:
        raise PveError("the canary does not have what was written; see who else changes its config")


def _listed(vmids: t.Sequence[int]) -> str:
    return ", ".join(str(vmid) for vmid in vmids) or "none"


def _happened(door: Door, step: Step, deadline: float) -> bool:
    """Read the guest back until the change shows, or until PVE has given up. Raises UncertainError where it cannot."""
    while True:
        try:
            read = door.read_guests([step.change.ref])[step.change.vmid]
        except PveError as e:
            read = e
        if isinstance(read, GuestConfig) and not make_step(step.change, read).to_do:
            return True
        if time.monotonic() >= deadline:
            if isinstance(read, GuestConfig):
                return False
            raise UncertainError(
                f"the answer to the write was lost and the config cannot be read back ({str(read).rstrip('.')}); audit this guest"
            )
        time.sleep(READ_BACK_PAUSE_S)
