# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host needs for its Ceph daemons and for the cache of ZFS, from its facts: `auto` of a reservation.

Ceph: one core for each daemon, the rule of thumb of Proxmox VE's administration guide (pveceph.adoc, Recommendations for a
Healthy Ceph Cluster, CPU), which says as well that fast NVMe disks keep four to six threads per OSD busy; so it is the
least, and more is for people to reserve. 4 GiB for each OSD, what one takes by default (the same, Memory; Ceph's
osd_memory_target). What other daemons take depends on the cluster and is not guessed. ZFS: what the ARC may grow to
(c_max of arcstats, in OpenZFS's zfs(4) and module parameter zfs_arc_max).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .policy import Reservation
from .topology import Host
from .wording import plural

OSD_MIB = 4096


def daemon_cores(host: Host, reservation: Reservation) -> int:
    """How many cores the host's Ceph daemons need; 0 where its facts tell of none."""
    return sum((host.ceph or {}).values()) if "ceph" in reservation.auto else 0


def reserved_mib(host: Host, reservation: Reservation) -> int:
    """MiB that the host as a whole keeps for itself: as reserved, for its OSDs, and for the ARC of ZFS."""
    osds = (host.ceph or {}).get("osd", 0) if "ceph" in reservation.auto else 0
    arc = (host.arc_max_mib or 0) if "zfs" in reservation.auto else 0
    return reservation.memory_mib + OSD_MIB * osds + arc


def take_cores(host: Host, wanted: int, taken: int) -> int:
    """`wanted` more whole cores beside `taken`, in turn from each NUMA node with CPUs, lowest first; fewer where there are no more."""
    rows = [[core for core in host.cores if core & numa_node.cpus and not core & taken] for numa_node in host.numa_nodes]
    in_turn = [row[turn] for turn in range(max(map(len, rows), default=0)) for row in rows if turn < len(row)]
    cpus = 0
    for core in in_turn:
        if wanted and not core & cpus:
            cpus |= core
            wanted -= 1
    return cpus


def automatic_warnings(host: Host, reservation: Reservation) -> t.List[str]:
    """Where the facts do not tell what `auto` asks for, or what they tell leaves little for guests."""
    warnings = []
    if "ceph" in reservation.auto and host.ceph is None:
        warnings.append(_untold(host, "ceph", "how many Ceph daemons run there"))
    if "zfs" in reservation.auto and host.arc_max_mib is None:
        warnings.append(_untold(host, "zfs", "how large the ARC of ZFS may grow"))
    if daemon_cores(host, reservation) >= len(host.cores):
        needed = plural(daemon_cores(host, reservation), "core")
        warnings.append(
            f"The Ceph daemons of host {host.node} need {needed}, but it has {len(host.cores)}, so that none is left for guests."
        )
    known = [numa_node.memory_mib for numa_node in host.numa_nodes if numa_node.memory_mib is not None]
    if "zfs" in reservation.auto and known and 2 * (host.arc_max_mib or 0) > sum(known):
        warnings.append(
            f"The ARC of ZFS on host {host.node} may grow to {host.arc_max_mib} of {sum(known)} MiB, which are held back from guests; "
            "limit it with zfs_arc_max."
        )
    return warnings


def _untold(host: Host, name: str, what: str) -> str:
    return (
        f"reserved asks for auto {name} on host {host.node}, but its facts do not tell {what}, so that nothing is held back for it; "
        "gather the facts again, or give numbers."
    )
