# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the workloads: every contender on the same instances, judged by the same vector."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field
from itertools import chain, combinations

from . import metric
from .machines import Machine
from .metric import Held
from .ours import Host
from .peers import Peer
from .workloads import Batch, Churn

Maker = t.Callable[[Machine], Peer]


class Illegal(Exception):
    """A placement that may not be: a CPU given twice, or one that does not exist."""


@dataclass(frozen=True)
class Sample:
    """The state of a churn stream at one moment."""

    occupancy: float
    parts: t.Mapping[str, int]

    @property
    def cost(self) -> int:
        return metric.cost(self.parts)


@dataclass
class Run:
    """How one contender did on one churn stream. `seconds` is CPU time of placing alone, `moves` guests re-placed.

    `repacked` is the vector after a last plan that re-placed `last_moves` guests, `end_held` what guests hold then.
    """

    samples: t.List[Sample] = field(default_factory=list)
    end: t.Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    moves: int = 0
    events: int = 0
    repacked: t.Mapping[str, int] = field(default_factory=dict)
    last_moves: int = 0
    end_held: t.Tuple[Held, ...] = ()

    @property
    def mean_cost(self) -> float:
        return sum(sample.cost for sample in self.samples) / len(self.samples)

    @property
    def end_cost(self) -> int:
        return metric.cost(self.end)

    def mean(self, part: str) -> float:
        return sum(sample.parts[part] for sample in self.samples) / len(self.samples)


def judge(machine: Machine, held: t.Sequence[Held], unplaced_vcpus: int = 0) -> t.Dict[str, int]:
    """The vector of what the guests hold. Raises Illegal."""
    seen: t.Set[int] = set()
    for guest in held:
        if guest.cpus & seen or not guest.cpus <= machine.cpus:
            raise Illegal(f"CPUs {sorted(guest.cpus & seen or guest.cpus - machine.cpus)} cannot be given")
        seen |= guest.cpus
    bound = [bound for guest in held for bound in guest.memory]
    for nodes in _subsets(sorted(machine.memory_mib)) if bound else ():
        mib = sum(machine.memory_mib[node] for node in nodes)
        if sum(part.mib for part in bound if part.numa_nodes <= set(nodes)) > mib:
            raise Illegal(f"NUMA nodes {nodes} have {mib} MiB, and more is given")
    return metric.vector(machine, held, unplaced_vcpus)


def _subsets(nodes: t.Sequence[int]) -> t.Iterator[t.Tuple[int, ...]]:
    """All sets of NUMA nodes: memory fits when, and only when, each set can hold what may lie nowhere else."""
    return chain.from_iterable(combinations(nodes, number) for number in range(1, len(nodes) + 1))


def peer_batch(instance: Batch, make: Maker, largest_first: bool = False) -> t.Dict[str, int]:
    """The vector that a peer reaches, guests taken in the instance's order or by size."""
    peer = make(instance.machine)
    free = set(instance.machine.cpus)
    held = []
    sizes = [guest.vcpus for guest in instance.guests]
    for vcpus in sorted(sizes, reverse=True) if largest_first else sizes:
        cpus = peer.take(free, vcpus)
        free -= cpus
        held.append(Held(cpus))
    return judge(instance.machine, held)


def our_batch(instance: Batch) -> t.Tuple[t.Dict[str, int], t.List[Held]]:
    """(vector, what the guests hold) after one plan for all guests of the instance."""
    host = Host(instance.machine)
    for guest in instance.guests:
        host.arrive(guest)
    host.plan()
    return judge(instance.machine, host.held(), host.unplaced_vcpus()), host.held()


def peer_churn(stream: Churn, make: Maker) -> Run:
    peer = make(stream.machine)
    free = set(stream.machine.cpus)
    held: t.Dict[int, t.FrozenSet[int]] = {}
    run = Run(events=len(stream.events))
    for index, event in enumerate(stream.events):
        begin = time.process_time()
        if event.departs:
            free |= held.pop(event.guest.vmid)
        else:
            held[event.guest.vmid] = peer.take(free, event.guest.vcpus)
            free -= held[event.guest.vmid]
        run.seconds += time.process_time() - begin
        if stream.sampled(index):
            run.samples.append(sample(stream.machine, [Held(cpus) for cpus in held.values()], 0))
    run.end = judge(stream.machine, [Held(cpus) for cpus in held.values()])
    return run


def our_churn(stream: Churn, last_moves: int = 0, **policy_keys: t.Any) -> Run:
    """The stream with a plan after each event, guests' configs carried from plan to plan.

    With `last_moves`, one more plan after the last event may re-place that many guests; `repacked` shows the result.
    """
    host = Host(stream.machine, **policy_keys)
    run = Run(events=len(stream.events))
    for index, event in enumerate(stream.events):
        if event.departs:
            host.depart(event.guest.vmid)
        else:
            host.arrive(event.guest)
        run.moves += _plan(host, run)
        if stream.sampled(index):
            run.samples.append(sample(stream.machine, host.held(), host.unplaced_vcpus()))
    run.end = judge(stream.machine, host.held(), host.unplaced_vcpus())
    run.end_held = tuple(host.held())
    if last_moves:
        run.last_moves = _plan(host, run, repack=last_moves)
        run.repacked = judge(stream.machine, host.held(), host.unplaced_vcpus())
        run.end_held = tuple(host.held())
    return run


def _plan(host: Host, run: Run, **policy_keys: t.Any) -> int:
    """Plan once; returns how many guests have other CPUs than before."""
    before = dict(host.cpus)
    begin = time.process_time()
    host.plan(**policy_keys)
    run.seconds += time.process_time() - begin
    return sum(1 for vmid, cpus in before.items() if host.cpus.get(vmid) != cpus)


def sample(machine: Machine, held: t.Sequence[Held], unplaced_vcpus: int) -> Sample:
    used = sum(len(guest.cpus) for guest in held)
    return Sample(used / len(machine.cpus), judge(machine, held, unplaced_vcpus))
