# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest of a plan while it is carried out: what is left to do for it, what keeps that from being done, what came of it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._engine.errors import CorepinError
from .._engine.guest import apply_pending, same_effect
from .._engine.guest_config import GuestConfig
from .changes import Change
from .errors import MissingGuestError

Values = t.Dict[str, t.Optional[str]]
Read = t.Union[GuestConfig, Exception]


class ApplyError(CorepinError):
    """A plan that was carried out in part; `outcome` says which part."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Step:
    """One change and what is left of it to do: `send` and `delete` are empty where the effect is there already.

    before, after: the planned keys as the next start finds them now, and afterwards (None = absent). digest: of the config
    that was read. waits: the value that the guest was last started with is another one, so that a running guest waits for
    its next start. effect: now, pending, restart (it is restarted for it), None where it is skipped.
    """

    change: Change
    before: Values = field(default_factory=dict)
    after: Values = field(default_factory=dict)
    send: t.Mapping[str, str] = field(default_factory=dict)
    delete: t.Tuple[str, ...] = ()
    digest: t.Optional[str] = None
    waits: bool = False
    effect: t.Optional[str] = None
    skipped: t.Optional[str] = None

    @property
    def to_do(self) -> bool:
        """Whether something has to be written."""
        return bool(self.send or self.delete)

    @property
    def restarts(self) -> bool:
        return self.effect == "restart"

    @property
    def acts(self) -> bool:
        return self.to_do or self.restarts

    @property
    def keys(self) -> t.List[str]:
        return sorted([*self.send, *self.delete])

    @property
    def about(self) -> str:
        return f"Guest {self.change.vmid} on {self.change.node}"

    def skip(self, reason: str) -> Step:
        """This step with nothing to do, for a reason."""
        return replace(self, after=self.before, send={}, delete=(), effect=None, skipped=reason)

    def result(self) -> t.Dict[str, t.Any]:
        """What the module returns about this guest."""
        return {
            "vmid": self.change.vmid,
            "node": self.change.node,
            "changed": self.acts,
            "before": self.before,
            "after": self.after,
            "effect": self.effect,
            "skipped": self.skipped is not None,
            "reason": self.skipped,
        }


@dataclass(frozen=True)
class Outcome:
    """The steps that are settled (done, or nothing to do; in check mode as if done), those that a failure left, the warnings.

    unrestarted: vmids of guests whose config is as planned, and whose restart a failure left undone. ceph: the health of
    Ceph before the first write; None where there is no Ceph or nothing to do.
    """

    done: t.Tuple[Step, ...]
    left: t.Tuple[Step, ...] = ()
    warnings: t.Tuple[str, ...] = ()
    unrestarted: t.Tuple[int, ...] = ()
    ceph: t.Optional[str] = None

    @property
    def changed(self) -> bool:
        return any(step.acts for step in self.done)


def make_step(change: Change, read: Read) -> Step:
    """What is to be done for one guest as it was read, not looking at what its change is guarded by and at rights yet."""
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
    step = Step(change, before, {**before, **send, **dict.fromkeys(delete)}, send, delete, read.digest, waits)
    if not step.to_do:
        step = replace(step, effect="pending" if waits else "now")
    needs_lock = step.to_do or (waits and change.restarts)
    return step.skip(f"its config is locked ({read.config['lock']})") if needs_lock and read.config.get("lock") else step


def conflict(step: Step, read: t.Optional[Read]) -> t.Optional[str]:
    """Why a guest is not the one that its change was made for, else None."""
    if isinstance(read, MissingGuestError):
        return str(step.skipped)
    if not isinstance(read, GuestConfig) or not step.to_do:
        return None
    if step.change.guarded_by_values:
        return _foreign_values(step)
    if step.change.digest not in (None, read.digest):
        return "its config was changed after the plan was made"
    return None


def _foreign_values(step: Step) -> t.Optional[str]:
    """Keys that hold neither what the plan wrote nor what was there before it."""
    change = step.change
    foreign = [key for key in step.keys if not same_effect(key, step.before[key], change.before[key])]
    if not foreign:
        return None
    named = ", ".join(f"{key} is {'absent' if step.before[key] is None else step.before[key]!r}" for key in foreign)
    return f"somebody else has changed it since ({named}, which this plan did not write)"
