# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands that move the pages of generated processes as the kernel moves real ones (move_pages(2); mm/migrate.c, do_pages_move)."""

from __future__ import annotations

import errno
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree

from .host import RunningHost
from .kernel_rules import RuledHands

MIB = 1 << 20
Mappings = t.Sequence[t.Tuple[int, int, str, int]]


class RuledPages(RuledHands):
    """Pages of generated processes, by address. `pinned` ones stay; `room`: how many more MiB a NUMA node takes, without limit where it
    is not named; `closed`: NUMA nodes that a cgroup keeps from all processes."""

    def __init__(self, host: RunningHost, pid: int, mappings: Mappings) -> None:
        """`mappings`: address, MiB, policy, NUMA node."""
        super().__init__(Tree(str(host.root)))
        self.host = host
        self.mappings: t.Dict[int, Mappings] = {}
        self.place: t.Dict[int, int] = {}
        self.pinned: t.Set[int] = set()
        self.room: t.Dict[int, float] = {}
        self.closed: t.Set[int] = set()
        self.also(pid, mappings)

    def also(self, pid: int, mappings: Mappings) -> None:
        """One more process, with addresses of its own."""
        self.mappings[pid] = mappings
        self.place.update({address + offset: node for address, mib, _policy, node in mappings for offset in range(0, mib * MIB, 4096)})
        self.show(pid)

    def show(self, pid: int) -> None:
        maps, numa_maps = [], []
        for address, mib, policy, _node in self.mappings[pid]:
            found: t.Dict[int, int] = {}
            for page in range(address, address + mib * MIB, 4096):
                found[self.place[page]] = found.get(self.place[page], 0) + 1
            maps.append(f"{address:x}-{address + mib * MIB:x} rw-p 00000000 00:00 0\n")
            numbers = " ".join(f"N{node}={pages}" for node, pages in sorted(found.items()))
            numa_maps.append(f"{address:x} {policy} anon={mib * 256} dirty={mib * 256} {numbers} kernelpagesize_kB=4\n")
        self.host.write(f"proc/{pid}/maps", "00400000-00500000 r-xp 00000000 08:01 1  /usr/bin/kvm\n" + "".join(maps))
        self.host.write(f"proc/{pid}/numa_maps", "00400000 default file=/usr/bin/kvm N0=90 kernelpagesize_kB=4\n" + "".join(numa_maps))

    def pages(self, pid: int, addresses: t.Sequence[int], numa_nodes: t.Optional[t.Sequence[int]] = None) -> t.List[int]:
        if not numa_nodes:
            return [self.place[address] for address in addresses]
        status, failed = [-errno.EAGAIN] * len(addresses), False
        for number, (address, node) in enumerate(zip(addresses, numa_nodes)):
            if self.place[address] == node and failed:
                break  # pages move together up to one that is there already; the kernel gives up where not all of them could
            status[number] = self._move(address, node)
            failed |= status[number] < 0
            if status[number] in (-errno.ENOMEM, -errno.EACCES):
                break
        self.writes.append(("pages", len(addresses), str(numa_nodes[0])))
        self.show(pid)
        return status

    def _move(self, address: int, node: int) -> int:
        before = self.place[address]
        if node in self.closed:
            return -errno.EACCES
        if address in self.pinned or before == node:
            return before if before == node else -errno.EAGAIN
        if self.room.get(node, 1) <= 0:
            return -errno.ENOMEM
        for place, pages in ((node, -1), (before, 1)):
            if place in self.room:
                self.room[place] += pages * 4096 / MIB
        self.place[address] = node
        return node
