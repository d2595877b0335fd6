# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of the host that need CPUs and memory of their own: Ceph daemons, and the ARC of ZFS.

Running Ceph daemons are counted by their control groups, one directory each in the slice that systemd makes for the
instances of a template (systemd.special(7), system-NAME.slice; `-` is escaped as `\\x2d`). arcstats and module
parameters: zfs(4) of OpenZFS.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .domains import Facts
from .files import Tree

CEPH_DAEMONS = ("osd", "mon", "mgr", "mds")
ARCSTATS = "proc/spl/kstat/zfs/arcstats"

_SYSTEM_SLICES = ("sys/fs/cgroup/system.slice", "sys/fs/cgroup/systemd/system.slice")  # cgroup v2, and v1 until PVE 7
_C_MAX = re.compile(r"^c_max\s+\d+\s+(\d+)$", re.MULTILINE | re.ASCII)
_MIB = 1024 * 1024


def system_slice(tree: Tree) -> t.Optional[str]:
    """The folder with a control group for each service that runs; None where the host has none of systemd's."""
    return next((folder for folder in _SYSTEM_SLICES if tree.exists(folder)), None)


def read_services(tree: Tree) -> Facts:
    """ceph {osd, mon, mgr, mds}: running daemons; zfs {arc_max_mib}, 0 without ZFS; each null where the host does not show it."""
    return {"ceph": _ceph(tree), "zfs": _zfs(tree)}


def _ceph(tree: Tree) -> t.Optional[t.Dict[str, int]]:
    folder = system_slice(tree)
    if folder is None:
        return None
    return {daemon: _instances(tree, f"{folder}/system-ceph\\x2d{daemon}.slice", f"ceph-{daemon}@") for daemon in CEPH_DAEMONS}


def _instances(tree: Tree, folder: str, prefix: str) -> int:
    return sum(1 for name in tree.names(folder) or () if name.startswith(prefix) and name.endswith(".service"))


def _zfs(tree: Tree) -> t.Optional[t.Dict[str, int]]:
    found = _C_MAX.search(tree.text(ARCSTATS) or "")
    limit = int(found.group(1)) if found else tree.loose_number("sys/module/zfs/parameters/zfs_arc_max")
    if limit:
        return {"arc_max_mib": limit // _MIB}
    without_zfs = tree.exists("sys/module") and not tree.exists("sys/module/zfs")
    return {"arc_max_mib": 0} if without_zfs else None
