# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's three plots: quality over occupancy, time over host size, time over guests."""

from __future__ import annotations

import typing as t
from collections import defaultdict

from . import svg
from .quality import GREEDY, OURS, OURS_REPACK, ChurnResult, Quality
from .speed import Placements, Plan, Speed

BIN = 0.03
# An occupancy that fewer of the samples have is not shown: its mean would say little.
RARE = 0.02
PERCENT = 100


def plots(quality: Quality, speed: Speed) -> t.Dict[str, str]:
    """File name -> SVG text."""
    return {
        "gap-over-occupancy.svg": gap_over_occupancy(quality.churns),
        "time-over-host-size.svg": time_over_host_size(speed.by_size),
        "time-over-guests.svg": time_over_guests(speed.by_guests),
    }


def gap_over_occupancy(results: t.Sequence[ChurnResult]) -> str:
    """The mean cost of each contender by occupancy of the host, above what the guests cost at least; logarithmic."""
    sums: t.Dict[str, t.Dict[int, t.List[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        floors = result.floors
        for name, run in result.runs.items():
            if name == GREEDY:
                continue
            for sample, floor in zip(run.samples, floors):
                sums[name][round(sample.occupancy / BIN)].append(sample.cost - floor)
    samples = sum(map(len, sums[OURS].values()))
    enough = [b for b, gaps in sums[OURS].items() if len(gaps) >= RARE * samples]
    order = sorted(sums, key=lambda name: (name != OURS, name != OURS_REPACK, -_mean(sums[name], enough)))
    lines = {
        name: [(PERCENT * BIN * b, max(1.0, sum(sums[name][b]) / len(sums[name][b]))) for b in sorted(enough) if sums[name][b]]
        for name in order
    }
    x = svg.axis("occupied CPUs, %", [], ticks=[PERCENT * BIN * b for b in range(min(enough), max(enough) + 1)])
    y = svg.axis("cost above the least possible", [value for points in lines.values() for _x, value in points], log=True)
    return svg.chart("Quality gap under churn, by occupancy", x, y, lines)


def _mean(gaps: t.Mapping[int, t.Sequence[float]], bins: t.Iterable[int]) -> float:
    values = [gap for b in bins for gap in gaps.get(b, ())]
    return sum(values) / max(1, len(values))


def time_over_host_size(results: t.Sequence[Placements]) -> str:
    lines: t.Dict[str, t.List[t.Tuple[float, float]]] = defaultdict(list)
    for result in results:
        for name in result.seconds:
            lines[name].append((len(result.stream.machine.cpus), result.median(name) * 1e6))
    x = svg.axis("CPUs of the host", [], log=True, ticks=[len(result.stream.machine.cpus) for result in results])
    y = svg.axis("CPU time of one placement (median), microseconds", [value for points in lines.values() for _x, value in points], log=True)
    return svg.chart("Time of one placement near 88 % occupancy", x, y, lines)


def time_over_guests(plans: t.Sequence[Plan]) -> str:
    lines = {
        "everything to place": [(plan.guests, plan.cold) for plan in plans],
        "nothing to do": [(plan.guests, plan.idle) for plan in plans],
    }
    x = svg.axis("guests on 32 hosts of 256 CPUs", [plan.guests for plan in plans])
    y = svg.axis("CPU time of the plan, seconds", [value for points in lines.values() for _x, value in points])
    return svg.chart("Time of a whole plan", x, y, lines)
