# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._cluster_nics import cluster_nics
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


class FilterModule:
    """Ansible's face of plugin_utils/_cluster_nics.py."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cluster_nics": ansible_filter("cluster_nics")(cluster_nics)}
