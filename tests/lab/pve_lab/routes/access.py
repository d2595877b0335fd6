# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/version and /access: login, users, tokens, roles, access lists."""

from __future__ import annotations

import typing as t
import uuid

from ..access import ROOT, AclEntry, Token, User
from ..errors import ApiError, died, parameter_error
from ..schema import BOOLEAN, INTEGER, STRING, required, split_list
from ..tickets import totp_step
from .registry import EVERYBODY, NOBODY_YET, Call, perm, route


@route("GET", "/version", EVERYBODY)
def version(call: Call) -> t.Any:
    return {"version": call.cluster.version, "release": ".".join(call.cluster.version.split(".")[:2]), "repoid": "0123456789abcdef"}


def _refused() -> ApiError:
    return ApiError(401, "authentication failure\n")


@route(
    "POST",
    "/access/ticket",
    NOBODY_YET,
    {
        "username": required(STRING),
        "password": required(STRING),
        "realm": STRING,
        "otp": STRING,
        "path": STRING,
        "privs": STRING,
        "new-format": BOOLEAN,
        "tfa-challenge": STRING,
    },
)
def create_ticket(call: Call) -> t.Any:
    """The first step with a password or an old ticket; the second with the challenge and "totp:DIGITS"."""
    cluster = call.cluster
    username = call.text("username") + (f"@{call.params['realm']}" if "realm" in call.params and "@" not in call.text("username") else "")
    user = cluster.access.users.get(username)
    if user is None or not user.enable:
        raise _refused()
    if "tfa-challenge" in call.params:
        if cluster.mint.user_of_challenge(call.text("tfa-challenge")) != username or not _second_factor(call, user, call.text("password")):
            raise _refused()
    elif cluster.mint.user_of(call.text("password")) != username:
        if user.password is None or call.text("password") != user.password:
            raise _refused()
        if user.totp is not None:
            if "otp" not in call.params:
                return _login(call, username, cluster.mint.challenge(username), needs_more=True)
            if not _second_factor(call, user, "totp:" + call.text("otp").replace("totp:", "")):
                raise _refused()
    return _login(call, username, cluster.mint.ticket(username), needs_more=False)


def _second_factor(call: Call, user: User, answer: str) -> bool:
    """Whether the code is right and newer than the last one that was accepted: none counts twice."""
    kind, _colon, digits = answer.partition(":")
    step = totp_step(user.totp, digits, call.cluster.clock()) if kind == "totp" and user.totp is not None else None
    if step is None or step <= user.totp_used:
        return False
    user.totp_used = step
    return True


def _login(call: Call, username: str, ticket: str, needs_more: bool) -> t.Any:
    data: dict[str, t.Any] = {"username": username, "ticket": ticket, "CSRFPreventionToken": call.cluster.mint.csrf_token(username)}
    if call.cluster.name:
        data["clustername"] = call.cluster.name
    if needs_more:
        data["NeedTFA"] = 1
    else:
        data["cap"] = _capabilities(call, username)
    return data


def _capabilities(call: Call, username: str) -> dict[str, dict[str, int]]:
    """What the web interface asks for: privileges by branch of the tree."""
    branches = {
        "vms": "VM.",
        "storage": "Datastore.",
        "nodes": "Sys.",
        "access": "User.",
        "dc": "Sys.",
        "sdn": "SDN.",
        "mapping": "Mapping.",
    }
    found: dict[str, dict[str, int]] = {}
    for branch, prefix in branches.items():
        path = "/" if branch == "dc" else f"/{branch}"
        granted = call.cluster.access.privileges(username, path)
        found[branch] = {privilege: 1 for privilege in granted if privilege.startswith((prefix, "Permissions.Modify"))}
    return found


@route("GET", "/access/ticket", NOBODY_YET)
def get_ticket(call: Call) -> t.Any:
    return None


@route("GET", "/access/permissions", EVERYBODY, {"path": STRING, "userid": STRING})
def permissions(call: Call) -> t.Any:
    userid = call.text("userid", call.user)
    if userid != call.user and not call.allowed("/access", "Sys.Audit"):
        call.require("/access", "Sys.Audit")
    return call.cluster.access.effective(userid, call.params.get("path"))


@route("GET", "/access/users", EVERYBODY, {"enabled": BOOLEAN, "full": BOOLEAN})
def users(call: Call) -> t.Any:
    everyone = call.allowed("/access/groups", "User.Modify", "Sys.Audit", any_of=True)
    return [
        {"userid": user.userid, "enable": int(user.enable), "expire": 0, "realm-type": user.userid.rsplit("@", 1)[-1]}
        for user in call.cluster.access.users.values()
        if everyone or user.userid == call.user
    ]


@route(
    "POST",
    "/access/users",
    perm("/access/groups", "User.Modify"),
    {
        "userid": required(STRING),
        "password": STRING,
        "comment": STRING,
        "email": STRING,
        "enable": BOOLEAN,
        "expire": INTEGER,
        "firstname": STRING,
        "lastname": STRING,
        "groups": STRING,
        "keys": STRING,
    },
)
def create_user(call: Call) -> t.Any:
    userid = call.text("userid")
    if userid in call.cluster.access.users:
        raise died(f"create user failed: user '{userid}' already exists")
    call.cluster.access.users[userid] = User(
        userid, call.params.get("password"), enable=call.text("enable", "1") == "1", groups=tuple(split_list(call.params.get("groups")))
    )
    call.cluster.changed()


@route("POST", "/access/users/{userid}/token/{tokenid}", EVERYBODY, {"comment": STRING, "expire": INTEGER, "privsep": BOOLEAN})
def create_token(call: Call) -> t.Any:
    userid = call.text("userid")
    if call.user not in (ROOT, userid):
        call.require("/access/groups", "User.Modify")
    full = f"{userid}!{call.text('tokenid')}"
    if userid not in call.cluster.access.users:
        raise died(f"no such user ('{userid}')")
    if full in call.cluster.access.tokens:
        raise parameter_error({"tokenid": "Token already exists."})
    privsep = call.text("privsep", "1")
    token = Token(full, str(uuid.uuid4()), privsep == "1")
    call.cluster.access.tokens[full] = token
    call.cluster.changed()
    return {"full-tokenid": full, "info": {"privsep": privsep}, "value": token.secret}


@route("GET", "/access/users/{userid}/token", EVERYBODY)
def user_tokens(call: Call) -> t.Any:
    if call.user not in (ROOT, call.text("userid")):
        call.require("/access/groups", "User.Modify")
    return [
        {"tokenid": token.tokenid.split("!", 1)[1], "privsep": int(token.privsep), "expire": 0}
        for token in call.cluster.access.tokens.values()
        if token.owner == call.text("userid")
    ]


@route("GET", "/access/roles", EVERYBODY)
def roles(call: Call) -> t.Any:
    access = call.cluster.access
    return [
        {"roleid": roleid, "privs": ",".join(sorted(privileges)), "special": int(roleid in access.built_in)}
        for roleid, privileges in access.roles.items()
    ]


@route("POST", "/access/roles", perm("/access", "Sys.Modify"), {"roleid": required(STRING), "privs": STRING})
def create_role(call: Call) -> t.Any:
    access, roleid = call.cluster.access, call.text("roleid")
    if roleid in access.roles:
        raise died(f"create role failed: role '{roleid}' already exists")
    wanted = frozenset(split_list(call.params.get("privs")))
    for privilege in sorted(wanted - access.everything):
        raise parameter_error({"privs": f"invalid format - invalid privilege '{privilege}'\n"})
    access.roles[roleid] = wanted
    call.cluster.changed()


@route("GET", "/access/acl", EVERYBODY)
def acl(call: Call) -> t.Any:
    if not call.allowed("/access", "Sys.Audit"):
        return []
    return [
        {
            "path": entry.path,
            "ugid": entry.ugid.lstrip("@"),
            "roleid": entry.roleid,
            "propagate": int(entry.propagate),
            "type": "group" if entry.ugid.startswith("@") else "token" if "!" in entry.ugid else "user",
        }
        for entry in call.cluster.access.acl
    ]


@route(
    "PUT",
    "/access/acl",
    perm("/access", "Permissions.Modify"),
    {
        "path": required(STRING),
        "roles": required(STRING),
        "users": STRING,
        "groups": STRING,
        "tokens": STRING,
        "propagate": BOOLEAN,
        "delete": BOOLEAN,
    },
)
def update_acl(call: Call) -> t.Any:
    access = call.cluster.access
    who = (
        split_list(call.params.get("users"))
        + split_list(call.params.get("tokens"))
        + ["@" + group for group in split_list(call.params.get("groups"))]
    )
    if not who:
        raise parameter_error(dict.fromkeys(("users", "groups", "tokens"), "either 'users', 'groups' or 'tokens' is required."))
    for roleid in split_list(call.text("roles")):
        if roleid not in access.roles:
            raise died(f"ACL update failed: role '{roleid}' does not exist")
        for ugid in who:
            access.acl = [entry for entry in access.acl if (entry.path, entry.ugid, entry.roleid) != (call.text("path"), ugid, roleid)]
            if not call.flag("delete"):
                access.acl.append(AclEntry(call.text("path"), ugid, roleid, call.text("propagate", "1") == "1"))
    call.cluster.changed()
