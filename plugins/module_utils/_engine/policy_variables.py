# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory variables `corepin_*` of many hosts folded into one policy dict.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .errors import PolicyError
from .policy import POLICY_KEYS, Policy, nearest

PREFIX = "corepin_"
# Variables that are no policy: facts, the host's PVE name, and what the role and playbooks take and set.
OTHER_VARIABLES = (
    "host",
    "node",
    "hosts",
    "root",
    "plan",
    "plan_file",
    "plan_max_age",
    "plan_stats",
    "snapshot",
    "snapshot_file",
    "on_conflict",
    "rolling",
    "canary",
    "shutdown_timeout",
    "start_timeout",
    "memory_timeout",
    "results",
    "apply_stats",
    "tune",
    "persistent",
    "allow_protected_nics",
    "interrupt_wait",
    "report",
    "report_dir",
    "report_stats",
    "fail_on_drift",
    "audit",
    "audit_file",
    "audit_stats",
    "api_host",
    "api_port",
    "api_session",
    "api_user",
    "api_password",
    "api_otp",
    "api_token_id",
    "api_token_secret",
    "api_timeout",
    "ca_path",
    "validate_certs",
)

Variables = t.Mapping[str, t.Any]


def fold(hostvars: Variables) -> t.Dict[str, t.Any]:
    """One policy dict from the variables of all hosts, or from the variables of one.

    Everything but `reserved` concerns the whole cluster, so hosts that define it must agree. `reserved` may stand on
    a host or group in the short form {cpus, cores_per_numa_node, ...}: it then counts for that host alone. Raises
    PolicyError, also for `corepin_*` names that nobody knows.
    """
    by_host = hostvars if _is_per_host(hostvars) else {"": hostvars}
    policy: t.Dict[str, t.Any] = {}
    defined_by: t.Dict[str, str] = {}
    for name in by_host:
        variables = by_host[name]
        if not isinstance(variables, t.Mapping):
            continue
        for key, value in _policy_variables(variables, str(name)):
            if key == "reserved":
                _fold_reserved(policy, value, str(variables.get("corepin_node") or name))
            elif key in policy and policy[key] != value:
                raise PolicyError(
                    f"{PREFIX}{key} differs between the hosts {defined_by[key]} and {name}, but it concerns the whole cluster; "
                    "define it once, for example in group_vars/all."
                )
            else:
                policy[key] = value
                defined_by[key] = str(name)
    Policy.from_dict(policy)
    return policy


def _is_per_host(hostvars: Variables) -> bool:
    return not any(isinstance(key, str) and key.startswith(PREFIX) for key in hostvars)


def _policy_variables(variables: Variables, host: str) -> t.Iterator[t.Tuple[str, t.Any]]:
    for variable in variables:
        if not isinstance(variable, str) or not variable.startswith(PREFIX):
            continue
        key = variable[len(PREFIX) :]
        if key in POLICY_KEYS:
            yield key, variables[variable]
        elif key not in OTHER_VARIABLES:
            where = f" of host {host}" if host else ""
            hint = nearest(key, POLICY_KEYS + OTHER_VARIABLES, PREFIX)
            raise PolicyError(f"The variable {variable}{where} is not known; {hint}")


def _fold_reserved(policy: t.Dict[str, t.Any], value: t.Any, host: str) -> None:
    if value in (None, ""):
        return
    if not isinstance(value, t.Mapping):
        raise PolicyError(f"corepin_reserved of host {host} is {value!r}; write a mapping such as {{cores_per_numa_node: 1}}.")
    reserved = policy.setdefault("reserved", {"hosts": {}})
    if set(value) & {"default", "hosts"}:
        for name, entry in (value.get("hosts") or {}).items():
            reserved["hosts"].setdefault(str(name), entry)
        if value.get("default") is not None:
            _set_default(reserved, value["default"], host)
        if not set(value) <= {"default", "hosts"}:
            odd = sorted(set(value) - {"default", "hosts"})[0]
            raise PolicyError(f"corepin_reserved of host {host} mixes {odd!r} with default or hosts; use one form.")
    else:
        reserved["hosts"][host] = dict(value)


def _set_default(reserved: t.Dict[str, t.Any], default: t.Any, host: str) -> None:
    if reserved.get("default", default) != default:
        reserved["hosts"].setdefault(host, default)
    else:
        reserved["default"] = default
