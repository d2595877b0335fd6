# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy_variables import fold
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("policy")
def policy(hostvars: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Fold the inventory's corepin variables into one policy."""
    return fold(hostvars)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"policy": policy}
