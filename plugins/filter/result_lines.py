# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter
from ansible_collections.corepin.proxmox.plugins.plugin_utils._text import result_lines as lines


@ansible_filter("result_lines")
def result_lines(results: t.Sequence[t.Mapping[str, t.Any]], check_mode: bool = False) -> t.List[str]:
    """What guest_placement did, in sentences."""
    return lines(results, check_mode)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"result_lines": result_lines}
