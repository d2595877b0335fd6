# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/cluster: status, resources, options."""

from __future__ import annotations

import typing as t

from ..errors import died
from ..schema import Prop
from ..status import broadcast_resource, node_resource, resource_of
from ..tags import registered_tags, used_tags
from .registry import EVERYBODY, Call, perm, route


@route("GET", "/cluster/status", perm("/", "Sys.Audit"))
def cluster_status(call: Call) -> t.Any:
    cluster = call.cluster
    entries: list[dict[str, t.Any]] = []
    if cluster.name:
        entries.append(
            {
                "type": "cluster",
                "id": "cluster",
                "name": cluster.name,
                "nodes": len(cluster.nodes),
                "version": len(cluster.nodes),
                "quorate": int(cluster.quorate),
            }
        )
    for node in cluster.nodes.values():
        entries.append(
            {
                "type": "node",
                "id": f"node/{node.name}",
                "name": node.name,
                "nodeid": node.nodeid,
                "ip": node.ip,
                "online": int(node.online),
                "local": int(node.name == call.seen_from),
                "level": "",
            }
        )
    return entries


@route("GET", "/cluster/resources", EVERYBODY, {"type": Prop(enum=("vm", "storage", "node", "sdn"))})
def resources(call: Call) -> t.Any:
    cluster, kind = call.cluster, call.params.get("type")
    entries: list[dict[str, t.Any]] = []
    if kind is None:
        entries += [
            {"id": f"/pool/{pool.poolid}", "type": "pool", "pool": pool.poolid}
            for pool in cluster.pools.values()
            if call.allowed(f"/pool/{pool.poolid}", "Pool.Audit")
        ]
    if kind in (None, "vm"):
        entries += _guests(call)
    if kind in (None, "node"):
        for node in cluster.nodes.values():
            entries.append(node_resource(cluster, node, call.allowed(f"/nodes/{node.name}", "Sys.Audit")))
    if kind in (None, "storage"):
        entries += [
            {
                "id": f"storage/{node.name}/local",
                "type": "storage",
                "storage": "local",
                "node": node.name,
                "plugintype": "dir",
                "status": "available" if node.online else "unknown",
                "shared": 0,
                "content": "iso,vztmpl,backup,snippets",
            }
            for node in cluster.nodes.values()
            if call.allowed("/storage/local", "Datastore.Audit")
        ]
    return entries


def _guests(call: Call) -> list[dict[str, t.Any]]:
    """Guests that the caller may not see are left out without a word."""
    cluster = call.cluster
    entries = []
    for vmid, guest in sorted(cluster.guests.items()):
        if call.allowed(f"/vms/{vmid}", "VM.Audit"):
            frozen = cluster.broadcast
            if frozen is None:
                entries.append(resource_of(cluster, guest))
            elif vmid in frozen:
                entries.append(broadcast_resource(cluster, guest, frozen[vmid]))
    return entries


@route("GET", "/cluster/options", EVERYBODY)
def options(call: Call) -> t.Any:
    cluster = call.cluster
    shown: dict[str, t.Any] = {"allowed-tags": used_tags(cluster)}
    if call.allowed("/", "Sys.Audit"):
        shown = {
            "mac_prefix": "BC:24:11",
            "description": "",
            **{key: _structured(key, value) for key, value in cluster.options.items()},
            **shown,
        }
        if registered_tags(cluster):
            shown["registered-tags"] = registered_tags(cluster)
    return shown


def _structured(key: str, value: t.Any) -> t.Any:
    """Property strings of datacenter.cfg as PVE's JSON shows them: as objects."""
    if key in ("crs", "ha", "migration", "tag-style", "next-id", "notify") and isinstance(value, str):
        return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
    return value


@route("GET", "/cluster/ceph/status", perm("/", "Sys.Audit", "Datastore.Audit", any_of=True))
def ceph_status(call: Call) -> t.Any:
    if call.cluster.ceph is None:
        raise died("binary not installed: /usr/bin/ceph-mon")
    return {"health": {"status": call.cluster.ceph, "checks": {}, "mutes": []}}


@route("GET", "/cluster/nextid", EVERYBODY, {"vmid": Prop("integer")})
def next_id(call: Call) -> t.Any:
    vmid = 100
    while vmid in call.cluster.guests:
        vmid += 1
    return str(vmid)
