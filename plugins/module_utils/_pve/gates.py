# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold before anything is written: the plan's cluster, a quorum, a healthy Ceph, hosts as they were planned for.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.errors import PlanError
from .errors import DeniedError, NoQuorumError, PveError
from .reading import Answer, Door, cluster_name, is_quorate

CEPH_STATES = ("HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR")
Status = t.Optional[t.Sequence[Answer]]
Fingerprints = t.Mapping[str, t.Optional[str]]


def check_cluster(status: Status, cluster: t.Optional[str], hosts: t.Collection[str]) -> t.List[str]:
    """Warnings about what could not be checked. Raises PlanError where the plan was made for another cluster.

    `cluster` and `hosts` are what the plan names; a host that has joined the cluster since does not matter.
    """
    if status is None:
        return ["This login may not read /cluster/status (Sys.Audit on /), so that neither the cluster's name nor its quorum was checked."]
    name = cluster_name(status)
    if cluster and name and cluster != name:
        raise PlanError(
            f"The plan was made for the cluster {cluster}, but this one is {name}; make a plan for this one (nothing was written)."
        )
    here = {str(item["name"]) for item in status if item.get("type") == "node"}
    missing = sorted(set(hosts) - here)
    if missing and here:
        raise PlanError(
            f"The plan was made for a cluster with the host {missing[0]}, but this one has {', '.join(sorted(here))}; make a plan for "
            "this one (nothing was written)."
        )
    return []


def host_conflict(host: str, planned: Fingerprints, present: t.Optional[Fingerprints]) -> t.Optional[str]:
    """Why a host is not known to be as it was planned for; None where it is, or where nobody asks (`present` is None)."""
    wanted = planned.get(host)
    if present is None or wanted is None:
        return None
    if present.get(host) is None:
        return "its host was not read now, so that nobody knows whether its CPUs are those that were planned for"
    if present[host] != wanted:
        return "the CPUs, NUMA nodes or caches of its host are not those that were planned for (its fingerprint has changed)"
    return None


def check_quorum(status: Status) -> None:
    """Raises NoQuorumError."""
    if status is not None and not is_quorate(status):
        raise NoQuorumError("The cluster has no quorum, so that PVE writes nothing; restore the quorum first")


@dataclass(frozen=True)
class Gate:
    """Between hosts. accepted: the worst health of Ceph that is gone on with; None where there is no Ceph."""

    door: Door
    accepted: t.Optional[str] = None
    asks_status: bool = True
    asks_ceph: bool = False

    def check(self) -> None:
        """Raises PveError where the cluster is not as it was before the first write."""
        if self.asks_status:
            check_quorum(self.door.read_status())
        if self.asks_ceph:
            health = self.door.read_ceph()
            if health is not None and _rank(health) > _rank(self.accepted or "HEALTH_OK"):
                raise PveError(f"Ceph is at {health}, and was at {self.accepted or 'HEALTH_OK'} before; see what it says (ceph -s)")


def opened(door: Door, status: Status, accepted: t.Optional[str]) -> t.Tuple[Gate, t.Optional[str], t.List[str]]:
    """(the gate for the way, Ceph's health now, warnings), before the first write. Raises PveError."""
    try:
        health = door.read_ceph()
    except DeniedError:
        warning = "This login may not read the status of Ceph (Sys.Audit on /), so that its health was not checked."
        return Gate(door, None, status is not None, False), None, [warning]
    if health is not None and _rank(health) > _rank(accepted or "HEALTH_WARN"):
        raise PveError(f"Ceph is at {health}; mend it first (ceph -s), or leave out the check with rolling: false (nothing was written).")
    return Gate(door, accepted or health, status is not None, health is not None), health, []


def _rank(health: str) -> int:
    return CEPH_STATES.index(health) if health in CEPH_STATES else len(CEPH_STATES)
