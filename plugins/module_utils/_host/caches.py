# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU caches and who shares them (kernel: ABI sysfs-devices-system-cpu, /sys/devices/system/cpu/cpuX/cache/indexY).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._engine.cpuset import cpus_of
from .cpus import CPU
from .domains import Group, with_unique_ids
from .files import Tree

_KIB = {"": 1 / 1024, "K": 1, "M": 1024, "G": 1024 * 1024}


@dataclass(frozen=True)
class Cache(Group):
    """One cache. `kind` is the kernel's type: Data, Instruction or Unified; the size is read for level 3 only."""

    level: int = 0
    kind: str = ""
    size_kib: t.Optional[int] = None

    @property
    def holds_data(self) -> bool:
        return self.kind != "Instruction"


def read_caches(tree: Tree, cores: t.Sequence[int]) -> t.List[Cache]:
    """All caches of the `cores` (masks of online CPUs), each once, with unique ids within level and type.

    A CPU whose indexN a lower CPU's indexN already covers is not asked about it again. A cache whose level or sharing
    CPUs are unknown is left out; one that says no CPU shares it, not even its own (seen on ia64), is its core's.
    """
    core_of = {cpu: core for core in cores for cpu in cpus_of(core)}
    online = sum(cores)
    caches: t.List[Cache] = []
    covered: t.Dict[int, int] = {}  # index -> CPUs whose cache of that index is known
    for cpu in sorted(core_of):
        bit = 1 << cpu
        if covered and all(cpus & bit for cpus in covered.values()):
            continue
        for index in tree.numbered(f"{CPU}/cpu{cpu}/cache", "index") or []:
            known = covered.get(index, 0)
            if not known & bit:
                cache = _read_cache(tree, f"{CPU}/cpu{cpu}/cache/index{index}", online & ~known, bit, core_of[cpu])
                if cache:
                    caches.append(cache)
                covered[index] = known | (cache.cpus if cache else bit)
    return _numbered(caches)


def _read_cache(tree: Tree, folder: str, free: int, own: int, core: int) -> t.Optional[Cache]:
    level = tree.number(f"{folder}/level")
    shared = tree.cpus(folder, ("shared_cpu_list",), ("shared_cpu_map",), own)
    if level is None or shared is None:
        return None
    return Cache(
        cpus=(shared if shared & own else core) & free | own,
        id=tree.number(f"{folder}/id"),
        level=level,
        kind=tree.text(f"{folder}/type") or "",
        size_kib=_size_kib(tree.text(f"{folder}/size")) if level == 3 else None,
    )


def _size_kib(text: t.Optional[str]) -> t.Optional[int]:
    match = re.match(r"^(\d+)([KMG]?)$", text or "")
    return int(int(match.group(1)) * _KIB[match.group(2)]) if match else None


def _numbered(caches: t.Iterable[Cache]) -> t.List[Cache]:
    kinds: t.Dict[t.Tuple[int, str], t.List[Cache]] = {}
    for cache in caches:
        kinds.setdefault((cache.level, cache.kind), []).append(cache)
    return [cache for key in sorted(kinds) for cache in with_unique_ids(kinds[key])]


def data_caches(caches: t.Iterable[Cache], level: int) -> t.List[Cache]:
    """The caches of one level that hold data; a CPU in two of them counts for the one that comes first."""
    seen = 0
    chosen = []
    for cache in caches:
        if cache.level == level and cache.holds_data and not cache.cpus & seen:
            chosen.append(cache)
            seen |= cache.cpus
    return chosen
