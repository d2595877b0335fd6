# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers for SVG and HTML text: escaping, short numbers, and how much room a text takes.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import html
import typing as t

# Widths in em of a common sans-serif face, on the wide side, so that what fits by this table fits in any of them.
_NARROW, _WIDE = frozenset("fijlrt.,:;|!'()[]- "), frozenset("mwMW@%")
_BOLD = 1.07


def escaped(text: t.Any) -> str:
    """`text` for use between tags and in quoted attributes."""
    return html.escape(str(text), quote=True)


def number(value: float) -> str:
    """A coordinate with at most two decimals: `12`, `7.5`."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def text_width(text: str, size: float, bold: bool = True) -> float:
    """An upper estimate, in the unit of `size`; a character outside ASCII may be as wide as it is high."""
    em = sum(_character_width(character) for character in text)
    return em * size * (_BOLD if bold else 1)


def _character_width(character: str) -> float:
    if character in _NARROW:
        return 0.36
    if character in _WIDE:
        return 0.95
    if ord(character) > 0x2E7F:
        return 1.05
    return 0.71 if character.isupper() else 0.6


def first_that_fits(texts: t.Iterable[str], width: float, size: float, bold: bool = True) -> str:
    """The first of `texts` (longest first) that `width` holds, or ''."""
    return next((text for text in texts if text_width(text, size, bold) <= width), "")


def rect(x: float, y: float, width: float, height: float, radius: float = 0, **attributes: str) -> str:
    """A <rect>; a trailing underscore of an attribute's name is dropped (class_)."""
    more = "".join(f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"' for name, value in attributes.items())
    rounded = f' rx="{number(radius)}"' if radius else ""
    return f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"{rounded}{more}/>'


def text_at(x: float, y: float, content: t.Any, css_class: str = "") -> str:
    named = f' class="{css_class}"' if css_class else ""
    return f'<text x="{number(x)}" y="{number(y)}"{named}>{escaped(content)}</text>'


def box_path(boxes: t.Iterable[t.Tuple[float, float, float, float]]) -> str:
    """The `d` of a path made of boxes (x, y, width, height): far shorter than as many <rect>."""
    return "".join(f"M{number(x)} {number(y)}h{number(w)}v{number(h)}h-{number(w)}z" for x, y, w, h in boxes)
