# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cpufreq policies of a host, one by one (kernel: admin-guide/pm/cpufreq.rst, amd-pstate.rst, intel_pstate.rst).

A policy is the kernel's unit of frequency scaling: one or more CPUs that share governor, energy preference and limits.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import mask_of
from .._engine.frequency import Setting
from .cpus import CPU
from .files import Tree

# The attributes of a policy in the order in which they are written: a governor resets the preference, and a maximum
# below the minimum pulls the minimum down.
FILES = {
    "governor": "scaling_governor",
    "epp": "energy_performance_preference",
    "max_khz": "scaling_max_freq",
    "min_khz": "scaling_min_freq",
}


@dataclass(frozen=True)
class CpufreqPolicy:
    """One policy: its folder (relative to the root), the number in its name, the CPUs it holds for now, and what the driver offers.

    `epps` is None where the driver has no preferences (passive modes, acpi-cpufreq).
    """

    folder: str
    number: int
    cpus: int
    driver: t.Optional[str]
    setting: Setting
    governors: t.Tuple[str, ...]
    epps: t.Optional[t.Tuple[str, ...]]


def read_policies(tree: Tree, online: int) -> t.Optional[t.List[CpufreqPolicy]]:
    """The policies that hold for online CPUs, by number; None where the host has no cpufreq at all."""
    folders = _folders(tree)
    policies = [(folder, number, _cpus(tree, folder, number) & online) for folder, number in folders]
    return [_read_policy(tree, folder, number, cpus) for folder, number, cpus in policies if cpus] if folders else None


def read_setting(tree: Tree, folder: str) -> Setting:
    """What is set now of the policy in `folder`."""
    return Setting(
        governor=tree.word(f"{folder}/{FILES['governor']}"),
        epp=tree.word(f"{folder}/{FILES['epp']}"),
        min_khz=tree.loose_number(f"{folder}/{FILES['min_khz']}"),
        max_khz=tree.loose_number(f"{folder}/{FILES['max_khz']}"),
    )


def read_hardware_range(tree: Tree, folder: str) -> t.Tuple[t.Optional[int], t.Optional[int]]:
    """The lowest and highest frequency (kHz) that the hardware has; None where the driver does not say."""
    return tree.loose_number(f"{folder}/cpuinfo_min_freq"), tree.loose_number(f"{folder}/cpuinfo_max_freq")


def _read_policy(tree: Tree, folder: str, number: int, cpus: int) -> CpufreqPolicy:
    epps = tree.words(f"{folder}/energy_performance_available_preferences")
    return CpufreqPolicy(
        folder,
        number,
        cpus,
        driver=tree.word(f"{folder}/scaling_driver"),
        setting=read_setting(tree, folder),
        governors=tuple(tree.words(f"{folder}/scaling_available_governors") or ()),
        epps=None if epps is None else tuple(epps),
    )


def _folders(tree: Tree) -> t.List[t.Tuple[str, int]]:
    """Folders of the policies, each with the CPU it is named after; kernels before 4.3 keep them below the CPUs."""
    policies = tree.numbered(f"{CPU}/cpufreq", "policy")
    if policies:
        return [(f"{CPU}/cpufreq/policy{number}", number) for number in policies]
    cpus = tree.numbered(CPU, "cpu") or []
    return [(f"{CPU}/cpu{cpu}/cpufreq", cpu) for cpu in cpus if tree.exists(f"{CPU}/cpu{cpu}/cpufreq/scaling_driver")]


def _cpus(tree: Tree, folder: str, fallback: int) -> int:
    words = tree.words(f"{folder}/affected_cpus")
    return 1 << fallback if words is None else mask_of(int(word) for word in words if word.isdigit())
