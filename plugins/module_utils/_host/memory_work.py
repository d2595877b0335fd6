# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the memory of a running VM needs, and doing it: moving it to its NUMA nodes, then AllowedMemoryNodes.

AllowedMemoryNodes lets the kernel take new pages from the right NUMA node too, and it can name one set for the whole guest
alone. So it is set for guests on one NUMA node, and only after their memory is there, because systemd would move it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import count, format_cpulist
from .._engine.errors import SettingError
from .._engine.guest import Cell
from .files import Tree
from .hands import Hands
from .mappings import read_mappings
from .memory_move import IGNORED, MibByNode, Moved, Range, all_memory, astray, homes_of, in_mib, move, wanted_ranges
from .runtime import Running
from .scope import CGROUP, scope_of_vm, unit_of_vm

_MIB = 1 << 20


@dataclass
class MemoryWork:
    """What to do. NUMA nodes are masks.

    `homes`: those of the guest's cells; `has`: what its AllowedMemoryNodes are, 0 for all; `narrow`: what they shall be
    afterwards, None where they stay. `ranges`: where addresses belong, [] where all is there; `astray_mib`: what has to be moved.
    `why_not`: why nothing is, as the end of a sentence.
    """

    homes: int
    has: int
    ranges: t.List[Range]
    narrow: t.Optional[int]
    astray_mib: MibByNode
    before_mib: MibByNode
    why_not: t.Optional[str] = None

    def __bool__(self) -> bool:
        return bool(self.ranges) or self.narrow is not None

    @property
    def settings(self) -> t.List[str]:
        """What AllowedMemoryNodes is set to on the way."""
        wider = [self.has | self.homes] if self.ranges and self.has and self.homes & ~self.has else []
        return [format_cpulist(mask) for mask in [*wider, *([] if self.narrow is None else [self.narrow])]]


def memory_nodes(tree: Tree, path: str) -> int:
    """The NUMA nodes that a cgroup's cpuset.mems names, as a mask; 0 where it names none."""
    return tree.cpulist(f"{CGROUP}/{path}/cpuset.mems") or 0


def all_memory_nodes(tree: Tree) -> int:
    return tree.cpulist(f"{CGROUP}/cpuset.mems.effective") or 0


def memory_work(tree: Tree, guest: Running, cells: t.Sequence[Cell], entry: t.Optional[t.Mapping[str, t.Any]]) -> t.Optional[MemoryWork]:
    """What the memory of a guest needs to lie where its `cells` want it; None where they want nothing.

    `entry`: what is remembered of it, so that memory that would not move is not tried again.
    """
    if not cells or not all(cell.hostnodes for cell in cells):
        return None
    homes = homes_of(cells)
    has = memory_nodes(tree, scope_of_vm(guest.vmid))
    work = MemoryWork(homes, has, [], _narrow(has, cells, entry), {}, dict(guest.memory_mib or {}))
    if count(homes) == 1 and guest.memory_mib is not None:
        elsewhere = sum(mib for numa_node, mib in guest.memory_mib.items() if not homes >> numa_node & 1)
        if elsewhere * _MIB <= IGNORED:
            return work
    mappings = read_mappings(tree, guest.pid or 0)
    ranges = wanted_ranges(tree, guest, cells, mappings)
    if isinstance(ranges, str):
        work.why_not = ranges
        return work
    lost = astray(mappings, ranges)
    stuck = sum((entry or {}).get("left_mib", {}).values())
    if sum(lost.values()) > IGNORED + stuck * _MIB:
        work.ranges, work.astray_mib, work.before_mib = ranges, in_mib(lost), all_memory(mappings)
    elif stuck:
        work.narrow = None
    return work


def _narrow(has: int, cells: t.Sequence[Cell], entry: t.Optional[t.Mapping[str, t.Any]]) -> t.Optional[int]:
    """What AllowedMemoryNodes shall become; None where it is so, is somebody else's, or cannot say what the cells want."""
    homes = homes_of(cells)
    ours = has == 0 or (entry is not None and format_cpulist(has) in entry["memory_nodes"])
    one_node = count(homes) == 1 and all(cell.policy == "bind" for cell in cells)
    return homes if one_node and ours and has != homes else None


def carry_out_memory(tree: Tree, hands: Hands, guest: Running, work: MemoryWork, deadline: float) -> Moved:
    """Move, then narrow where all has moved. Raises SettingError."""
    unit = unit_of_vm(guest.vmid)
    if work.ranges and work.has and work.homes & ~work.has:
        hands.set_property(unit, "AllowedMemoryNodes", format_cpulist(work.has | work.homes))
    moved = move(tree, hands, guest, work.ranges, deadline) if work.ranges else Moved(work.before_mib, work.before_mib)
    if work.narrow is not None and moved.finished and not moved.left_mib:
        hands.set_property(unit, "AllowedMemoryNodes", format_cpulist(work.narrow))
    return moved


def release_memory(tree: Tree, hands: Hands, vmid: int) -> None:
    """Let a guest take memory from every NUMA node again. Raises SettingError."""
    everything = all_memory_nodes(tree)
    if not everything:
        raise SettingError(
            f"{tree.full(CGROUP)}/cpuset.mems.effective says nothing, so guest {vmid} keeps its AllowedMemoryNodes; restart it."
        )
    hands.set_property(unit_of_vm(vmid), "AllowedMemoryNodes", format_cpulist(everything))
