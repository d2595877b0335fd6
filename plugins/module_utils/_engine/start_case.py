# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules about a start look at: a guest, its config at the next start, and a host; and what they find.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from functools import cached_property

from .guest import CELL_KEYS, Config, Guest, parse_properties, truthy
from .guest_config import accepts_cell
from .topology import Host

_HOTPLUG_DEFAULT = "network,disk,usb"  # what hotplug unset or 1 means: src/PVE/QemuServer.pm
_FALSE_IN_PERL = ("", "0")


@dataclass(frozen=True)
class Finding:
    """One rule that a start breaks.

    `message` is what PVE, taskset or QEMU says where they say anything, else a sentence; `fix` is a sentence. `fatal`:
    the start fails; otherwise the guest starts and runs differently from what its config says, or may fail.
    """

    rule: str
    message: str
    fix: str
    fatal: bool = True

    def as_dict(self) -> t.Dict[str, t.Any]:
        return {"rule": self.rule, "message": self.message, "fix": self.fix, "fatal": self.fatal}


Findings = t.Iterator[Finding]


@dataclass(frozen=True)
class StartCase:
    """A start of `guest` on `host` with `config`, the keys as they are at that start."""

    guest: Guest
    host: Host
    config: Config

    @property
    def maxcpus(self) -> int:
        return self.guest.vcpus

    @cached_property
    def sockets(self) -> int:
        return self.number("sockets", 1)

    @cached_property
    def numa(self) -> bool:
        return truthy(self.config.get("numa"))

    @cached_property
    def hotplug(self) -> t.FrozenSet[str]:
        """What can be plugged in while the guest runs: cpu, memory, disk ..."""
        text = self.config.get("hotplug", "1")
        return frozenset(re.split(r"[,;\s]+", _HOTPLUG_DEFAULT if text == "1" else text))

    @cached_property
    def hotplugs_memory(self) -> bool:
        return "memory" in self.hotplug

    @cached_property
    def hugepages(self) -> t.Optional[str]:
        """`any`, `2` or `1024`; None = without."""
        text = self.config.get("hugepages", "")
        return None if text in _FALSE_IN_PERL else text

    @cached_property
    def virtiofs(self) -> bool:
        return any(re.match(r"virtiofs\d", key) for key in self.config)

    @cached_property
    def cell_texts(self) -> t.Dict[int, str]:
        """N -> the text of numaN where PVE looks at it."""
        return {n: self.config[key] for n, key in enumerate(CELL_KEYS) if self.config.get(key, "") not in _FALSE_IN_PERL}

    @cached_property
    def cells(self) -> t.Dict[int, t.Dict[str, str]]:
        """N -> the properties of each numaN that PVE understands."""
        return {n: parse_properties(text) for n, text in self.cell_texts.items() if accepts_cell(text)}

    @cached_property
    def static_memory_mib(self) -> int:
        """The memory that is there from the start, which cells or sockets share; the rest is plugged in."""
        if not self.hotplugs_memory:
            return self.guest.memory_mib
        return 1024 * (self.sockets if self.hugepages == "1024" else 1)

    def number(self, key: str, default: int) -> int:
        """A key that holds a whole number; `default` where it is absent or 0."""
        text = str(self.config.get(key, ""))
        return (int(text) if text.isdigit() else 0) or default


def ranges(text: str) -> t.List[t.Tuple[int, int]]:
    """The `;` list of a cell, in its order: `0-3;8` -> [(0, 3), (8, 8)]. Descending ranges stay as they are."""
    pairs = []
    for part in text.split(";"):
        first, _dash, last = part.partition("-")
        pairs.append((int(first), int(last or first)))
    return pairs


def numbers(text: str) -> t.Iterator[int]:
    """The ids that a `;` list names, in its order; a range may name any number of them."""
    for first, last in ranges(text):
        yield from range(first, last + 1)


def names(text: t.Optional[str], number: int) -> bool:
    """Whether a `;` list names the id."""
    return text is not None and any(first <= number <= last for first, last in ranges(text))


def shown(number: float) -> str:
    """A number as Perl prints it."""
    return f"{number:.15g}"
