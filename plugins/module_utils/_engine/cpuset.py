# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU sets as bit masks, and the text forms in which the outside world writes them.

Inside corepin a set of CPUs is a Python integer whose bit n stands for CPU n. A cpulist is the kernel's text form
(`0-7,32-39`, Documentation/admin-guide/cputopology.rst); an ordered cpulist is the same syntax read from left to
right, where the order says which vCPU gets which CPU.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from functools import lru_cache

from .errors import GrammarError

# Linux' NR_CPUS is at most 8192 on the architectures that PVE runs on; more is a typing error, not a machine.
MAX_CPUS = 8192

# The same few texts are read again and again in one run: hosts are alike, and each guest's are looked at several times.
KNOWN_TEXTS = 8192

_RANGE = re.compile(r"^(\d+)(?:-(\d+)(?::(\d+)(?:/(\d+))?)?)?$", re.ASCII)


def mask_of(cpus: t.Iterable[int]) -> int:
    """The mask that holds each of `cpus`."""
    mask = 0
    for cpu in cpus:
        mask |= 1 << cpu
    return mask


def union(masks: t.Iterable[int]) -> int:
    """The mask that holds what any of `masks` holds."""
    together = 0
    for mask in masks:
        together |= mask
    return together


def cpus_of(mask: int) -> t.Iterator[int]:
    """The CPU numbers in `mask`, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def count(mask: int) -> int:
    """How many CPUs `mask` holds (int.bit_count exists only from Python 3.10 on)."""
    return bin(mask).count("1")


def lowest(mask: int) -> int:
    """The lowest CPU number in a non-empty `mask`."""
    return (mask & -mask).bit_length() - 1


def parse_ordered(text: str) -> t.List[int]:
    """Read an ordered cpulist into CPU numbers from left to right; a repeated CPU counts where it stands first.

    Blanks around the whole text, around commas, and trailing NUL bytes (seen in captured sysfs files) are accepted;
    so are the kernel's strides (`0-31:4` and `0-31:1/4`). The empty text is the empty list.

    Raises GrammarError for anything else.
    """
    cleaned = text.replace("\0", "").strip()
    if not cleaned:
        return []
    ordered: t.Dict[int, None] = {}
    for part in cleaned.split(","):
        for cpu in _part_cpus(part.strip(), text):
            ordered[cpu] = None
    return list(ordered)


def _part_cpus(part: str, text: str) -> t.Iterable[int]:
    match = _RANGE.match(part)
    if not match:
        raise GrammarError(
            f"{_shown(text)} is not a cpulist: {_shown(part)} is neither a CPU number nor a range; write for example 0-7,32-39."
        )
    first = int(match.group(1))
    last = first if match.group(2) is None else int(match.group(2))
    if last < first:
        raise GrammarError(f"{_shown(text)} is not a cpulist: the range {part} runs backwards; write {last}-{first}.")
    if last >= MAX_CPUS:
        raise GrammarError(f"{_shown(text)} names CPU {last}, but Linux has at most {MAX_CPUS} CPUs; correct the number.")
    if match.group(3) is None:
        return range(first, last + 1)
    used, group = (1, int(match.group(3))) if match.group(4) is None else (int(match.group(3)), int(match.group(4)))
    if not 0 < used <= group:
        raise GrammarError(f"{_shown(text)} is not a cpulist: the stride of {part} is not allowed; use a plain range.")
    return (cpu for cpu in range(first, last + 1) if (cpu - first) % group < used)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


@lru_cache(maxsize=KNOWN_TEXTS)
def parse_cpulist(text: str) -> int:
    """Read a cpulist into a mask. Raises GrammarError."""
    return mask_of(parse_ordered(text))


def format_ordered(cpus: t.Iterable[int]) -> str:
    """Write CPU numbers in the given order, ascending runs as ranges: [0, 32, 1, 33] -> `0,32,1,33`."""
    runs: t.List[t.List[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(_format_run(run[0], run[-1]) for run in runs)


def _format_run(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def format_cpulist(mask: int) -> str:
    """Write a mask as the kernel does: sorted, without blanks, runs as ranges; '' for the empty set."""
    return format_ordered(cpus_of(mask))


def format_known(mask: t.Optional[int]) -> t.Optional[str]:
    """As format_cpulist; None for a set that is not known."""
    return None if mask is None else format_cpulist(mask)
