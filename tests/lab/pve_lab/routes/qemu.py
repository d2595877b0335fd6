# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/nodes/NODE/qemu: VMs, their configuration and status."""

from __future__ import annotations

import typing as t
import uuid

from .. import formats, qemu_keys
from ..cluster import Cluster, Pool
from ..config_file import ConfigFile
from ..errors import ApiError, died, parameter_error
from ..guest import Guest
from ..schema import BOOLEAN, INTEGER, STRING, Prop, required
from ..status import ha_of, monitor_cpus, status_of
from ..tags import unique_tags
from ..tasks import Task
from ..update import check_device, check_vm_key, update_vm
from .pending import config_view, pending_view
from .registry import EVERYBODY, Call, Permission, perm, route

_AUDIT = perm("/vms/{vmid}", "VM.Audit")


def _update_parameters(cluster: Cluster) -> dict[str, Prop]:
    return {
        **qemu_keys.parameters(cluster.major),
        "delete": Prop(format=formats.config_id_list),
        "revert": Prop(format=formats.config_id_list),
        "digest": Prop(max_length=40),
        "skiplock": BOOLEAN,
        "force": BOOLEAN,
    }


def _async_parameters(cluster: Cluster) -> dict[str, Prop]:
    return {**_update_parameters(cluster), "background_delay": Prop("integer", minimum=1, maximum=30), "import-working-storage": STRING}


@route("GET", "/nodes/{node}/qemu", EVERYBODY, {"full": BOOLEAN})
def vms(call: Call) -> t.Any:
    return [
        status_of(call.cluster, guest, call.flag("full"))
        for vmid, guest in sorted(call.cluster.guests.items())
        if guest.node == call.text("node") and guest.type == "qemu" and call.allowed(f"/vms/{vmid}", "VM.Audit")
    ]


@route("GET", "/nodes/{node}/qemu/{vmid}", EVERYBODY)
def vm_index(call: Call) -> t.Any:
    return [{"subdir": name} for name in ("config", "pending", "status", "migrate", "monitor", "snapshot")]


@route("GET", "/nodes/{node}/qemu/{vmid}/config", _AUDIT, {"current": BOOLEAN, "snapshot": Prop(format=formats.config_id)})
def vm_config(call: Call) -> t.Any:
    return config_view(call, call.guest("qemu"))


@route("GET", "/nodes/{node}/qemu/{vmid}/pending", _AUDIT)
def vm_pending(call: Call) -> t.Any:
    return pending_view(call.guest("qemu"))


@route("PUT", "/nodes/{node}/qemu/{vmid}/config", perm("/vms/{vmid}", *qemu_keys.CONFIG_PRIVILEGES, any_of=True), _update_parameters)
def put_config(call: Call) -> t.Any:
    update_vm(call.cluster, call.text("node"), call.vmid, call.user, _own(call), call.printed)


@route("POST", "/nodes/{node}/qemu/{vmid}/config", perm("/vms/{vmid}", *qemu_keys.CONFIG_PRIVILEGES, any_of=True), _async_parameters)
def post_config(call: Call) -> t.Any:
    task = update_vm(call.cluster, call.text("node"), call.vmid, call.user, _own(call), None)
    assert task
    if "background_delay" in call.params:
        call.cluster.mutex.wait_for(lambda: not task.running, timeout=int(call.params["background_delay"]))
        if not task.running:
            if task.exitstatus == "OK" or str(task.exitstatus).startswith("WARNINGS"):
                return None
            raise died(f"failed to update VM {call.vmid}: {task.exitstatus}")
    return task.upid


def _own(call: Call) -> dict[str, t.Any]:
    return {key: value for key, value in call.params.items() if key not in ("node", "vmid")}


@route("GET", "/nodes/{node}/qemu/{vmid}/status/current", _AUDIT)
def vm_status(call: Call) -> t.Any:
    guest = call.guest("qemu")
    return {**status_of(call.cluster, guest), "ha": ha_of(call.cluster, guest)}


def _monitor_permission(cluster: Cluster) -> Permission:
    if cluster.major >= 9:
        return perm("/vms/{vmid}", "Sys.Audit", "Sys.Modify", any_of=True)
    return perm("/vms/{vmid}", "VM.Monitor")


@route("POST", "/nodes/{node}/qemu/{vmid}/monitor", _monitor_permission, {"command": required(STRING)})
def monitor(call: Call) -> t.Any:
    guest = call.guest("qemu")
    if not guest.running:
        raise died(f"VM {call.vmid} not running")
    if call.text("command").strip() == "info cpus":
        return monitor_cpus(guest)
    if call.text("command").strip() == "info iothreads":
        return ""
    word = call.text("command").split()[0] if call.text("command").split() else ""
    return f"unknown command: '{word}'\r\n"


@route(
    "POST",
    "/nodes/{node}/qemu",
    EVERYBODY,
    lambda cluster: {
        **qemu_keys.parameters(cluster.major),
        "vmid": required(Prop("integer", format=formats.vmid)),
        "pool": Prop(format=formats.pool_id),
        "start": BOOLEAN,
        "storage": STRING,
        "force": BOOLEAN,
        "unique": BOOLEAN,
        "bwlimit": INTEGER,
    },
)
def create_vm(call: Call) -> t.Any:
    cluster, vmid, pool = call.cluster, call.vmid, call.params.get("pool")
    cluster.check_quorum()
    if not (call.allowed(f"/vms/{vmid}", "VM.Allocate") or (pool and call.allowed(f"/pool/{pool}", "VM.Allocate"))):
        raise ApiError(403, "Permission check failed\n")
    values = {key: str(value) for key, value in call.params.items() if key in qemu_keys.parameters(cluster.major)}
    for key, value in values.items():
        check_vm_key(cluster, call.user, vmid, key, pool)
        check_device(cluster, call.user, vmid, key, value)
    if vmid in cluster.guests:
        raise died(f"unable to create VM {vmid} - VM {vmid} already exists on node '{cluster.guests[vmid].node}'")
    if "tags" in values:
        values["tags"] = unique_tags(cluster, values["tags"])
    guest = Guest(vmid, "qemu", call.text("node"), "", cluster.major)

    def work(task: Task) -> None:
        made = {
            "boot": " ",
            "meta": f"creation-qemu=10.0.13,ctime={int(cluster.clock())}",
            "smbios1": f"uuid={uuid.uuid4()}",
            "vmgenid": str(uuid.uuid4()),
        }
        cluster.check_writable(guest.path)
        guest.store(ConfigFile(main={**made, **values}))
        cluster.guests[vmid] = guest
        if pool:
            cluster.pools.setdefault(pool, Pool(pool)).vmids.append(vmid)
        cluster.changed()

    return cluster.tasks.start(call.text("node"), "qmcreate", vmid, call.user, work).upid


@route(
    "DELETE",
    "/nodes/{node}/qemu/{vmid}",
    perm("/vms/{vmid}", "VM.Allocate"),
    {"purge": BOOLEAN, "destroy-unreferenced-disks": BOOLEAN, "skiplock": BOOLEAN},
)
def delete_vm(call: Call) -> t.Any:
    cluster, guest = call.cluster, call.guest("qemu")
    config = guest.load()
    if config.main.get("protection") == "1":
        raise died(f"can't remove VM {call.vmid} - protection mode enabled")
    if guest.running:
        raise died(f"VM {call.vmid} is running - destroy failed")
    if cluster.ha.managed(call.vmid) is not None and not call.flag("purge"):
        raise died(f"unable to remove VM {call.vmid} - used in HA resources and purge parameter not set.")
    if call.flag("skiplock") and call.user != "root@pam":
        raise parameter_error({"skiplock": "Only root may use this option."})

    def work(task: Task) -> None:
        cluster.check_writable(guest.path)
        del cluster.guests[call.vmid]
        for pool in cluster.pools.values():
            if call.vmid in pool.vmids:
                pool.vmids.remove(call.vmid)
        cluster.changed()

    return cluster.tasks.start(call.text("node"), "qmdestroy", call.vmid, call.user, work).upid
