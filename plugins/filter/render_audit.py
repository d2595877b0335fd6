# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._audit_text import render
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("render_audit")
def render_audit(audit: t.Mapping[str, t.Any], form: str, earlier: str = "") -> t.Union[str, t.List[str]]:
    """Say an audit in lines, or as the text of a file."""
    return render(audit, form, earlier)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"render_audit": render_audit}
