# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CPUs a host has and which of them are online (kernel: admin-guide/cputopology.rst, ABI sysfs-devices-system-cpu).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import mask_of
from .._engine.errors import FactsError
from .files import Tree

CPU = "sys/devices/system/cpu"

_UNSET = ("(null)", "")  # nohz_full reads "(null)" on kernels that were not told any


@dataclass(frozen=True)
class CpuSets:
    """Masks; None where the kernel does not say. `online` is always known."""

    possible: t.Optional[int]
    present: t.Optional[int]
    online: int
    isolated: t.Optional[int]
    nohz_full: t.Optional[int]


def read_cpu_sets(tree: Tree) -> CpuSets:
    """The host's CPU sets. Raises FactsError where no CPU is online or a file holds garbage."""
    online = tree.cpulist(f"{CPU}/online")
    if online is None:
        online = _online_by_folder(tree)
    if not online:
        raise FactsError(
            f"{tree.full(CPU)} shows no online CPU; set root to / or to a directory that holds the sys/ and proc/ of a captured host."
        )
    return CpuSets(
        possible=tree.cpulist(f"{CPU}/possible"),
        present=tree.cpulist(f"{CPU}/present"),
        online=online,
        isolated=_cpulist_or_unset(tree, f"{CPU}/isolated"),
        nohz_full=_cpulist_or_unset(tree, f"{CPU}/nohz_full"),
    )


def _cpulist_or_unset(tree: Tree, path: str) -> t.Optional[int]:
    return 0 if tree.text(path) in _UNSET else tree.cpulist(path)


def _online_by_folder(tree: Tree) -> int:
    """Without cpu/online: the folders cpuN whose `online` is not 0 and, if any has a topology folder, that have one.

    CPU 0 often has no `online` file, and the kernel takes an offline CPU's topology folder away.
    """
    cpus = [cpu for cpu in tree.numbered(CPU, "cpu") or [] if tree.text(f"{CPU}/cpu{cpu}/online") != "0"]
    with_topology = [cpu for cpu in cpus if tree.exists(f"{CPU}/cpu{cpu}/topology")]
    return mask_of(with_topology or cpus)
