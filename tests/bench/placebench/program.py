# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the benchmark, the tables that it prints, and the documents that it writes."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from environments import Unavailable

from . import goals, metric, nova, plots, quality, speed, workloads
from .quality import GREEDY, OURS, OURS_REPACK, BatchResult, ChurnResult, Quality
from .speed import Speed

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "benchmark.md"
PLOTS = ROOT / "docs" / "benchmark"
COMMAND = "make bench"


def run(quick: bool = False, write: bool = False) -> int:
    """The whole benchmark; returns 0. `write` renews the document's tables and the plots."""
    with_nova, why_not = _nova()
    measured = _quality(quick, with_nova)
    measured.notes.extend(why_not)
    print("\nMeasuring time ...", flush=True)
    timed = speed.measure(quick, with_nova)
    _print_speed(timed)
    reached = goals.goals(measured, timed)
    print("\n" + _table(["figure", "goal", "ours", ""], [[g.figure, g.goal, g.ours, g.verdict] for g in reached]))
    for note in measured.notes:
        print(f"Note: {note}")
    if write:
        _write(measured, timed, reached)
    return 0


def _nova() -> t.Tuple[bool, t.List[str]]:
    try:
        nova.interpreter()
    except Unavailable as e:
        return False, [f"nova is left out: {e}"]
    return True, []


def _quality(quick: bool, with_nova: bool) -> Quality:
    measured = Quality()
    optimum = quality.exact_optimum(1.0 if quick else 5.0)
    if optimum is None:
        measured.notes.append("the exact optimum is left out: OR-Tools is not installed (requirements/bench.txt)")
    find = optimum or quality.no_optimum
    recorded = workloads.recorded()
    if recorded is None:
        measured.notes.append(f"the recorded instances are left out: no placement-gap.json in {workloads.cases_folder()} (COREPIN_CASES)")
    else:
        measured.batches += _batches("batch, recorded", recorded.batches, find)
        measured.memories += _batches("memory, recorded", recorded.memories, find)
        measured.recorded_churns += _churns("churn, recorded", recorded.churns, find, with_nova)
    # Without the exact optimum a generated batch has nothing to be measured against but the peers.
    measured.batches += _batches("batch, generated", workloads.own_batches(quick), find)
    if optimum:
        measured.memories += _batches("memory, generated", workloads.own_memories(quick), find)
    measured.own_churns += _churns("churn, generated", workloads.own_churns(quick), find, with_nova)
    return measured


def _batches(title: str, instances: t.Sequence[workloads.Batch], optimum: quality.Optimum) -> t.List[BatchResult]:
    print(f"\n== {title}: {len(instances)} instances", flush=True)
    results = [quality.batch(instance, optimum) for instance in instances]
    for name in results[0].costs:
        gaps = [result.costs[name] - result.best for result in results]
        print(f"  {name:22} mean gap to the best known {sum(gaps) / len(gaps):8.1f}   at best {sum(gap <= 0 for gap in gaps)}/{len(gaps)}")
    proven = sum(result.proven for result in results)
    print(f"  proven optima {proven}, guests without a place in {sum(bool(result.unplaced_vcpus) for result in results)} instances")
    for result in results:
        if result.gap > 0:
            known = "optimum" if result.proven else f"best known, bound {result.lower_bound}"
            print(f"    {result.instance.name}: corepin {result.costs[OURS]}, {known} {result.best}")
    return results


def _churns(title: str, streams: t.Sequence[workloads.Churn], optimum: quality.Optimum, with_nova: bool) -> t.List[ChurnResult]:
    print(f"\n== {title}: {len(streams)} streams", flush=True)
    results = []
    for stream in streams:
        result = quality.churn(stream, optimum, with_nova)
        results.append(result)
        print(f"  {stream.name}: best peer {result.best_peer}", flush=True)
        for name, run in sorted(result.runs.items(), key=lambda item: result.means[item[0]]):
            print(
                f"    {name:24} mean {result.means[name]:10.1f}  ratio {result.ratio(name):8.3f}  end {run.end_cost:7d}"
                f"  moves {run.moves:3d}  CPU {run.seconds:6.2f} s"
                f"  numa {run.mean('numa'):6.2f} package {run.mean('package'):6.2f} l3 {run.mean('l3'):6.2f}"
                f" shared {run.mean('shared_core'):6.2f} orphan {run.mean('orphan'):6.2f} open {run.mean('open_l3'):6.2f}"
            )
        ours = result.runs[OURS]
        known = f"{'optimum' if result.end_proven else 'best known'} {result.end_best}"
        print(f"    end after {ours.last_moves} moves {metric.cost(ours.repacked)}, {known}", flush=True)
    for name in (GREEDY, OURS, OURS_REPACK):
        print(f"  {name:24} geometric mean of its ratio to the best peer: {quality.geometric_mean(r.ratio(name) for r in results):.3f}")
    return results


def _print_speed(timed: Speed) -> None:
    print("== one placement, CPU time in microseconds: mean (median)")
    for result in timed.by_size:
        figures = ", ".join(f"{name} {result.mean(name) * 1e6:.0f} ({result.median(name) * 1e6:.0f})" for name in result.seconds)
        print(f"  {len(result.stream.machine.cpus)} CPUs, {result.stream.machine.name}: {figures}")
    print("== whole plans, CPU time in seconds: everything to place, nothing to do, refused")
    for plan in [timed.whole, *timed.by_guests, *timed.by_hosts]:
        if plan:
            print(f"  {plan.guests:5d} guests on {plan.hosts:3d} hosts: {plan.cold:6.3f} {plan.idle:6.3f} {plan.refused}")


def _table(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]]
    return "\n".join([lines[0], "-+-".join("-" * width for width in widths), *lines[1:]])


def _markdown(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _write(measured: Quality, timed: Speed, reached: t.Sequence[goals.Goal]) -> None:
    PLOTS.mkdir(parents=True, exist_ok=True)
    for name, text in plots.plots(measured, timed).items():
        (PLOTS / name).write_text(text)
    rows = [[g.figure, g.goal, g.ours, g.verdict, f"`{COMMAND}`"] for g in reached]
    tables = {
        "goals": _markdown(["Figure", "Goal", "Ours", "", "Command"], rows),
        "churn": _churn_table(measured),
        "time": _time_table(timed),
    }
    text = DOCUMENT.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        text = re.sub(f"{begin}.*?{end}", lambda _match, new=f"{begin}\n\n{table}\n\n{end}": new, text, flags=re.DOTALL)
    DOCUMENT.write_text(text)
    print(f"\nWritten: {DOCUMENT.relative_to(ROOT)} and {len(list(PLOTS.glob('*.svg')))} plots in {PLOTS.relative_to(ROOT)}")


def _churn_table(measured: Quality) -> str:
    names = sorted(
        {name for result in measured.churns for name in result.means},
        key=lambda name: quality.geometric_mean(result.ratio(name) for result in measured.churns),
    )
    rows = []
    for name in names:
        runs = [result.runs[name] for result in measured.churns]
        mean = sum(result.means[name] for result in measured.churns) / len(runs)
        ratio = quality.geometric_mean(result.ratio(name) for result in measured.churns)
        numa, l3 = (sum(run.mean(part) for run in runs) / len(runs) for part in ("numa", "l3"))
        rows.append([name, f"{mean:,.0f}", f"{ratio:.2f}", f"{numa:.2f}", f"{l3:.2f}", str(sum(run.moves for run in runs))])
    return _markdown(["Contender", "Mean cost", "Ratio to the best peer", "Excess NUMA nodes", "Excess L3 domains", "Moves"], rows)


def _time_table(timed: Speed) -> str:
    names = list(timed.by_size[0].seconds)
    rows = [
        [f"{len(result.stream.machine.cpus)} CPUs, NUMA nodes: {len(result.stream.machine.units['numa'])}"]
        + [f"{result.median(name) / result.median(OURS):.2f}" for name in names]
        for result in timed.by_size
    ]
    return _markdown(["Host", *names], rows)
