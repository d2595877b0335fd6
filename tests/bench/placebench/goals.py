# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The goals of the placement engine, and how far each is reached."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import metric
from .quality import HINTED, OURS, OURS_REPACK, BatchResult, ChurnResult, Quality, geometric_mean
from .speed import Speed, growth


@dataclass(frozen=True)
class Goal:
    """`reached` None = there was nothing to measure it on."""

    figure: str
    goal: str
    ours: str
    reached: t.Optional[bool]

    @property
    def verdict(self) -> str:
        return {True: "reached", False: "MISSED", None: "not measured"}[self.reached]


def goals(quality: Quality, speed: Speed) -> t.List[Goal]:
    return [
        *_batch(quality.batches),
        *_memory(quality.memories),
        *_churn(quality.churns),
        *_repack(quality.churns),
        *_end(quality.recorded_churns, quality.own_churns),
        *_single(speed),
        *_plans(speed),
    ]


def _batch(results: t.Sequence[BatchResult]) -> t.Iterator[Goal]:
    proven = [result for result in results if result.proven]
    at_best = sum(1 for result in proven if result.gap == 0)
    worst = max((result.gap for result in results), default=0)
    yield Goal(
        "batch on an empty host",
        "gap 0 to the proven optimum everywhere",
        f"{at_best} of {len(proven)} proven optima; largest gap to the best known of all {len(results)}: {worst}",
        at_best == len(proven) if proven else None,
    )


def _memory(results: t.Sequence[BatchResult]) -> t.Iterator[Goal]:
    placeable = [result for result in results if result.best < metric.DENSE["unplaced_vcpus"]]
    placed = sum(1 for result in placeable if not result.unplaced_vcpus)
    within = sum(1 for result in placeable if result.costs[OURS] <= 1.05 * result.best)
    yield Goal(
        "memory 90-97 % used: guests placed",
        "all, wherever the optimum places all",
        f"{placed} of {len(placeable)} instances",
        placed == len(placeable) if placeable else None,
    )
    yield Goal(
        "memory 90-97 % used: cost",
        "within 5 % of the best known",
        f"{within} of {len(placeable)} instances",
        within == len(placeable) if placeable else None,
    )


def _churn(results: t.Sequence[ChurnResult]) -> t.Iterator[Goal]:
    if not results:
        return
    ratio = geometric_mean(result.ratio(OURS) for result in results)
    above = max(result.means[OURS] - result.means[HINTED] for result in results)
    yield Goal(
        "churn, no moves: time-mean cost over the best peer's",
        "geometric mean at most 1",
        f"{ratio:.3f} over {len(results)} streams",
        ratio <= 1,
    )
    yield Goal(
        "churn, no moves: above Kubernetes with L3 and topology manager",
        "at most 1,400 on every stream",
        f"{above:+,.0f} on the worst stream",
        above <= 1400,
    )


def _repack(results: t.Sequence[ChurnResult]) -> t.Iterator[Goal]:
    if not results:
        return
    ratio = geometric_mean(result.ratio(OURS_REPACK) for result in results)
    moves = sum(result.runs[OURS_REPACK].moves for result in results)
    events = sum(result.runs[OURS_REPACK].events for result in results)
    floor = geometric_mean(result.floor_ratio for result in results)
    yield Goal(
        "churn, repack: 1: time-mean cost over the best peer's",
        "geometric mean at most 0.12",
        f"{ratio:.3f} over {len(results)} streams; no placement at all goes below {floor:.3f}",
        ratio <= 0.12,
    )
    yield Goal("churn, repack: 1: moves", "fewer than 1 per 20 events", f"{20 * moves / events:.2f} per 20 events", 20 * moves < events)


def _end(recorded: t.Sequence[ChurnResult], own: t.Sequence[ChurnResult]) -> t.Iterator[Goal]:
    for title, results in (("recorded", recorded), ("own", own)):
        costs = [metric.cost(result.runs[OURS].repacked) for result in results]
        if title == "recorded":
            worst = max((cost / max(1, result.end_best or 1) for cost, result in zip(costs, results)), default=0.0)
            yield Goal(
                "churn end state, at most 5 moves, recorded streams",
                "within 1.25 of the proven optimum",
                f"{worst:.2f} on the worst of {len(results)}",
                worst <= 1.25 if results else None,
            )
        else:
            mean = sum(costs) / len(costs) if costs else 0.0
            yield Goal(
                "churn end state, at most 5 moves, own streams",
                "under 100 on average",
                f"{mean:.0f} over {len(results)} streams",
                mean < 100 if results else None,
            )


def _single(speed: Speed) -> t.Iterator[Goal]:
    if speed.single is None:
        return
    name, peer = "one placement, 256 CPUs, 8 NUMA nodes, 88 %: CPU time", "nova fit"
    if peer not in speed.single.seconds:
        yield Goal(name, "at most nova's fit", "nova is not available", None)
        return
    mean, median = (of(OURS) / of(peer) for of in (speed.single.mean, speed.single.median))
    yield Goal(name, "at most nova's fit", f"{median:.2f} of it in the median, {mean:.2f} in the mean", max(mean, median) <= 1)


def _plans(speed: Speed) -> t.Iterator[Goal]:
    if speed.whole is None:
        return
    whole = speed.whole
    yield Goal(f"plan for {whole.guests:,} guests on {whole.hosts} hosts of 256 CPUs", "under 2 s", f"{whole.cold:.2f} s", whole.cold < 2)
    yield Goal("the same with nothing to do", "under 0.5 s", f"{whole.idle:.2f} s", whole.idle < 0.5)
    for what, plans, size in (
        ("guests", speed.by_guests, lambda plan: plan.guests),
        ("hosts", speed.by_hosts, lambda plan: plan.hosts),
    ):
        exponent = growth(plans, size)
        steps = f"{size(plans[0])} to {size(plans[-1])}"
        # 1 is linear; a little above it is what repeated measurements of a linear plan scatter by.
        yield Goal(f"growth of the plan with {what}", "power at most 1.1", f"power {exponent:.2f} from {steps}", exponent <= 1.1)
