# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/cluster/mapping/pci: names for passed-through devices, per host."""

from __future__ import annotations

import typing as t

from ..errors import ApiError, died
from ..schema import STRING, split_list
from .registry import EVERYBODY, Call, route


def _available(call: Call) -> None:
    if call.cluster.major < 8:
        raise ApiError(501, f"Method '{call.method} {call.path}' not implemented")


def _map_lines(entry: t.Mapping[str, t.Any]) -> list[str]:
    lines = entry.get("map") or []
    return (
        split_list(lines)
        if isinstance(lines, str)
        else [line if isinstance(line, str) else ",".join(f"{key}={value}" for key, value in sorted(line.items())) for line in lines]
    )


@route("GET", "/cluster/mapping/pci", EVERYBODY, {"check-node": STRING})
def mappings(call: Call) -> t.Any:
    _available(call)
    return [
        {**entry, "map": _map_lines(entry), "type": "pci"}
        for entry in call.cluster.mappings["pci"]
        if call.allowed(f"/mapping/pci/{entry['id']}", "Mapping.Audit", "Mapping.Use", "Mapping.Modify", any_of=True)
    ]


@route("GET", "/cluster/mapping/pci/{id}", EVERYBODY)
def mapping(call: Call) -> t.Any:
    _available(call)
    for entry in call.cluster.mappings["pci"]:
        if entry["id"] == call.text("id"):
            call.require(f"/mapping/pci/{entry['id']}", "Mapping.Audit", "Mapping.Use", "Mapping.Modify", any_of=True)
            return {**entry, "map": _map_lines(entry), "type": "pci"}
    raise died(f"mapping '{call.text('id')}' not found on '{call.cluster.local_name}'")
