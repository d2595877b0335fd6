# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed: CPU time (`time.process_time`) of single placements and of whole plans, peers on the same streams in one run."""

from __future__ import annotations

import math
import random
import statistics
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.corepin.proxmox.plugins.module_utils._engine import allocator, cpuset, ledger, policy, topology
from ansible_collections.corepin.proxmox.plugins.module_utils._engine import guest as guest_grammar

from . import machines, nova, ours, workloads
from .machines import Machine
from .peers import PEERS
from .workloads import Churn

OURS = "corepin"
# The first arrivals meet an empty host; they are left out.
WARM_UP = 100
RULES = {"rules": [{}]}
REPEATS = 3


@dataclass(frozen=True)
class Placements:
    """CPU seconds of each single placement past the warm-up, by contender."""

    stream: Churn
    seconds: t.Mapping[str, t.Tuple[float, ...]]

    def mean(self, name: str) -> float:
        return statistics.fmean(self.seconds[name])

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])


@dataclass(frozen=True)
class Plan:
    """CPU seconds of one plan: from nothing placed, and again with nothing left to do."""

    hosts: int
    guests: int
    cold: float
    idle: float
    refused: int


@dataclass
class Speed:
    single: t.Optional[Placements] = None
    by_size: t.List[Placements] = field(default_factory=list)
    whole: t.Optional[Plan] = None
    by_guests: t.List[Plan] = field(default_factory=list)
    by_hosts: t.List[Plan] = field(default_factory=list)


def placements(machine: Machine, events: int, with_nova: bool) -> Placements:
    stream = workloads.churn(machine, 1, events)
    seconds = {OURS: _ours(stream)}
    for name in ("k8s", "k8s+l3", "sibling-first"):
        seconds[name] = _peer(stream, name)
    if with_nova:
        seconds["nova fit"] = nova.churn(stream).seconds
    return Placements(stream, {name: tuple(values[WARM_UP:]) for name, values in seconds.items()})


def _ours(stream: Churn) -> t.List[float]:
    """The allocator on the books of the host, CPUs and NUMA memory together."""
    machine = stream.machine.with_memory(dict.fromkeys(stream.machine.units["numa"], ours.PLENTY_MIB))
    books = ledger.Ledger(topology.Host.from_facts(machine.facts()), policy.Reservation())
    seconds = []
    for event in stream.events:
        guest = event.guest
        if event.departs:
            books.release(guest.vmid)
            continue
        begin = time.process_time()
        choice = allocator.choose(books.room(), allocator.Demand(guest.vcpus, guest.vcpus * ours.MIB_PER_VCPU))
        seconds.append(time.process_time() - begin)
        books.hold(guest.vmid, ledger.Holding(guest.vcpus, choice.mask, choice.blocked, choice.memory))
    return seconds


def _peer(stream: Churn, name: str) -> t.List[float]:
    peer = PEERS[name](stream.machine)
    free = set(stream.machine.cpus)
    held: t.Dict[int, t.FrozenSet[int]] = {}
    seconds = []
    for event in stream.events:
        if event.departs:
            free |= held.pop(event.guest.vmid)
            continue
        begin = time.process_time()
        taken = peer.take(free, event.guest.vcpus)
        seconds.append(time.process_time() - begin)
        held[event.guest.vmid] = taken
        free -= taken
    return seconds


def plan(hosts: int, guests: int, weights: t.Sequence[float] = workloads.BATCH_WEIGHTS) -> Plan:
    """`guests` over `hosts` of 256 CPUs and 8 NUMA nodes, at most 88 % full; memory in proportion."""
    document = _cluster(hosts, guests, weights)
    first, cold = _timed_plan(document)
    by_vmid = {guest["vmid"]: guest for guest in document["guests"]}
    for change in first["changes"]:
        config = by_vmid[change["vmid"]]["config"]
        config.update({key: value for key, value in change["after"].items() if value is not None})
    again, idle = _timed_plan(document)
    if again["changes"]:
        raise RuntimeError(f"a plan carried out leaves {len(again['changes'])} changes to do")
    return Plan(hosts, guests, cold, idle, len(first["refused"]))


def _timed_plan(document: t.Dict[str, t.Any]) -> t.Tuple[t.Dict[str, t.Any], float]:
    """(the plan, its CPU seconds: the least of a few times, for other work on the machine slows all of them)"""
    seconds = []
    for _turn in range(REPEATS):
        _forget_texts()
        begin = time.process_time()
        made = ours.place(document, RULES)
        seconds.append(time.process_time() - begin)
    return made, min(seconds)


def _forget_texts() -> None:
    """Each plan is timed as the first one of its process: nothing that an earlier one read is known."""
    for read in (cpuset.parse_cpulist, guest_grammar.parse_cell, guest_grammar.affinity_effect):
        read.cache_clear()


def _cluster(hosts: int, guests: int, weights: t.Sequence[float]) -> t.Dict[str, t.Any]:
    machine = machines.epyc_7742_2s_nps4()
    machine = machine.with_memory(dict.fromkeys(machine.units["numa"], 128 * 1024))
    names = [f"host{i:03d}" for i in range(hosts)]
    numbers = [guests // hosts + (i < guests % hosts) for i in range(hosts)]
    return {
        "hosts": {name: {**machine.facts(), "node": name} for name in names},
        "guests": [entry for i, name in enumerate(names) for entry in _guests(name, i, numbers[i], weights)],
    }


def _guests(host: str, index: int, number: int, weights: t.Sequence[float]) -> t.Iterator[t.Dict[str, t.Any]]:
    rng = random.Random(f"{host} {number}")
    room = 256 * 88 // 100
    for i in range(number):
        vcpus = min(rng.choices(workloads.SIZES, weights)[0], room - (number - i - 1))
        room -= vcpus
        memory_mib = vcpus * 3 * 1024
        yield {
            "vmid": 100 + index * 1000 + i,
            "node": host,
            "status": "running",
            "vcpus": vcpus,
            "memory_mib": memory_mib,
            "config": {"cores": str(vcpus), "memory": str(memory_mib)},
        }


def growth(plans: t.Sequence[Plan], size: t.Callable[[Plan], int]) -> float:
    """The exponent with which CPU time grows from the smallest to the largest: 1 = linearly."""
    first, last = plans[0], plans[-1]
    return math.log(last.cold / first.cold) / math.log(size(last) / size(first))


def measure(quick: bool, with_nova: bool) -> Speed:
    events = 600 if quick else 2000
    sizes = (machines.epyc_9354_nps4(), machines.epyc_7742_nps1(), machines.epyc_7742_2s_nps4(), _double())
    by_size = [placements(machine, events, with_nova) for machine in sizes]
    plan(1, 20)  # what is done once, as imports and tables, is not measured
    guests = (250, 1500) if quick else (250, 500, 1000, 1500)
    return Speed(
        single=by_size[2],
        by_size=by_size,
        whole=plan(32, 1000),
        by_guests=[plan(32, number, workloads.CHURN_WEIGHTS) for number in guests],
        by_hosts=[plan(number, number * 31) for number in ((4, 32) if quick else (4, 8, 16, 32))],
    )


def _double() -> Machine:
    """512 CPUs: 2 packages of 4 NUMA nodes of 4 L3 domains of 8 cores."""
    return machines.regular("512-cpus", 2, 4, 4, 8)
