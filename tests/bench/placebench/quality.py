# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quality: every contender on every instance, judged by the same vector."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from . import contest, metric, nova, ours
from .contest import Run
from .peers import PEERS
from .workloads import Batch, Churn

OURS = "corepin"
OURS_REPACK = "corepin, repack: 1"
GREEDY = "corepin, allocator alone"
NOVA = "nova fit"
HINTED = "k8s+l3+tm"
LAST_MOVES = 5


@dataclass(frozen=True)
class BatchResult:
    """Costs by contender. `best` is the cheapest known; `proven` where nothing cheaper exists."""

    instance: Batch
    costs: t.Mapping[str, int]
    unplaced_vcpus: int
    best: int
    lower_bound: int

    @property
    def proven(self) -> bool:
        return self.best == self.lower_bound

    @property
    def gap(self) -> int:
        return self.costs[OURS] - self.best


@dataclass(frozen=True)
class ChurnResult:
    """One stream. `means` are the time-mean costs that count: recorded ones before those of this run."""

    stream: Churn
    runs: t.Mapping[str, Run]
    means: t.Mapping[str, float]
    end_best: t.Optional[int] = None
    end_proven: bool = False

    @property
    def best_peer(self) -> str:
        return min((name for name in self.means if name not in (OURS, OURS_REPACK, GREEDY)), key=lambda name: self.means[name])

    def ratio(self, name: str) -> float:
        """A contender's time-mean cost over the best peer's."""
        return self.means[name] / self.means[self.best_peer]

    @property
    def floors(self) -> t.List[int]:
        """What the guests that are there cost at least, however they lie, at each sampled moment."""
        present: t.Dict[int, int] = {}
        floors = []
        for index, event in enumerate(self.stream.events):
            if event.departs:
                del present[event.guest.vmid]
            else:
                present[event.guest.vmid] = event.guest.vcpus
            if self.stream.sampled(index):
                floors.append(metric.least_cost(self.stream.machine, present.values()))
        return floors

    @property
    def floor_ratio(self) -> float:
        """The least possible time-mean cost over the best peer's."""
        return sum(self.floors) / len(self.floors) / self.means[self.best_peer]


@dataclass
class Quality:
    batches: t.List[BatchResult] = field(default_factory=list)
    memories: t.List[BatchResult] = field(default_factory=list)
    recorded_churns: t.List[ChurnResult] = field(default_factory=list)
    own_churns: t.List[ChurnResult] = field(default_factory=list)
    notes: t.List[str] = field(default_factory=list)

    @property
    def churns(self) -> t.List[ChurnResult]:
        return self.recorded_churns + self.own_churns


Optimum = t.Callable[..., t.Tuple[int, int]]


def no_optimum(*_arguments: t.Any) -> t.Tuple[int, int]:
    """In place of the exact optimum where OR-Tools is not installed: nothing cheaper and no bound known."""
    return 1 << 60, 0


def exact_optimum(seconds: float) -> t.Optional[Optimum]:
    """A function (machine, guests, known placement) -> (cost, proven bound); None where OR-Tools is not installed."""
    try:
        from . import oracle
    except ImportError:
        return None

    def optimum(machine: t.Any, guests: t.Any, known: t.Any) -> t.Tuple[int, int]:
        found = oracle.solve(machine, guests, known, seconds)
        return found.cost, found.lower_bound

    return optimum


def batch(instance: Batch, optimum: Optimum) -> BatchResult:
    parts, held = contest.our_batch(instance)
    costs = {OURS: metric.cost(parts)}
    if not instance.machine.memory_mib:
        costs.update({name: metric.cost(contest.peer_batch(instance, make)) for name, make in PEERS.items()})
        sorted_fit = contest.peer_batch(instance, PEERS["sibling-first"], largest_first=True)
        costs["sibling-first sorted"] = metric.cost(sorted_fit)
    if instance.best_cost is not None:
        best, bound = instance.best_cost, instance.best_cost if instance.proven else instance.lower_bound or 0
    else:
        best, bound = optimum(instance.machine, instance.guests, held)
    return BatchResult(instance, costs, parts["unplaced_vcpus"], min(best, *costs.values()), bound)


def churn(stream: Churn, optimum: Optimum, with_nova: bool) -> ChurnResult:
    runs = {name: contest.peer_churn(stream, make) for name, make in PEERS.items()}
    if with_nova:
        runs[NOVA] = nova.churn(stream).run
    runs[GREEDY] = contest.peer_churn(stream, ours.Greedy)
    runs[OURS] = contest.our_churn(stream, last_moves=LAST_MOVES)
    runs[OURS_REPACK] = contest.our_churn(stream, repack=1)
    means = {name: stream.peer_means.get(name, run.mean_cost) for name, run in runs.items()}
    if stream.end_optimum is not None:
        return ChurnResult(stream, runs, means, stream.end_optimum, True)
    cost, bound = optimum(stream.machine, stream.end_guests(), runs[OURS].end_held)
    best = min(cost, metric.cost(runs[OURS].repacked))
    return ChurnResult(stream, runs, means, best, best == bound)


def geometric_mean(values: t.Iterable[float]) -> float:
    """The geometric mean; what is below a thousandth counts as that."""
    logs = [math.log(max(value, 0.001)) for value in values]
    return math.exp(sum(logs) / len(logs))
