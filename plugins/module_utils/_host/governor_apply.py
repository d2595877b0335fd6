# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting cpufreq policies: one write per value that differs, the earlier values remembered, all put back where one is refused.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import typing as t
from dataclasses import asdict, replace

from .._engine.cpuset import format_cpulist, union
from .._engine.errors import SettingError
from .._engine.frequency import PERFORMANCE, Setting, reads_back_otherwise
from .cpufreq_policies import FILES, CpufreqPolicy, read_setting
from .files import Tree
from .governor import Change, holds_epp, only_offered, without_earlier_governor
from .governor_memory import Memory


def restoring(policies: t.Sequence[CpufreqPolicy], memory: Memory, but: t.Collection[int] = ()) -> t.List[Change]:
    """The changes that give remembered policies, but those with a number in `but`, what they had before."""
    gone_by = [policy for policy in policies if memory.knows(policy) and policy.number not in but]
    return [Change(policy, only_offered(policy, memory.earlier(policy))) for policy in gone_by]


def differing(change: Change, memory: Memory, setting: t.Optional[Setting] = None) -> t.List[str]:
    """The names of the values that still have to be written, in the order of writing, judged by `setting` (default: as read)."""
    now = setting or change.policy.setting
    asked = {name: getattr(change.wanted, name) for name in FILES}
    return [name for name, value in asked.items() if value is not None and not memory.same(change.policy, name, value, getattr(now, name))]


def outcome_of(change: Change) -> Setting:
    """What the policy has after `change`, as it was asked for, with what the kernel makes of it.

    The governor performance may bring its preference, and a maximum pulls the minimum down.
    """
    after = replace(change.policy.setting, **{name: value for name, value in asdict(change.wanted).items() if value is not None})
    if holds_epp(change.policy, after.governor) and after.epp is not None:
        after = replace(after, epp=PERFORMANCE)
    if after.min_khz is not None and after.max_khz is not None:
        after = replace(after, min_khz=min(after.min_khz, after.max_khz))
    return after


def left_over(change: Change, memory: Memory) -> t.Dict[str, t.Any]:
    """The earlier values, by name, that the policy does not have after `change`, which restores it."""
    after = asdict(outcome_of(change))
    earlier = asdict(memory.earlier(change.policy)).items()
    return {name: value for name, value in earlier if value is not None and not memory.same(change.policy, name, value, after[name])}


def not_loadable(tree: Tree, changes: t.Iterable[Change]) -> t.Set[int]:
    """The numbers of the policies whose earlier governor the kernel will refuse, as far as the files of its modules tell."""
    release = tree.word("proc/sys/kernel/osrelease")
    modules = tree.text(f"lib/modules/{release}/modules.dep")
    return {change.policy.number for change in changes if change.unlisted and modules and f"/cpufreq_{change.unlisted}.ko" not in modules}


def carry_out(tree: Tree, changes: t.Sequence[Change], restored: t.Sequence[Change], memory: Memory) -> t.Set[int]:
    """Write what differs and keep `memory` up to date, `restored` being changes back to what was before.

    Returns the numbers of the policies whose earlier governor the kernel refuses; the rest of their changes is made, and the
    governor stays in memory. The memory is on the disk before the first write, so that a process that is killed leaves a
    host that the next run puts right. Where the kernel refuses another value, everything of this call is put back, in
    memory too. Raises SettingError.
    """
    known = copy.deepcopy(memory)
    pending = [change for change in changes if differing(change, memory)]
    for change in pending:
        memory.keep_previous(change)
    if pending:
        memory.write(tree)
    begun: t.List[CpufreqPolicy] = []
    refused: t.Set[int] = set()
    try:
        for change in [*pending, *(change for change in restored if differing(change, memory))]:
            begun.append(change.policy)
            if _refuses_earlier_governor(tree, change):
                refused.add(change.policy.number)
            _set_policy(tree, without_refused(change, refused), memory)
    except SettingError as e:
        raise SettingError(f"{e} {_undo(tree, begun, memory, known)}") from None
    for change in restored:
        memory.forget(change.policy, but=left_over(without_refused(change, refused), memory))
    memory.write(tree)
    return refused


def without_refused(change: Change, refused: t.Collection[int]) -> Change:
    """`change` without its earlier governor if the number of its policy is in `refused`."""
    return without_earlier_governor(change) if change.policy.number in refused else change


def _refuses_earlier_governor(tree: Tree, change: Change) -> bool:
    """Whether an earlier governor that is not listed cannot be loaded either, which is EINVAL (cpufreq.c, store_scaling_governor)."""
    if change.unlisted is None:
        return False
    try:
        tree.write(f"{change.policy.folder}/{FILES['governor']}", change.unlisted)
    except OSError as e:
        return e.errno == errno.EINVAL
    return False


def _undo(tree: Tree, begun: t.Sequence[CpufreqPolicy], memory: Memory, known: Memory) -> str:
    """Put back what was begun, and the memory to what was `known` before; say how that went.

    What a policy had before stays in memory where the policy does not take it now.
    """
    for policy in reversed(begun):
        _put_back(tree, policy)
    stuck = [policy for policy in begun if read_setting(tree, policy.folder) != policy.setting]
    memory.go_back(known, but=stuck)
    cpus = format_cpulist(union(policy.cpus for policy in stuck))
    done = f"All but CPUs {cpus} was put back; restore those with state: absent." if stuck else "Everything was put back."
    try:
        memory.write(tree)
    except SettingError as e:
        return f"{done} {e}"
    return done


def _set_policy(tree: Tree, change: Change, memory: Memory) -> None:
    """Each value is judged anew before it is written, because the one before may have changed it."""
    for name in FILES:
        if name in differing(change, memory, read_setting(tree, change.policy.folder)):
            _set_value(tree, change, name, memory)
    now = read_setting(tree, change.policy.folder)
    for name in differing(change, memory, now):
        asked, got = getattr(change.wanted, name), getattr(now, name)
        raise SettingError(
            f"CPUs {format_cpulist(change.policy.cpus)} took {name} {asked} and have {got} again; stop what else sets it, such as tuned."
        )


def _set_value(tree: Tree, change: Change, name: str, memory: Memory) -> None:
    policy, asked = change.policy, getattr(change.wanted, name)
    path = f"{policy.folder}/{FILES[name]}"
    try:
        tree.write(path, str(asked))
    except OSError as e:
        raise SettingError(f"{tree.full(path)} refused {asked!r} ({e.strerror}); choose another {name}, or run as root.") from None
    got = getattr(read_setting(tree, policy.folder), name)
    if name in ("min_khz", "max_khz") or (name == "epp" and reads_back_otherwise(asked)):
        memory.learn(policy, name, asked, got)


def _put_back(tree: Tree, policy: CpufreqPolicy) -> None:
    """As well as possible: whatever refuses now has refused already, or has been changed by somebody else meanwhile."""
    for name, path in FILES.items():
        value = getattr(policy.setting, name)
        if value is not None and getattr(read_setting(tree, policy.folder), name) != value:
            with contextlib.suppress(OSError):
                tree.write(f"{policy.folder}/{path}", str(value))
