# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One finding of the audit: what is wrong, how bad it is, and what to do about it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cpuset import count, format_cpulist
from .findings import SEVERITIES
from .guest import Guest
from .wording import listed, plural, sentence


@dataclass(frozen=True)
class AuditFinding:
    """`id` names the check (docs/audit.md explains each); `node` None: the whole cluster; `text` and `fix` are sentences."""

    id: str
    severity: str
    node: t.Optional[str]
    vmids: t.Tuple[int, ...]
    text: str
    fix: str
    cpus: int = 0

    def as_dict(self) -> t.Dict[str, t.Any]:
        return {
            "id": self.id,
            "severity": self.severity,
            "node": self.node,
            "vmids": list(self.vmids),
            "cpus": format_cpulist(self.cpus),
            "text": self.text,
            "fix": self.fix,
        }


def worst_first(found: t.Iterable[AuditFinding]) -> t.List[AuditFinding]:
    """By severity, host and check."""
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.node or "", finding.id, finding.vmids))


def vmids_of(guests: t.Iterable[Guest]) -> t.Tuple[int, ...]:
    return tuple(guest.vmid for guest in guests)


def named(guests: t.Sequence[Guest]) -> str:
    """`Guests 101 (db), 102 (web) and 4 more`, to begin a sentence with."""
    names = listed([f"{guest.vmid} ({guest.name})" if guest.name else str(guest.vmid) for guest in guests])
    return sentence(f"guest{'' if len(guests) == 1 else 's'} {names}")


def within(guests: t.Sequence[Guest]) -> str:
    """The same inside a sentence."""
    names = named(guests)
    return names[:1].lower() + names[1:]


def named_cpus(cpus: int) -> str:
    """`CPU 3`, `CPUs 10,42`, or only how many where the list would be long."""
    text = format_cpulist(cpus)
    return plural(count(cpus), "CPU") if len(text) > 40 else f"CPU{'' if count(cpus) == 1 else 's'} {text}"
