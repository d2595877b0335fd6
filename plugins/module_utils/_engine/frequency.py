# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast CPUs shall run, and what holds where CPUs that share a frequency have several wishes.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

PERFORMANCE = "performance"

# The one further to the front keeps the CPUs faster.
GOVERNORS = (PERFORMANCE, "schedutil", "ondemand", "conservative", "powersave")
EPPS = (PERFORMANCE, "balance_performance", "default", "balance_power", "power")


@dataclass(frozen=True)
class Setting:
    """What can be set of a policy; None: the driver does not have it, or it stays as it is. `epp`: energy performance preference."""

    governor: t.Optional[str] = None
    epp: t.Optional[str] = None
    min_khz: t.Optional[int] = None
    max_khz: t.Optional[int] = None


def fastest(settings: t.Sequence[Setting]) -> Setting:
    """Of several wishes for the same CPUs the one that keeps them faster, value by value.

    A wish without a maximum is a wish for none. The governor performance needs no preference, and allows no other one.
    """
    governor = _first([setting.governor for setting in settings], GOVERNORS)
    agreeing = (governor,) if governor == PERFORMANCE else (governor, None)
    lowest = [setting.min_khz for setting in settings if setting.min_khz is not None]
    highest = [setting.max_khz for setting in settings if setting.max_khz is not None]
    return Setting(
        governor,
        _first([setting.epp for setting in settings if setting.governor in agreeing], EPPS),
        max(lowest, default=None),
        max(highest) if len(highest) == len(settings) else None,
    )


def _first(values: t.Sequence[t.Optional[str]], order: t.Sequence[str]) -> t.Optional[str]:
    """The value that stands first in `order`; values that `order` does not know come last, by name."""
    known = [value for value in values if value is not None]
    return min(known, key=lambda value: (order.index(value) if value in order else len(order), value), default=None)
