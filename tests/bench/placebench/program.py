# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the benchmark, and the table that it prints."""

from __future__ import annotations

import math
import typing as t
from collections import defaultdict

from . import contest, metric, ours, workloads
from .peers import PEERS
from .workloads import Batch, Churn


def run(quick: bool = False) -> int:
    recorded = workloads.recorded()
    if recorded is None:
        print(f"The recorded instances are skipped: there is no placement-gap.json in {workloads.cases_folder()} (see COREPIN_CASES).")
    else:
        batches("batch, recorded", recorded.batches)
        memories("memory, recorded", recorded.memories)
        churns("churn, recorded", recorded.churns)
    batches("batch, generated", workloads.own_batches(quick))
    memories("memory, generated", workloads.own_memories(quick))
    churns("churn, generated", workloads.own_churns(quick))
    return 0


def batches(title: str, instances: t.Sequence[Batch]) -> None:
    print(f"\n== {title}: {len(instances)} instances (cost; gap = above the best known)")
    costs: t.Dict[str, t.List[int]] = defaultdict(list)
    gaps: t.Dict[str, t.List[int]] = defaultdict(list)
    for instance in instances:
        found = {name: metric.cost(contest.peer_batch(instance, make)) for name, make in PEERS.items()}
        found["sibling-first sorted"] = metric.cost(contest.peer_batch(instance, PEERS["sibling-first"], largest_first=True))
        parts, _seconds = contest.our_batch(instance)
        found["corepin"] = metric.cost(parts)
        best = instance.best_cost if instance.best_cost is not None else min(found.values())
        for name, cost in found.items():
            costs[name].append(cost)
            gaps[name].append(cost - best)
        if found["corepin"] > best:
            print(f"   {instance.name}: corepin {found['corepin']}, best known {best}: {parts}")
    for name, values in gaps.items():
        print(f"  {name:22} mean gap {sum(values) / len(values):9.1f}   at best {sum(v <= 0 for v in values)}/{len(values)}")


def memories(title: str, instances: t.Sequence[Batch]) -> None:
    print(f"\n== {title}: {len(instances)} instances")
    placed = within = 0
    for instance in instances:
        parts, seconds = contest.our_batch(instance)
        cost = metric.cost(parts)
        placed += not parts["unplaced_vcpus"]
        good = instance.best_cost is None or cost <= 1.05 * instance.best_cost
        within += good
        if parts["unplaced_vcpus"] or not good:
            print(f"   {instance.name}: corepin {cost}, best known {instance.best_cost}: {parts}  {seconds:.2f} s")
    print(f"  all guests placed {placed}/{len(instances)}, cost within 5 % of the best known {within}/{len(instances)}")


def churns(title: str, streams: t.Sequence[Churn]) -> None:
    print(f"\n== {title}: {len(streams)} streams (time-mean cost | end cost | CPU seconds)")
    ratios = []
    for stream in streams:
        runs = {name: contest.peer_churn(stream, make) for name, make in PEERS.items()}
        means = {name: stream.peer_means.get(name, run.mean_cost) for name, run in runs.items()}
        runs["corepin choose()"] = contest.peer_churn(stream, ours.Greedy)
        runs["corepin place()"] = contest.our_churn(stream)
        best = min(means, key=lambda name: means[name])
        ratios.append(runs["corepin place()"].mean_cost / means[best])
        print(f"  {stream.name}  best peer {best} {means[best]:.0f}, corepin/best {ratios[-1]:.3f}")
        for name, run in runs.items():
            noted = stream.peer_means.get(name)
            print(
                f"    {name:18} {run.mean_cost:9.1f}{f' (noted {noted:.1f})' if noted else '':18} | {run.end_cost:6d} | {run.seconds:6.2f}"
                f"   numa {run.mean('numa'):.2f} package {run.mean('package'):.2f} l3 {run.mean('l3'):.2f}"
                f" shared {run.mean('shared_core'):.1f} orphan {run.mean('orphan'):.1f} open {run.mean('open_l3'):.1f} moves {run.moves}"
            )
    print(f"  geometric mean of corepin/best peer: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}")
