# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process's memory mapping by mapping, with the NUMA nodes of its pages (kernel: filesystems/proc.rst, maps and numa_maps).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .files import Tree

_NODE_PAGES = re.compile(r"\bN(\d+)=(\d+)", re.ASCII)
_PAGE_SIZE = re.compile(r"\bkernelpagesize_kB=(\d+)", re.ASCII)
# Files without a name of their own that hold the memory of guests: memory backends of QEMU, huge pages, shared memory.
_GUEST_FILES = ("/memfd:", "/dev/hugepages", "/run/hugepages", "/dev/shm", "/anon_hugepage", "/dev/zero")
_KIB = 1024


@dataclass(frozen=True)
class Mapping:
    """Addresses from `start` to before `end`; `policy` as numa_maps writes it (`default`, `bind:0`); bytes per page; pages by NUMA node."""

    start: int
    end: int
    policy: str
    page: int
    pages: t.Mapping[int, int]

    @property
    def size(self) -> int:
        return self.end - self.start

    def astray(self, numa_nodes: int) -> t.Dict[int, int]:
        """Bytes by NUMA node of the pages on others than `numa_nodes` (a mask)."""
        return {number: pages * self.page for number, pages in self.pages.items() if not numa_nodes >> number & 1}


def read_mappings(tree: Tree, pid: int) -> t.List[Mapping]:
    """The mappings that hold memory of the process itself, programs and libraries left out, by address; [] once it is gone.

    Reading them walks the page tables of the process, which takes about a second per 100 GiB of small pages.
    """
    ends = dict(_ranges(tree.text(f"proc/{pid}/maps") or ""))
    mappings = []
    for line in (tree.text(f"proc/{pid}/numa_maps") or "").splitlines():
        address, _blank, rest = line.partition(" ")
        start, size = int(address, 16), _PAGE_SIZE.search(rest)
        if start in ends and size:
            pages = {int(number): int(count) for number, count in _NODE_PAGES.findall(rest)}
            mappings.append(Mapping(start, ends[start], rest.split(" ")[0], int(size.group(1)) * _KIB, pages))
    return mappings


def _ranges(maps: str) -> t.Iterator[t.Tuple[int, int]]:
    for line in maps.splitlines():
        fields = line.split(None, 5)
        name = fields[5] if len(fields) > 5 else ""
        if not name.startswith("/") or name.startswith(_GUEST_FILES):
            start, _dash, end = fields[0].partition("-")
            yield int(start, 16), int(end, 16)
