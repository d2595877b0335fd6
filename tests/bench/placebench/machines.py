# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines of the benchmark: which core, L3 domain, NUMA node and package each CPU belongs to.

Peers and judges work on this plain form; `facts` gives the same machine as the engine reads it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from functools import cached_property

LEVELS = ("core", "l3", "numa", "package")


@dataclass(frozen=True)
class Machine:
    """`core`, `l3`, `numa` and `package` map each CPU to the id of its unit (ids are unique on the machine)."""

    name: str
    core: t.Mapping[int, int]
    l3: t.Mapping[int, int]
    numa: t.Mapping[int, int]
    package: t.Mapping[int, int]
    memory_mib: t.Mapping[int, int] = field(default_factory=dict)  # by NUMA node id; {} = not told

    @cached_property
    def cpus(self) -> t.FrozenSet[int]:
        return frozenset(self.core)

    @cached_property
    def units(self) -> t.Mapping[str, t.Mapping[int, t.FrozenSet[int]]]:
        """Level -> unit id -> CPUs."""
        return {level: _members(getattr(self, level)) for level in LEVELS}

    def with_memory(self, memory_mib: t.Mapping[int, int]) -> Machine:
        return Machine(self.name, self.core, self.l3, self.numa, self.package, dict(memory_mib))

    def facts(self) -> t.Dict[str, t.Any]:
        """`corepin_host` facts with what planning needs."""
        cpulist = {level: [(i, _text(cpus)) for i, cpus in sorted(units.items())] for level, units in self.units.items()}
        numa_ids = sorted(set(self.units["numa"]) | set(self.memory_mib))
        return {
            "schema": 1,
            "node": self.name,
            "cpus": {"online": _text(self.cpus), "present": _text(self.cpus)},
            "packages": [{"id": i, "cpus": cpus} for i, cpus in cpulist["package"]],
            "numa_nodes": [
                {
                    "id": i,
                    "cpus": _text(self.units["numa"].get(i, frozenset())),
                    "memory_mib": self.memory_mib.get(i) if self.memory_mib else None,
                    "distances": {str(j): self._distance(i, j) for j in numa_ids},
                }
                for i in numa_ids
            ],
            "l3_domains": [{"id": i, "cpus": cpus} for i, cpus in cpulist["l3"]],
            "cores": [cpus for _i, cpus in cpulist["core"]],
        }

    def _distance(self, one: int, other: int) -> int:
        if one == other:
            return 10
        packages = [{self.package[cpu] for cpu in self.units["numa"].get(i, ())} for i in (one, other)]
        return 12 if packages[0] & packages[1] else 32


def _members(unit_of: t.Mapping[int, int]) -> t.Dict[int, t.FrozenSet[int]]:
    members: t.Dict[int, t.Set[int]] = {}
    for cpu, unit in unit_of.items():
        members.setdefault(unit, set()).add(cpu)
    return {unit: frozenset(cpus) for unit, cpus in sorted(members.items())}


def _text(cpus: t.Iterable[int]) -> str:
    return ",".join(str(cpu) for cpu in sorted(cpus))


def from_rows(name: str, columns: t.Sequence[str], rows: t.Iterable[t.Sequence[int]]) -> Machine:
    """A machine from rows with the columns cpu, socket, numa, l3 and core, in any order."""
    at = {column: position for position, column in enumerate(columns)}
    rows = list(rows)

    def level(column: str) -> t.Dict[int, int]:
        return {row[at["cpu"]]: row[at[column]] for row in rows}

    return Machine(name, level("core"), level("l3"), level("numa"), level("socket"))


def regular(name: str, packages: int, numa_per_package: int, l3_per_numa: int, cores_per_l3: int, threads: int = 2) -> Machine:
    """A machine of equal parts, numbered as Linux numbers servers: first each core's first thread, then the second ones."""
    cores = packages * numa_per_package * l3_per_numa * cores_per_l3
    core = {thread * cores + i: i for thread in range(threads) for i in range(cores)}
    l3 = {cpu: i // cores_per_l3 for cpu, i in core.items()}
    numa = {cpu: i // l3_per_numa for cpu, i in l3.items()}
    package = {cpu: i // numa_per_package for cpu, i in numa.items()}
    return Machine(name, core, l3, numa, package)


def epyc_9354_nps4() -> Machine:
    """64 CPUs, 4 NUMA nodes of 2 L3 domains of 4 cores."""
    return regular("epyc-9354-nps4", 1, 4, 2, 4)


def epyc_7742_nps1() -> Machine:
    """128 CPUs, 1 NUMA node of 16 L3 domains of 4 cores."""
    return regular("epyc-7742-nps1", 1, 1, 16, 4)


def xeon_6338_2s() -> Machine:
    """128 CPUs, 2 packages of 1 NUMA node and 1 L3 domain each."""
    return regular("xeon-6338-2s", 2, 1, 1, 32)


def epyc_7763_2s_nps2() -> Machine:
    """256 CPUs, 2 packages of 2 NUMA nodes of 4 L3 domains of 8 cores."""
    return regular("epyc-7763-2s-nps2", 2, 2, 4, 8)


def epyc_7742_2s_nps4() -> Machine:
    """256 CPUs, 2 packages of 4 NUMA nodes of 4 L3 domains of 4 cores."""
    return regular("epyc-7742-2s-nps4", 2, 4, 4, 4)


MACHINES: t.Tuple[t.Callable[[], Machine], ...] = (
    epyc_9354_nps4,
    epyc_7742_nps1,
    xeon_6338_2s,
    epyc_7763_2s_nps2,
    epyc_7742_2s_nps4,
)
