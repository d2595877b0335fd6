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


@dataclass(frozen=True)
class Offer:
    """What CPUs of a host can be given, faster ones first; both empty where the host has no frequency scaling."""

    governors: t.Tuple[str, ...] = ()
    epps: t.Tuple[str, ...] = ()


def offer_of(groups: t.Optional[t.Sequence[t.Mapping[str, t.Any]]]) -> t.Optional[Offer]:
    """What any of the groups in a host's fact `cpufreq` offers under any governor; None where they do not say."""
    if not all("governors" in group and "epps" in group for group in groups or ()):
        return None
    governors: t.Set[str] = set()
    epps: t.Set[str] = set()
    for group in groups or ():
        governors.update(group["governors"] or ())
        epps.update(epps_under(None, group["epps"] or (), group.get("governor")))
    return Offer(tuple(_in_order(governors, GOVERNORS)), tuple(_in_order(epps, EPPS)))


def epps_under(governor: t.Optional[str], shown: t.Sequence[str], now: t.Optional[str]) -> t.Tuple[str, ...]:
    """The preferences that CPUs have under `governor` (None: another one) which show these under the governor `now`.

    Under the governor performance amd-pstate shows only the one that holds then (amd-pstate.c,
    show_energy_performance_available_preferences); under another one it has those that both drivers know.
    """
    hidden = now == PERFORMANCE != governor and tuple(shown) == (PERFORMANCE,)
    return EPPS if hidden else tuple(shown)


def is_raw(epp: t.Optional[str]) -> bool:
    """Whether a preference is a number."""
    return epp is not None and epp.isascii() and epp.isdigit()


def reads_back_otherwise(epp: str) -> bool:
    """Whether a preference may read back under another name: `default` as that of the firmware's value, a number as that of its range."""
    return epp == "default" or is_raw(epp)


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
    """The value that stands first in `order`."""
    known = _in_order([value for value in values if value is not None], order)
    return known[0] if known else None


def _in_order(values: t.Iterable[str], order: t.Sequence[str]) -> t.List[str]:
    """Values that `order` does not know come last, by name."""
    return sorted(values, key=lambda value: (order.index(value) if value in order else len(order), value))
