# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency scaling as it is set now (kernel: admin-guide/pm/cpufreq.rst, amd-pstate.rst, intel_pstate.rst).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.cpuset import format_cpulist, lowest, mask_of
from .cpus import CPU
from .domains import Facts
from .files import Tree


def read_cpufreq(tree: Tree, online: int) -> t.Optional[t.List[Facts]]:
    """Settings with the online CPUs they hold for, equal ones once, by lowest CPU; None where the host has no cpufreq.

    Frequencies are the bounds in force (scaling_min_freq, scaling_max_freq) in kHz. `boost` is True, False or None
    where the driver has no such switch. A policy that has lost all its CPUs is left out.
    """
    settings: t.Dict[t.Tuple[t.Any, ...], int] = {}
    boost = _boost(tree)
    policies = _policy_folders(tree)
    for folder, fallback in policies:
        cpus = _policy_cpus(tree, folder, fallback) & online
        if cpus:
            key = _policy_settings(tree, folder, boost)
            settings[key] = settings.get(key, 0) | cpus
    groups = sorted(settings.items(), key=lambda item: lowest(item[1]))
    return [_as_facts(key, cpus) for key, cpus in groups] if policies else None


def _policy_folders(tree: Tree) -> t.List[t.Tuple[str, int]]:
    """Folders of the policies, each with the CPU it is named after; kernels before 4.3 keep them below the CPUs."""
    policies = tree.numbered(f"{CPU}/cpufreq", "policy")
    if policies:
        return [(f"{CPU}/cpufreq/policy{number}", number) for number in policies]
    cpus = tree.numbered(CPU, "cpu") or []
    return [(f"{CPU}/cpu{cpu}/cpufreq", cpu) for cpu in cpus if tree.exists(f"{CPU}/cpu{cpu}/cpufreq/scaling_driver")]


def _policy_cpus(tree: Tree, folder: str, fallback: int) -> int:
    words = tree.words(f"{folder}/affected_cpus")
    return 1 << fallback if words is None else mask_of(int(word) for word in words if word.isdigit())


def _policy_settings(tree: Tree, folder: str, boost: t.Optional[bool]) -> t.Tuple[t.Any, ...]:
    epps = tree.words(f"{folder}/energy_performance_available_preferences")
    own_boost = tree.text(f"{folder}/boost")
    return (
        tree.word(f"{folder}/scaling_driver"),
        tree.word(f"{folder}/scaling_governor"),
        tuple(tree.words(f"{folder}/scaling_available_governors") or ()),
        tree.word(f"{folder}/energy_performance_preference"),
        None if epps is None else tuple(epps),
        tree.loose_number(f"{folder}/scaling_min_freq"),
        tree.loose_number(f"{folder}/scaling_max_freq"),
        own_boost == "1" if own_boost in ("0", "1") else boost,
    )


def _boost(tree: Tree) -> t.Optional[bool]:
    """The switch for all CPUs: acpi-cpufreq's cpufreq/boost, or the reverse of intel_pstate/no_turbo."""
    boost = tree.text(f"{CPU}/cpufreq/boost")
    if boost in ("0", "1"):
        return boost == "1"
    no_turbo = tree.text(f"{CPU}/intel_pstate/no_turbo")
    return no_turbo == "0" if no_turbo in ("0", "1") else None


def _as_facts(key: t.Tuple[t.Any, ...], cpus: int) -> Facts:
    driver, governor, governors, epp, epps, min_khz, max_khz, boost = key
    return {
        "cpus": format_cpulist(cpus),
        "driver": driver,
        "governor": governor,
        "governors": list(governors),
        "epp": epp,
        "epps": None if epps is None else list(epps),
        "min_khz": min_khz,
        "max_khz": max_khz,
        "boost": boost,
    }
