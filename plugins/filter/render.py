# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter
from ansible_collections.corepin.proxmox.plugins.plugin_utils._report.render import render as rendered


@ansible_filter("render")
def render(model: t.Mapping[str, t.Any], format: str = "html", earlier: str = "") -> str:
    """Draw a report model."""
    return rendered(model, str(format), str(earlier or ""))


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"render": render}
