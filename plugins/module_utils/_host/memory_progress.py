# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saying now and then how far the memory of guests has moved, for who watches a task that may take ten minutes.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

_MIB = 1 << 20


@dataclass
class Progress:
    """`say` gets a sentence at most every `every_s` seconds."""

    say: t.Callable[[str], None] = lambda _sentence: None
    every_s: float = 10.0
    totals: t.Dict[int, int] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def tell(self, vmid: int, to_move: t.Mapping[int, int], lost: t.Callable[[], t.Mapping[int, int]]) -> None:
        """`to_move`: bytes by NUMA node that lay elsewhere at the start; `lost` finds out those that do now, at the price of reading
        the page tables of the guest."""
        total = self.totals.setdefault(vmid, sum(to_move.values()))
        if time.monotonic() - self.last < self.every_s:
            return
        left = sum(lost().values())
        self.say(f"corepin: {max(0, total - left) // _MIB} MiB of guest {vmid} have moved, {left // _MIB} MiB are left.")
        self.last = time.monotonic()
