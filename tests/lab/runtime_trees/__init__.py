# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated running guests: what procfs, the cgroups and /run of a PVE host show of its VMs and containers.

    from runtime_trees import RunningHost
    host = RunningHost(write_tree("epyc-9354-nps4", tmp_path / "host"))
    host.vm(101, 5000, vcpus=4, cpus="0-3", scope_cpus="0-3")

Cpulists are texts, as the kernel writes them. Standard library only; needs nothing else of this repository.
"""

from __future__ import annotations

from .host import RunningHost
from .qmp import QmpServer, StuckQmpServer

__all__ = ["QmpServer", "RunningHost", "StuckQmpServer"]
