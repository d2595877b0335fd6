# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/cluster/ha: managed guests, rules (PVE 9), groups (before)."""

from __future__ import annotations

import typing as t

from ..errors import ApiError, died, parameter_error
from ..ha import canonical_nodes, canonical_sid, text_digest
from ..schema import BOOLEAN, STRING, Prop, required, split_list
from .registry import Call, perm, route

_AUDIT = perm("/", "Sys.Audit")
_CONSOLE = perm("/", "Sys.Console")
_RESOURCE_OPTIONS = {
    "state": Prop(enum=("started", "stopped", "enabled", "disabled", "ignored")),
    "group": STRING,
    "comment": STRING,
    "failback": BOOLEAN,
    "max_restart": Prop("integer", minimum=0),
    "max_relocate": Prop("integer", minimum=0),
}
_RULE_OPTIONS = {
    "resources": STRING,
    "nodes": STRING,
    "strict": BOOLEAN,
    "affinity": Prop(enum=("positive", "negative")),
    "comment": STRING,
    "disable": BOOLEAN,
}
_RULE_TYPES = Prop(enum=("node-affinity", "resource-affinity"))


def _kinds(call: Call) -> dict[int, str]:
    return {vmid: guest.type for vmid, guest in call.cluster.guests.items()}


def _typed(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    numbers = ("failback", "max_restart", "max_relocate", "strict", "disable", "restricted", "nofailback")
    return {key: int(value) if key in numbers else value for key, value in options.items()}


@route("GET", "/cluster/ha/resources", _AUDIT, {"type": Prop(enum=("ct", "vm"))})
def resources(call: Call) -> t.Any:
    digest = text_digest(call.cluster.ha.resources_text())
    return [
        {"sid": sid, "type": sid.split(":")[0], **_typed(options), "digest": digest}
        for sid, options in call.cluster.ha.resources.items()
        if call.text("type") in ("", sid.split(":")[0])
    ]


@route("POST", "/cluster/ha/resources", _CONSOLE, {"sid": required(STRING), "type": Prop(enum=("ct", "vm")), **_RESOURCE_OPTIONS})
def create_resource(call: Call) -> t.Any:
    sid = canonical_sid(call.text("sid"), _kinds(call))
    vmid = int(sid.split(":")[-1])
    call.cluster.check_quorum()
    if vmid not in call.cluster.guests:
        raise died(f"unable to find {'VM' if sid.startswith('vm') else 'CT'} '{vmid}' in cluster")
    if sid in call.cluster.ha.resources:
        raise died(f"create ha resource failed: resource ID '{sid}' already defined")
    if "group" in call.params and call.cluster.major >= 9:
        raise died("create ha resource failed: invalid parameter 'group': ha groups have been migrated to rules")
    call.cluster.ha.resources[sid] = {key: call.params[key] for key in _RESOURCE_OPTIONS if key in call.params}
    call.cluster.changed()


@route("GET", "/cluster/ha/resources/{sid}", _AUDIT)
def resource(call: Call) -> t.Any:
    sid = canonical_sid(call.text("sid"), _kinds(call))
    if sid not in call.cluster.ha.resources:
        raise died(f"no such resource '{sid}'")
    return {
        "sid": sid,
        "type": sid.split(":")[0],
        **_typed(call.cluster.ha.resources[sid]),
        "digest": text_digest(call.cluster.ha.resources_text()),
    }


@route("PUT", "/cluster/ha/resources/{sid}", _CONSOLE, {**_RESOURCE_OPTIONS, "delete": STRING, "digest": STRING})
def update_resource(call: Call) -> t.Any:
    sid = canonical_sid(call.text("sid"), _kinds(call))
    if sid not in call.cluster.ha.resources:
        raise died(f"no such resource '{sid}'")
    _check_digest(call, call.cluster.ha.resources_text())
    options = call.cluster.ha.resources[sid]
    options.update({key: call.params[key] for key in _RESOURCE_OPTIONS if key in call.params})
    for key in split_list(call.params.get("delete")):
        options.pop(key, None)
    call.cluster.changed()


@route("DELETE", "/cluster/ha/resources/{sid}", _CONSOLE, {"purge": BOOLEAN})
def delete_resource(call: Call) -> t.Any:
    sid = canonical_sid(call.text("sid"), _kinds(call))
    if call.cluster.ha.resources.pop(sid, None) is None:
        raise died(f"delete ha resource failed: cannot delete service '{sid}', not HA managed!")
    call.cluster.changed()


def _check_digest(call: Call, text: str) -> None:
    if "digest" in call.params and call.params["digest"] != text_digest(text):
        raise died("detected modified configuration - file changed by other user? Try again.")


def _nine(call: Call) -> None:
    if call.cluster.major < 9:
        raise ApiError(501, f"Method '{call.method} {call.path}' not implemented")


def _shown_rule(call: Call, name: str) -> dict[str, t.Any]:
    rules = call.cluster.ha.rules
    return {"rule": name, **_typed(rules[name]), "order": list(rules).index(name) + 1, "digest": text_digest(call.cluster.ha.rules_text())}


@route("GET", "/cluster/ha/rules", _AUDIT, {"type": _RULE_TYPES, "resource": STRING})
def rules(call: Call) -> t.Any:
    _nine(call)
    wanted = canonical_sid(call.text("resource"), _kinds(call)) if "resource" in call.params else None
    return [
        _shown_rule(call, name)
        for name, options in call.cluster.ha.rules.items()
        if call.text("type") in ("", options["type"]) and (wanted is None or wanted in split_list(options.get("resources")))
    ]


@route("GET", "/cluster/ha/rules/{rule}", _AUDIT)
def rule(call: Call) -> t.Any:
    _nine(call)
    if call.text("rule") not in call.cluster.ha.rules:
        raise died(f"no such ha rule '{call.text('rule')}'")
    return _shown_rule(call, call.text("rule"))


@route("POST", "/cluster/ha/rules", _CONSOLE, {"type": required(_RULE_TYPES), "rule": required(STRING), **_RULE_OPTIONS})
def create_rule(call: Call) -> t.Any:
    _nine(call)
    name = call.text("rule")
    call.cluster.check_quorum()
    if name in call.cluster.ha.rules:
        raise died(f"create ha rule failed: HA rule '{name}' is already defined")
    options = _rule_options(call, "create", call.text("type"))
    for needed in ("resources", "nodes") if call.text("type") == "node-affinity" else ("resources", "affinity"):
        if needed not in options:
            raise parameter_error({needed: "property is missing and it is not optional"})
    call.cluster.ha.rules[name] = {"type": call.text("type"), **options}
    call.cluster.changed()


@route("PUT", "/cluster/ha/rules/{rule}", _CONSOLE, {"type": _RULE_TYPES, **_RULE_OPTIONS, "delete": STRING, "digest": STRING})
def update_rule(call: Call) -> t.Any:
    _nine(call)
    name = call.text("rule")
    if name not in call.cluster.ha.rules:
        raise died(f"update ha rule failed: no such ha rule '{name}'")
    _check_digest(call, call.cluster.ha.rules_text())
    entry = call.cluster.ha.rules[name]
    entry.update(_rule_options(call, "update", entry["type"]))
    for key in split_list(call.params.get("delete")):
        entry.pop(key, None)
    call.cluster.changed()


@route("DELETE", "/cluster/ha/rules/{rule}", _CONSOLE)
def delete_rule(call: Call) -> t.Any:
    _nine(call)
    call.cluster.ha.rules.pop(call.text("rule"), None)
    call.cluster.changed()


def _rule_options(call: Call, verb: str, kind: str) -> dict[str, t.Any]:
    options = {key: call.params[key] for key in _RULE_OPTIONS if key in call.params}
    if "resources" in options:
        wanted = [canonical_sid(sid, _kinds(call)) for sid in split_list(options["resources"])]
        unmanaged = [sid for sid in wanted if sid not in call.cluster.ha.resources]
        if unmanaged:
            raise died(f"{verb} ha rule failed: cannot use unmanaged resource(s) {', '.join(unmanaged)}.")
        options["resources"] = ",".join(wanted)
    if "nodes" in options:
        options["nodes"] = canonical_nodes(options["nodes"])
    return options


_MIGRATED = "ha groups have been migrated to rules"


@route("GET", "/cluster/ha/groups", _AUDIT)
def groups(call: Call) -> t.Any:
    if call.cluster.major >= 9:
        raise died(f"cannot index groups: {_MIGRATED}")
    digest = text_digest(call.cluster.ha.groups_text())
    return [{"group": name, "type": "group", **_typed(options), "digest": digest} for name, options in call.cluster.ha.groups.items()]


@route("GET", "/cluster/ha/groups/{group}", _AUDIT)
def group(call: Call) -> t.Any:
    if call.cluster.major >= 9:
        raise died(f"cannot read group: {_MIGRATED}")
    if call.text("group") not in call.cluster.ha.groups:
        raise died(f"no such ha group '{call.text('group')}'")
    return {"group": call.text("group"), "type": "group", **_typed(call.cluster.ha.groups[call.text("group")])}


@route(
    "POST",
    "/cluster/ha/groups",
    _CONSOLE,
    {
        "group": required(STRING),
        "nodes": required(STRING),
        "restricted": BOOLEAN,
        "nofailback": BOOLEAN,
        "comment": STRING,
        "type": Prop(enum=("group",)),
    },
)
def create_group(call: Call) -> t.Any:
    if call.cluster.major >= 9:
        raise died(f"cannot create group: {_MIGRATED}")
    name = call.text("group")
    if name in call.cluster.ha.groups:
        raise died(f"create ha group failed: ha group ID '{name}' already defined")
    call.cluster.ha.groups[name] = {
        "nodes": canonical_nodes(call.text("nodes")),
        **{key: call.params[key] for key in ("restricted", "nofailback", "comment") if key in call.params},
    }
    call.cluster.changed()


@route("GET", "/cluster/ha/status/current", _AUDIT)
def status(call: Call) -> t.Any:
    cluster = call.cluster
    entries: list[dict[str, t.Any]] = [
        {
            "id": "quorum",
            "type": "quorum",
            "node": cluster.local_name,
            "quorate": int(cluster.quorate),
            "status": "OK" if cluster.quorate else "No quorum on node!",
        }
    ]
    if cluster.ha.resources:
        standby = {"id": "fencing", "type": "fencing", "node": cluster.local_name, "status": "standby (CRM watchdog standby)"}
        entries.append({**standby, "armed-state": "standby"} if cluster.major >= 9 else standby)
    for sid, options in cluster.ha.resources.items():
        guest = cluster.guests.get(int(sid.split(":")[1]))
        wanted = options.get("state", "started")
        entries.append(
            {
                "id": f"service:{sid}",
                "type": "service",
                "sid": sid,
                "node": guest.node if guest else cluster.local_name,
                "request_state": wanted,
                "state": "queued",
                "max_relocate": int(options.get("max_relocate", 1)),
                "max_restart": int(options.get("max_restart", 1)),
                "failback": int(options.get("failback", 1)),
                "status": f"{sid} ({guest.node if guest else cluster.local_name}, queued)",
            }
        )
    return entries
