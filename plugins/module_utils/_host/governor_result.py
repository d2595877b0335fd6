# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module cpu_governor returns, and what it says of it: warnings and diff.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .._engine.cpuset import format_cpulist, lowest, parse_cpulist, union
from .._engine.frequency import Setting
from .cpufreq_policies import CpufreqPolicy
from .governor import Change
from .governor_apply import differing, left_over, outcome_of, without_refused
from .governor_memory import Memory

Result = t.Dict[str, t.Any]


def result_of(
    wanted: t.Sequence[Change],
    restored: t.Sequence[Change],
    refused: t.Collection[int],
    memory: Memory,
    boot: t.Mapping[str, t.Mapping[str, str]],
) -> Result:
    """changed, policies, unrestored and boot as RETURN of the module says, for changes as carry_out takes them.

    `memory` is what was known before they were made, and `refused` what carry_out returned (or not_loadable expects).
    """
    changes = [without_refused(change, refused) for change in (*wanted, *restored)]
    return {
        "changed": any(differing(change, memory) for change in changes) or boot["before"] != boot["after"],
        "policies": _groups(changes, memory),
        "unrestored": _unrestored(wanted, restored, refused, memory),
        "boot": {side: dict(files) for side, files in boot.items()},
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


def _unrestored(wanted: t.Sequence[Change], restored: t.Sequence[Change], refused: t.Collection[int], memory: Memory) -> t.List[Result]:
    """What was to be restored and cannot be, as entries with equal values, by lowest CPU."""
    kept = [(change.policy.cpus, Setting(governor=change.unlisted)) for change in wanted if change.policy.number in refused]
    kept += [(change.policy.cpus, Setting(**left_over(without_refused(change, refused), memory))) for change in restored]
    return _as_earlier(kept, online=True)


def offline_of(policies: t.Sequence[CpufreqPolicy], memory: Memory) -> t.List[Result]:
    """What cannot be restored because all CPUs of the policy are offline, named after the policy's first one."""
    return _as_earlier([(1 << number, earlier) for number, earlier in memory.without_policy(policies)], online=False)


def _as_earlier(kept: t.Iterable[t.Tuple[int, Setting]], online: bool) -> t.List[Result]:
    cpus: t.Dict[Setting, int] = {}
    for mask, earlier in kept:
        cpus[earlier] = cpus.get(earlier, 0) | mask
    cpus.pop(Setting(), None)
    entries = sorted(cpus.items(), key=lambda item: lowest(item[1]))
    return [{"cpus": format_cpulist(mask), "online": online, "earlier": _named(earlier)} for earlier, mask in entries]


def _named(setting: Setting) -> t.Dict[str, t.Any]:
    return {name: value for name, value in asdict(setting).items() if value is not None}


def other_drivers_of(policies: t.Sequence[CpufreqPolicy], memory: Memory) -> t.List[Result]:
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
    warnings += _unrestored_warnings(result.get("unrestored", []))
    conflicts = result.get("conflicts", [])
    if conflicts:
        warnings.append(f"{', '.join(conflicts)} also sets governors here and may undo this; stop it, or leave the governors to it.")
    return warnings


def _unrestored_warnings(entries: t.Sequence[Result]) -> t.List[str]:
    """One sentence for all that is refused, and one for all that is offline."""
    refused = [
        f"CPUs {entry['cpus']} ({', '.join(f'{name} {value}' for name, value in entry['earlier'].items())})"
        for entry in entries
        if entry["online"]
    ]
    offline = union(parse_cpulist(entry["cpus"]) for entry in entries if not entry["online"])
    warnings = []
    if refused:
        warnings.append(
            f"{', '.join(refused)} cannot have back now what they had before this module set them; it is kept, and state: absent "
            "tries again: load the module of a governor before that (modprobe cpufreq_NAME)."
        )
    if offline:
        warnings.append(
            f"CPUs {format_cpulist(offline)} are offline or have no frequency policy of their own now; what they had before this "
            "module set them is kept, and is restored by state: absent when they are back."
        )
    return warnings


def diff_of(result: Result) -> Result:
    """Before and after for `--diff`: the policies that change, by their CPUs, and the files for the boot."""
    changed = [entry for entry in result.get("policies", []) if entry["changed"]]
    boot = result.get("boot", {"before": {}, "after": {}})
    return {
        side: {"policies": {entry["cpus"]: entry[side] for entry in changed}, "boot": boot[side] if boot["before"] != boot["after"] else {}}
        for side in ("before", "after")
    }
