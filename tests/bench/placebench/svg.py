# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line chart as SVG text: linear or logarithmic axes, a legend, nothing else."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass
from xml.sax.saxutils import escape

Points = t.Sequence[t.Tuple[float, float]]

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 200, 44, 56
COLOURS = ("#0b62a4", "#d1495b", "#7a7a7a", "#2e8b57", "#8f5fbf", "#e08e0b", "#3aa6a6", "#a05a2c", "#444444")


@dataclass(frozen=True)
class Axis:
    """One axis: its title, its range, logarithmic or not, and where its ticks are."""

    title: str
    low: float
    high: float
    log: bool
    ticks: t.Tuple[float, ...]

    def position(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        return (value - low) / (high - low)


def axis(title: str, values: t.Iterable[float], log: bool = False, ticks: t.Sequence[float] = ()) -> Axis:
    """An axis that holds all `values`; without `ticks` it has round ones."""
    values = list(values)
    if ticks:
        return Axis(title, min(ticks), max(ticks), log, tuple(ticks))
    if log:
        decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
        marks = tuple(10.0**decade for decade in decades)
    else:
        step = _round_step(max(values) / 5)
        marks = tuple(step * i for i in range(math.ceil(max(values) / step) + 1))
    return Axis(title, marks[0], marks[-1], log, marks)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step)


def chart(title: str, x: Axis, y: Axis, lines: t.Mapping[str, Points]) -> str:
    """The SVG document; `lines` are drawn in order, the first one strongest."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
        *_grid(x, y),
    ]
    for number, (name, points) in enumerate(lines.items()):
        parts.extend(_line(number, name, points, x, y))
    return "\n".join([*parts, "</svg>", ""])


def _across(x: Axis, value: float) -> float:
    return LEFT + x.position(value) * (WIDTH - LEFT - RIGHT)


def _down(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - y.position(value) * (HEIGHT - TOP - BOTTOM)


def _grid(x: Axis, y: Axis) -> t.Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in y.ticks:
        height = _down(y, tick)
        yield f'<line x1="{LEFT}" y1="{height:.1f}" x2="{right}" y2="{height:.1f}" stroke="#e2e2e2"/>'
        yield f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{tick:,g}</text>'
    for tick in x.ticks:
        across = _across(x, tick)
        yield f'<line x1="{across:.1f}" y1="{TOP}" x2="{across:.1f}" y2="{bottom}" stroke="#f0f0f0"/>'
        yield f'<text x="{across:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:,g}</text>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x.title)}</text>'
    middle = (TOP + bottom) / 2
    yield f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{escape(y.title)}</text>'


def _line(number: int, name: str, points: Points, x: Axis, y: Axis) -> t.Iterator[str]:
    colour, width = COLOURS[number % len(COLOURS)], 3 if number == 0 else 1.8
    places = [(_across(x, px), _down(y, py)) for px, py in points]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
    for px, py in places:
        yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}"/>'
    height = TOP + 8 + 20 * number
    left = WIDTH - RIGHT + 16
    yield f'<line x1="{left}" y1="{height}" x2="{left + 22}" y2="{height}" stroke="{colour}" stroke-width="{width}"/>'
    yield f'<text x="{left + 28}" y="{height + 4}">{escape(name)}</text>'
