# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.start_check import start_errors as errors_of
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("start_errors")
def start_errors(guest: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]) -> t.List[t.Dict[str, t.Any]]:
    """Say what keeps a guest from starting on a host, or makes it run differently from what its config says."""
    return errors_of(guest, host)


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"start_errors": start_errors}
