# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both doors to PVE (the API, and a host as root) offer, and what one pass over a cluster brings back.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._engine.guest_config import GuestConfig
from .errors import PveError

Answer = t.Mapping[str, t.Any]
OFFLINE = "its host is offline"
GONE = "its config is gone; it was deleted or moved while the cluster was read"
CRS_BOOLEANS = ("ha-auto-rebalance", "ha-rebalance-on-start")


@dataclass(frozen=True)
class GuestRef:
    """Which guest: `type` is qemu or lxc."""

    vmid: int
    node: str
    type: str = "qemu"

    @property
    def label(self) -> str:
        return f"guest {self.vmid} on {self.node}"


@dataclass
class Reading:
    """One pass over a cluster, still in PVE's own shapes: lists of mappings as the API answers them.

    status: /cluster/status; resources: /cluster/resources?type=vm; ha_resources, ha_rules, ha_groups: /cluster/ha/...;
    crs: the property `crs` of datacenter.cfg; pci_mappings: [{id, map: [property string]}].
    configs: by vmid; unread: by vmid, the host and why the guest has no config; gone: those among them that no longer exist
    where PVE listed them.
    """

    version: str
    status: t.Sequence[Answer]
    resources: t.Sequence[Answer]
    ha_resources: t.Sequence[Answer] = ()
    ha_rules: t.Sequence[Answer] = ()
    ha_groups: t.Sequence[Answer] = ()
    crs: t.Mapping[str, t.Any] = field(default_factory=dict)
    pci_mappings: t.Sequence[Answer] = ()
    configs: t.Dict[int, GuestConfig] = field(default_factory=dict)
    unread: t.Dict[int, t.Tuple[str, str]] = field(default_factory=dict)
    gone: t.Set[int] = field(default_factory=set)
    warnings: t.List[str] = field(default_factory=list)


class Door(t.Protocol):
    """The way into a cluster."""

    def read_cluster(self) -> Reading:
        """Everything that guest_info reports. Raises PveError."""

    def read_status(self) -> t.Optional[t.Sequence[Answer]]:
        """/cluster/status, or None where the login may not read it."""

    def read_guests(self, guests: t.Sequence[GuestRef]) -> t.Dict[int, t.Union[GuestConfig, Exception]]:
        """The config of each, or why it could not be read (MissingGuestError, UnreachableError, UncertainError)."""

    def running(self, guests: t.Sequence[GuestRef]) -> t.Dict[int, bool]:
        """Whether each guest runs at this moment."""

    def refuse_keys(self, wanted: t.Mapping[GuestRef, t.Sequence[str]]) -> t.Optional[str]:
        """A sentence where one of the keys cannot be set through this door, else None; writes nothing."""

    def read_ceph(self) -> t.Optional[str]:
        """The health of Ceph (HEALTH_OK ...), or None where there is no Ceph. Raises PveError."""

    def ha_managed(self) -> t.FrozenSet[int]:
        """The guests that high availability looks after."""

    def refuse_restarts(self, guests: t.Sequence[GuestRef]) -> t.Optional[str]:
        """A sentence where one of the guests cannot be restarted through this door, else None; does nothing."""

    def power(self, guest: GuestRef, action: str, timeout_s: float) -> None:
        """Do `start`, `shutdown` or `reboot` and wait until PVE's task has ended; a shutdown is never forced.

        Raises PveError with the words of the task; UncertainError where it may have happened.
        """

    def write(self, guest: GuestRef, values: t.Mapping[str, str], delete: t.Sequence[str], digest: t.Optional[str]) -> None:
        """Set and delete config keys in one step. Raises PveError; UncertainError where it may have happened."""


def ceph_health(read: t.Callable[[], t.Any]) -> t.Optional[str]:
    """The health that `read` (/cluster/ceph/status) tells; None where PVE says that there is no Ceph. Raises PveError.

    Source of the words: check_ceph_inited in pve-manager's PVE/Ceph/Tools.pm.
    """
    try:
        answer = read()
    except PveError as e:
        if "binary not installed" in e.words or "pveceph configuration not" in e.words:
            return None
        raise
    health = answer.get("health") if isinstance(answer, dict) else None
    return str(health.get("status") or "unknown") if isinstance(health, dict) else "unknown"


def managed_guests(ha_resources: t.Iterable[Answer]) -> t.FrozenSet[int]:
    """The vmids of the resources of high availability, but for those that it is told to ignore."""
    return frozenset(int(str(item["sid"]).partition(":")[2]) for item in ha_resources if item.get("state") != "ignored")


def guest_refs(resources: t.Iterable[Answer]) -> t.List[GuestRef]:
    """The guests of /cluster/resources, by vmid."""
    refs = (GuestRef(int(item["vmid"]), str(item["node"]), str(item["type"])) for item in resources)
    return sorted(refs, key=lambda ref: ref.vmid)


def offline_hosts(status: t.Iterable[Answer]) -> t.Set[str]:
    """The hosts that /cluster/status calls offline."""
    return {str(item["name"]) for item in status if item.get("type") == "node" and not _is_set(item.get("online"))}


def local_host(status: t.Iterable[Answer]) -> t.Optional[str]:
    """The host that answered /cluster/status."""
    return next((str(item["name"]) for item in status if item.get("type") == "node" and _is_set(item.get("local"))), None)


def cluster_name(status: t.Sequence[Answer]) -> t.Optional[str]:
    """The cluster's name; a host that is in no cluster gives its own."""
    named = [item for item in status if item.get("type") == "cluster"] or [item for item in status if item.get("type") == "node"]
    return str(named[0]["name"]) if named else None


def is_quorate(status: t.Iterable[Answer]) -> bool:
    """Whether the answering host is in a majority; a host that is in no cluster always is."""
    return all(_is_set(item.get("quorate")) for item in status if item.get("type") == "cluster")


def major_version(version: str) -> int:
    """`9.2.6` -> 9; 0 for what is no version."""
    digits = version.split(".", 1)[0]
    return int(digits) if digits.isdigit() else 0


def _is_set(value: t.Any) -> bool:
    return str(value) in ("1", "True", "true")
