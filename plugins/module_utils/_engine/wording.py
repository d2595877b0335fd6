# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and lists as people write them.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def plural(number: int, noun: str) -> str:
    """`1 CPU`, `2 CPUs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def spelled(number: int, noun: str = "") -> str:
    """Small numbers as words: `one CPU`, `two CPUs`, `13 CPUs`, `no CPUs`."""
    word = _WORDS[number] if 0 <= number < len(_WORDS) else str(number)
    return f"{word} {noun}{'' if number == 1 else 's'}" if noun else word


def listed(items: t.Sequence[str], limit: int = 6) -> str:
    """`a`, `a and b`, `a, b and c`; beyond `limit` items the rest is counted: `a, b and 4 more`."""
    if len(items) > limit:
        return f"{', '.join(items[: limit - 1])} and {len(items) - limit + 1} more"
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else "".join(items)


def sentence(text: str) -> str:
    """`text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]
