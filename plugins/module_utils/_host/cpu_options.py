# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that name CPUs of this host.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.cpuset import format_cpulist, mask_of, parse_ordered
from .._engine.errors import GrammarError, SettingError


def named_cpus(name: str, text: str, online: int, present: int) -> t.List[int]:
    """The CPUs of the set `name` (what messages call it) in the order of `text`, an ordered cpulist.

    Raises SettingError for an empty set, and for CPUs that are offline or not there.
    """
    try:
        ordered = parse_ordered(text)
    except GrammarError as e:
        raise SettingError(f"cpus of {name}: {e}") from None
    cpus = mask_of(ordered)
    if not cpus:
        raise SettingError(f"cpus of {name} is empty; name CPUs such as 0-7,32-39, or leave the set out.")
    refuse_absent(name, cpus, present)
    if cpus & ~online:
        raise SettingError(f"CPUs {format_cpulist(cpus & ~online)} of {name} are offline; online are {format_cpulist(online)}.")
    return ordered


def refuse_absent(name: str, cpus: int, present: int) -> None:
    """Raises SettingError for CPUs that the host does not have."""
    if cpus & ~present:
        raise SettingError(f"CPUs {format_cpulist(cpus & ~present)} of {name} do not exist here; this host has {format_cpulist(present)}.")
