# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of CPUs (packages, dies, clusters, caches) with the ids they are known by.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._engine.cpuset import format_cpulist, lowest

Facts = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Group:
    """Online CPUs that share something; `id` is the kernel's own, None where it has none."""

    cpus: int
    id: t.Optional[int] = None

    def as_facts(self) -> Facts:
        return {"id": self.id, "cpus": format_cpulist(self.cpus)}


GroupT = t.TypeVar("GroupT", bound=Group)


def with_unique_ids(groups: t.Iterable[GroupT]) -> t.List[GroupT]:
    """The groups by id: the kernel's ids where every group has its own, else 0, 1, ... in the order of their lowest CPUs.

    Old kernels give caches no id, some firmware gives -1 or the same id to several, and die ids count anew in each
    package; so ids are replaced for all groups of a kind or for none.
    """
    ordered = sorted(groups, key=lambda group: lowest(group.cpus))
    ids = {group.id for group in ordered}
    if len(ids) == len(ordered) and all(number is not None and number >= 0 for number in ids):
        return sorted(ordered, key=lambda group: group.id or 0)
    return [replace(group, id=number) for number, group in enumerate(ordered)]
