# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_ordered
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("cpus")
def cpus(cpulist: str) -> t.List[int]:
    """Read a cpulist into CPU numbers, in the order in which they are written."""
    return parse_ordered(str(cpulist))


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cpus": cpus}
