# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.host_tuning import host_tuning
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("tuning")
def tuning(plan: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """What a plan wants from one host, in the words of cpu_governor and irq_affinity."""
    return host_tuning(plan, host)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"tuning": tuning}
