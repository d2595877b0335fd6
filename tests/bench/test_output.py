# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's runs, verdicts and plots, on instances small enough for a test."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from placebench import contest, goals, machines, metric, plots, quality, speed, svg, workloads
from placebench.quality import HINTED, OURS, OURS_REPACK, BatchResult, ChurnResult, Quality
from placebench.speed import Speed
from placebench.workloads import Batch, Event, Wanted

STREAM = workloads.churn(machines.epyc_9354_nps4(), 1, events=130)


@pytest.fixture(scope="module")
def churn() -> ChurnResult:
    return quality.churn(STREAM, quality.no_optimum, with_nova=False)


def test_a_stream_is_run_by_all_contenders(churn: ChurnResult) -> None:
    samples = sum(1 for index in range(len(STREAM.events)) if STREAM.sampled(index))
    assert all(len(run.samples) == samples for run in churn.runs.values())
    assert churn.means[churn.best_peer] == min(churn.means[name] for name in quality.PEERS)
    assert churn.ratio(churn.best_peer) == 1
    assert churn.runs[OURS].moves == 0
    assert churn.runs[OURS].last_moves <= quality.LAST_MOVES
    assert metric.cost(churn.runs[OURS].repacked) <= churn.runs[OURS].end_cost
    assert churn.runs[OURS_REPACK].moves <= len(STREAM.events)


def test_what_is_planned_is_what_the_next_plan_starts_from() -> None:
    run = contest.our_churn(workloads.churn(machines.xeon_6338_2s(), 1, events=60))
    assert run.moves == 0
    assert run.end["unplaced_vcpus"] == 0


def test_plots_are_drawings(churn: ChurnResult) -> None:
    single = speed.placements(machines.epyc_9354_nps4(), 300, with_nova=False)
    other = speed.placements(machines.regular("more", 1, 4, 2, 8), 300, with_nova=False)
    timed = Speed(single=single, by_size=[single, other], by_guests=[speed.plan(1, number) for number in (4, 8)])
    for name, text in plots.plots(Quality(own_churns=[churn]), timed).items():
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg"), name
        assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) >= 2, name


def test_axis_holds_its_values() -> None:
    linear = svg.axis("x", [3, 47])
    assert (linear.low, linear.high, linear.position(linear.high)) == (0, 50, 1)
    logarithmic = svg.axis("y", [20, 3000], log=True)
    assert (logarithmic.low, logarithmic.high) == (10, 10000)
    assert logarithmic.position(100) == pytest.approx(1 / 3)


def _batch_result(cost: int, best: int, bound: int, unplaced: int = 0) -> BatchResult:
    instance = Batch("one", machines.epyc_9354_nps4(), (Wanted(100, 2),))
    return BatchResult(instance, {OURS: cost}, unplaced, best, bound)


def test_verdicts(churn: ChurnResult) -> None:
    measured = Quality(
        batches=[_batch_result(11, 11, 11), _batch_result(12, 11, 11)],
        memories=[_batch_result(100, 96, 96), _batch_result(400001, 1, 1, unplaced=4)],
        own_churns=[churn],
    )
    found = {goal.figure: goal for goal in goals.goals(measured, Speed())}
    assert found["batch on an empty host"].ours.startswith("1 of 2 proven optima")
    assert found["batch on an empty host"].verdict == "MISSED"
    assert found["memory 90-97 % used: guests placed"].ours == "1 of 2 instances"
    assert found["memory 90-97 % used: cost"].ours == "1 of 2 instances"
    above = churn.means[OURS] - churn.means[HINTED]
    assert found["churn, no moves: above Kubernetes with L3 and topology manager"].reached == (above <= 1400)
    assert found["churn end state, at most 5 moves, recorded streams"].verdict == "not measured"


def test_nothing_measured_is_no_verdict() -> None:
    assert {goal.verdict for goal in goals.goals(Quality(), Speed())} == {"not measured"}


def test_recorded_figures_of_peers_come_before_measured_ones() -> None:
    noted = workloads.Churn("noted", STREAM.machine, STREAM.events[:110], {"first-fit": 1.0}, {}, end_optimum=7)
    result = quality.churn(noted, quality.no_optimum, with_nova=False)
    assert (result.best_peer, result.means["first-fit"], result.end_best) == ("first-fit", 1.0, 7)


def test_events_in_order() -> None:
    guest = Wanted(100, 4)
    stream = workloads.Churn("short", machines.epyc_9354_nps4(), (Event(guest), Event(guest, departs=True), Event(Wanted(101, 2))))
    assert stream.end_guests() == (Wanted(101, 2),)
