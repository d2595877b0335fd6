# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving interrupts: the earlier masks remembered, irqbalance told first, all put back where the kernel refuses a mask.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import errno
import typing as t
from dataclasses import asdict, dataclass, field

from .._engine.cpuset import format_cpulist
from .._engine.errors import SettingError
from .files import Tree
from .irq_plan import RESTORE, Step
from .irqbalance import BanChange, tell
from .irqs import MANAGED_ERRORS, Interrupt, affinity_file, driver_of, read_allowed, still_there
from .kept import recall, remember

NAME = "irq-affinity"
SCHEMA = 2
SET, MANAGED, GONE, SHARED, PROTECTED = "set", "kernel-managed", "gone", "shared", "protected"
_NOT_THERE = (errno.ENOENT, errno.ESRCH, errno.ENODEV)


@dataclass(frozen=True)
class Before:
    """The cpulist that an interrupt had, the number that it had then, and the driver of its PCI function (irqs.driver_of)."""

    cpus: str
    irq: int
    driver: t.Optional[str]

    def is_of(self, tree: Tree, interrupt: Interrupt) -> bool:
        """Whether it is the same interrupt still: one that a driver takes anew has what that driver or the kernel gave it."""
        return interrupt.number == self.irq and driver_of(tree, interrupt) == self.driver


@dataclass
class Memory:
    """`previous`: what was before, by the interrupts' keys; `irqbalance`: what it was told (irqbalance.BanChange.remembered).

    `managed`: those that the kernel was found to manage, as only a write can tell on some kernels. A boot makes all interrupts
    anew, so that what was remembered in another one is void. `on_disk` is what the file says.
    """

    boot: t.Optional[str] = None
    previous: t.Dict[str, Before] = field(default_factory=dict)
    irqbalance: t.Dict[str, t.Any] = field(default_factory=dict)
    managed: t.Dict[str, Before] = field(default_factory=dict)
    on_disk: t.Dict[str, t.Any] = field(default_factory=dict)

    @classmethod
    def read(cls, tree: Tree) -> Memory:
        boot = tree.word("proc/sys/kernel/random/boot_id")
        text = recall(tree, NAME)
        if text.get("boot") != boot or text.get("schema") != SCHEMA:
            return cls(boot, on_disk=text)
        previous, managed = ({key: Before(**before) for key, before in text.get(name, {}).items()} for name in ("previous", "managed"))
        return cls(boot, previous, dict(text.get("irqbalance", {})), managed, text)

    def keep_only(self, tree: Tree, interrupts: t.Iterable[Interrupt]) -> None:
        """Forget what was before of all but these `interrupts`, and of those that have been taken anew since."""
        now = {interrupt.key: interrupt for interrupt in interrupts if interrupt.key in self.previous}
        self.previous = {key: before for key, before in self.previous.items() if key in now and before.is_of(tree, now[key])}

    def forget(self, keys: t.Iterable[str]) -> None:
        """Drop what these interrupts had before."""
        for key in keys:
            self.previous.pop(key, None)

    def knows_as_managed(self, tree: Tree, interrupt: Interrupt) -> bool:
        known = self.managed.get(interrupt.key)
        return known is not None and known.is_of(tree, interrupt)

    def write(self, tree: Tree) -> None:
        """Replace the file where it says something else."""
        previous, managed = ({key: asdict(before) for key, before in kept.items()} for kept in (self.previous, self.managed))
        known = {"schema": SCHEMA, "boot": self.boot, "previous": previous, "irqbalance": self.irqbalance, "managed": managed}
        wanted = known if previous or managed or self.irqbalance else {}
        remember(tree, NAME, wanted, self.on_disk)
        self.on_disk = wanted


def before_of(tree: Tree, step: Step) -> Before:
    return Before(format_cpulist(step.target.allowed), step.interrupt.number, driver_of(tree, step.interrupt))


def carry_out(
    tree: Tree, steps: t.Sequence[Step], memory: Memory, bans: t.Optional[BanChange], name: t.Optional[str], online: int
) -> t.Dict[str, str]:
    """Move what `steps` say, which all differ, and tell the irqbalance at the socket `name`; what became of each, by key.

    The memory is on the disk before the first write, so that a process that is killed leaves a host that the next run puts
    right. Where the kernel refuses a mask or irqbalance does not answer, everything is put back. Raises SettingError.
    """
    fresh = _remember(tree, steps, memory, bans)
    if steps or (bans and bans.messages):
        memory.write(tree)
    outcomes: t.Dict[str, str] = {}
    begun: t.List[Step] = []
    try:
        _tell(tree, name, bans.messages if bans else ())
        for step in steps:
            begun.append(step)
            outcomes[step.interrupt.key] = _move(tree, step, online)
    except SettingError as e:
        stuck = [step.interrupt.key for step in begun if not _put_back(tree, step, online)]
        for message in bans.undo if bans else ():
            with contextlib.suppress(SettingError):
                _tell(tree, name, [message])
        memory.forget(key for key in fresh if key not in stuck)
        with contextlib.suppress(SettingError):
            memory.write(tree)
        but = f" but {', '.join(stuck)}" if stuck else ""
        raise SettingError(f"{e} Everything{but} was put back.") from None
    if bans is not None:
        memory.irqbalance = dict(bans.remembered)
    memory.forget(key for key in fresh if outcomes[key] != SET)
    return outcomes


def _remember(tree: Tree, steps: t.Sequence[Step], memory: Memory, bans: t.Optional[BanChange]) -> t.List[str]:
    """Note what is about to change; the keys of the interrupts of which nothing was known before."""
    fresh = [step for step in steps if step.reason != RESTORE and step.interrupt.key not in memory.previous]
    memory.previous.update({step.interrupt.key: before_of(tree, step) for step in fresh})
    if bans is not None and bans.messages:
        memory.irqbalance = dict(bans.doubtful)
    return [step.interrupt.key for step in fresh]


def _tell(tree: Tree, name: t.Optional[str], messages: t.Sequence[str]) -> None:
    for message in messages:
        try:
            tell(tree, str(name), message)
        except OSError as e:
            raise SettingError(
                f"irqbalance did not take {message!r} ({e}), so nothing was moved; see whether it is well (systemctl status irqbalance)."
            ) from None


def _move(tree: Tree, step: Step, online: int) -> str:
    """Write one mask. Raises SettingError; what has gone meanwhile and what the kernel manages is no error."""
    interrupt, text = step.interrupt, format_cpulist(step.wanted)
    path = affinity_file(interrupt)
    if not still_there(tree, interrupt):
        return GONE
    try:
        tree.write(path, text)
    except OSError as e:
        if e.errno in MANAGED_ERRORS:
            return MANAGED
        if e.errno in _NOT_THERE or not still_there(tree, interrupt):
            return GONE
        raise SettingError(
            f"{tree.full(path)} ({interrupt.key}) refused CPUs {text} ({e.strerror}); run as root, or choose others."
        ) from None
    got = read_allowed(tree, interrupt)
    if got is not None and got & online != step.wanted & online:
        raise SettingError(
            f"Interrupt {interrupt.number} ({interrupt.key}) took CPUs {text} and has {format_cpulist(got)} again; stop what else moves it."
        )
    return SET


def _put_back(tree: Tree, step: Step, online: int) -> bool:
    """As well as possible: whatever refuses now has refused already. False where it still has other CPUs than before."""
    before = step.target.allowed
    if still_there(tree, step.interrupt) and read_allowed(tree, step.interrupt) != before:
        with contextlib.suppress(OSError):
            tree.write(affinity_file(step.interrupt), format_cpulist(before))
        now = read_allowed(tree, step.interrupt)
        return now is None or now & online == before & online
    return True
