# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact optimum of a batch, with OR-Tools' CP-SAT: what the best of all placements would cost.

Not CPUs are decided but numbers: cores inside an L3 domain are interchangeable, and so are guests of one size. So the
model has one whole number for "how many guests of this size lie wholly in this L3 domain", and variables of their own
for the guests that span several. In an L3 domain whose cores have two threads, the parts of odd size pair up: each
pair shares a core, one that is left over leaves an idle sibling. Ordering equal domains by load breaks the symmetry.

Two passes: first only guests that no L3 domain or NUMA node could hold may span. If that costs no more than the least
that any other placement must cost, it is the optimum. Otherwise all may span, as many as the first result pays for.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from dataclasses import dataclass

from ortools.sat.python import cp_model

from . import metric
from .machines import Machine
from .metric import DENSE, Bound, Held
from .workloads import Wanted


@dataclass(frozen=True)
class Optimum:
    """The cheapest placement found, what it costs, and the cost that no placement can go below."""

    cost: int
    lower_bound: int
    held: t.Tuple[Held, ...]

    @property
    def proven(self) -> bool:
        return self.cost == self.lower_bound


def solve(machine: Machine, guests: t.Sequence[Wanted], known: t.Sequence[Held] = (), seconds: float = 30.0, workers: int = 2) -> Optimum:
    """The optimum for `guests` on the empty `machine`; each of the two passes may take `seconds`.

    `known` is a placement to beat: where nothing cheaper exists, it is the result. Raises Unsolved.
    """
    shape = _Shape(machine, guests)
    best = _Found(_cost_of(machine, guests, known), tuple(known)) if known else None
    bound = shape.least_cost
    for spanning in (False, True):
        if best and best.cost <= bound:
            break
        most = 0 if not spanning else len(guests) if best is None else (best.cost - 1 - shape.least_cost) // DENSE["l3"]
        found, within = _Model(shape, min(most, len(guests)), best).solve(seconds, workers)
        best = found or best
        bound = max(bound, within if spanning else min(within, shape.least_cost + DENSE["l3"]))
    if best is None:
        raise Unsolved(f"no placement of {len(guests)} guests was found in {seconds} s")
    return Optimum(best.cost, min(best.cost, bound), best.held)


def _cost_of(machine: Machine, guests: t.Sequence[Wanted], held: t.Sequence[Held]) -> int:
    unplaced = sum(guest.vcpus for guest in guests) - sum(len(guest.cpus) for guest in held)
    return metric.cost(metric.vector(machine, held, unplaced))


class Unsolved(Exception):
    """Nothing was found in the time that was given."""


@dataclass(frozen=True)
class _Domain:
    """An L3 domain inside one NUMA node and one package."""

    cores: t.Tuple[t.Tuple[int, ...], ...]
    numa: int
    package: int

    @property
    def size(self) -> int:
        return sum(map(len, self.cores))


@dataclass(frozen=True)
class _Class:
    """Guests of one size. `wide`: no L3 domain or no NUMA node could ever hold one."""

    vcpus: int
    memory: int
    number: int
    least: t.Mapping[str, int]

    @property
    def wide(self) -> bool:
        return max(self.least.values()) > 1


class _Shape:
    """The machine and the guests in the terms of the model; memory in the largest unit that divides all sizes."""

    def __init__(self, machine: Machine, guests: t.Sequence[Wanted]) -> None:
        self.machine = machine
        self.domains = [self._domain(cpus) for cpus in machine.units["l3"].values()]
        threads = {len(core) for domain in self.domains for core in domain.cores}
        if len(threads) != 1 or max(threads) > 2:
            raise ValueError("the model knows hosts whose cores all have one thread, or all have two")
        self.two_threads = threads == {2}
        sizes = [*machine.memory_mib.values(), *(guest.memory_mib for guest in guests)]
        self.unit = math.gcd(*sizes) or 1
        self.memory = {node: mib // self.unit for node, mib in machine.memory_mib.items()}
        counted = Counter((guest.vcpus, guest.memory_mib if machine.memory_mib else 0) for guest in guests)
        self.least_cost = metric.least_cost(machine, [guest.vcpus for guest in guests])
        self.classes = [
            _Class(vcpus, mib // self.unit, number, metric.least(machine, vcpus, mib))
            for (vcpus, mib), number in sorted(counted.items(), reverse=True)
        ]
        self.numa_nodes = sorted(set(self.memory) | {domain.numa for domain in self.domains})

    def _domain(self, cpus: t.FrozenSet[int]) -> _Domain:
        machine = self.machine
        numa, package = {machine.numa[cpu] for cpu in cpus}, {machine.package[cpu] for cpu in cpus}
        if len(numa) != 1 or len(package) != 1:
            raise ValueError("the model knows L3 domains that lie inside one NUMA node")
        cores = sorted(tuple(sorted(core & cpus)) for core in machine.units["core"].values() if core & cpus)
        return _Domain(tuple(cores), numa.pop(), package.pop())


@dataclass(frozen=True)
class _Found:
    cost: int
    held: t.Tuple[Held, ...]


class _Model:
    """One pass, for placements cheaper than `beat`. `spanning`: how many guests may span that need not."""

    def __init__(self, shape: _Shape, spanning: int, beat: t.Optional[_Found]) -> None:
        self._shape = shape
        self._beat = beat
        self._model = cp_model.CpModel()
        self._cost: t.List[t.Any] = []
        self._load: t.List[t.List[t.Any]] = [[] for _turn in shape.domains]
        self._odd: t.List[t.List[t.Any]] = [[] for _turn in shape.domains]
        self._memory: t.Dict[int, t.List[t.Any]] = {node: [] for node in shape.numa_nodes}
        self._local: t.Dict[t.Tuple[int, int], t.Any] = {}
        self._wide: t.List[_Wide] = []
        optional = [wide for i, c in enumerate(shape.classes) for wide in self._add_class(i, c, spanning)]
        if optional:
            self._model.add(sum(wide.present for wide in optional) <= spanning)
        self._add_domains()
        self._order_equal_domains()
        self._model.add(sum(self._cost) >= shape.least_cost)
        if beat:
            self._model.add(sum(self._cost) < beat.cost)
        self._model.minimize(sum(self._cost))

    def _add_class(self, i: int, c: _Class, spanning: int) -> t.List[_Wide]:
        model, shape = self._model, self._shape
        individually = c.number if c.wide else min(c.number, spanning)
        wides = [_Wide(self, f"c{i}g{g}", c) for g in range(individually)]
        for one, other in zip(wides, wides[1:]):
            model.add(one.present >= other.present)
            model.add(one.position >= other.position).only_enforce_if(other.present)
        self._wide.extend(wides)
        for d, domain in enumerate(shape.domains if not c.wide else []):
            number = model.new_int_var(0, min(c.number, domain.size // c.vcpus), f"c{i}d{d}")
            self._local[i, d] = number
            self._load[d].append(c.vcpus * number)
            self._memory[domain.numa].append(c.memory * number)
            if c.vcpus % 2:
                self._odd[d].append(number)
        unplaced = model.new_int_var(0, c.number, f"c{i}unplaced")
        placed = [self._local[i, d] for d in range(len(shape.domains)) if (i, d) in self._local]
        model.add(sum(placed) + sum(wide.present for wide in wides) + unplaced == c.number)
        self._cost.append(DENSE["unplaced_vcpus"] * c.vcpus * unplaced)
        return [] if c.wide else wides

    def _add_domains(self) -> None:
        model, shape = self._model, self._shape
        for d, domain in enumerate(shape.domains):
            empty, full, part = (model.new_bool_var(f"d{d}{state}") for state in ("empty", "full", "open"))
            model.add_exactly_one(empty, full, part)
            load = sum(self._load[d])
            model.add(load <= domain.size)
            model.add(load <= domain.size * (1 - empty))
            model.add(load >= domain.size * full)
            self._cost.append(DENSE["open_l3"] * part)
            if shape.two_threads:
                pairs = model.new_int_var(0, domain.size, f"d{d}pairs")
                left_over = model.new_bool_var(f"d{d}left")
                model.add(sum(self._odd[d]) == 2 * pairs + left_over)
                self._cost += [DENSE["shared_core"] * pairs, DENSE["orphan"] * left_over]
        for node, mib in shape.memory.items():
            model.add(sum(self._memory[node]) <= mib)

    def _order_equal_domains(self) -> None:
        """Domains by load within a NUMA node, NUMA nodes within a package, packages: where they are alike."""
        domains = list(enumerate(self._shape.domains))

        def load(members: t.Iterable[int]) -> t.Any:
            return sum(part for d in members for part in self._load[d])

        by_node = _grouped((d, domain.numa) for d, domain in domains)
        for members in by_node.values():
            self._order([(self._shape.domains[d].size, load([d])) for d in members])
        by_package = _grouped((node, self._shape.domains[members[0]].package) for node, members in by_node.items())
        for nodes in by_package.values():
            self._order([(self._looks(by_node[node], node), load(by_node[node])) for node in nodes])
        packages = [
            (tuple(self._looks(by_node[node], node) for node in nodes), load(d for node in nodes for d in by_node[node]))
            for nodes in by_package.values()
        ]
        self._order(packages)

    def _looks(self, members: t.Sequence[int], node: int) -> t.Tuple[t.Any, ...]:
        return tuple(self._shape.domains[d].size for d in members), self._shape.memory.get(node)

    def _order(self, alike: t.Sequence[t.Tuple[t.Any, t.Any]]) -> None:
        if len({looks for looks, _load in alike}) == 1:
            for (_looks, one), (_other, other) in zip(alike, alike[1:]):
                self._model.add(one >= other)

    def solve(self, seconds: float, workers: int) -> t.Tuple[t.Optional[_Found], int]:
        """(the cheapest found, what none of this pass can go below)"""
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = workers
        status = solver.solve(self._model)
        if status == cp_model.INFEASIBLE and self._beat:
            return None, self._beat.cost
        bound = math.ceil(solver.best_objective_bound - 1e-6)
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return _Found(round(solver.objective_value), self._witness(solver)), bound
        return None, bound

    def _witness(self, solver: cp_model.CpSolver) -> t.Tuple[Held, ...]:
        """A placement with these numbers: whole cores for each part, then what is left of odd parts on shared cores."""
        parts: t.List[t.List[t.Tuple[int, int]]] = [[] for _turn in self._shape.domains]
        memories: t.List[t.Dict[int, int]] = []
        for (i, d), number in self._local.items():
            c = self._shape.classes[i]
            for _turn in range(solver.value(number)):
                parts[d].append((len(memories), c.vcpus))
                memories.append({self._shape.domains[d].numa: c.memory})
        for wide in self._wide:
            if solver.value(wide.present):
                for d, vcpus in enumerate(wide.vcpus):
                    if solver.value(vcpus):
                        parts[d].append((len(memories), solver.value(vcpus)))
                memories.append({node: solver.value(mib) for node, mib in wide.memory.items()})
        cpus: t.List[t.Set[int]] = [set() for _turn in memories]
        for domain, entries in zip(self._shape.domains, parts):
            _hand_out(domain, entries, cpus)
        return tuple(
            Held(
                frozenset(mine),
                tuple(Bound(frozenset({node}), mib * self._shape.unit) for node, mib in sorted(memory.items()) if mib),
            )
            for mine, memory in zip(cpus, memories)
        )


class _Wide:
    """A guest with variables of its own: how many vCPUs in each domain, how much memory on each NUMA node."""

    def __init__(self, owner: _Model, name: str, c: _Class) -> None:
        model, shape = owner._model, owner._shape
        self.present = model.new_bool_var(f"{name}present")
        self.vcpus = [model.new_int_var(0, min(c.vcpus, d.size), f"{name}v{i}") for i, d in enumerate(shape.domains)]
        self.memory = {node: model.new_int_var(0, min(c.memory, shape.memory.get(node, 0)), f"{name}m{node}") for node in shape.numa_nodes}
        self.position = sum((len(shape.domains) - i) * vcpus for i, vcpus in enumerate(self.vcpus))
        model.add(sum(self.vcpus) == c.vcpus * self.present)
        model.add(sum(self.memory.values()) == c.memory * self.present)
        in_numa = {node: model.new_bool_var(f"{name}n{node}") for node in shape.numa_nodes}
        in_package = {p: model.new_bool_var(f"{name}p{p}") for p in {d.package for d in shape.domains}}
        in_domain = []
        for i, (domain, vcpus) in enumerate(zip(shape.domains, self.vcpus)):
            touched = model.new_bool_var(f"{name}t{i}")
            model.add(vcpus <= domain.size * touched)
            model.add(vcpus >= touched)
            model.add_implication(touched, in_numa[domain.numa])
            model.add_implication(touched, in_package[domain.package])
            in_domain.append(touched)
            owner._load[i].append(vcpus)
            if shape.two_threads:
                odd = model.new_bool_var(f"{name}o{i}")
                half = model.new_int_var(0, domain.size // 2, f"{name}h{i}")
                model.add(vcpus == 2 * half + odd)
                owner._odd[i].append(odd)
        for node, mib in self.memory.items():
            model.add(mib <= shape.memory.get(node, 0) * in_numa[node])
            owner._memory[node].append(mib)
        for part, touched_units in (("numa", in_numa.values()), ("package", in_package.values()), ("l3", in_domain)):
            excess = sum(touched_units) - c.least[part] * self.present
            model.add(excess >= 0)
            owner._cost.append(DENSE[part] * excess)


def _grouped(pairs: t.Iterable[t.Tuple[int, int]]) -> t.Dict[int, t.List[int]]:
    groups: t.Dict[int, t.List[int]] = {}
    for member, group in pairs:
        groups.setdefault(group, []).append(member)
    return groups


def _hand_out(domain: _Domain, parts: t.Sequence[t.Tuple[int, int]], cpus: t.List[t.Set[int]]) -> None:
    cores = list(domain.cores)
    threads = len(cores[0])
    singles: t.List[int] = []
    for guest, vcpus in parts:
        for _turn in range(vcpus // threads):
            cpus[guest] |= set(cores.pop(0))
        singles += [guest] * (vcpus % threads)
    free = [cpu for core in cores for cpu in core]
    for guest, cpu in zip(singles, free):
        cpus[guest].add(cpu)
