# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter
from ansible_collections.corepin.proxmox.plugins.plugin_utils._plan_file import read_plan as read


@ansible_filter("read_plan")
def read_plan(text: t.Any, max_age: t.Any = 0, now: t.Any = None) -> t.Mapping[str, t.Any]:
    """Read the text of a plan file."""
    return read(text, max_age, now)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"read_plan": read_plan}
