# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving guests between hosts: .../migrate."""

from __future__ import annotations

import time
import typing as t

from ..cluster import Cluster, Node
from ..errors import TaskError, died, parameter_error
from ..guest import Guest
from ..schema import BOOLEAN, INTEGER, STRING, required
from ..start import check_lock, launch
from ..tasks import Task
from .registry import Call, perm, route

_MIGRATE = perm("/vms/{vmid}", "VM.Migrate")


@route("GET", "/nodes/{node}/qemu/{vmid}/migrate", _MIGRATE, {"target": STRING})
def preconditions(call: Call) -> t.Any:
    """PVE does not look at affinity or numaN here."""
    guest = call.guest("qemu")
    others = [node.name for node in call.cluster.nodes.values() if node.name != guest.node and node.online]
    shown: dict[str, t.Any] = {
        "running": int(guest.running),
        "local_disks": [],
        "local_resources": [],
        "mapped-resources": [],
        "allowed_nodes": others,
        "not_allowed_nodes": {name: {} for name in others},
    }
    if call.cluster.major >= 9:
        shown.update({"mapped-resource-info": {}, "has-dbus-vmstate": 1})
    return shown


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/migrate",
    _MIGRATE,
    {
        "target": required(STRING),
        "online": BOOLEAN,
        "force": BOOLEAN,
        "with-local-disks": BOOLEAN,
        "targetstorage": STRING,
        "migration_type": STRING,
        "migration_network": STRING,
        "bwlimit": INTEGER,
        "with-conntrack-state": BOOLEAN,
    },
)
def migrate_vm(call: Call) -> t.Any:
    cluster, target = call.cluster, _target(call)
    guest = call.guest("qemu")
    if guest.running and not call.flag("online"):
        raise died("can't migrate running VM without --online")
    if cluster.ha.managed(call.vmid) is not None:
        return cluster.tasks.start(
            call.text("node"), "hamigrate", call.vmid, call.user, lambda task: _migrate(cluster, guest, target, task)
        ).upid
    return cluster.tasks.start(
        call.text("node"), "qmigrate", call.vmid, call.user, lambda task: _migrate(cluster, guest, target, task)
    ).upid


@route(
    "POST",
    "/nodes/{node}/lxc/{vmid}/migrate",
    _MIGRATE,
    {"target": required(STRING), "online": BOOLEAN, "restart": BOOLEAN, "timeout": INTEGER, "target-storage": STRING, "bwlimit": INTEGER},
)
def migrate_container(call: Call) -> t.Any:
    cluster, target = call.cluster, _target(call)
    guest = call.guest("lxc")
    if guest.running and not call.flag("restart"):
        raise died(
            "can't migrate running container without --online or --restart"
            if not call.flag("online")
            else "lxc live migration is currently not implemented"
        )
    return cluster.tasks.start(
        call.text("node"), "vzmigrate", call.vmid, call.user, lambda task: _migrate(cluster, guest, target, task)
    ).upid


def _target(call: Call) -> Node:
    cluster, name = call.cluster, call.text("target")
    if name == call.text("node"):
        raise parameter_error({"target": "target is local node."})
    cluster.check_quorum()
    node = cluster.nodes.get(name)
    if node is None:
        raise died(f"no such cluster node '{name}'")
    if not node.online:
        raise died(f"node '{name}' is not online")
    return node


def _migrate(cluster: Cluster, guest: Guest, target: Node, task: Task) -> None:
    config = guest.load()
    check_lock(guest, config)
    say = _speaker(cluster, task)
    if guest.running:
        say("conntrack state migration not supported or disabled, active connections might get dropped")
    say(f"starting migration of {'VM' if guest.type == 'qemu' else 'CT'} {guest.vmid} to node '{target.name}' ({target.ip})")
    if guest.running:
        _start_there(cluster, guest, target, task, say)
        for line in _SUCCESS:
            say(line)
    guest.node = target.name
    cluster.changed()
    say("migration finished successfully (duration 00:00:07)")


_SUCCESS = (
    "set migration capabilities",
    "migration downtime limit: 100 ms",
    "migration cachesize: 32.0 MiB",
    "set migration parameters",
    "average migration speed: 272.6 MiB/s - downtime 1 ms",
    "migration completed, transferred 2.5 MiB VM-state",
    "migration status: completed",
)


def _speaker(cluster: Cluster, task: Task) -> t.Callable[[str], None]:
    """Migration logs have a time before each line."""
    return lambda line: task.say(time.strftime("%Y-%m-%d %H:%M:%S ", time.gmtime(cluster.now())) + line)


def _start_there(cluster: Cluster, guest: Guest, target: Node, task: Task, say: t.Callable[[str], None]) -> None:
    """A new process on the target, from the present configuration: what is pending stays pending.

    When it does not come up, or the migration breaks later, the old process goes on as if nothing had happened.
    """
    before = guest.live
    config = guest.load()
    try:
        launch(cluster, guest, target, config, task, migrated_from=guest.node)
    except TaskError as error:
        guest.live = before
        for line in [*error.log, error.message + (" " if "hookscript" in error.message else "")]:
            say(f"[{target.name}] {line}")
        _give_up(say, "remote command failed with exit code 255")
    if target.migration_failure:
        guest.live = before
        cluster.run_hook(guest, target, "post-stop", config.main.get("hookscript"))
        _give_up(say, target.migration_failure)


def _give_up(say: t.Callable[[str], None], why: str) -> t.NoReturn:
    for line in (f"ERROR: online migrate failure - {why}", "aborting phase 2 - cleanup resources", "migrate_cancel"):
        say(line)
    say("ERROR: migration finished with problems (duration 00:00:03)")
    raise TaskError("migration problems")
