# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told of the result of irq_affinity.set_interrupts: warnings and a diff.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.wording import listed
from .irq_apply import MANAGED, PROTECTED, SHARED
from .irq_plan import RESTORE
from .irqs import key_of

Result = t.Dict[str, t.Any]

_STAYS = {
    MANAGED: "are managed by the kernel and stay where they are",
    PROTECTED: "belong to protected NICs and stay on CPUs of keep_off",
    SHARED: "are lines shared with other devices and stay where they are",
}
_LEFT_OUT = {
    "not_restored": "Interrupts {} could not get back what they had before, because other devices share them, the kernel manages them "
    "or all CPUs of before are offline; the next run tries again.",
    "missing": "Devices that do not exist on this host were left out: {}; see lspci -D and ip link.",
    "refused": "Devices that carry protected NICs or are on the same card were left out: {}; name their own interfaces in allow_protected "
    "or, where they have none, bind them to vfio-pci, as a start of their guest does.",
}
_SILENT = "PCI device {} has no interrupts after {:g} s; its guest may be off, or without a driver."
_ALL_SILENT = "PCI devices {} have no interrupts after {:g} s; their guests may be off, or without drivers."
_UNTOLD = (
    "irqbalance runs here, moves interrupts every 10 seconds and cannot be told about these; put {} into /etc/default/irqbalance, "
    "or remove irqbalance."
)
_UNANSWERED = "irqbalance runs here, does not answer, and may still leave alone what it was told before; run this again when it is well."


def warnings_of(result: Result, waited: float = 0) -> t.List[str]:
    """One sentence per thing that a person should know of; `waited`: how many seconds interrupts could appear in."""
    entries = [entry for entry in result.get("interrupts", []) if entry["reason"] != RESTORE]
    hit = {state: [entry for entry in entries if entry["state"] == state] for state in _STAYS}
    warnings = [f"Interrupts {_named(hit[state])} {text}." for state, text in _STAYS.items() if hit[state]]
    warnings += [text.format(listed(result[key])) for key, text in _LEFT_OUT.items() if result.get(key)]
    silent = result.get("without_interrupts", []) if waited else []
    if silent:
        warnings.append((_SILENT if len(silent) == 1 else _ALL_SILENT).format(listed(silent), waited))
    return warnings + _irqbalance_warnings(result.get("irqbalance") or {"told": True})


def _irqbalance_warnings(irqbalance: Result) -> t.List[str]:
    if irqbalance["told"]:
        return []
    settings = irqbalance["settings"]
    return [_UNTOLD.format(" and ".join(settings)) if settings else _UNANSWERED]


def _named(entries: t.Sequence[Result]) -> str:
    return listed([str(entry["irq"]) + (f" of {entry['device']}" if entry["device"] else "") for entry in entries])


def diff_of(result: Result) -> Result:
    """Before and after for `--diff`: the masks that change, by device and index, and what irqbalance leaves alone."""
    changed = [entry for entry in result.get("interrupts", []) if entry["changed"]]
    irqbalance = result.get("irqbalance")
    other_bans = irqbalance and irqbalance["before"] != irqbalance["after"]
    return {
        side: {
            "interrupts": {label_of(entry): entry[side] for entry in changed},
            "irqbalance": irqbalance[side] if irqbalance and other_bans else {},
        }
        for side in ("before", "after")
    }


def label_of(entry: Result) -> str:
    """What stays the same when an interrupt gets another number."""
    if entry["device"] is None:
        return ", ".join(entry["users"])
    return key_of(entry["device"], entry["index"])
