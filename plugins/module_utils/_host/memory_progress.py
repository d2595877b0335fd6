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
    last: float = field(default_factory=time.monotonic)

    def tell(self, vmid: int, total: int, left: int) -> None:
        """`total`: bytes that lay elsewhere at the start; `left`: those of them that do still."""
        if time.monotonic() - self.last < self.every_s:
            return
        self.say(f"corepin: {(total - left) // _MIB} MiB of guest {vmid} have moved, {left // _MIB} MiB are left.")
        self.last = time.monotonic()
