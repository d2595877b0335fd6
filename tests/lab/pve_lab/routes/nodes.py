# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/nodes: hosts, their devices, their tasks."""

from __future__ import annotations

import typing as t

from ..cpu_models import VENDORS
from ..errors import ApiError, parameter_error, permission_error
from ..schema import BOOLEAN, INTEGER, STRING, Prop
from ..status import fingerprint_of, node_resource, node_status
from ..tasks import Task
from .registry import EVERYBODY, Call, perm, route


@route("GET", "/nodes", EVERYBODY)
def nodes(call: Call) -> t.Any:
    return [
        {**node_resource(call.cluster, node, call.allowed(f"/nodes/{node.name}", "Sys.Audit")), "ssl_fingerprint": fingerprint_of(node)}
        for node in call.cluster.nodes.values()
    ]


@route("GET", "/nodes/{node}", EVERYBODY)
def node_index(call: Call) -> t.Any:
    return [{"name": name} for name in ("capabilities", "hardware", "lxc", "qemu", "status", "tasks", "version")]


@route("GET", "/nodes/{node}/status", perm("/nodes/{node}", "Sys.Audit"))
def status(call: Call) -> t.Any:
    return node_status(call.cluster, call.node)


@route("GET", "/nodes/{node}/version", EVERYBODY)
def version(call: Call) -> t.Any:
    return {"version": call.cluster.version, "release": ".".join(call.cluster.version.split(".")[:2]), "repoid": "0123456789abcdef"}


@route("GET", "/nodes/{node}/hardware", EVERYBODY)
def hardware(call: Call) -> t.Any:
    return [{"type": "pci"}, {"type": "usb"}]


@route(
    "GET",
    "/nodes/{node}/hardware/pci",
    perm("/", "Sys.Audit", "Sys.Modify", any_of=True),
    {"pci-class-blacklist": STRING, "verbose": BOOLEAN},
)
def pci(call: Call) -> t.Any:
    return [dict(device) for device in call.node.pci_devices]


@route("GET", "/nodes/{node}/capabilities/qemu/cpu", EVERYBODY)
def cpu_models(call: Call) -> t.Any:
    return [{"custom": 0, "name": name, "vendor": vendor} for name, vendor in VENDORS.items()]


def _may_see(call: Call, task: Task) -> bool:
    owner = call.user.split("!", 1)[0]
    return task.user.split("!", 1)[0] == owner or call.allowed(f"/nodes/{task.node}", "Sys.Audit")


def _task(call: Call) -> Task:
    upid = call.text("upid")
    if not upid.startswith("UPID:"):
        raise parameter_error({"upid": f"unable to parse worker upid '{upid}'"})
    task = call.cluster.tasks.all.get(upid)
    if task is None:
        raise ApiError(500, "no such task\n")
    if not _may_see(call, task):
        raise permission_error(f"/nodes/{task.node}, Sys.Audit")
    return task


def _shown(task: Task) -> dict[str, t.Any]:
    user, _bang, token = task.user.partition("!")
    shown: dict[str, t.Any] = {
        "upid": task.upid,
        "node": task.node,
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": task.starttime,
        "type": task.type,
        "id": task.id,
        "user": user,
    }
    if token:
        shown["tokenid"] = token
    return shown


@route(
    "GET",
    "/nodes/{node}/tasks",
    EVERYBODY,
    {
        "vmid": INTEGER,
        "limit": INTEGER,
        "start": INTEGER,
        "errors": BOOLEAN,
        "since": INTEGER,
        "until": INTEGER,
        "typefilter": STRING,
        "userfilter": STRING,
        "statusfilter": STRING,
        "source": Prop(enum=("archive", "active", "all")),
    },
)
def tasks(call: Call) -> t.Any:
    entries = []
    for task in call.cluster.tasks.all.values():
        if task.node != call.text("node") or not _may_see(call, task):
            continue
        if ("vmid" in call.params and task.id != call.text("vmid")) or (
            "typefilter" in call.params and task.type != call.text("typefilter")
        ):
            continue
        entries.append({**_shown(task), **({} if task.running else {"endtime": task.endtime, "status": task.exitstatus})})
    return list(reversed(entries))[: int(call.text("limit", "50"))]


@route("GET", "/nodes/{node}/tasks/{upid}/status", EVERYBODY)
def task_status(call: Call) -> t.Any:
    task = _task(call)
    shown = {**_shown(task), "status": "running" if task.running else "stopped"}
    if not task.running:
        shown["exitstatus"] = task.exitstatus
    return shown


@route("GET", "/nodes/{node}/tasks/{upid}/log", EVERYBODY, {"limit": INTEGER, "start": INTEGER, "download": BOOLEAN})
def task_log(call: Call) -> t.Any:
    task = _task(call)
    first, most = int(call.text("start", "0")), int(call.text("limit", "50")) or len(task.log)
    return [{"n": number, "t": line} for number, line in list(enumerate(task.log, start=1))[first : first + most]]


@route("DELETE", "/nodes/{node}/tasks/{upid}", EVERYBODY)
def stop_task(call: Call) -> t.Any:
    _task(call)
