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
}
TOGETHER = [("api_token_id", "api_token_secret")]


def login_from(options: t.Mapping[str, t.Any]) -> api.Login:
    """The login that the options describe. Raises PveError where they do not suffice."""
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
    if options["api_timeout"] < 1 or options["concurrency"] < 1:
        raise PveError(f"api_timeout is {options['api_timeout']} and concurrency is {options['concurrency']}; both have to be at least 1.")
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


def open_door(module: AnsibleModule) -> Door:
    """The API where api_host is given, else this host. Raises PveError; ends the module where a library is missing."""
    if not module.params["api_host"]:
        return NodeDoor.on_this_host()
    if api.PROXMOXER_ERROR:
        module.fail_json(msg=missing_required_lib("proxmoxer (with requests)"), exception=api.PROXMOXER_ERROR)
    return ApiDoor(login_from(module.params))
