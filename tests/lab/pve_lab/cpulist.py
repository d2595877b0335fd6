# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU lists in the kernel's syntax, and the two readers that PVE puts in front of it.

A deliberate second implementation: the lab shares no code with the clients that are tested against it.
"""

from __future__ import annotations

import re
import typing as t

_CPUSET_PART = re.compile(r"\s*\d+(?:-\d+)?\s*", re.ASCII)
_TASKSET = re.compile(r"\d+(?:-\d+(?::\d+)?)?(?:,\d+(?:-\d+(?::\d+)?)?)*", re.ASCII)
_HIGHEST = 8192


def format_cpus(cpus: t.Iterable[int]) -> str:
    """The kernel's text for a set of CPUs: `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def read_cpus(text: str) -> frozenset[int]:
    """The CPUs in a list that the kernel or `taskset --cpu-list` accepts; ValueError for anything else."""
    text = text.strip("\n")
    if not text:
        return frozenset()
    if not _TASKSET.fullmatch(text):
        raise ValueError(text)
    cpus: set[int] = set()
    for part in text.split(","):
        span, _colon, stride = part.partition(":")
        low, _dash, high = span.partition("-")
        first, last, step = int(low), int(high or low), int(stride or 1)
        if last < first or step == 0:
            raise ValueError(text)
        cpus.update(range(first, min(last, _HIGHEST) + 1, step))
    return frozenset(cpus)


def is_pve_cpuset(text: str) -> bool:
    """Whether PVE's own validator takes the text: laxer than taskset about blanks and a trailing comma.

    Perl's split drops empty fields at the end and keeps them elsewhere, so `0,1,` passes and `,0` does not.
    """
    parts = text.split(",")
    while parts and parts[-1] == "":
        parts.pop()
    for part in parts:
        if not _CPUSET_PART.fullmatch(part):
            return False
        low, _dash, high = part.strip().partition("-")
        if high and int(high) < int(low):
            return False
    return True
