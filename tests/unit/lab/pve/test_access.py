# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, roles, access lists: who has which privilege where."""

from __future__ import annotations

import pytest
from pve_lab.access import AccessControl, AclEntry, Token, User


@pytest.fixture
def access():
    control = AccessControl(9)
    control.users = {"a@pve": User("a@pve", groups=("crew",)), "b@pve": User("b@pve")}
    return control


def grant(access, *entries):
    access.acl = [AclEntry(*entry) for entry in entries]


def test_entries_further_down_replace_those_above(access):
    grant(access, ("/", "a@pve", "PVEAuditor"), ("/vms", "a@pve", "PVEVMUser"), ("/vms/100", "a@pve", "NoAccess"))
    assert access.has("a@pve", "/", "Sys.Audit")
    assert access.has("a@pve", "/vms/101", "VM.PowerMgmt")
    assert not access.has("a@pve", "/vms/101", "Sys.Audit")
    assert not access.has("a@pve", "/vms/100", "VM.Audit")
    assert not access.has("b@pve", "/", "Sys.Audit")


def test_propagation_can_be_off(access):
    grant(access, ("/", "a@pve", "PVEAuditor", False))
    assert access.has("a@pve", "/", "Sys.Audit")
    assert not access.has("a@pve", "/vms/100", "VM.Audit")


def test_groups_come_after_the_users_own_entries(access):
    grant(access, ("/vms", "@crew", "PVEVMAdmin"), ("/vms", "a@pve", "PVEVMUser"), ("/nodes", "@crew", "PVEAuditor"))
    assert not access.has("a@pve", "/vms/100", "VM.Config.CPU")
    assert access.has("a@pve", "/nodes/pve1", "Sys.Audit")


def test_pools_give_their_guests_away(access):
    access.pool_of = {"100": "db"}.get
    grant(access, ("/pool/db", "a@pve", "PVEVMAdmin"))
    assert access.has("a@pve", "/vms/100", "VM.Config.CPU")
    assert not access.has("a@pve", "/vms/101", "VM.Audit")
    grant(access, ("/pool/db", "a@pve", "NoAccess"), ("/vms", "a@pve", "PVEVMAdmin"))
    assert not access.has("a@pve", "/vms/100", "VM.Audit")


def test_tokens_have_what_their_owner_has_at_most(access):
    access.tokens = {"a@pve!all": Token("a@pve!all", "s", False), "a@pve!some": Token("a@pve!some", "s", True)}
    grant(access, ("/vms", "a@pve", "PVEAuditor"), ("/vms", "a@pve!some", "PVEVMAdmin"))
    assert access.has("a@pve!all", "/vms/100", "VM.Audit")
    assert access.has("a@pve!some", "/vms/100", "VM.Audit")
    assert not access.has("a@pve!some", "/vms/100", "VM.Config.CPU")
    assert not access.has("a@pve!gone", "/vms/100", "VM.Audit")


def test_the_auditor_role_is_enough_to_read(make):
    users = {"users": [{"userid": "audit@pve"}], "acl": [{"path": "/", "ugid": "audit@pve", "roleid": "PVEAuditor"}], "name": "lab"}
    ask = make({"cores": 2}, status="running", cluster=users)
    for path in (
        "/cluster/status",
        "/cluster/resources",
        "/nodes",
        "/nodes/pve1/status",
        "/nodes/pve1/hardware/pci",
        "/nodes/pve1/qemu",
        "/nodes/pve1/qemu/100/config",
        "/nodes/pve1/qemu/100/pending",
        "/nodes/pve1/qemu/100/status/current",
        "/cluster/ha/resources",
        "/cluster/ha/rules",
        "/pools",
        "/cluster/mapping/pci",
        "/cluster/options",
    ):
        assert ask("GET", path, user="audit@pve").status == 200, path
    assert ask("POST", "/nodes/pve1/qemu/100/monitor", {"command": "info cpus"}, user="audit@pve").status == 200
    assert ask.config(100, user="audit@pve", cores=2).status == 403


@pytest.mark.parametrize(("version", "allowed"), [("9.2.6", False), ("8.4.1", True)])
def test_the_monitor_takes_another_privilege_since_9(make, version, allowed):
    users = {"version": version, "users": [{"userid": "ops@pve"}], "acl": [{"path": "/vms", "ugid": "ops@pve", "roleid": "PVEVMAdmin"}]}
    got = make(cluster=users, status="running")("POST", "/nodes/pve1/qemu/100/monitor", {"command": "info cpus"}, user="ops@pve")
    assert got.status == (200 if allowed else 403)
    if not allowed:
        assert got.message == "Permission check failed (/vms/100, Sys.Audit|Sys.Modify)\n"


def test_what_is_not_allowed_is_said(make):
    ask = make(cluster={"users": [{"userid": "nobody@pve"}]})
    for path, message in (
        ("/cluster/status", "(/, Sys.Audit)"),
        ("/nodes/pve1/status", "(/nodes/pve1, Sys.Audit)"),
        ("/nodes/pve1/hardware/pci", "(/, Sys.Audit|Sys.Modify)"),
        ("/nodes/pve1/qemu/100/config", "(/vms/100, VM.Audit)"),
        ("/nodes/pve1/qemu/100/pending", "(/vms/100, VM.Audit)"),
    ):
        got = ask("GET", path, user="nobody@pve")
        assert (got.status, got.message) == (403, f"Permission check failed {message}\n")


def test_lists_leave_out_what_may_not_be_seen(make):
    ask = make(cluster={"users": [{"userid": "nobody@pve"}], "pools": ["p"]}, pool="p")
    assert ask("GET", "/cluster/resources", {"type": "vm"}, user="nobody@pve").data == []
    assert ask("GET", "/nodes/pve1/qemu", user="nobody@pve").data == []
    assert ask("GET", "/pools", user="nobody@pve").data == []
    node = ask("GET", "/nodes", user="nobody@pve").data[0]
    assert set(node) == {"id", "type", "node", "level", "status", "ssl_fingerprint"}


def test_effective_permissions(make):
    ask = make(cluster={"users": [{"userid": "a@pve"}], "acl": [{"path": "/vms/100", "ugid": "a@pve", "roleid": "PVEVMUser"}]})
    mine = ask("GET", "/access/permissions", user="a@pve").data
    assert set(mine) == {"/vms/100"}
    assert mine["/vms/100"]["VM.Audit"] == 1
    assert set(ask("GET", "/access/permissions", {"path": "/vms/7"}, user="a@pve").data) == {"/vms/7"}
    assert "VM.Config.CPU" in ask("GET", "/access/permissions").data["/vms"]


def test_making_users_tokens_roles_and_entries(make):
    ask = make()
    assert ask("POST", "/access/users", {"userid": "new@pve", "password": "secret"}).status == 200
    assert ask("POST", "/access/users", {"userid": "new@pve"}).message == "create user failed: user 'new@pve' already exists\n"
    assert ask("POST", "/access/roles", {"roleid": "Cpu", "privs": "VM.Config.CPU,VM.Audit"}).status == 200
    assert ask("POST", "/access/roles", {"roleid": "Bad", "privs": "VM.Nope"}).errors == {
        "privs": "invalid format - invalid privilege 'VM.Nope'\n"
    }
    token = ask("POST", "/access/users/new@pve/token/t1", {"privsep": 0}).data
    assert (token["full-tokenid"], token["info"]) == ("new@pve!t1", {"privsep": "0"})
    assert ask("PUT", "/access/acl", {"path": "/vms/100", "users": "new@pve", "roles": "Cpu"}).status == 200
    assert ask.config(100, user="new@pve!t1", cores=2).status == 200
    assert ask("PUT", "/access/acl", {"path": "/vms/100", "users": "new@pve", "roles": "Cpu", "delete": 1}).status == 200
    assert ask.config(100, user="new@pve!t1", cores=2).status == 403
