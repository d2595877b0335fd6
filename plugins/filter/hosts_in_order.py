# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import hosts_in_order as order
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("hosts_in_order")
def hosts_in_order(plan: t.Mapping[str, t.Any], hosts: t.Sequence[str], canary: t.Any = None) -> t.List[str]:
    """The hosts whose guests a plan changes, as they are to be done."""
    if canary not in (None, "") and not str(canary).isdigit():
        raise PlanError(f"The canary is {canary!r}; write the number of a guest.")
    return order(plan, hosts, None if canary in (None, "") else int(canary))


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"hosts_in_order": hosts_in_order}
