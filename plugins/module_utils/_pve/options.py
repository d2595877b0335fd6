# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's face of both doors: the options of a connection, and a door opened from their values.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

from . import api
from .api_door import ApiDoor
from .errors import PveError
from .node_door import NodeDoor
from .reading import Door
from .ticket import Ticket

CONNECTION_OPTIONS: t.Dict[str, t.Dict[str, t.Any]] = {
    "api_host": {"type": "str", "fallback": (env_fallback, ["PROXMOX_HOST"])},
    "api_port": {"type": "int", "default": 8006, "fallback": (env_fallback, ["PROXMOX_PORT"])},
    "api_user": {"type": "str", "default": "root@pam", "fallback": (env_fallback, ["PROXMOX_USER"])},
    "api_password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["PROXMOX_PASSWORD"])},
    "api_otp": {"type": "str", "no_log": True, "fallback": (env_fallback, ["PROXMOX_OTP"])},
    "api_token_id": {"type": "str", "no_log": False, "fallback": (env_fallback, ["PROXMOX_TOKEN_ID"])},
    "api_token_secret": {"type": "str", "no_log": True, "fallback": (env_fallback, ["PROXMOX_TOKEN_SECRET"])},
    "ca_path": {"type": "path", "fallback": (env_fallback, ["PROXMOX_CA_PATH"])},
    "validate_certs": {"type": "bool", "default": True, "fallback": (env_fallback, ["PROXMOX_VALIDATE_CERTS"])},
    "api_timeout": {"type": "int", "default": 35, "fallback": (env_fallback, ["PROXMOX_API_TIMEOUT"])},
    "concurrency": {"type": "int", "default": 8},
    "api_session": {
        "type": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 8006},
            "user": {"type": "str", "required": True},
            "ticket": {"type": "str", "required": True, "no_log": True},
            "csrf_token": {"type": "str", "required": True, "no_log": True},
            "expires": {"type": "int", "required": True},
            "ca_path": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
        },
    },
}
TOGETHER = [("api_token_id", "api_token_secret")]


def login_from(options: t.Mapping[str, t.Any]) -> api.Login:
    """The login that the options describe; a session wins over all else that says where and as whom. Raises PveError."""
    if options["api_timeout"] < 1 or options["concurrency"] < 1:
        raise PveError(f"api_timeout is {options['api_timeout']} and concurrency is {options['concurrency']}; both have to be at least 1.")
    if options["api_session"]:
        return _resumed(options["api_session"], options)
    host, port = str(options["api_host"]), options["api_port"]
    if host.count(":") == 1:
        host, _colon, given = host.partition(":")
        port = int(given) if given.isdigit() else port
    user, token_id = str(options["api_user"]), options["api_token_id"]
    if token_id and "!" in token_id:
        user, _mark, token_id = token_id.partition("!")
    if not options["api_password"] and not (token_id and options["api_token_secret"]):
        raise PveError(f"No credentials are given for {user} at {host}; give api_password, or api_token_id with api_token_secret.")
    if "@" not in user:
        raise PveError(f"The user {user!r} has no realm; write api_user for example as {user}@pam.")
    return api.Login(
        host=host,
        port=port,
        user=user,
        password=options["api_password"],
        otp=options["api_otp"],
        token_id=token_id,
        token_secret=options["api_token_secret"],
        ca_path=options["ca_path"],
        validate_certs=options["validate_certs"],
        timeout_s=options["api_timeout"],
        concurrency=options["concurrency"],
    )


def _resumed(session: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> api.Login:
    return api.Login(
        host=session["host"],
        port=session["port"],
        user=session["user"],
        ticket=Ticket(session["ticket"], session["csrf_token"], session["expires"]),
        ca_path=session["ca_path"],
        validate_certs=session["validate_certs"],
        timeout_s=options["api_timeout"],
        concurrency=options["concurrency"],
    )


def session_from(options: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Log in, or renew the session that is given; what api_session returns. Raises PveError."""
    if not options["api_session"] and not options["api_host"]:
        raise PveError("No api_host is given, so that there is nothing to log in to; give api_host, or leave this task out.")
    login = login_from(options)
    session = api.Session(login)
    if login.ticket:
        session.renew()
    ticket = session.ticket
    if not ticket:
        raise PveError(f"The login is {login.label}, which needs no session; give it to the other modules themselves.")
    return {
        "host": login.host,
        "port": login.port,
        "user": login.user,
        "ticket": ticket.ticket,
        "csrf_token": ticket.csrf_token,
        "expires": ticket.expires,
        "ca_path": login.ca_path,
        "validate_certs": login.validate_certs,
    }


def need_proxmoxer(module: AnsibleModule) -> None:
    """End the module where a library is missing."""
    if api.PROXMOXER_ERROR:
        module.fail_json(msg=missing_required_lib("proxmoxer (with requests)"), exception=api.PROXMOXER_ERROR)


def open_door(module: AnsibleModule) -> Door:
    """The API where api_host or api_session is given, else this host. Raises PveError; ends the module where a library is missing."""
    if not module.params["api_host"] and not module.params["api_session"]:
        return NodeDoor.on_this_host()
    need_proxmoxer(module)
    return ApiDoor(login_from(module.params))
