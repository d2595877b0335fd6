# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what a lab host comes to by itself."""

from __future__ import annotations

import time
import typing as t

Seen = t.TypeVar("Seen")


def wait_for(look: t.Callable[[], Seen], enough: t.Callable[[Seen], bool], seconds: float = 600) -> None:
    """Look once a second until what is seen is enough: emulated CPUs are slow on a busy machine. Fails with what was seen last."""
    end = time.monotonic() + seconds
    while not enough(seen := look()):
        assert time.monotonic() < end, seen
        time.sleep(1)
