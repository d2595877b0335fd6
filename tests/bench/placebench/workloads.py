# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be placed: generated instances of three kinds, and those of the file placement-gap.json where it is there.

`batch`: guests on an empty host. `memory`: the same with the memory of the NUMA nodes nearly used up. `churn`:
arrivals and departures one at a time on a host that stays nearly full.
"""

from __future__ import annotations

import json
import os
import random
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from . import machines
from .machines import Machine

MIB_PER_GIB = 1024
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
# How often each size comes: mostly small guests, as on real hosts; batches have more of the large ones.
CHURN_WEIGHTS = (10, 34, 4, 33, 7, 12, 3, 1, 0.5, 0)
BATCH_WEIGHTS = (8, 22, 4, 22, 8, 16, 6, 6, 4, 4)


@dataclass(frozen=True)
class Wanted:
    """One guest to place. `memory_mib` 0 = memory is not looked at."""

    vmid: int
    vcpus: int
    memory_mib: int = 0


@dataclass(frozen=True)
class Batch:
    """Guests for an empty host. `best_cost` is the best known, and the optimum where `proven`; None = not known."""

    name: str
    machine: Machine
    guests: t.Tuple[Wanted, ...]
    best_cost: t.Optional[int] = None
    proven: bool = False
    lower_bound: t.Optional[int] = None
    peer_costs: t.Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """An arrival, or with `departs` a departure."""

    guest: Wanted
    departs: bool = False


@dataclass(frozen=True)
class Churn:
    """Arrivals and departures. `end_optimum` is the least cost of the guests that are there in the end."""

    name: str
    machine: Machine
    events: t.Tuple[Event, ...]
    peer_means: t.Mapping[str, float] = field(default_factory=dict)
    peer_ends: t.Mapping[str, int] = field(default_factory=dict)
    end_optimum: t.Optional[int] = None

    @staticmethod
    def sampled(index: int) -> bool:
        """Whether the state after event `index` (from 0) is judged: every 5th past the 100th."""
        return index > 100 and index % 5 == 0

    def end_guests(self) -> t.Tuple[Wanted, ...]:
        present: t.Dict[int, Wanted] = {}
        for event in self.events:
            if event.departs:
                del present[event.guest.vmid]
            else:
                present[event.guest.vmid] = event.guest
        return tuple(present.values())


def cases_folder() -> Path:
    """Where the case files lie: the folder named by COREPIN_CASES, else ../shared/cases beside the checkout."""
    named = os.environ.get("COREPIN_CASES")
    return Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "cases"


@dataclass(frozen=True)
class Recorded:
    """The instances of placement-gap.json."""

    batches: t.Tuple[Batch, ...]
    memories: t.Tuple[Batch, ...]
    churns: t.Tuple[Churn, ...]


def recorded() -> t.Optional[Recorded]:
    """The recorded instances; None where the file is absent."""
    path = cases_folder() / "placement-gap.json"
    if not path.is_file():
        return None
    document = json.loads(path.read_text())
    hosts = {name: machines.from_rows(name, host["columns"], host["cpus"]) for name, host in document["hosts"].items()}
    return Recorded(
        tuple(_recorded_batch(f"batch-{i:02d}", entry, hosts) for i, entry in enumerate(document["batch"])),
        tuple(_recorded_batch(f"memory-{i:02d}", entry, hosts) for i, entry in enumerate(document["memory"])),
        tuple(_recorded_churn(f"churn-{i:02d}", entry, hosts) for i, entry in enumerate(document["churn"])),
    )


def _recorded_batch(name: str, entry: t.Mapping[str, t.Any], hosts: t.Mapping[str, Machine]) -> Batch:
    machine = hosts[entry["host"]]
    if "numa_memory" in entry:
        machine = machine.with_memory({int(node): gib * MIB_PER_GIB for node, gib in entry["numa_memory"].items()})
    guests = tuple(Wanted(100 + i, guest["vcpus"], guest.get("memory", 0) * MIB_PER_GIB) for i, guest in enumerate(entry["guests"]))
    return Batch(name, machine, guests, entry["best_cost"], entry["proven"], entry["lower_bound"], entry.get("peers", {}))


def _recorded_churn(name: str, entry: t.Mapping[str, t.Any], hosts: t.Mapping[str, Machine]) -> Churn:
    guests: t.Dict[str, Wanted] = {}
    events = []
    for sign, label, vcpus in entry["events"]:
        if sign == "+":
            guests[label] = Wanted(100 + len(guests), vcpus)
        events.append(Event(guests[label], departs=sign == "-"))
    return Churn(name, hosts[entry["host"]], tuple(events), entry["mean_cost"], entry["end_cost"], entry["end_optimum"])


def batch(machine: Machine, number: int, fill: float, seed: int) -> Batch:
    """`number` guests that together ask for about `fill` of the CPUs."""
    rng = random.Random(f"batch {machine.name} {number} {fill} {seed}")
    sizes = _sizes(rng, number, int(len(machine.cpus) * fill), BATCH_WEIGHTS)
    guests = tuple(Wanted(100 + i, vcpus) for i, vcpus in enumerate(sizes))
    return Batch(f"{machine.name}/{number}/{fill}/{seed}", machine, guests)


def memory(machine: Machine, number: int, used: float, seed: int) -> Batch:
    """The same with memory: 85 % of the CPUs, and NUMA nodes just so large that the guests use up `used` of them."""
    rng = random.Random(f"memory {machine.name} {number} {used} {seed}")
    sizes = _sizes(rng, number, int(len(machine.cpus) * 0.85), BATCH_WEIGHTS)
    guests = tuple(Wanted(100 + i, vcpus, vcpus * rng.choice((1, 2, 4, 4, 8, 8)) * MIB_PER_GIB) for i, vcpus in enumerate(sizes))
    nodes = sorted(machine.units["numa"])
    total = sum(guest.memory_mib for guest in guests) // MIB_PER_GIB
    per_node = -(-int(total / used + 1) // len(nodes)) * MIB_PER_GIB
    return Batch(f"{machine.name}/{number}/{used}/{seed}", machine.with_memory(dict.fromkeys(nodes, per_node)), guests)


def _sizes(rng: random.Random, number: int, vcpus: int, weights: t.Sequence[float]) -> t.List[int]:
    """`number` sizes that add up to `vcpus` as nearly as steps between the sizes allow, and never to more."""
    sizes = rng.choices(SIZES, weights, k=number)
    while sum(sizes) > vcpus:
        largest = sizes.index(max(sizes))
        sizes[largest] = SIZES[max(0, SIZES.index(sizes[largest]) - 1)]
    for _turn in range(1000):
        i = rng.randrange(number)
        step = min(SIZES.index(sizes[i]) + 1, len(SIZES) - 1)
        if sum(sizes) - sizes[i] + SIZES[step] <= vcpus:
            sizes[i] = SIZES[step]
    return sizes


def churn(machine: Machine, seed: int, events: int = 400, occupancy: float = 0.88) -> Churn:
    """Arrivals while less than `occupancy` of the CPUs is taken, mostly departures above it, never more than 97 %."""
    rng = random.Random(f"churn {machine.name} {seed} {occupancy}")
    present: t.List[Wanted] = []
    stream: t.List[Event] = []
    arrived = 0
    cpus = len(machine.cpus)
    while len(stream) < events:
        used = sum(guest.vcpus for guest in present)
        size = rng.choices(SIZES, CHURN_WEIGHTS)[0]
        arrives = rng.random() < (0.85 if used < occupancy * cpus else 0.3)
        if (arrives or not present) and used + size <= 0.97 * cpus:
            present.append(Wanted(100 + arrived, size))
            arrived += 1
            stream.append(Event(present[-1]))
        elif present and used > 0.5 * occupancy * cpus:
            stream.append(Event(present.pop(rng.randrange(len(present))), departs=True))
    return Churn(f"{machine.name}/{seed}", machine, tuple(stream))


def own_batches(quick: bool = False) -> t.List[Batch]:
    made = []
    for machine in machines.MACHINES:
        for number in (10, 20) if quick else (10, 20, 40, 60):
            if number * 2 <= len(machine().cpus):
                made.extend(batch(machine(), number, fill, 1) for fill in (0.75, 0.95))
    return made


def own_memories(quick: bool = False) -> t.List[Batch]:
    made = []
    large = () if quick else (machines.epyc_7763_2s_nps2, machines.epyc_7742_2s_nps4)
    for machine in (machines.epyc_9354_nps4, machines.xeon_6338_2s, *large):
        for number in (10, 20) if quick else (10, 20, 40):
            if number * 2 <= len(machine().cpus):
                made.extend(memory(machine(), number, used, seed) for used, seed in ((0.90, 1), (0.94, 2), (0.97, 3)))
    return made


def own_churns(quick: bool = False) -> t.List[Churn]:
    """Fifteen streams, three on each machine; with `quick` one on each, of half the length."""
    if quick:
        return [churn(machine(), 1, events=200) for machine in machines.MACHINES]
    return [churn(machine(), seed) for machine in machines.MACHINES for seed in (1, 2, 3)]
