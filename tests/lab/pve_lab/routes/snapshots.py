# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: .../snapshot. Only what they do to the configuration."""

from __future__ import annotations

import typing as t

from .. import formats
from ..cluster import Cluster
from ..errors import TaskError, died
from ..guest import Guest
from ..schema import BOOLEAN, STRING, Prop, required
from ..start import check_lock, halt
from .registry import Call, perm, route

_NOT_IN_SNAPSHOT = ("lock", "parent", "snaptime", "digest")
_NAME = required(Prop(format=formats.config_id, max_length=40))


def _list(call: Call, kind: str) -> t.Any:
    guest = call.guest(kind)
    config = guest.load()
    entries: list[dict[str, t.Any]] = []
    for name, section in sorted(config.snapshots.items()):
        entry: dict[str, t.Any] = {"name": name, "snaptime": int(section.get("snaptime", 0)), "description": section.get("description", "")}
        if kind == "qemu":
            entry["vmstate"] = int("vmstate" in section)
        if "parent" in section:
            entry["parent"] = section["parent"]
        entries.append(entry)
    current: dict[str, t.Any] = {"name": "current", "description": "You are here!", "running": int(guest.running), "digest": guest.digest}
    if "parent" in config.main:
        current["parent"] = config.main["parent"]
    return [*entries, current]


def take_snapshot(cluster: Cluster, guest: Guest, name: str, description: t.Optional[str]) -> None:
    """Copy the main section into a snapshot of that name."""
    with cluster.file_lock(guest):
        config = guest.load()
        check_lock(guest, config)
        if name in config.snapshots:
            raise TaskError(f"snapshot name '{name}' already used")
        section = {key: value for key, value in config.main.items() if key not in _NOT_IN_SNAPSHOT and key != "description"}
        section["snaptime"] = str(int(cluster.clock()))
        if "parent" in config.main:
            section["parent"] = config.main["parent"]
        if description:
            section["description"] = description
        config.snapshots[name] = section
        config.snapshot_lxc[name] = list(config.lxc)
        config.main["parent"] = name
        cluster.store(guest, config)


def delete_snapshot(cluster: Cluster, guest: Guest, name: str) -> None:
    """Remove a snapshot."""
    with cluster.file_lock(guest):
        config = guest.load()
        check_lock(guest, config)
        if name not in config.snapshots:
            raise TaskError(f"snapshot '{name}' does not exist")
        parent = config.snapshots.pop(name).get("parent")
        for section in [config.main, *config.snapshots.values()]:
            if section.get("parent") == name:
                if parent:
                    section["parent"] = parent
                else:
                    del section["parent"]
        cluster.store(guest, config)


def roll_back(cluster: Cluster, guest: Guest, name: str) -> None:
    """Bring the configuration of a snapshot back: affinity and numaN with it. The guest is stopped."""
    with cluster.file_lock(guest):
        config = guest.load()
        check_lock(guest, config)
        if name not in config.snapshots:
            raise TaskError(f"snapshot '{name}' does not exist")
        if guest.running:
            halt(cluster, guest)
        kept = {key: config.main[key] for key in ("description",) if key in config.main}
        config.main = {
            **{key: value for key, value in config.snapshots[name].items() if key not in ("snaptime", "vmstate", "description")},
            **kept,
        }
        config.main["parent"] = name
        config.lxc = list(config.snapshot_lxc.get(name, []))
        config.pending.clear()
        config.pending_deletes.clear()
        cluster.store(guest, config)


def _register(kind: str, prefix: str) -> None:
    base = f"/nodes/{{node}}/{kind}/{{vmid}}/snapshot"

    @route("GET", base, perm("/vms/{vmid}", "VM.Audit"))
    def snapshot_list(call: Call) -> t.Any:
        return _list(call, kind)

    @route("POST", base, perm("/vms/{vmid}", "VM.Snapshot"), {"snapname": _NAME, "vmstate": BOOLEAN, "description": STRING})
    def create(call: Call) -> t.Any:
        guest, name = call.guest(kind), call.text("snapname")
        if name in ("current", "pending"):
            raise died(f"unable to use snapshot name '{name}' (reserved name)")
        return call.cluster.tasks.start(
            call.text("node"),
            f"{prefix}snapshot",
            call.vmid,
            call.user,
            lambda task: take_snapshot(call.cluster, guest, name, call.params.get("description")),
        ).upid

    @route("DELETE", base + "/{snapname}", perm("/vms/{vmid}", "VM.Snapshot"), {"force": BOOLEAN})
    def delete(call: Call) -> t.Any:
        guest = call.guest(kind)
        return call.cluster.tasks.start(
            call.text("node"),
            f"{prefix}delsnapshot",
            call.vmid,
            call.user,
            lambda task: delete_snapshot(call.cluster, guest, call.text("snapname")),
        ).upid

    @route(
        "POST", base + "/{snapname}/rollback", perm("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", any_of=True), {"start": BOOLEAN}
    )
    def rollback(call: Call) -> t.Any:
        guest = call.guest(kind)
        return call.cluster.tasks.start(
            call.text("node"), f"{prefix}rollback", call.vmid, call.user, lambda task: roll_back(call.cluster, guest, call.text("snapname"))
        ).upid


_register("qemu", "qm")
_register("lxc", "vz")
