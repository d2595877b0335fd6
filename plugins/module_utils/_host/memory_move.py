# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving the memory of a running VM to the NUMA nodes of its cells, a small step at a time.

Pages are moved by move_pages(2) from this process: systemd's AllowedMemoryNodes would move them inside PID 1 and block it
meanwhile, and migrate_pages(2) moves a whole process at once and knows no cells. Pages that a device reaches directly
(VFIO) are pinned; the kernel leaves them where they are.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import errno
import time
import typing as t
from dataclasses import dataclass, field, replace

from .._engine.cpuset import count, cpus_of, format_cpulist
from .._engine.errors import SettingError
from .._engine.guest import Cell
from .files import Tree
from .hands import REFUSALS, Hands
from .mappings import Mapping, read_mappings
from .memory_progress import Progress
from .runtime import Running
from .threads import command_line

STEP = 64 << 20  # bytes
PASSES = 3  # pages that are busy at this moment are often free a little later
_MIB = 1 << 20
_HUGE = 2 * _MIB  # bytes of a transparent huge page, which moves as a whole
IGNORED = 4 * _MIB  # bytes that do not count: what QEMU itself allocates meanwhile

Range = t.Tuple[int, int, int]  # from address, before address, mask of NUMA nodes
MibByNode = t.Dict[int, int]


@dataclass
class Moved:
    """What became of a guest's memory, by NUMA node.

    `left_mib`: what is elsewhere than wanted still; `refused_mib`: the part of it that NUMA nodes would not take, and `refused`: these,
    each with its errno (hands.REFUSALS). `held`: the NUMA nodes that its AllowedMemoryNodes are now, 0 for all; `failure`: the sentence
    of what went wrong on the way.
    """

    before: MibByNode = field(default_factory=dict)
    after: MibByNode = field(default_factory=dict)
    moved_mib: int = 0
    left_mib: MibByNode = field(default_factory=dict)
    refused_mib: MibByNode = field(default_factory=dict)
    refused: t.Dict[int, int] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    finished: bool = True
    held: int = 0
    failure: t.Optional[str] = None

    @property
    def lacks_room(self) -> bool:
        return errno.ENOMEM in self.refused.values()

    @property
    def stuck_mib(self) -> MibByNode:
        """What stays although its NUMA nodes would take it."""
        stuck = {numa_node: mib - self.refused_mib.get(numa_node, 0) for numa_node, mib in self.left_mib.items()}
        return {numa_node: mib for numa_node, mib in stuck.items() if mib > 0}

    def then(self, later: Moved) -> Moved:
        """This and what was moved afterwards as one."""
        return replace(
            later,
            before=self.before,
            moved_mib=self.moved_mib + later.moved_mib,
            steps=self.steps + later.steps,
            seconds=round(self.seconds + later.seconds, 3),
        )


def homes_of(cells: t.Sequence[Cell]) -> int:
    """The NUMA nodes of all cells, as a mask."""
    homes = 0
    for cell in cells:
        homes |= cell.hostnodes or 0
    return homes


def wanted_ranges(tree: Tree, guest: Running, cells: t.Sequence[Cell], mappings: t.Sequence[Mapping]) -> t.Union[t.List[Range], str]:
    """Which addresses belong on which NUMA nodes; a text says why that is not known.

    Where all cells have the same NUMA nodes, that is all memory of the process; else that of each cell's memory backend.
    """
    homes = {cell.hostnodes for cell in cells}
    if len(homes) == 1:
        return [(mapping.start, mapping.end, homes_of(cells)) for mapping in mappings]
    backends = _backends(command_line(tree, guest.pid or 0))
    if [backends.get(number, (None,))[0] for number in range(len(cells))] != [cell.memory_mib * _MIB for cell in cells if cell.memory_mib]:
        return "it was started with other cells than planned, so that its memory moves at its next start"
    ranges = []
    for number, cell in enumerate(cells):
        size, policy = backends[number]
        same = [mapping for mapping in mappings if mapping.size == size]
        own = same if len(same) == 1 else [mapping for mapping in same if mapping.policy == policy]
        if len(own) != 1:
            return f"the memory of its cell {number} cannot be told from that of others"
        ranges.append((own[0].start, own[0].end, cell.hostnodes or -1))
    return ranges


def _backends(words: t.Sequence[str]) -> t.Dict[int, t.Tuple[int, str]]:
    """Size in bytes and policy as in numa_maps of QEMU's memory backends, by cell (PVE/QemuServer/Memory.pm names them ram-nodeN)."""
    found = {}
    for option, value in zip(words, words[1:]):
        pairs = dict(part.partition("=")[::2] for part in value.split(","))
        name, size = pairs.get("id", ""), pairs.get("size", "")
        if option == "-object" and name.startswith("ram-node") and name[8:].isdigit() and size[:-1].isdigit() and size.endswith("M"):
            policy = pairs.get("policy", "default").replace("preferred", "prefer")  # mm/mempolicy.c, policy_modes
            nodes = ",".join(part[len("host-nodes=") :] for part in value.split(",") if part.startswith("host-nodes="))
            found[int(name[8:])] = (int(size[:-1]) * _MIB, f"{policy}:{nodes}".rstrip(":"))
    return found


def is_bound_to(tree: Tree, guest: Running, numa_nodes: int) -> bool:
    """Whether QEMU was started with all of its memory bound to just these NUMA nodes (a mask)."""
    policies = {policy for _size, policy in _backends(command_line(tree, guest.pid or 0)).values()}
    return policies == {f"bind:{format_cpulist(numa_nodes)}"}


def astray(mappings: t.Iterable[Mapping], ranges: t.Iterable[Range]) -> t.Dict[int, int]:
    """Bytes by NUMA node of pages that belong elsewhere. A mapping counts as a whole."""
    homes = {start: home for start, _end, home in ranges}
    lost: t.Dict[int, int] = {}
    for mapping in mappings:
        for numa_node, amount in mapping.astray(homes.get(mapping.start, -1)).items():
            lost[numa_node] = lost.get(numa_node, 0) + amount
    return lost


def in_mib(amounts: t.Mapping[int, int]) -> MibByNode:
    """Bytes as MiB, rounded up, what is less than a page of it left out."""
    return {numa_node: -(-amount // _MIB) for numa_node, amount in sorted(amounts.items()) if amount}


def all_memory(mappings: t.Iterable[Mapping]) -> MibByNode:
    total: t.Dict[int, int] = {}
    for mapping in mappings:
        for numa_node, pages in mapping.pages.items():
            total[numa_node] = total.get(numa_node, 0) + pages * mapping.page
    return in_mib(total)


def move(tree: Tree, hands: Hands, guest: Running, ranges: t.Sequence[Range], deadline: float, progress: Progress) -> Moved:
    """Move what lies elsewhere to where `ranges` say, until `deadline` (time.monotonic). What the kernel refuses is in the result."""
    pid = guest.pid or 0
    begin = time.monotonic()
    mappings = read_mappings(tree, pid)
    moved = Moved(before=all_memory(mappings))
    homes = {start: home for start, _end, home in ranges}
    lost = to_move = astray(mappings, ranges)
    total = sum(to_move.values())
    step = _Step(hands, pid, lambda moved_bytes: progress.tell(guest.vmid, total, max(0, total - moved_bytes)))
    for number in range(PASSES):
        lying_elsewhere = [mapping for mapping in mappings if mapping.astray(homes.get(mapping.start, -1))]
        try:
            moved.finished = _move_all(lying_elsewhere, homes, step, deadline, name_all=number == 0)
        except SettingError as e:
            moved.finished, moved.failure = False, str(e)
        mappings = read_mappings(tree, pid)
        lost = astray(mappings, ranges)
        welcome = astray(mappings, [entry for entry in ranges if step.open_of(entry[2])])
        if not moved.finished or sum(welcome.values()) <= IGNORED:
            break
    moved.steps = step.taken
    moved.moved_mib = max(0, sum(to_move.values()) - sum(lost.values())) // _MIB
    moved.after = all_memory(mappings)
    if sum(lost.values()) > IGNORED:
        moved.left_mib, moved.refused = in_mib(lost), step.refused
        moved.refused_mib = in_mib({numa_node: amount - welcome.get(numa_node, 0) for numa_node, amount in lost.items()})
    moved.seconds = round(time.monotonic() - begin, 3)
    return moved


@dataclass
class _Step:
    """Pages for one call of the kernel per NUMA node, of one mapping or of several small ones: each call makes every CPU of the host look
    for pages that it has set aside (mm/migrate.c, lru_cache_disable), so that many small ones take longer than the moving.

    `tell` is called after each step with about how many bytes have arrived, pages included that were named and there already: only
    reading the guest's page tables again would tell exactly, and hold the guest up. `refused`: the NUMA nodes that took no more, with
    the errno; nothing is moved there any more, because each call would make the kernel look for room once again.
    """

    hands: Hands
    pid: int
    tell: t.Callable[[int], None]
    by_node: t.Dict[int, t.List[int]] = field(default_factory=dict)
    size: int = 0
    arrived: int = 0
    taken: int = 0
    refused: t.Dict[int, int] = field(default_factory=dict)

    def open_of(self, home: int) -> t.List[int]:
        """Those of the NUMA nodes `home` (mask) that take pages."""
        return [numa_node for numa_node in cpus_of(home) if numa_node not in self.refused]

    def add(self, addresses: t.Sequence[int], page: int, numa_nodes: t.Sequence[int]) -> None:
        """Pages of `page` bytes that belong on `numa_nodes`, at most STEP bytes or one page. Raises SettingError."""
        if self.size + len(addresses) * page > STEP:
            self.take()
        block = max(page, _HUGE)
        for number, numa_node in enumerate(numa_nodes):
            own = (address for address in addresses if address // block % len(numa_nodes) == number)
            self.by_node.setdefault(numa_node, []).extend(own)
        self.size += len(addresses) * page

    def take(self) -> None:
        """Raises SettingError."""
        by_node, self.by_node = self.by_node, {}
        size, self.size = self.size, 0
        named, there = sum(map(len, by_node.values())), 0
        for numa_node, addresses in sorted(by_node.items()):
            if addresses and numa_node not in self.refused:
                status = self.hands.pages(self.pid, addresses, [numa_node] * len(addresses))
                there += status.count(numa_node)
                for code in REFUSALS:
                    if -code in status:
                        self.refused[numa_node] = code
        if named:
            self.taken += 1
            self.arrived += size * there // named
            self.tell(self.arrived)


def _move_all(mappings: t.Iterable[Mapping], homes: t.Mapping[int, int], step: _Step, deadline: float, name_all: bool) -> bool:
    """What lies elsewhere in each mapping; False where time is up. Raises SettingError.

    With `name_all` pages that are there already may be named too, where it is quicker than to ask: they stay.
    """
    for mapping in mappings:
        home = homes[mapping.start]
        most = 2 * sum(mapping.astray(home).values()) >= sum(mapping.pages.values()) * mapping.page
        for first in range(mapping.start, mapping.end, max(STEP, mapping.page)):
            numa_nodes = step.open_of(home)
            if not numa_nodes:
                break
            if time.monotonic() > deadline:
                return False
            addresses: t.Sequence[int] = range(first, min(first + max(STEP, mapping.page), mapping.end), mapping.page)
            if not (name_all and most and count(home) == 1):
                there = step.hands.pages(step.pid, addresses)
                addresses = [address for address, numa_node in zip(addresses, there) if numa_node >= 0 and not home >> numa_node & 1]
            step.add(addresses, mapping.page, numa_nodes)
    step.take()
    return True
