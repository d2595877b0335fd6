# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a saved plan wants from one host, in the words of the modules that do it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .errors import FactsError, PlanError
from .plan import check_plan

_FREQUENCY = ("governor", "epp")


def host_tuning(plan: t.Any, host: t.Any) -> t.Dict[str, t.Any]:
    """{busy: [{cpus, governor, epp}], free: {governor, epp} or None, interrupts: [{pci, cpus, vmid, required}]} for the host with
    the facts `host`.

    Values that nobody asked for are left out. No device is required, so that one that has gone or is protected does not stop the
    others. Raises PlanError for a plan that was edited, that is older than this host's layout, or that does not know the host;
    FactsError for facts without a name.
    """
    document = check_plan(plan)
    node = host.get("node") if isinstance(host, t.Mapping) else None
    if not node:
        raise FactsError("The facts of the host have no name (node); gather them with corepin.proxmox.host_topology_facts.")
    if node not in document["hosts"]:
        raise PlanError(f"The plan {document['plan_id'][:12]} does not know host {node}; make a new plan with it, or leave it out.")
    if document["hosts"][node] not in (None, host.get("fingerprint")):
        raise PlanError(f"The layout of host {node} has changed since the plan {document['plan_id'][:12]} was made; make a new plan.")
    wanted = document.get("tuning", {}).get(node, {})
    return {
        "busy": [{"cpus": entry["cpus"], **_set(entry)} for entry in wanted.get("busy", ())],
        "free": _set(wanted["free"]) if wanted.get("free") else None,
        "interrupts": [{**entry, "required": False} for entry in wanted.get("interrupts", ())],
    }


def _set(entry: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    return {key: entry[key] for key in _FREQUENCY if entry[key] is not None}
