# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module cpu_governor does, from its options to its result.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import copy
import typing as t

from .conflicts import governor_conflicts
from .cpufreq_policies import read_policies
from .cpus import read_cpu_sets
from .files import Tree
from .governor import changes_for, wishes_of, with_earlier
from .governor import check as check_change
from .governor_apply import carry_out, not_loadable, restoring
from .governor_boot import boot_files, present_boot_files, write_boot_files
from .governor_memory import Memory
from .governor_result import Result, offline_of, other_drivers_of, result_of

NO_CPUFREQ = "This host has no frequency scaling (no policy in /sys/devices/system/cpu/cpufreq), so there is nothing to set."


def set_governors(tree: Tree, options: t.Mapping[str, t.Any], check: bool) -> Result:
    """Make the policies of the host agree with `options` (busy, free, state, persistent); with `check` only say what would change.

    Returns changed and what RETURN of the module says, or skipped with msg. Raises SettingError and FactsError, with
    nothing changed.
    """
    cpus = read_cpu_sets(tree)
    present = options["state"] == "present"
    wishes = wishes_of(options["busy"] or [], options["free"], cpus.online, cpus.present or cpus.online) if present else []
    policies = read_policies(tree, cpus.online)
    if policies is None:
        return _without_cpufreq(tree, present and options["persistent"], check)
    memory = Memory.read(tree)
    known = copy.deepcopy(memory)  # the run learns, and the result is judged by what was known before it
    wanted = [with_earlier(change, memory.earlier(change.policy)) for change in changes_for(policies, wishes)]
    for change in wanted:
        check_change(tree, change)
    restored = restoring(policies, memory, but={change.policy.number for change in wanted})
    boot = {"before": present_boot_files(tree), "after": boot_files(wanted) if options["persistent"] else {}}
    refused = not_loadable(tree, [*wanted, *restored]) if check else carry_out(tree, wanted, restored, memory)
    _set_boot_files(tree, boot, check)
    result = result_of(wanted, restored, refused, known, boot)
    if not present:
        result["unrestored"] += offline_of(policies, known)
    return {**result, "other_drivers": other_drivers_of(policies, known), "conflicts": governor_conflicts(tree)}


def _without_cpufreq(tree: Tree, persistent: bool, check: bool) -> Result:
    """What was written for the boot is removed, unless it is to stay; there is nothing else to do."""
    before = present_boot_files(tree)
    if persistent or not before:
        return {"changed": False, "skipped": True, "msg": NO_CPUFREQ}
    boot: t.Dict[str, t.Dict[str, str]] = {"before": before, "after": {}}
    _set_boot_files(tree, boot, check)
    return {**result_of([], [], (), Memory(), boot), "other_drivers": [], "conflicts": [], "msg": NO_CPUFREQ}


def _set_boot_files(tree: Tree, boot: t.Mapping[str, t.Mapping[str, str]], check: bool) -> None:
    if not check and boot["before"] != boot["after"]:
        write_boot_files(tree, boot["after"])
