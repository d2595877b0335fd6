# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which interrupts have to go to other CPUs; decided on plain data.

A device's vectors go round robin over its CPUs, one CPU each, in the order of the CPUs, beginning anew with each PCI
function: x86 sends an MSI to one CPU in any case, and drivers give queue N to vCPU N, so that the interrupt of a queue
lands beside the vCPU that works on it, every time. With the whole set the kernel would choose, by what else is there.

An interrupt is where it should be if it goes to CPUs that are wanted (`effective`), or if exactly these are allowed
already: a host without interrupt remapping moves an interrupt when it next fires, and shows the old CPU until then.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .irqs import Interrupt, Target

DEVICE, KEEP_OFF, RESTORE = "device", "keep_off", "restore"


@dataclass(frozen=True)
class Step:
    """What shall become of one interrupt: `wanted` are the CPUs as a mask, `reason` is DEVICE, KEEP_OFF or RESTORE.

    `differs`: it is not there yet. `free_to_move`: nobody protects it and no other device shares it. `as_before`: what is wanted
    is the mask of before; False where all of its CPUs are offline, and others have to do.
    """

    interrupt: Interrupt
    target: Target
    wanted: int
    reason: str
    differs: bool
    protected: bool = False
    as_before: bool = True

    @property
    def free_to_move(self) -> bool:
        return not self.protected and not (self.interrupt.shared and self.interrupt.device is not None)


@dataclass(frozen=True)
class Wishes:
    """`cpus`: PCI function -> CPUs in order; `keep_off`: CPUs without other interrupts; `protected`: functions left alone.

    `protected_lines`: the numbers of the lines of functions among these. `near` tells the CPUs near a function as a mask. All
    masks may name CPUs that are not online.
    """

    online: int
    cpus: t.Mapping[str, t.Sequence[int]]
    keep_off: int
    protected: t.Collection[str]
    near: t.Callable[[str], int]
    protected_lines: t.Collection[int] = ()

    def protects(self, interrupt: Interrupt) -> bool:
        return interrupt.device in self.protected or (interrupt.index is None and interrupt.number in self.protected_lines)


def wanted_of_device(interrupt: Interrupt, cpus: t.Sequence[int]) -> int:
    return 1 << cpus[(interrupt.index or 0) % len(cpus)]


def step_for_device(interrupt: Interrupt, target: Target, wishes: Wishes) -> Step:
    wanted = wanted_of_device(interrupt, wishes.cpus[interrupt.device or ""])
    return Step(interrupt, target, wanted, DEVICE, not _is_there(target, wanted, wishes.online))


def step_for_other(interrupt: Interrupt, target: Target, previous: t.Optional[int], wishes: Wishes) -> t.Optional[Step]:
    """Off the dedicated CPUs, or back to the CPUs of before where these are not in the way; None: nothing to do with it."""
    before = target.allowed if previous is None else previous
    wanted = _beside(interrupt, before, wishes)
    if previous is not None and wanted == (previous & wishes.online or wishes.online):
        return _restoring(interrupt, target, previous, wishes.online)
    goes_to = target.allowed if target.effective is None else target.effective
    if not goes_to & wishes.keep_off:
        return None
    differs = bool(target.allowed & wishes.keep_off & wishes.online)
    return Step(interrupt, target, wanted, KEEP_OFF, differs, wishes.protects(interrupt))


def _is_there(target: Target, wanted: int, online: int) -> bool:
    if target.effective and not target.effective & ~wanted:
        return True
    return target.allowed & online == wanted & online


def _restoring(interrupt: Interrupt, target: Target, previous: int, online: int) -> Step:
    """Offline CPUs may be in a mask, but not alone; where the last of them goes offline the kernel takes all CPUs, and so do we."""
    if previous & online:
        return Step(interrupt, target, previous, RESTORE, target.allowed != previous)
    return Step(interrupt, target, online, RESTORE, target.allowed & online != online, as_before=False)


def _beside(interrupt: Interrupt, mask: int, wishes: Wishes) -> int:
    """The CPUs of `mask` that are not dedicated or, where there are none, those near the device, or all others."""
    free = wishes.online & ~wishes.keep_off
    inside = mask & free if mask & wishes.online else free
    if inside or interrupt.device is None:
        return inside or free
    return wishes.near(interrupt.device) & free or free
