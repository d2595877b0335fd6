# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module cpu_governor does, from its options to its result.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .._engine.cpuset import format_cpulist, lowest
from .._engine.frequency import Setting
from .conflicts import governor_conflicts
from .cpufreq_policies import CpufreqPolicy, read_policies
from .cpus import read_cpu_sets
from .files import Tree
from .governor import Change, changes_for, wishes_of, with_earlier
from .governor import check as check_change
from .governor_apply import Memory, carry_out, differing, outcome_of, restoring
from .governor_boot import boot_files, present_boot_files, write_boot_files

Result = t.Dict[str, t.Any]
NO_CPUFREQ = "This host has no frequency scaling (no policy in /sys/devices/system/cpu/cpufreq), so there is nothing to set."


def set_governors(tree: Tree, options: t.Mapping[str, t.Any], check: bool) -> Result:
    """Make the policies of the host agree with `options` (busy, free, state, persistent); with `check` only say what would change.

    Returns changed, policies (as RETURN of the module says), other_drivers, conflicts, boot (before and after), or skipped with msg.
    Raises SettingError and FactsError, with nothing changed.
    """
    cpus = read_cpu_sets(tree)
    present = options["state"] == "present"
    wishes = wishes_of(options["busy"] or [], options["free"], cpus.online, cpus.present or cpus.online) if present else []
    policies = read_policies(tree, cpus.online)
    if policies is None:
        return {"changed": False, "skipped": True, "msg": NO_CPUFREQ}
    memory = Memory.read(tree)
    wanted = [with_earlier(change, memory.earlier(change.policy)) for change in changes_for(policies, wishes)]
    for change in wanted:
        check_change(tree, change)
    restored = restoring(policies, memory, but={change.policy.number for change in wanted})
    files = boot_files(wanted) if options["persistent"] else {}
    files_before = present_boot_files(tree)
    result = _result(wanted, restored, memory, files_before, files)
    result["other_drivers"] = _other_drivers(policies, memory)
    result["conflicts"] = governor_conflicts(tree)
    if not check:
        carry_out(tree, wanted, restored, memory)
        if files != files_before:
            write_boot_files(tree, files)
    return result


def _result(
    wanted: t.Sequence[Change], restored: t.Sequence[Change], memory: Memory, before: t.Mapping[str, str], after: t.Mapping[str, str]
) -> Result:
    changes = [*wanted, *restored]
    return {
        "changed": any(differing(change, memory) for change in changes) or before != after,
        "policies": _groups(changes, memory),
        "boot": {"before": dict(before), "after": dict(after)},
    }


def _groups(changes: t.Sequence[Change], memory: Memory) -> t.List[Result]:
    """The changes with equal values as one entry each, by lowest CPU."""
    cpus: t.Dict[t.Tuple[t.Optional[str], Setting, Setting, bool], int] = {}
    outside: t.Dict[t.Any, int] = {}
    for change in changes:
        differs = bool(differing(change, memory))
        before = change.policy.setting
        key = (change.policy.driver, before, outcome_of(change) if differs else before, differs)
        cpus[key] = cpus.get(key, 0) | change.policy.cpus
        outside[key] = outside.get(key, 0) | change.outside
    return [
        {
            "cpus": format_cpulist(mask),
            "driver": key[0],
            "changed": key[3],
            "before": asdict(key[1]),
            "after": asdict(key[2]),
            "outside": format_cpulist(outside[key]),
        }
        for key, mask in sorted(cpus.items(), key=lambda item: lowest(item[1]))
    ]


def _other_drivers(policies: t.Sequence[CpufreqPolicy], memory: Memory) -> t.List[Result]:
    """The CPUs that have another driver now than when values of theirs were remembered."""
    cpus: t.Dict[t.Tuple[t.Optional[str], str], int] = {}
    for policy in policies:
        for driver in memory.other_drivers(policy):
            cpus[policy.driver, driver] = cpus.get((policy.driver, driver), 0) | policy.cpus
    return [{"cpus": format_cpulist(mask), "driver": now, "earlier": earlier} for (now, earlier), mask in cpus.items()]


def warnings_of(result: Result) -> t.List[str]:
    """One sentence per thing that a person should know of."""
    warnings = [
        f"CPUs {entry['outside']} share a frequency policy with others of {entry['cpus']} and follow the faster wish."
        for entry in result.get("policies", [])
        if entry["outside"]
    ]
    warnings += [
        f"CPUs {entry['cpus']} have the driver {entry['driver']} now; what they had before this module set them under {entry['earlier']} "
        f"is kept, and is restored by state: absent when they have {entry['earlier']} again."
        for entry in result.get("other_drivers", [])
    ]
    conflicts = result.get("conflicts", [])
    if conflicts:
        warnings.append(f"{', '.join(conflicts)} also sets governors here and may undo this; stop it, or leave the governors to it.")
    return warnings


def diff_of(result: Result) -> Result:
    """Before and after for `--diff`: the policies that change, by their CPUs, and the files for the boot."""
    changed = [entry for entry in result.get("policies", []) if entry["changed"]]
    boot = result.get("boot", {"before": {}, "after": {}})
    return {
        side: {"policies": {entry["cpus"]: entry[side] for entry in changed}, "boot": boot[side] if boot["before"] != boot["after"] else {}}
        for side in ("before", "after")
    }
