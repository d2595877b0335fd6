# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, times and names as the report shows them.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from markupsafe import Markup, escape

_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d)?(?:\.\d+)?(Z|\+00:00)?$", re.ASCII)


def gib(mib: t.Optional[int]) -> str:
    """`96`, `1.5`, `0.25`: GiB without a unit; `?` where it is unknown."""
    if mib is None:
        return "?"
    value = mib / 1024
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2f}".rstrip("0").rstrip(".")


def moment(time: t.Optional[str]) -> str:
    """`2026-01-01T06:00:00Z` -> `2026-01-01 06:00 UTC`; anything else as it is."""
    match = _TIME.match(time or "")
    return f"{match.group(1)} {match.group(2)}{' UTC' if match.group(3) else ''}" if match else time or "unknown"


_NOISE = re.compile(r"\((?:R|TM|tm)\)| CPU @ .*$| \d+-Core Processor$| Processor$|^\d+th Gen ")


def processor(model: t.Optional[str], packages: int = 1) -> str:
    """`Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz` in two packages -> `2 x Intel Xeon Gold 6338`; '' where it is unknown."""
    name = _NOISE.sub("", model or "").strip()
    return f"{packages} \N{MULTIPLICATION SIGN} {name}" if name and packages > 1 else name


def dotted(value: int) -> str:
    """A number for a table, in which 0 is a dot: what is there stands out."""
    return str(value) if value else "\N{MIDDLE DOT}"


def ids(numbers: t.Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def where_stored(place: t.Optional[t.Mapping[str, t.Any]], cpulist: t.Callable[[str], str]) -> str:
    """The CPUs of a guest's place in a word: its cpulist, `pool`, `anywhere`, or `over 0-7` where it floats."""
    if not place:
        return "unknown"
    if place["cpus"]:
        return cpulist(place["cpus"])
    if place["in_pool"]:
        return "pool"
    return "anywhere" if place["roams"] else f"over {place['floats']}" if place["floats"] else "none"


def breakable(cpus: str) -> Markup:
    """A cpulist, or a text with one, that a page breaks after commas only and never inside a range."""
    return (
        Markup(",<wbr>").join(Markup('<span class="nb">{}</span>').format(part) for part in cpus.split(","))
        if "," in cpus
        else escape(cpus)
    )
