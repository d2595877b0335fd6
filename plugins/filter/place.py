# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place as plan_for
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("place")
def place(snapshot: t.Mapping[str, t.Any], policy: t.Optional[t.Mapping[str, t.Any]] = None) -> t.Dict[str, t.Any]:
    """Plan a snapshot under a policy."""
    return plan_for(Snapshot.from_dict(snapshot), Policy.from_dict(policy or {}))


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"place": place}
