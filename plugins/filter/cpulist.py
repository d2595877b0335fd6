# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import format_cpulist, mask_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import GrammarError
from ansible_collections.corepin.proxmox.plugins.plugin_utils._filters import ansible_filter


@ansible_filter("cpulist")
def cpulist(cpus: t.Iterable[t.Any]) -> str:
    """Write CPU numbers in the kernel's list syntax, sorted."""
    if isinstance(cpus, (str, bytes)) or not isinstance(cpus, t.Iterable):
        raise GrammarError(f"{cpus!r} is not a list of CPU numbers; pass a list such as [0, 1, 32].")
    numbers = list(cpus)
    for number in numbers:
        if isinstance(number, bool) or not str(number).isdigit():
            raise GrammarError(f"{number!r} is not a CPU number; pass a list of whole numbers such as [0, 1, 32].")
    return format_cpulist(mask_of(int(number) for number in numbers))


class FilterModule:
    """Ansible's face of the engine."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"cpulist": cpulist}
