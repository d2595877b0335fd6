# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.filter.add_interrupts import add_interrupts
from ansible_collections.corepin.proxmox.plugins.filter.add_runtime import add_runtime
from ansible_collections.corepin.proxmox.plugins.filter.audit import audit
from ansible_collections.corepin.proxmox.plugins.filter.hosts_in_order import hosts_in_order
from ansible_collections.corepin.proxmox.plugins.filter.place import place
from ansible_collections.corepin.proxmox.plugins.filter.policy import policy
from ansible_collections.corepin.proxmox.plugins.filter.read_plan import read_plan
from ansible_collections.corepin.proxmox.plugins.filter.read_snapshot import read_snapshot
from ansible_collections.corepin.proxmox.plugins.filter.report_model import report_model
from ansible_collections.corepin.proxmox.plugins.filter.snapshot import snapshot
from ansible_collections.corepin.proxmox.plugins.filter.tuning import tuning
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError, PolicyError
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter, without_ansible

_FILTERS: t.Mapping[str, t.Callable[..., t.Any]] = {
    "add_interrupts": without_ansible(add_interrupts),
    "add_runtime": without_ansible(add_runtime),
    "audit": without_ansible(audit),
    "hosts_in_order": without_ansible(hosts_in_order),
    "place": without_ansible(place),
    "policy": without_ansible(policy),
    "read_plan": without_ansible(read_plan),
    "read_snapshot": without_ansible(read_snapshot),
    "report_model": without_ansible(report_model),
    "snapshot": without_ansible(snapshot),
    "tuning": without_ansible(tuning),
}


@ansible_filter("attempt")
def attempt(value: t.Any, filter_name: str, *arguments: t.Any) -> t.Dict[str, t.Any]:
    """Run another filter and return its error as text."""
    if filter_name not in _FILTERS:
        raise PolicyError(f"{filter_name!r} is not a filter that attempt knows; known are {', '.join(_FILTERS)}.")
    try:
        return {"value": _FILTERS[filter_name](value, *arguments), "problem": ""}
    except CorepinError as e:
        return {"value": None, "problem": str(e)}


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"attempt": attempt}
