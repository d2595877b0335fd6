# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/pools: pools and their guests."""

from __future__ import annotations

import typing as t

from .. import formats
from ..cluster import Pool
from ..errors import died, parameter_error
from ..schema import BOOLEAN, STRING, Prop, required, split_list
from ..status import resource_of
from .registry import EVERYBODY, Call, perm, route

_POOL_ID = Prop(format=formats.pool_id)


def _members(call: Call, pool: Pool, kind: str = "") -> list[dict[str, t.Any]]:
    entries = [resource_of(call.cluster, call.cluster.guests[vmid]) for vmid in pool.vmids if vmid in call.cluster.guests]
    hidden = ("pool", "hastate")
    return [{key: value for key, value in entry.items() if key not in hidden} for entry in entries if kind in ("", entry["type"])]


def _shown(call: Call, pool: Pool, kind: str = "") -> dict[str, t.Any]:
    shown: dict[str, t.Any] = {"poolid": pool.poolid, "members": _members(call, pool, kind)}
    if pool.comment:
        shown["comment"] = pool.comment
    return shown


@route("GET", "/pools", EVERYBODY, {"poolid": _POOL_ID, "type": Prop(enum=("qemu", "lxc", "storage"))})
def pools(call: Call) -> t.Any:
    if "poolid" in call.params:
        pool = _pool(call)
        call.require(f"/pool/{pool.poolid}", "Pool.Audit")
        return [_shown(call, pool, call.text("type"))]
    if "type" in call.params:
        raise parameter_error({"poolid": "missing property required by 'type'"})
    return [
        {"poolid": pool.poolid, **({"comment": pool.comment} if pool.comment else {})}
        for pool in call.cluster.pools.values()
        if call.allowed(f"/pool/{pool.poolid}", "Pool.Audit")
    ]


def _pool(call: Call) -> Pool:
    pool = call.cluster.pools.get(call.text("poolid"))
    if pool is None:
        raise died(f"pool '{call.text('poolid')}' does not exist")
    return pool


@route("GET", "/pools/{poolid}", perm("/pool/{poolid}", "Pool.Audit"), {"type": Prop(enum=("qemu", "lxc", "storage"))})
def pool_by_path(call: Call) -> t.Any:
    return _shown(call, _pool(call), call.text("type"))


@route("POST", "/pools", perm("/pool/{poolid}", "Pool.Allocate"), {"poolid": required(_POOL_ID), "comment": STRING})
def create_pool(call: Call) -> t.Any:
    if call.text("poolid") in call.cluster.pools:
        raise died(f"create pool failed: pool '{call.text('poolid')}' already exists")
    call.cluster.check_writable("user.cfg")
    call.cluster.pools[call.text("poolid")] = Pool(call.text("poolid"), call.text("comment"))
    call.cluster.changed()


def _update(call: Call) -> None:
    pool = _pool(call)
    call.cluster.check_writable("user.cfg")
    for vmid in (int(text) for text in split_list(call.params.get("vms"))):
        if call.flag("delete"):
            if vmid not in pool.vmids:
                raise died(f"update pools failed: VM {vmid} is not a pool member")
            pool.vmids.remove(vmid)
            continue
        other = call.cluster.pool_of(vmid)
        if other and other is not pool and not call.flag("allow-move"):
            raise died(f"update pools failed: VM {vmid} belongs already to pool '{other.poolid}' and 'allow-move' is not set")
        if other:
            other.vmids.remove(vmid)
        pool.vmids.append(vmid)
    if "comment" in call.params:
        pool.comment = call.text("comment")
    call.cluster.changed()


_UPDATE = {"vms": Prop(format=formats.vmid_list), "storage": STRING, "comment": STRING, "delete": BOOLEAN, "allow-move": BOOLEAN}


@route("PUT", "/pools", perm("/pool/{poolid}", "Pool.Allocate"), {"poolid": required(_POOL_ID), **_UPDATE})
def update_pools(call: Call) -> t.Any:
    _update(call)


@route("PUT", "/pools/{poolid}", perm("/pool/{poolid}", "Pool.Allocate"), _UPDATE)
def update_pool(call: Call) -> t.Any:
    _update(call)


@route("DELETE", "/pools/{poolid}", perm("/pool/{poolid}", "Pool.Allocate"))
def delete_pool(call: Call) -> t.Any:
    if _pool(call).vmids:
        raise died(f"delete pool failed: pool '{call.text('poolid')}' is not empty")
    del call.cluster.pools[call.text("poolid")]
    call.cluster.changed()
