# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import build
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("snapshot")
def snapshot(
    hostvars: t.Mapping[str, t.Any],
    guest_info: t.Any = None,
    groups: t.Optional[t.Mapping[str, t.Any]] = None,
    read: t.Optional[t.Sequence[str]] = None,
) -> t.Dict[str, t.Any]:
    """Put a snapshot together from facts, guests and groups."""
    return build(hostvars, guest_info, groups, read)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"snapshot": snapshot}
