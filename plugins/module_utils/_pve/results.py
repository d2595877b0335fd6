# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guest_placement returns: one entry per guest, and a diff that shows the changed guests alone.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .steps import Outcome, Step


def placement_result(outcome: Outcome) -> t.Dict[str, t.Any]:
    """{changed, guests, diff, ceph_health}, and not_applied, not_restarted where something was left over."""
    result: t.Dict[str, t.Any] = {
        "changed": outcome.changed,
        "guests": [step.result() for step in outcome.done],
        "diff": {"before": _text(outcome.done, "before"), "after": _text(outcome.done, "after")},
        "ceph_health": outcome.ceph,
    }
    left = {"not_applied": [step.change.vmid for step in outcome.left], "not_restarted": list(outcome.unrestarted)}
    return {**result, **{name: vmids for name, vmids in left.items() if vmids}}


def _text(steps: t.Sequence[Step], side: str) -> str:
    """The changed keys of the changed guests like YAML: a line per guest, below it a line per key."""
    lines: t.List[str] = []
    for step in sorted(steps, key=lambda step: step.change.vmid):
        if step.acts:
            values = step.before if side == "before" else step.after
            lines.append(f"guest {step.change.vmid} on {step.change.node}:")
            lines += [f"  {key}: {'null' if values[key] is None else values[key]}" for key in step.keys]
            lines += [f"  restarted: {'no' if side == 'before' else 'yes'}"] if step.restarts else []
    return "".join(line + "\n" for line in lines)
