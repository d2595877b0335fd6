# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.audit_live import with_interrupts
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("add_interrupts")
def add_interrupts(snapshot: t.Mapping[str, t.Any], results: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Add to a snapshot where the interrupts of guests' devices go."""
    return with_interrupts(snapshot, results)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"add_interrupts": add_interrupts}
