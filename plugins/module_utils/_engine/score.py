# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quality vector: how good a set of placements on a host is, in whole numbers of which less is better.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import astuple, dataclass, fields

from .cpuset import count
from .topology import Host


@dataclass(frozen=True)
class Vector:
    """One host's quality, in the order in which it is compared.

    `numa`, `package` and `l3` sum up, guest by guest, the NUMA nodes, packages and L3 domains touched above the least
    that the empty host allows; `shared_core` counts cores used by several guests, `orphan` idle threads of cores that
    some guest uses; `open_l3` counts L3 domains neither empty nor full; `moves` guests that changed CPUs.
    """

    unplaced_vcpus: int = 0
    numa: int = 0
    package: int = 0
    l3: int = 0
    shared_core: int = 0
    orphan: int = 0
    open_l3: int = 0
    moves: int = 0

    def __add__(self, other: Vector) -> Vector:
        return Vector(*(left + right for left, right in zip(astuple(self), astuple(other))))

    def as_dict(self) -> t.Dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Weights:
    """What one unit of each part costs in `cost`; `shared_core` and `orphan` are compared as one weighted part."""

    unplaced_vcpus: int = 100000
    numa: int = 1000
    package: int = 300
    l3: int = 100
    shared_core: int = 5
    orphan: int = 10
    open_l3: int = 1
    moves: int = 0


DENSE = Weights()
ISOLATING = Weights(shared_core=30, orphan=3)


def rank(vector: Vector, weights: Weights = DENSE) -> t.Tuple[int, ...]:
    """The tuple by which vectors are compared: lexicographic, with the two parts about cores weighed together."""
    cores = weights.shared_core * vector.shared_core + weights.orphan * vector.orphan
    return (vector.unplaced_vcpus, vector.numa, vector.package, vector.l3, cores, vector.open_l3, vector.moves)


def cost(vector: Vector, weights: Weights = DENSE) -> int:
    """The weighted sum, for gaps between whole placements."""
    return sum(part * weight for part, weight in zip(astuple(vector), astuple(weights)))


@dataclass(frozen=True)
class Claim:
    """What one guest holds on a host, as the vector sees it.

    `cpus`: the CPUs given to its vCPUs; `memory`: mask of NUMA node ids its memory is bound to; `memory_mib`: all its
    memory; `blocked`: further CPUs kept idle for it (isolated guests).
    """

    cpus: int
    vcpus: int
    memory: int = 0
    memory_mib: int = 0
    blocked: int = 0


class Counted(t.NamedTuple):
    """What one claim adds to a vector: borders crossed above the least, the CPUs it holds, and all threads of its cores."""

    numa: int
    package: int
    l3: int
    cpus: int
    cores: int


def score(host: Host, claims: t.Iterable[Claim], unplaced_vcpus: int = 0, reserved: int = 0, moves: int = 0) -> Vector:
    """The vector of `claims` on `host`; `reserved` CPUs count neither as room nor as idle."""
    least = Least(host, reserved)
    return least.vector([least.counted(claim) for claim in claims if claim.cpus], unplaced_vcpus, moves)


def _numa_span(host: Host, claim: Claim) -> int:
    return sum(1 for numa_node in host.numa_nodes if numa_node.cpus & claim.cpus or claim.memory >> numa_node.id & 1)


def _span(domains: t.Iterable[t.Any], cpus: int) -> int:
    return sum(1 for domain in domains if domain.cpus & cpus)


class Least:
    """The fewest NUMA nodes, packages and L3 domains that could hold a guest on the host when it is empty.

    Judging one host again and again is cheap: what a claim counts for is worked out once.
    """

    def __init__(self, host: Host, reserved: int = 0) -> None:
        self._host = host
        self._reserved = reserved
        self._numa_cpus = _largest_first(n.cpus & ~reserved for n in host.numa_nodes)
        self._numa_memory = sorted((n.memory_mib or 0 for n in host.numa_nodes), reverse=True)
        self._packages = _largest_first(p.cpus & ~reserved for p in host.packages)
        self._l3 = _largest_first(d.cpus & ~reserved for d in host.l3_domains)
        self._spans: t.Dict[t.Tuple[int, int], t.Tuple[int, int, int]] = {}
        self._counted: t.Dict[Claim, Counted] = {}

    def spans(self, vcpus: int, memory_mib: int) -> t.Tuple[int, int, int]:
        """(NUMA nodes, packages, L3 domains), the largest taken first."""
        key = (vcpus, memory_mib)
        if key not in self._spans:
            self._spans[key] = (
                max(_fewest(vcpus, self._numa_cpus), _fewest(memory_mib, self._numa_memory)),
                _fewest(vcpus, self._packages),
                _fewest(vcpus, self._l3),
            )
        return self._spans[key]

    def counted(self, claim: Claim) -> Counted:
        """What the claim adds to the host's vector."""
        known = self._counted.get(claim)
        if known is None:
            numa, package, l3 = self.spans(claim.vcpus, claim.memory_mib if claim.memory else 0)
            known = self._counted[claim] = Counted(
                max(0, _numa_span(self._host, claim) - numa),
                max(0, _span(self._host.packages, claim.cpus) - package),
                max(0, _span(self._host.l3_domains, claim.cpus) - l3),
                claim.cpus | claim.blocked,
                self._host.whole_cores(claim.cpus),
            )
        return known

    def vector(self, claims: t.Iterable[Counted], unplaced_vcpus: int = 0, moves: int = 0) -> Vector:
        """The vector of all that guests with CPUs hold on the host."""
        numa = package = l3 = 0
        used, once, twice = self._reserved, 0, 0
        for claim in claims:
            numa += claim[0]
            package += claim[1]
            l3 += claim[2]
            used |= claim[3]
            twice |= once & claim[4]
            once |= claim[4]
        guests = used & ~self._reserved
        open_l3 = 0
        for domain in self._host.l3_domains:
            if domain.cpus & guests and domain.cpus & ~used:
                open_l3 += 1
        shared_core = count(twice & self._host.first_threads) if twice else 0
        return Vector(unplaced_vcpus, numa, package, l3, shared_core, count(once & ~used), open_l3, moves)


def _largest_first(masks: t.Iterable[int]) -> t.List[int]:
    return sorted((count(mask) for mask in masks), reverse=True)


def _fewest(needed: int, sizes: t.Sequence[int]) -> int:
    total = 0
    for domains, size in enumerate(sizes, start=1):
        total += size
        if total >= needed:
            return domains
    return len(sizes)
