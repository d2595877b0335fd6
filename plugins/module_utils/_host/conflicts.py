# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running services that set the same things as corepin, by the cgroups that systemd makes for them.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .files import Tree
from .services import system_slice

_GOVERNOR_SERVICES = ("tuned.service", "power-profiles-daemon.service", "auto-cpufreq.service")
_GOVERNOR_AT_BOOT = {"etc/init.d/cpufrequtils": "cpufrequtils", "etc/init.d/loadcpufreq": "loadcpufreq"}


def governor_conflicts(tree: Tree) -> t.List[str]:
    """What else sets governors on this host: services that run, and scripts that run at boot."""
    folder = system_slice(tree)
    running = [service for service in _GOVERNOR_SERVICES if folder and tree.exists(f"{folder}/{service}")]
    return running + [name for path, name in _GOVERNOR_AT_BOOT.items() if tree.exists(path)]
