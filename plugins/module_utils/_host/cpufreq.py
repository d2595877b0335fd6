# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency scaling as it is set now (kernel: admin-guide/pm/cpufreq.rst, amd-pstate.rst, intel_pstate.rst).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.cpuset import count, format_cpulist, lowest, union
from .cpufreq_policies import CpufreqPolicy, read_policies
from .cpus import CPU
from .domains import Facts
from .files import Tree


def read_cpufreq(tree: Tree, online: int) -> t.Optional[t.List[Facts]]:
    """Settings with the online CPUs they hold for, equal ones once, by lowest CPU; None where the host has no cpufreq.

    Frequencies are the bounds in force (scaling_min_freq, scaling_max_freq) in kHz. `boost` is True, False or None
    where the driver has no such switch. `shared` are the CPUs of each policy that has several, because they follow one wish.
    A policy that has lost all its CPUs is left out.
    """
    policies = read_policies(tree, online)
    if policies is None:
        return None
    boost = _boost(tree)
    settings: t.Dict[t.Tuple[t.Any, ...], t.List[int]] = {}
    for policy in policies:
        key = (policy.driver, policy.setting, policy.governors, policy.epps, _own_boost(tree, policy, boost))
        settings.setdefault(key, []).append(policy.cpus)
    groups = sorted(settings.items(), key=lambda item: lowest(union(item[1])))
    return [_as_facts(key, masks) for key, masks in groups]


def _own_boost(tree: Tree, policy: CpufreqPolicy, boost: t.Optional[bool]) -> t.Optional[bool]:
    own = tree.text(f"{policy.folder}/boost")
    return own == "1" if own in ("0", "1") else boost


def _boost(tree: Tree) -> t.Optional[bool]:
    """The switch for all CPUs: acpi-cpufreq's cpufreq/boost, or the reverse of intel_pstate/no_turbo."""
    boost = tree.text(f"{CPU}/cpufreq/boost")
    if boost in ("0", "1"):
        return boost == "1"
    no_turbo = tree.text(f"{CPU}/intel_pstate/no_turbo")
    return no_turbo == "0" if no_turbo in ("0", "1") else None


def _as_facts(key: t.Tuple[t.Any, ...], masks: t.Sequence[int]) -> Facts:
    driver, setting, governors, epps, boost = key
    return {
        "cpus": format_cpulist(union(masks)),
        "shared": [format_cpulist(mask) for mask in sorted(masks, key=lowest) if count(mask) > 1],
        "driver": driver,
        "governor": setting.governor,
        "governors": list(governors),
        "epp": setting.epp,
        "epps": None if epps is None else list(epps),
        "min_khz": setting.min_khz,
        "max_khz": setting.max_khz,
        "boost": boost,
    }
