# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, groups, tokens, roles and access lists: who may do what (pve-access-control)."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .errors import permission_error

ROOT = "root@pam"

_VM = (
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
)
_VM_ONLY_8 = ("VM.Monitor",)
_VM_ONLY_9 = (
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Replicate",
)
_OTHER = (
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
)
_AUDIT = ("VM.Audit", "Sys.Audit", "Datastore.Audit", "SDN.Audit", "Pool.Audit", "Mapping.Audit")
_ROOT_ONLY = ("Sys.PowerMgmt", "Sys.Modify", "Sys.Incoming", "Sys.AccessNetwork", "Realm.Allocate", "Permissions.Modify")
_VM_USER = ("VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.PowerMgmt")


def all_privileges(major: int) -> frozenset[str]:
    """Every privilege that PVE's major version knows."""
    return frozenset(_VM + _OTHER + (_VM_ONLY_9 if major >= 9 else _VM_ONLY_8))


def built_in_roles(major: int) -> dict[str, frozenset[str]]:
    """The roles that exist without anybody defining them."""
    everything = all_privileges(major)
    virtual = frozenset(privilege for privilege in everything if privilege.startswith("VM."))

    def of(prefix: str) -> frozenset[str]:
        return frozenset(privilege for privilege in everything if privilege.startswith(prefix)) - frozenset(_ROOT_ONLY)

    agent_audit = frozenset(("VM.GuestAgent.Audit",)) & everything
    return {
        "Administrator": everything,
        "NoAccess": frozenset(),
        "PVEAdmin": everything - frozenset(_ROOT_ONLY) - frozenset(("Mapping.Modify",)),
        "PVEAuditor": frozenset(_AUDIT) | agent_audit,
        "PVEDatastoreAdmin": of("Datastore."),
        "PVEDatastoreUser": frozenset(("Datastore.AllocateSpace", "Datastore.Audit")),
        "PVEMappingAdmin": of("Mapping."),
        "PVEMappingAuditor": frozenset(("Mapping.Audit",)),
        "PVEMappingUser": frozenset(("Mapping.Audit", "Mapping.Use")),
        "PVEPoolAdmin": of("Pool."),
        "PVEPoolUser": frozenset(("Pool.Audit",)),
        "PVESDNAdmin": of("SDN."),
        "PVESDNUser": frozenset(("SDN.Audit", "SDN.Use")),
        "PVESysAdmin": of("Sys."),
        "PVETemplateUser": frozenset(("VM.Audit", "VM.Clone")),
        "PVEUserAdmin": frozenset(("User.Modify", "Group.Allocate", "Realm.AllocateUser")),
        "PVEVMAdmin": virtual,
        "PVEVMUser": frozenset(_VM_USER) | (agent_audit if major >= 9 else frozenset()),
    }


@dataclasses.dataclass
class User:
    """totp: base32 secret, or None without a second factor. totp_used: the time step of the newest code that was accepted."""

    userid: str
    password: t.Optional[str] = None
    totp: t.Optional[str] = None
    enable: bool = True
    groups: tuple[str, ...] = ()
    totp_used: int = -1


@dataclasses.dataclass
class Token:
    """tokenid: user@realm!name."""

    tokenid: str
    secret: str
    privsep: bool = True

    @property
    def owner(self) -> str:
        return self.tokenid.split("!", 1)[0]


@dataclasses.dataclass
class AclEntry:
    """ugid: user, token, or @group."""

    path: str
    ugid: str
    roleid: str
    propagate: bool = True


class AccessControl:
    """The content of PVE's user.cfg, and the questions asked of it."""

    def __init__(self, major: int) -> None:
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.acl: list[AclEntry] = []
        self.built_in = built_in_roles(major)
        self.roles: dict[str, frozenset[str]] = dict(self.built_in)
        self.everything = all_privileges(major)
        self.pool_of: t.Callable[[str], t.Optional[str]] = lambda vmid: None

    def privileges(self, user: str, path: str) -> dict[str, bool]:
        """The privileges that a user or token has on a path, each with whether it is handed on below."""
        if user == ROOT:
            return dict.fromkeys(self.everything, True)
        if "!" not in user:
            return self._granted(user, path)
        token = self.tokens.get(user)
        if token is None:
            return {}
        owned = self.privileges(token.owner, path)
        if not token.privsep:
            return owned
        return {privilege: down and owned[privilege] for privilege, down in self._granted(user, path).items() if privilege in owned}

    def has(self, user: str, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether the user has all (or any) of the privileges on the path."""
        granted = self.privileges(user, path)
        return (any if any_of else all)(privilege in granted for privilege in privileges)

    def check(self, user: str, path: str, *privileges: str, any_of: bool = False) -> None:
        """403 in PVE's words unless the user has all (or any) of the privileges."""
        granted = self.privileges(user, path)
        if any_of:
            if not any(privilege in granted for privilege in privileges):
                raise permission_error(f"{path}, {'|'.join(privileges)}")
            return
        for privilege in privileges:
            if privilege not in granted:
                raise permission_error(f"{path}, {privilege}")

    def effective(self, user: str, path: t.Optional[str] = None) -> dict[str, dict[str, int]]:
        """What GET /access/permissions shows: path -> privilege -> handed on."""
        paths = {"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"} | {entry.path for entry in self.acl}
        shown = {
            one: {privilege: int(down) for privilege, down in self.privileges(user, one).items()} for one in ([path] if path else paths)
        }
        return shown if path else {one: granted for one, granted in shown.items() if granted}

    def _granted(self, user: str, path: str) -> dict[str, bool]:
        roles = self._roles(user, path)
        member = re.fullmatch(r"/vms/(\d+)", path)
        pool = self.pool_of(member.group(1)) if member else None
        if pool and "NoAccess" not in roles:
            from_pool = self._roles(user, f"/pool/{pool}")
            roles = {"NoAccess": False} if "NoAccess" in from_pool else {**dict.fromkeys(from_pool, False), **roles}
        granted: dict[str, bool] = {}
        for role, down in roles.items():
            for privilege in self.roles.get(role, frozenset()):
                granted[privilege] = granted.get(privilege, False) or down
        return granted

    def _roles(self, user: str, path: str) -> dict[str, bool]:
        """Role -> handed on. An entry further down replaces all above it; a user's own replaces his groups'."""
        roles: dict[str, bool] = {}
        groups = self.users[user].groups if user in self.users else ()
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            here = "/" + "/".join(parts[:depth])
            final = depth == len(parts)
            entries = [entry for entry in self.acl if entry.path == here and (final or entry.propagate)]
            own = {entry.roleid: entry.propagate for entry in entries if entry.ugid == user}
            shared = {entry.roleid: entry.propagate for entry in entries if entry.ugid.startswith("@") and entry.ugid[1:] in groups}
            chosen = own or shared
            if chosen:
                roles = {"NoAccess": chosen["NoAccess"]} if "NoAccess" in chosen else chosen
        return roles
