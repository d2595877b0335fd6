# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/nodes/NODE/lxc: containers, their configuration and status."""

from __future__ import annotations

import typing as t

from .. import formats, lxc_keys
from ..cluster import Cluster
from ..schema import BOOLEAN, Prop
from ..status import ha_of, status_of
from ..update import update_container
from .pending import config_view, pending_view
from .registry import EVERYBODY, Call, perm, route

_AUDIT = perm("/vms/{vmid}", "VM.Audit")


def _update_parameters(cluster: Cluster) -> dict[str, Prop]:
    return {
        **lxc_keys.parameters(),
        "delete": Prop(format=formats.config_id_list),
        "revert": Prop(format=formats.config_id_list),
        "digest": Prop(max_length=40),
    }


@route("GET", "/nodes/{node}/lxc", EVERYBODY)
def containers(call: Call) -> t.Any:
    return [
        status_of(call.cluster, guest, False)
        for vmid, guest in sorted(call.cluster.guests.items())
        if guest.node == call.text("node") and guest.type == "lxc" and call.allowed(f"/vms/{vmid}", "VM.Audit")
    ]


@route("GET", "/nodes/{node}/lxc/{vmid}/config", _AUDIT, {"current": BOOLEAN, "snapshot": Prop(format=formats.config_id)})
def container_config(call: Call) -> t.Any:
    return config_view(call, call.guest("lxc"))


@route("GET", "/nodes/{node}/lxc/{vmid}/pending", _AUDIT)
def container_pending(call: Call) -> t.Any:
    return pending_view(call.guest("lxc"))


@route("PUT", "/nodes/{node}/lxc/{vmid}/config", perm("/vms/{vmid}", *lxc_keys.CONFIG_PRIVILEGES, any_of=True), _update_parameters)
def put_config(call: Call) -> t.Any:
    own = {key: value for key, value in call.params.items() if key not in ("node", "vmid")}
    update_container(call.cluster, call.text("node"), call.vmid, call.user, own)


@route("GET", "/nodes/{node}/lxc/{vmid}/status/current", _AUDIT)
def container_status(call: Call) -> t.Any:
    guest = call.guest("lxc")
    return {**status_of(call.cluster, guest), "ha": ha_of(call.cluster, guest)}
