# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter
from ansible_collections.corepin.proxmox.plugins.plugin_utils._text import plan_lines as lines


@ansible_filter("plan_lines")
def plan_lines(plan: t.Mapping[str, t.Any], guests: t.Sequence[t.Mapping[str, t.Any]] = ()) -> t.List[str]:
    """What a plan says, in sentences."""
    return lines(plan, guests)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"plan_lines": plan_lines}
