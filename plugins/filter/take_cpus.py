# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.allocator import take_cpus as take
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.demand import Demand, Latency
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlacementError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import PINNED_CLASSES
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("take_cpus")
def take_cpus(
    host: t.Mapping[str, t.Any],
    count: int,
    available: t.Optional[str] = None,
    siblings: str = "pack",
    cpu_class: str = "dedicated",
    numa: str = "compact",
    near: t.Optional[str] = None,
    core_type: str = "any",
    latency: t.Optional[t.Mapping[str, t.Any]] = None,
) -> t.List[int]:
    """Choose CPUs on one host, in vCPU order."""
    if isinstance(count, bool) or not str(count).isdigit():
        raise PlacementError(f"count is {count!r}; ask for a whole number of CPUs.", rule="vcpus")
    if cpu_class not in PINNED_CLASSES:
        raise PlacementError(f"cpu_class is {cpu_class!r}; allowed are {', '.join(PINNED_CLASSES)}.", rule="class")
    demand = Demand(
        vcpus=int(count),
        siblings=siblings,
        isolated=cpu_class == "isolated",
        numa=numa,
        near=parse_cpulist(near or ""),
        core_type=core_type,
        latency=Latency.from_mapping(latency) if latency else None,
    )
    return take(Host.from_facts(host), None if available is None else parse_cpulist(str(available)), demand)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"take_cpus": take_cpus}
