# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and ending guests: .../status/start, stop, shutdown, reboot."""

from __future__ import annotations

import typing as t

from ..errors import died, parameter_error
from ..schema import BOOLEAN, INTEGER, STRING, Prop
from ..start import shut_down_guest, start_guest
from ..tasks import Task, Work
from .registry import Call, perm, route

_POWER = perm("/vms/{vmid}", "VM.PowerMgmt")
_PARAMETERS: dict[str, Prop] = {
    "skiplock": BOOLEAN,
    "timeout": Prop("integer", minimum=0),
    "forceStop": BOOLEAN,
    "keepActive": BOOLEAN,
    "overrule-shutdown": BOOLEAN,
    "machine": STRING,
    "migratedfrom": STRING,
    "stateuri": STRING,
    "force-cpu": STRING,
    "migration_type": STRING,
    "debug": BOOLEAN,
    "with-conntrack-state": BOOLEAN,
    "nets-host-mtu": STRING,
    "targetstorage": STRING,
    "migration_network": STRING,
    "acpi": BOOLEAN,
    "wait": INTEGER,
}


def _check_skiplock(call: Call) -> None:
    if call.flag("skiplock") and call.user != "root@pam":
        raise parameter_error({"skiplock": "Only root may use this option."})


def _start(call: Call, kind: str, task_type: str) -> str:
    _check_skiplock(call)
    cluster, node, vmid = call.cluster, call.text("node"), call.vmid
    cluster.check_quorum()
    return _power(call, "started", "hastart", task_type, lambda task: start_guest(cluster, cluster.guest_on(node, vmid, kind), task))


def _end(call: Call, kind: str, task_type: str) -> str:
    _check_skiplock(call)
    cluster, node, vmid = call.cluster, call.text("node"), call.vmid
    ha_type = "hashutdown" if task_type.endswith("shutdown") else "hastop"
    # The resource manager stops by force what does not shut down in time (PVE::HA::Resources::PVEVM::shutdown).
    forced = ha_type == "hastop" or call.flag("forceStop") or _manager(call) is not None
    return _power(call, "stopped", ha_type, task_type, lambda task: shut_down_guest(cluster, cluster.guest_on(node, vmid, kind), forced))


def _power(call: Call, state: str, ha_type: str, task_type: str, work: Work) -> str:
    """The task's UPID. For a managed guest that is the task which asks the resource manager: it ends well whatever
    becomes of the guest. The manager acts at once here, and as root@pam.
    """
    cluster, node, vmid = call.cluster, call.text("node"), call.vmid
    managed = _manager(call)
    if managed is None:
        return cluster.tasks.start(node, task_type, vmid, call.user, work).upid
    managed["state"] = state
    asked = cluster.tasks.start(node, ha_type, vmid, call.user, lambda task: task.say(f"Requesting HA {ha_type[2:]} for {_name(call)}"))
    cluster.tasks.start(node, task_type, vmid, "root@pam", work)
    return asked.upid


def _manager(call: Call) -> t.Optional[dict[str, t.Any]]:
    """The resource of a guest that the resource manager starts and stops, or None."""
    managed = call.cluster.ha.managed(call.vmid)
    return None if managed is None or managed.get("state") == "ignored" else managed


def _name(call: Call) -> str:
    return f"{'CT' if '/lxc/' in call.path else 'VM'} {call.vmid}"


def _reboot(call: Call, kind: str, task_type: str) -> str:
    cluster, node, vmid = call.cluster, call.text("node"), call.vmid
    guest = call.guest(kind)
    if not guest.running:
        raise died(f"{'VM' if kind == 'qemu' else 'CT'} {vmid} not running")

    def work(task: Task) -> None:
        shut_down_guest(cluster, guest, forced=False)
        start_guest(cluster, guest, task)

    return cluster.tasks.start(node, task_type, vmid, call.user, work).upid


@route("POST", "/nodes/{node}/qemu/{vmid}/status/start", _POWER, _PARAMETERS)
def start_vm(call: Call) -> t.Any:
    return _start(call, "qemu", "qmstart")


@route("POST", "/nodes/{node}/qemu/{vmid}/status/stop", _POWER, _PARAMETERS)
def stop_vm(call: Call) -> t.Any:
    return _end(call, "qemu", "qmstop")


@route("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", _POWER, _PARAMETERS)
def shutdown_vm(call: Call) -> t.Any:
    return _end(call, "qemu", "qmshutdown")


@route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", _POWER, _PARAMETERS)
def reboot_vm(call: Call) -> t.Any:
    return _reboot(call, "qemu", "qmreboot")


@route("POST", "/nodes/{node}/lxc/{vmid}/status/start", _POWER, _PARAMETERS)
def start_container(call: Call) -> t.Any:
    if call.guest("lxc").running:
        raise died(f"CT {call.vmid} already running")
    return _start(call, "lxc", "vzstart")


@route("POST", "/nodes/{node}/lxc/{vmid}/status/stop", _POWER, _PARAMETERS)
def stop_container(call: Call) -> t.Any:
    if not call.guest("lxc").running:
        raise died(f"CT {call.vmid} not running")
    return _end(call, "lxc", "vzstop")


@route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", _POWER, _PARAMETERS)
def shutdown_container(call: Call) -> t.Any:
    if not call.guest("lxc").running:
        raise died(f"CT {call.vmid} not running")
    return _end(call, "lxc", "vzshutdown")


@route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", _POWER, _PARAMETERS)
def reboot_container(call: Call) -> t.Any:
    return _reboot(call, "lxc", "vzreboot")
