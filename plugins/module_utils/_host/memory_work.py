# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the memory of a running VM needs, and doing it: moving it to its NUMA nodes, then AllowedMemoryNodes.

AllowedMemoryNodes lets the kernel take new pages from the right NUMA node too, and it can name one set for the whole guest
alone. So it is set for guests on one NUMA node, and only after their memory is there, because systemd would move it. Where the plan
does not want it any more, it is opened to all NUMA nodes.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._engine.cpuset import count, format_cpulist
from .._engine.errors import SettingError
from .._engine.guest import Cell
from .files import Tree
from .hands import Hands
from .mappings import read_mappings
from .memory_move import IGNORED, MibByNode, Moved, Range, all_memory, astray, homes_of, in_mib, is_bound_to, move, wanted_ranges
from .memory_progress import Progress
from .runtime import Running, still_runs
from .scope import CGROUP, await_cpuset, scope_of_vm, unit_of_vm

_MIB = 1 << 20


@dataclass
class MemoryWork:
    """What to do. NUMA nodes are masks.

    `homes`: those of the guest's cells; `has`: what its AllowedMemoryNodes are, 0 for all; `narrow`: what they shall be,
    None where they stay. `ranges`: where addresses belong, [] where all is there; `astray_mib`: what has to be moved.
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
    def moves(self) -> bool:
        """Whether memory is to be moved or held to its NUMA nodes, and not just opened."""
        return bool(self) and (bool(self.ranges) or not self.opens)

    @property
    def opens(self) -> bool:
        """Whether AllowedMemoryNodes leave it all that they leave it now, and more."""
        return self.narrow is not None and bool(self.has) and not self.has & ~self.narrow

    @property
    def widened(self) -> int:
        """What AllowedMemoryNodes have to be while memory moves; 0 where they need not be set for that."""
        return self.has | self.homes if self.ranges and self.has and self.homes & ~self.has else 0

    @property
    def settings(self) -> t.List[str]:
        """What AllowedMemoryNodes is set to on the way."""
        return [format_cpulist(mask) for mask in [self.widened, self.narrow or 0] if mask]


def memory_nodes(tree: Tree, vmid: int) -> int:
    """The NUMA nodes to which a VM's scope is held, as a mask; 0 where it may have memory of all."""
    held = tree.cpulist(_mems(vmid)) or 0
    return 0 if held == all_memory_nodes(tree) else held


def _mems(vmid: int) -> str:
    return f"{CGROUP}/{scope_of_vm(vmid)}/cpuset.mems"


def all_memory_nodes(tree: Tree) -> int:
    return tree.cpulist(f"{CGROUP}/cpuset.mems.effective") or 0


def memory_job(
    tree: Tree, guest: Running, cells: t.Sequence[Cell], entry: t.Optional[t.Mapping[str, t.Any]], moving: bool
) -> t.Optional[MemoryWork]:
    """What has to be done for a guest's memory: what its `cells` want where it is `moving`, and AllowedMemoryNodes of earlier runs opened
    where they are not what the cells want. `entry` as in memory_work."""
    work = memory_work(tree, guest, cells, entry) if moving else None
    wanted = _wanted_nodes(cells)
    opening = None
    if entry and not (wanted and (moving or wanted == memory_nodes(tree, guest.vmid))):
        opening = release_work(tree, guest, entry)
    if work is None or opening is None:
        return opening if work is None else work
    return replace(work, narrow=opening.narrow)


def memory_work(tree: Tree, guest: Running, cells: t.Sequence[Cell], entry: t.Optional[t.Mapping[str, t.Any]]) -> t.Optional[MemoryWork]:
    """What the memory of a guest needs to lie where its `cells` want it; None where they want nothing.

    `entry`: what is remembered of it, so that memory that would not move is not tried again.
    """
    if not cells or not all(cell.hostnodes for cell in cells):
        return None
    homes = homes_of(cells)
    has = memory_nodes(tree, guest.vmid)
    # Ours, or of no effect on a VM that is bound so itself.
    ours = not has or (entry is not None and format_cpulist(has) in entry["memory_nodes"]) or is_bound_to(tree, guest, has)
    bound = not has and is_bound_to(tree, guest, homes)
    wanted = _wanted_nodes(cells)
    narrow = wanted if wanted and wanted != has and ours and not bound else None
    work = MemoryWork(homes, has, [], narrow, {}, dict(guest.memory_mib or {}))
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
        if homes & ~has and has and not ours:
            work.why_not = f"somebody else holds it to NUMA nodes {format_cpulist(has)} (AllowedMemoryNodes)"
            return work
        work.ranges, work.astray_mib, work.before_mib = ranges, in_mib(lost), all_memory(mappings)
    elif stuck:
        work.narrow = None
    return work


def _wanted_nodes(cells: t.Sequence[Cell]) -> int:
    """What AllowedMemoryNodes shall be, as a mask; 0 where they cannot say what the cells want."""
    homes = homes_of(cells)
    return homes if count(homes) == 1 and all(cell.hostnodes and cell.policy == "bind" for cell in cells) else 0


def release_work(tree: Tree, guest: Running, entry: t.Mapping[str, t.Any]) -> t.Optional[MemoryWork]:
    """What lets a guest take memory from every NUMA node again; None where it may, or where its AllowedMemoryNodes are not ours.

    They also stay where QEMU itself was started with its memory bound to the same NUMA nodes: at a wider set the kernel would
    translate that binding by position, from the only NUMA node of the narrow set to the first one of the host
    (mm/mempolicy.c, mpol_rebind_nodemask).
    """
    has, everything = memory_nodes(tree, guest.vmid), all_memory_nodes(tree)
    if not has or not everything or format_cpulist(has) not in entry["memory_nodes"] or is_bound_to(tree, guest, has):
        return None
    return MemoryWork(everything, has, [], everything, {}, dict(guest.memory_mib or {}))


def carry_out_memory(tree: Tree, hands: Hands, guest: Running, work: MemoryWork, deadline: float, progress: Progress) -> t.Optional[Moved]:
    """Open or widen, move, then narrow where all has moved; None where the guest stopped meanwhile. What failed is in the result."""
    if not still_runs(tree, guest):
        return None
    moved, held = Moved(work.before_mib, work.before_mib), work.has
    first = work.narrow if work.opens else work.widened
    try:
        if first:
            _hold(tree, hands, guest, first)
            held = first
        if work.ranges:
            moved = move(tree, hands, guest, work.ranges, deadline, progress)
        if work.narrow not in (None, held) and moved.finished and not moved.left_mib and still_runs(tree, guest):
            _hold(tree, hands, guest, work.narrow or 0)
            held = work.narrow or 0
    except SettingError as e:
        moved.failure = str(e)
    moved.held = held
    return moved if still_runs(tree, guest) else None


def _hold(tree: Tree, hands: Hands, guest: Running, numa_nodes: int) -> None:
    """Set AllowedMemoryNodes, and wait until they are in force: pages cannot be moved there before. Raises SettingError."""
    hands.set_property(unit_of_vm(guest.vmid), "AllowedMemoryNodes", format_cpulist(numa_nodes))
    await_cpuset(tree, _mems(guest.vmid), numa_nodes, lambda: still_runs(tree, guest))
