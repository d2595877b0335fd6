# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of a plan document as values that may be sent to PVE.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from .._engine.cpuset import parse_ordered
from .._engine.errors import GrammarError, PlanError
from .._engine.guest import CELL_KEYS, format_affinity, parse_cell, truthy
from .reading import GuestRef
from .rights import BOOLEAN_KEYS, WRITABLE_KEYS

_HOST_NAME = re.compile(r"^[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?$", re.ASCII)

Values = t.Mapping[str, t.Optional[str]]


@dataclass(frozen=True)
class Change:
    """What a plan asks for one guest: `after` holds the values to send, None = the key has to go.

    digest: of the config that the change was made for, where it was made for one. The other way round there is none: then
    `before` says what the plan wrote, and a key with any other value was changed by somebody else (`guarded_by_values`).
    restarts: the plan says that the guest is restarted for it.
    """

    vmid: int
    node: str
    after: Values
    before: Values = field(default_factory=dict)
    digest: t.Optional[str] = None
    restarts: bool = False
    guarded_by_values: bool = False

    @property
    def ref(self) -> GuestRef:
        return GuestRef(self.vmid, self.node)

    def turned_round(self) -> Change:
        """The change that undoes this one: the values before it go back exactly as they were, odd as they may be."""
        return replace(self, before=self.after, after=self.before, digest=None, guarded_by_values=True)


def changes_of(plan: t.Mapping[str, t.Any], nodes: t.Optional[t.Collection[str]] = None, rollback: bool = False) -> t.List[Change]:
    """The changes of a checked plan in its order, of the hosts `nodes` alone where given; turned round for a `rollback`.

    Raises PlanError.
    """
    changes = [_change(entry) for entry in plan["changes"]]
    if rollback:
        changes = [change.turned_round() for change in changes]
    seen: t.Set[int] = set()
    for change in changes:
        if change.vmid in seen:
            raise PlanError(f"The plan changes guest {change.vmid} twice; make a new plan.")
        seen.add(change.vmid)
    return [change for change in changes if nodes is None or change.node in nodes]


def _change(entry: t.Mapping[str, t.Any]) -> Change:
    vmid, node, digest = entry["vmid"], entry["node"], entry.get("digest")
    if isinstance(vmid, bool) or not str(vmid).isdigit():
        raise PlanError(f"The plan has a change for the vmid {vmid!r}, which is not a number; make a new plan.")
    if not _HOST_NAME.match(str(node)):
        raise PlanError(f"The plan has a change for guest {vmid} on the host {node!r}, which is no host name; make a new plan.")
    return Change(
        vmid=int(vmid),
        node=str(node),
        after={str(key): _canonical(int(vmid), str(key), value) for key, value in sorted(entry["after"].items())},
        before={str(key): None if value is None else str(value) for key, value in sorted(entry["before"].items())},
        digest=None if digest in (None, "") else str(digest),
        restarts=entry["effect"] == "restart",
    )


def _canonical(vmid: int, key: str, value: t.Any) -> t.Optional[str]:
    """The text to send for a planned value: CPU lists without blanks, booleans as 0/1; None = delete. Raises PlanError."""
    if key not in WRITABLE_KEYS:
        raise PlanError(f"The plan sets {key!r} of guest {vmid}, which is no key of a placement; allowed are {', '.join(WRITABLE_KEYS)}.")
    if value is None:
        return None
    text = str(value)
    if text == "":
        raise PlanError(f"The plan sets {key} of guest {vmid} to an empty text, which PVE ignores; null removes a key.")
    try:
        if key == "affinity" and text != "0":  # `0` is what a guest may have had before: PVE stores it and ignores it
            return format_affinity(parse_ordered(text))
        if key in CELL_KEYS:
            parse_cell(text)
    except GrammarError as e:
        raise PlanError(f"The plan sets {key} of guest {vmid} to a value that no guest starts with: {e}") from e
    if key in BOOLEAN_KEYS:
        return "1" if truthy(text) else "0"
    return text
