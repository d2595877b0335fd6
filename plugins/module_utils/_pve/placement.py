# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the changes of a plan: decide everything first, then write guest by guest, and say what came of each.

`prepare` reads each guest once and settles what is to be written, so that check mode and a real run give the same
results. `carry_out` writes. Neither knows through which door it works.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field, replace

from .._engine.errors import CorepinError, PlanError
from .._engine.guest import apply_pending, same_effect
from .._engine.guest_config import GuestConfig
from .changes import Change
from .errors import ConflictError, LockedError, MissingGuestError, PveError, UncertainError
from .reading import Answer, Door, cluster_name, is_quorate, offline_hosts

READ_BACK_S = 15.0  # PVE carries out a request whose client has gone, after up to 10 s of waiting for the guest's lock
READ_BACK_PAUSE_S = 1.0

Values = t.Dict[str, t.Optional[str]]


class ApplyError(CorepinError):
    """A plan that was carried out in part; `outcome` says which part."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Step:
    """One change and what is left of it to do: `send` and `delete` are empty where the effect is there already.

    before, after: the planned keys as the next start finds them now, and afterwards (None = absent). waits: the value
    that the guest was last started with is another one, so that a running guest waits for its next start.
    """

    change: Change
    before: Values = field(default_factory=dict)
    after: Values = field(default_factory=dict)
    send: t.Mapping[str, str] = field(default_factory=dict)
    delete: t.Tuple[str, ...] = ()
    waits: bool = False
    effect: t.Optional[str] = None
    skipped: t.Optional[str] = None

    @property
    def to_do(self) -> bool:
        return bool(self.send or self.delete)

    @property
    def keys(self) -> t.List[str]:
        return sorted([*self.send, *self.delete])

    def skip(self, reason: str) -> Step:
        """This step with nothing to do, for a reason."""
        return replace(self, after=self.before, send={}, delete=(), effect=None, skipped=reason)

    def result(self) -> t.Dict[str, t.Any]:
        """What the module returns about this guest."""
        return {
            "vmid": self.change.vmid,
            "node": self.change.node,
            "changed": self.to_do,
            "before": self.before,
            "after": self.after,
            "effect": self.effect,
            "skipped": self.skipped is not None,
            "reason": self.skipped,
        }


@dataclass(frozen=True)
class Outcome:
    """The steps that are settled (written, or nothing to do; in check mode as if written), those that a failure left, the warnings."""

    done: t.Tuple[Step, ...]
    left: t.Tuple[Step, ...] = ()
    warnings: t.Tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return any(step.to_do for step in self.done)


def prepare(door: Door, changes: t.Sequence[Change], cluster: t.Optional[str], skip_conflicts: bool) -> Outcome:
    """Read the guests of `changes` and settle each step; nothing is written.

    Raises PlanError or PveError where the plan as a whole must not be carried out: it was made for another cluster,
    the login may not set a key, the cluster has no quorum, or (unless `skip_conflicts`) a guest has changed.
    """
    status = door.read_status()
    warnings = _check_cluster(status, cluster)
    offline = offline_hosts(status or ())
    reachable = [change for change in changes if change.node not in offline]
    read = door.read_guests([change.ref for change in reachable])
    steps = [_step(change, read[change.vmid]) if change.vmid in read else Step(change).skip("its host is offline") for change in changes]
    steps = _settle_conflicts(steps, read, skip_conflicts)
    _refuse_whole(door, steps, status)
    steps = _with_effects(door, steps)
    warnings += [f"{_about(step)} was skipped: {step.skipped}." for step in steps if step.skipped]
    return Outcome(tuple(steps), (), tuple(warnings))


def _check_cluster(status: t.Optional[t.Sequence[Answer]], planned: t.Optional[str]) -> t.List[str]:
    if status is None:
        return ["This login may not read /cluster/status (Sys.Audit on /), so that neither the cluster's name nor its quorum was checked."]
    name = cluster_name(status)
    if planned and name and planned != name:
        raise PlanError(
            f"The plan was made for the cluster {planned}, but this one is {name}; make a plan for this one (nothing was written)."
        )
    return []


def _step(change: Change, read: t.Union[GuestConfig, Exception]) -> Step:
    """What is to be done for one guest, not looking at its digest and at rights yet."""
    if isinstance(read, MissingGuestError):
        return Step(change).skip(f"it is not on {change.node} any more")
    if isinstance(read, Exception):
        return Step(change).skip(f"its host does not answer ({str(read).rstrip('.')})")
    present = apply_pending(read.config, read.pending)
    differing = [key for key in sorted(change.after) if not same_effect(key, present.get(key), change.after[key])]
    before = {key: present.get(key) for key in sorted(change.after)}
    send = {key: value for key, value in change.after.items() if key in differing and value is not None}
    delete = tuple(key for key in differing if change.after[key] is None and key in present)
    waits = not all(same_effect(key, read.config.get(key), value) for key, value in change.after.items())
    step = Step(change, before, {**before, **send, **dict.fromkeys(delete)}, send, delete, waits)
    if not step.to_do:
        return replace(step, effect="pending" if waits else "now")
    return step.skip(f"its config is locked ({read.config['lock']})") if read.config.get("lock") else step


def _settle_conflicts(steps: t.List[Step], read: t.Mapping[int, t.Union[GuestConfig, Exception]], skip: bool) -> t.List[Step]:
    """Guests whose config is not the one that was planned for: the plan as a whole stops, or these guests are skipped."""
    conflicts: t.Dict[int, str] = {}
    for step in steps:
        present = read.get(step.change.vmid)
        if isinstance(present, MissingGuestError):
            conflicts[step.change.vmid] = str(step.skipped)
        elif isinstance(present, GuestConfig) and step.to_do and step.change.digest not in (None, present.digest):
            conflicts[step.change.vmid] = "its config was changed after the plan was made"
    if conflicts and not skip:
        named = "; ".join(f"guest {vmid}: {reason}" for vmid, reason in sorted(conflicts.items())[:5])
        more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        raise ConflictError(
            f"The plan does not fit the cluster any more ({named}{more}); gather and plan again, or skip such guests with "
            "on_conflict: skip (nothing was written)."
        )
    return [step.skip(conflicts[step.change.vmid]) if step.change.vmid in conflicts else step for step in steps]


def _refuse_whole(door: Door, steps: t.Sequence[Step], status: t.Optional[t.Sequence[Answer]]) -> None:
    wanted = {step.change.ref: step.keys for step in steps if step.to_do}
    if not wanted:
        return
    if status is not None and not is_quorate(status):
        raise PveError("The cluster has no quorum, so that PVE writes nothing; restore the quorum first (nothing was written).")
    refusal = door.refuse_keys(wanted)
    if refusal:
        raise PveError(refusal)


def _with_effects(door: Door, steps: t.Sequence[Step]) -> t.List[Step]:
    """When each write takes effect; PVE keeps what it cannot change on a running guest for the next start."""
    running = door.running([step.change.ref for step in steps if step.to_do])
    return [
        replace(step, effect="pending" if step.waits and running[step.change.vmid] else "now") if step.to_do else step for step in steps
    ]


def carry_out(door: Door, prepared: Outcome) -> Outcome:
    """Write the steps in order; stop at the first failure. Raises ApplyError."""
    done: t.List[Step] = []
    warnings = list(prepared.warnings)
    for position, step in enumerate(prepared.done):
        try:
            done.append(_carried_out(door, step, warnings) if step.to_do else step)
        except PveError as e:
            left = [other for other in prepared.done[position:] if other.to_do]
            message = _failure(step, e, done, left)
            done += [other for other in prepared.done[position:] if not other.to_do]
            raise ApplyError(message, Outcome(tuple(done), tuple(left), tuple(warnings))) from e
    return Outcome(tuple(done), (), tuple(warnings))


def _carried_out(door: Door, step: Step, warnings: t.List[str]) -> Step:
    """The step after its write; a guest that was locked since it was read is skipped. Raises PveError."""
    try:
        _write(door, step, warnings)
    except LockedError as e:
        warnings.append(f"{_about(step)} was skipped: its config is locked ({e.lock}).")
        return step.skip(f"its config is locked ({e.lock})")
    return step


def _failure(step: Step, error: PveError, done: t.Sequence[Step], left: t.Sequence[Step]) -> str:
    written = sum(1 for other in done if other.to_do)
    return f"{_about(step)}: {str(error).rstrip('.')} (guests changed before it: {written}; left as they were after it: {len(left) - 1})."


def _about(step: Step) -> str:
    return f"Guest {step.change.vmid} on {step.change.node}"


def _write(door: Door, step: Step, warnings: t.List[str]) -> None:
    deadline = time.monotonic() + READ_BACK_S
    try:
        door.write(step.change.ref, step.send, step.delete, step.change.digest)
    except UncertainError as e:
        lost = str(e).rstrip(".")
        if not _happened(door, step, deadline):
            raise UncertainError(f"{lost}, and reading back shows that the change was not made") from e
        warnings.append(f"{_about(step)}: {lost}, but reading back shows that the change was made.")


def _happened(door: Door, step: Step, deadline: float) -> bool:
    """Read the guest back until the change shows, or until PVE has given up. Raises UncertainError where it cannot."""
    while True:
        try:
            read = door.read_guests([step.change.ref])[step.change.vmid]
        except PveError as e:
            read = e
        if isinstance(read, GuestConfig) and not _step(step.change, read).to_do:
            return True
        if time.monotonic() >= deadline:
            if isinstance(read, GuestConfig):
                return False
            raise UncertainError(
                f"the answer to the write was lost and the config cannot be read back ({str(read).rstrip('.')}); audit this guest"
            )
        time.sleep(READ_BACK_PAUSE_S)
