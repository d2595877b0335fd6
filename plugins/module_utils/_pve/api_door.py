# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door over the API: reads a cluster in one login, and writes guest configs with the rights of that login.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t

from .._engine.guest_config import GuestConfig, from_pending_answer
from .api import Login, Session, path
from .errors import DeniedError, MissingGuestError, PveError, UncertainError, UnknownCallError, UnreachableError, refusal
from .reading import (
    GONE,
    OFFLINE,
    Answer,
    GuestRef,
    Reading,
    ceph_health,
    guest_refs,
    major_version,
    managed_guests,
    offline_hosts,
)
from .rights import CPU_PRIVILEGE, POWER_PRIVILEGE, lacks, root_only_refusal, sees_all_guests

TASK_POLL_S = 1.0
TASK_GRACE_S = 60.0  # on top of the time that PVE itself was given

ReadGuest = t.Union[GuestConfig, Exception]


class ApiDoor:
    """Door over a session; see reading.Door for the methods that both doors have."""

    def __init__(self, login: Login) -> None:
        """Log in. Raises PveError."""
        self._session = Session(login)

    def read_cluster(self) -> Reading:
        """One pass: the cluster's own lists first, then every guest on an online host."""
        reading = self._read_lists()
        self._refuse_partial_view()
        offline = offline_hosts(reading.status)
        self._read_configs(reading, [ref for ref in guest_refs(reading.resources) if ref.node not in offline])
        reading.unread.update({ref.vmid: (ref.node, OFFLINE) for ref in guest_refs(reading.resources) if ref.node in offline})
        self._follow_moved_guests(reading)
        return reading

    def _read_lists(self) -> Reading:
        calls: t.List[t.Callable[[], t.Any]] = [
            lambda: self._session.get_mapping("version"),
            lambda: self._session.get_list("cluster/status"),
            self._resources,
            lambda: self._session.get_list("cluster/ha/resources"),
            lambda: self._session.get_mapping("cluster/options"),
            lambda: self._optional("cluster/mapping/pci"),
        ]
        version, status, resources, ha_resources, options, mappings = self._session.each(_call, calls)
        reading = Reading(
            version=str(version.get("version") or ""),
            status=status,
            resources=resources,
            ha_resources=ha_resources,
            crs=_properties(options.get("crs")),
            pci_mappings=mappings,
        )
        reading.ha_rules, reading.ha_groups = self._read_rules(reading)
        return reading

    def _resources(self) -> t.List[Answer]:
        return [item for item in self._session.get_list("cluster/resources", type="vm") if item.get("type") in ("qemu", "lxc")]

    def _read_rules(self, reading: Reading) -> t.Tuple[t.Sequence[Answer], t.Sequence[Answer]]:
        """Rules from PVE 9 on; groups before, and while PVE 9 has not yet turned them into rules."""
        rules: t.Sequence[Answer] = ()
        if major_version(reading.version) >= 9:
            rules = self._session.get_list("cluster/ha/rules")
            if not any(item.get("group") for item in reading.ha_resources):
                return rules, ()
        return rules, self._optional("cluster/ha/groups")

    def _optional(self, call: str) -> t.Sequence[Answer]:
        """The list that a call answers; () where this PVE does not have it (any more)."""
        try:
            return self._session.get_list(call)
        except UnknownCallError:
            return ()
        except PveError as e:
            if "have been migrated to rules" in e.words:
                return ()
            raise

    def _refuse_partial_view(self) -> None:
        """PVE leaves out guests that the login may not see, without a word; their CPUs would look free."""
        login = self._session.login
        if login.may_set_root_keys or sees_all_guests(self._permissions()):
            return
        raise DeniedError(
            f"PVE hides guests from {login.label}, which lacks the privilege VM.Audit on /vms (for all below it); grant it, for example "
            "with the role PVEAuditor on /.",
            path="/vms",
            privilege="VM.Audit",
        )

    def _permissions(self) -> t.Optional[t.Mapping[str, t.Any]]:
        try:
            return self._session.get_mapping("access/permissions")
        except UnknownCallError:
            return None

    def _read_configs(self, reading: Reading, guests: t.Sequence[GuestRef]) -> None:
        for ref, read in zip(guests, self.read_guests(guests).values()):
            reading.unread.pop(ref.vmid, None)
            reading.gone.discard(ref.vmid)
            if isinstance(read, GuestConfig):
                reading.configs[ref.vmid] = read
            elif isinstance(read, MissingGuestError):
                reading.gone.add(ref.vmid)
                reading.unread[ref.vmid] = (ref.node, GONE)
            else:
                reading.unread[ref.vmid] = (ref.node, f"its host does not answer ({read})")

    def _follow_moved_guests(self, reading: Reading) -> None:
        """A guest that is not where PVE listed it may have been migrated: list again, once, and look there."""
        if not reading.gone:
            return
        before = {ref.vmid: ref.node for ref in guest_refs(reading.resources)}
        reading.resources = self._resources()
        self._read_configs(reading, [ref for ref in guest_refs(reading.resources) if before.get(ref.vmid) != ref.node])

    def read_status(self) -> t.Optional[t.Sequence[Answer]]:
        try:
            return self._session.get_list("cluster/status")
        except DeniedError:
            return None

    def read_guests(self, guests: t.Sequence[GuestRef]) -> t.Dict[int, ReadGuest]:
        silent: t.Dict[str, Exception] = {}
        read = self._session.each(lambda ref: self._read_guest(ref, silent), guests)
        return {ref.vmid: answer for ref, answer in zip(guests, read)}

    def _read_guest(self, guest: GuestRef, silent: t.Dict[str, Exception]) -> ReadGuest:
        """The config; a host that once did not answer (`silent`) is not asked again, for each time-out takes 30 s."""
        if guest.node in silent:
            return silent[guest.node]
        try:
            items = self._session.get_list(_guest_path(guest, "pending"))
            raw_keys = self._session.get_mapping(_guest_path(guest, "config")).get("lxc") or () if guest.type == "lxc" else ()
            return from_pending_answer(items, raw_keys)
        except MissingGuestError as e:
            return e
        except (UnreachableError, UncertainError) as e:
            silent[guest.node] = e
            return e

    def running(self, guests: t.Sequence[GuestRef]) -> t.Dict[int, bool]:
        states = self._session.each(lambda ref: self._session.get_mapping(_guest_path(ref, "status", "current")), guests)
        return {ref.vmid: state.get("status") == "running" for ref, state in zip(guests, states)}

    def refuse_keys(self, wanted: t.Mapping[GuestRef, t.Sequence[str]]) -> t.Optional[str]:
        login = self._session.login
        if login.may_set_root_keys:
            return None
        refusal = root_only_refusal(wanted, login.label)
        permissions = None if refusal else self._permissions()
        if permissions is None:
            return refusal
        for guest, keys in wanted.items():
            if self._lacks(permissions, CPU_PRIVILEGE, guest.vmid):
                return (
                    f"The plan sets {', '.join(keys)} of guest {guest.vmid}, but {login.label} lacks the privilege {CPU_PRIVILEGE} on "
                    f"/vms/{guest.vmid}; grant it, or use another login (nothing was written)."
                )
        return None

    def _lacks(self, permissions: t.Mapping[str, t.Any], privilege: str, vmid: int) -> bool:
        """Ask PVE about this guest alone before saying so, for the overall list leaves out paths without an entry of their own."""
        if not lacks(permissions, privilege, vmid):
            return False
        return lacks(self._session.get_mapping("access/permissions", path=f"/vms/{vmid}"), privilege, vmid)

    def refuse_restarts(self, guests: t.Sequence[GuestRef]) -> t.Optional[str]:
        login = self._session.login
        permissions = None if login.may_set_root_keys or not guests else self._permissions()
        for guest in guests if permissions is not None else ():
            if self._lacks(permissions or {}, POWER_PRIVILEGE, guest.vmid):
                return (
                    f"The plan restarts guest {guest.vmid}, but {login.label} lacks the privilege {POWER_PRIVILEGE} on "
                    f"/vms/{guest.vmid}; grant it, or use another login (nothing was written)."
                )
        return None

    def read_ceph(self) -> t.Optional[str]:
        return ceph_health(lambda: self._session.get("cluster/ceph/status"))

    def ha_managed(self) -> t.FrozenSet[int]:
        return managed_guests(self._session.get_list("cluster/ha/resources"))

    def power(self, guest: GuestRef, action: str, timeout_s: float) -> None:
        params = {} if action == "start" else {"timeout": int(timeout_s)}
        upid = str(self._session.post(_guest_path(guest, "status", action), params))
        deadline = time.monotonic() + timeout_s + TASK_GRACE_S
        while True:
            task = self._session.get_mapping(path("nodes", guest.node, "tasks", upid, "status"))
            if task.get("status") != "running":
                break
            if time.monotonic() >= deadline:
                raise UncertainError(f"the task {action} of {guest.label} has not ended after {timeout_s + TASK_GRACE_S:g} s")
            time.sleep(TASK_POLL_S)
        status = str(task.get("exitstatus") or "unknown")
        if status != "OK" and not status.startswith("WARNINGS"):
            raise refusal(status, f"the task {action} of {guest.label}")

    def write(self, guest: GuestRef, values: t.Mapping[str, str], delete: t.Sequence[str], digest: t.Optional[str]) -> None:
        data = dict(values)
        if delete:
            data["delete"] = ",".join(delete)
        if digest:
            data["digest"] = digest
        self._session.put(_guest_path(guest, "config"), data)


def _guest_path(guest: GuestRef, *rest: str) -> str:
    return path("nodes", guest.node, guest.type, guest.vmid, *rest)


def _call(call: t.Callable[[], t.Any]) -> t.Any:
    return call()


def _properties(value: t.Any) -> t.Mapping[str, t.Any]:
    """A property string of datacenter.cfg, which the API has taken apart already."""
    return value if isinstance(value, dict) else {}
