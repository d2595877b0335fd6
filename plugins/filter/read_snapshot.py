# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter
from ansible_collections.corepin.proxmox.plugins.plugin_utils._snapshot_file import read_snapshot as read


@ansible_filter("read_snapshot")
def read_snapshot(text: t.Any) -> t.Dict[str, t.Any]:
    """Read the text of a snapshot file."""
    return read(text)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"read_snapshot": read_snapshot}
