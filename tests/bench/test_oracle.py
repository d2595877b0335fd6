# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact optimum is exact: the same as exhaustive search on tiny instances, and as the recorded optima."""

from __future__ import annotations

import itertools
import random
import typing as t

import pytest
from placebench import contest, machines, metric, workloads
from placebench.machines import Machine
from placebench.metric import Bound, Held
from placebench.workloads import Batch, Wanted

pytest.importorskip("ortools", reason="ortools is not installed: requirements/bench.txt brings it")

from placebench import oracle

RECORDED = workloads.recorded()
ABSENT = f"there is no placement-gap.json in {workloads.cases_folder()} (see COREPIN_CASES)"
Subset = t.FrozenSet[int]
# Packages, NUMA nodes in each, L3 domains in each, cores in each, threads of each.
TINY = ((1, 2, 1, 2, 2), (2, 1, 1, 2, 2), (1, 1, 2, 2, 2), (2, 1, 2, 1, 2), (1, 2, 2, 1, 2), (1, 2, 2, 1, 1), (1, 3, 1, 1, 2))


def exhaustive(machine: Machine, guests: t.Sequence[Wanted]) -> int:
    """The least cost of all placements, by trying each of them: every set of CPUs and of memory nodes for every guest."""
    nodes = sorted(machine.memory_mib)
    node_sets = [frozenset(chosen) for k in range(1, len(nodes) + 1) for chosen in itertools.combinations(nodes, k)]
    best = metric.cost({"unplaced_vcpus": sum(guest.vcpus for guest in guests), **dict.fromkeys(metric.PARTS[1:], 0)})
    for cpus in _disjoint(sorted(machine.cpus), [guest.vcpus for guest in guests]):
        choices = [node_sets if mine and guest.memory_mib else [frozenset()] for mine, guest in zip(cpus, guests)]
        for memory in itertools.product(*choices):
            held = [Held(mine, (Bound(on, guest.memory_mib),) if on else ()) for mine, on, guest in zip(cpus, memory, guests) if mine]
            unplaced = sum(guest.vcpus for mine, guest in zip(cpus, guests) if not mine)
            cost = metric.cost(metric.vector(machine, held, unplaced))
            if cost < best and _legal(machine, held):
                best = cost
    return best


def _disjoint(free: t.Sequence[int], sizes: t.Sequence[int]) -> t.Iterator[t.Tuple[Subset, ...]]:
    """All ways to give disjoint sets of these sizes; the empty set stands for a guest without a place."""
    if not sizes:
        yield ()
        return
    for mine in itertools.chain([()], itertools.combinations(free, sizes[0])):
        for rest in _disjoint([cpu for cpu in free if cpu not in mine], sizes[1:]):
            yield (frozenset(mine), *rest)


def _legal(machine: Machine, held: t.Sequence[Held]) -> bool:
    try:
        contest.judge(machine, held)
    except contest.Illegal:
        return False
    return True


def tiny(seed: int) -> t.Tuple[Machine, t.List[Wanted]]:
    """At most eight CPUs in uneven layouts, two or three guests, half of the times with tight memory."""
    rng = random.Random(seed)
    machine = machines.regular("tiny", *rng.choice(TINY))
    left = len(machine.cpus)
    guests = []
    for i in range(rng.choice((2, 3))):
        vcpus = rng.randint(1, min(4, left)) if left else 0
        if vcpus:
            guests.append(Wanted(100 + i, vcpus, rng.choice((1, 2, 3, 4)) if seed % 2 else 0))
            left -= vcpus
    if seed % 2:
        nodes = sorted(machine.units["numa"])
        total = sum(guest.memory_mib for guest in guests)
        machine = machine.with_memory({node: -(-total // len(nodes)) + rng.choice((0, 0, 1)) for node in nodes})
    return machine, guests


@pytest.mark.parametrize("seed", range(48))
def test_equal_to_exhaustive_search(seed: int) -> None:
    machine, guests = tiny(seed)
    found = oracle.solve(machine, guests)
    assert found.proven
    assert found.cost == exhaustive(machine, guests)
    unplaced = sum(guest.vcpus for guest in guests) - sum(len(guest.cpus) for guest in found.held)
    assert metric.cost(contest.judge(machine, found.held, unplaced)) == found.cost


@pytest.mark.parametrize("seed", range(8))
def test_a_known_placement_changes_the_way_and_not_the_optimum(seed: int) -> None:
    machine, guests = tiny(seed)
    free = set(machine.cpus)
    known = []
    for guest in guests:
        cpus = frozenset(sorted(free)[: guest.vcpus])
        free -= cpus
        known.append(Held(cpus, (Bound(frozenset(machine.memory_mib), guest.memory_mib),) if guest.memory_mib else ()))
    assert oracle.solve(machine, guests, known).cost == oracle.solve(machine, guests).cost


def _recorded() -> t.List[t.Any]:
    if RECORDED is None:
        return [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT), id="absent")]
    quick = [instance for instance in RECORDED.batches + RECORDED.memories if instance.proven and len(instance.machine.cpus) <= 128]
    return [pytest.param(instance, id=instance.name) for instance in quick]


@pytest.mark.parametrize("instance", _recorded())
def test_equal_to_the_recorded_optimum(instance: Batch) -> None:
    found = oracle.solve(instance.machine, instance.guests, seconds=300)
    assert (found.cost, found.lower_bound) == (instance.best_cost, instance.best_cost)


def test_hosts_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="one thread, or all have two"):
        oracle.solve(machines.regular("host", 1, 1, 1, 2, threads=4), [Wanted(100, 2)])
