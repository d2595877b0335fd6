# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest NUMA cells (numaN) for the CPUs and the memory that a guest gets.

Cells number the vCPUs through in the order of the placement's CPUs. Every cell has vCPUs and memory, because PVE
refuses to start a guest with an empty one (src/PVE/QemuServer/Memory.pm); where memory lies on a NUMA node without
CPUs of the guest, some vCPUs of the nearest share go into a cell whose memory is there.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cpuset import count
from .demand import Share
from .errors import PlacementError
from .guest import MAX_CELLS, Cell
from .numa_memory import proportional
from .topology import Host


@dataclass(frozen=True)
class _Piece:
    """Memory of one CPU share that lies on `hostnodes` (mask of NUMA node ids)."""

    hostnodes: int
    memory_mib: int


def cells_of(host: Host, shares: t.Sequence[Share], policy: str, memory_step: int = 1, one_hostnode: bool = False) -> t.List[Cell]:
    """At most eight cells whose memory adds up exactly to that of `shares`.

    `one_hostnode`: hugepages are asked for, with which PVE takes a single one-digit NUMA node per cell. Raises
    PlacementError where that is not possible.
    """
    with_cpus = [share for share in shares if share.cpus]
    parts = [(len(share.cpus), pieces) for share, pieces in zip(with_cpus, _pieces(host, shares, with_cpus, memory_step))]
    parts = _limited([(vcpus, _merged(pieces, vcpus)) for vcpus, pieces in parts])
    cells: t.List[Cell] = []
    first = 0
    for vcpus, pieces in parts:
        for number, piece in zip(_vcpus_per_piece(vcpus, pieces), pieces):
            cells.append(Cell(((1 << number) - 1) << first, piece.memory_mib, piece.hostnodes, policy))
            first += number
    if one_hostnode and any(count(cell.hostnodes) != 1 or cell.hostnodes >= 1 << 10 for cell in cells):
        raise PlacementError(
            "Hugepages are asked for, but the placement needs a cell on several NUMA nodes or on one with an id above 9, "
            "which PVE refuses; make room on fewer NUMA nodes or leave hugepages out.",
            rule="hugepages",
        )
    return cells


def _pieces(host: Host, shares: t.Sequence[Share], with_cpus: t.Sequence[Share], step: int) -> t.List[t.List[_Piece]]:
    """For each share with CPUs where its part of the memory lies: at home first, then on the nearest with some left."""
    supply = {share.numa_node: share.memory_mib for share in shares}
    steps = sum(supply.values()) // step
    wanted = proportional(steps, {share.numa_node: len(share.cpus) for share in with_cpus})
    pieces: t.Dict[int, t.Dict[int, int]] = {share.numa_node: {} for share in with_cpus}
    for home in pieces:
        pieces[home][home] = min(wanted[home] * step, supply[home])
        supply[home] -= pieces[home][home]
    for home in pieces:
        missing = wanted[home] * step - pieces[home][home]
        for other in sorted(supply, key=lambda other: (host.distance(home, other), other)):
            if missing and supply[other]:
                moved = min(missing, supply[other])
                pieces[home][other] = pieces[home].get(other, 0) + moved
                supply[other] -= moved
                missing -= moved
    return [
        [_Piece(1 << i, mib) for i, mib in sorted(pieces[share.numa_node].items()) if mib] or [_Piece(1 << share.numa_node, 0)]
        for share in with_cpus
    ]


def _merged(pieces: t.Sequence[_Piece], most: int) -> t.List[_Piece]:
    """At most `most` pieces: the smallest ones are put together on several NUMA nodes."""
    merged = list(pieces)
    while len(merged) > most:
        smallest = sorted(range(len(merged)), key=lambda i: (merged[i].memory_mib, i))[:2]
        one, other = (merged[i] for i in sorted(smallest))
        merged = [piece for i, piece in enumerate(merged) if i not in smallest]
        merged.append(_Piece(one.hostnodes | other.hostnodes, one.memory_mib + other.memory_mib))
    return merged


def _limited(parts: t.Sequence[t.Tuple[int, t.List[_Piece]]]) -> t.List[t.Tuple[int, t.List[_Piece]]]:
    """At most eight cells in all: first the pieces of one share are put together, then neighbouring shares."""
    limited = list(parts)
    while sum(len(pieces) for _vcpus, pieces in limited) > MAX_CELLS:
        most = max(range(len(limited)), key=lambda i: (len(limited[i][1]), -i))
        vcpus, pieces = limited[most]
        if len(pieces) > 1:
            limited[most] = (vcpus, _merged(pieces, len(pieces) - 1))
        else:
            (vcpus_a, [a]), (vcpus_b, [b]) = limited[-2:]
            limited[-2:] = [(vcpus_a + vcpus_b, [_Piece(a.hostnodes | b.hostnodes, a.memory_mib + b.memory_mib)])]
    return limited


def _vcpus_per_piece(vcpus: int, pieces: t.Sequence[_Piece]) -> t.List[int]:
    """How many of a share's vCPUs go with each piece: at least one, the rest in proportion to the memory."""
    if len(pieces) == 1:
        return [vcpus]
    spare = proportional(vcpus - len(pieces), {i: piece.memory_mib for i, piece in enumerate(pieces)})
    return [1 + spare[i] for i in range(len(pieces))]
