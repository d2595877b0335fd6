# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of a guest's memory goes to which NUMA node.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .demand import Demand
from .topology import Host


@dataclass(frozen=True)
class NodeMemory:
    """A NUMA node by id and the MiB that can still be bound there (None = unknown, taken as enough)."""

    id: int
    free_mib: t.Optional[int]


def memory_split(vcpus: t.Mapping[int, int], nodes: t.Sequence[NodeMemory], host: Host, demand: Demand) -> t.Optional[t.Dict[int, int]]:
    """MiB by NUMA node id: in proportion to the vCPUs and where that does not fit, on the nearest one with room."""
    if not demand.memory_mib:
        return {}
    step = demand.memory_step
    room = {n.id: demand.memory_mib if n.free_mib is None else max(0, n.free_mib) for n in nodes}
    if demand.memory_mib % step or sum(free // step for free in room.values()) < demand.memory_mib // step:
        return None
    wanted = proportional(demand.memory_mib // step, vcpus)
    split = {i: min(steps, room[i] // step) for i, steps in wanted.items()}
    for i in sorted(wanted):
        missing = wanted[i] - min(wanted[i], room[i] // step)
        for other in sorted(room, key=lambda other: (host.distance(i, other), other)):
            more = min(missing, room[other] // step - split.get(other, 0))
            if more > 0:
                split[other] = split.get(other, 0) + more
                missing -= more
    return {i: steps * step for i, steps in split.items() if steps}


def proportional(total: int, weights: t.Mapping[int, int]) -> t.Dict[int, int]:
    """`total` split into whole parts in proportion to `weights`; the sum is exact, remainders go to the largest loss."""
    whole = sum(weights.values())
    parts = {key: total * weight // whole for key, weight in weights.items()}
    by_loss = sorted(weights, key=lambda key: (-(total * weights[key] % whole), key))
    for key in by_loss[: total - sum(parts.values())]:
        parts[key] += 1
    return parts
