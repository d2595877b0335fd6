# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter
from ansible_collections.corepin.proxmox.plugins.plugin_utils._plan_file import keep_plan as keep


@ansible_filter("keep_plan")
def keep_plan(plan: t.Mapping[str, t.Any], text: t.Any, max_age: t.Any = 0) -> t.Mapping[str, t.Any]:
    """Keep the plan of a file that says the same."""
    return keep(plan, text, max_age)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"keep_plan": keep_plan}
