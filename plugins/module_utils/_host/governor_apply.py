# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting cpufreq policies: one write per value that differs, the earlier values remembered, all put back where one is refused.

The kernel does not always read back what was written: `default` as a preference reads back as the name of the firmware's
value, and frequencies are rounded to what the hardware has (admin-guide/pm/amd-pstate.rst, cpufreq.rst). What a value read
back as is remembered, so that it is known again.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import copy
import typing as t
from dataclasses import asdict, dataclass, field, replace

from .._engine.cpuset import format_cpulist
from .._engine.errors import SettingError
from .._engine.frequency import PERFORMANCE, Setting
from .cpufreq_policies import FILES, CpufreqPolicy, read_setting
from .files import Tree
from .governor import Change, only_offered
from .kept import recall, remember

NAME = "cpu-governor"
SCHEMA = 1


Values = t.Dict[str, t.Dict[str, t.Dict[str, t.Any]]]


@dataclass
class Memory:
    """Values by driver and policy number, because a value means something else, or nothing, under another driver.

    `previous`: what each policy had of the values that were set, value -> what it was. `reads_back`: value -> {asked: got}.
    `on_disk` is what the file says.
    """

    previous: Values = field(default_factory=dict)
    reads_back: Values = field(default_factory=dict)
    on_disk: t.Dict[str, t.Any] = field(default_factory=dict)

    @classmethod
    def read(cls, tree: Tree) -> Memory:
        text = recall(tree, NAME)
        return cls(copy.deepcopy(text.get("previous", {})), copy.deepcopy(text.get("reads_back", {})), text)

    def write(self, tree: Tree) -> None:
        """Replace the file where it says something else."""
        known = copy.deepcopy({"schema": SCHEMA, "previous": self.previous, "reads_back": self.reads_back})
        wanted = known if self.previous or self.reads_back else {}
        remember(tree, NAME, wanted, self.on_disk)
        self.on_disk = wanted

    def earlier(self, policy: CpufreqPolicy) -> Setting:
        """What the policy had, under the driver of now, of the values that were set; the empty setting where none were."""
        return Setting(**_of(self.previous, policy))

    def knows(self, policy: CpufreqPolicy) -> bool:
        """Whether there are earlier values under the driver of now."""
        return bool(_of(self.previous, policy))

    def other_drivers(self, policy: CpufreqPolicy) -> t.List[str]:
        """The drivers, but that of now, for which there are earlier values of the policy."""
        return [driver for driver, values in sorted(self.previous.items()) if driver != policy.driver and str(policy.number) in values]

    def same(self, policy: CpufreqPolicy, attribute: str, asked: t.Any, got: t.Any) -> bool:
        """Whether `got` is what `asked` reads back as."""
        known = _of(self.reads_back, policy).get(attribute, {})
        return bool(got == asked or (str(asked) in known and known[str(asked)] == got))

    def learn(self, policy: CpufreqPolicy, attribute: str, asked: t.Any, got: t.Any) -> None:
        if got != asked:
            _to_fill(self.reads_back, policy).setdefault(attribute, {})[str(asked)] = got

    def keep_previous(self, change: Change) -> None:
        """Remember the values that `change` may alter, unless they were remembered before."""
        for attribute in _altered(change):
            _to_fill(self.previous, change.policy).setdefault(attribute, getattr(change.policy.setting, attribute))

    def forget(self, policy: CpufreqPolicy) -> None:
        """Drop what is known of the policy under the driver of now."""
        for values in (self.previous, self.reads_back):
            of_driver = values.get(policy.driver or "", {})
            of_driver.pop(str(policy.number), None)
            if not of_driver:
                values.pop(policy.driver or "", None)


def _of(values: Values, policy: CpufreqPolicy) -> t.Dict[str, t.Any]:
    return values.get(policy.driver or "", {}).get(str(policy.number), {})


def _to_fill(values: Values, policy: CpufreqPolicy) -> t.Dict[str, t.Any]:
    return values.setdefault(policy.driver or "", {}).setdefault(str(policy.number), {})


def _altered(change: Change) -> t.List[str]:
    """A governor resets the preference, and a maximum may pull the minimum down."""
    wanted = change.wanted
    names = [name for name in ("governor", "epp") if wanted.governor is not None or getattr(wanted, name) is not None]
    if wanted.min_khz is not None or wanted.max_khz is not None:
        names += ["min_khz", "max_khz"]
    return [name for name in names if getattr(change.policy.setting, name) is not None]


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

    The governor performance brings its preference, and a maximum pulls the minimum down.
    """
    after = replace(change.policy.setting, **{name: value for name, value in asdict(change.wanted).items() if value is not None})
    if after.governor == PERFORMANCE and after.epp is not None:
        after = replace(after, epp=PERFORMANCE)
    if after.min_khz is not None and after.max_khz is not None:
        after = replace(after, min_khz=min(after.min_khz, after.max_khz))
    return after


def carry_out(tree: Tree, changes: t.Sequence[Change], restored: t.Sequence[Change], memory: Memory) -> None:
    """Write what differs and keep `memory` up to date, `restored` being changes back to what was before.

    The memory is on the disk before the first write, so that a process that is killed leaves a host that the next run
    puts right. Where the kernel refuses a value, everything of this call is put back. Raises SettingError.
    """
    pending = [change for change in changes if differing(change, memory)]
    for change in pending:
        memory.keep_previous(change)
    if pending:
        memory.write(tree)
    begun: t.List[CpufreqPolicy] = []
    try:
        for change in [*pending, *(change for change in restored if differing(change, memory))]:
            begun.append(change.policy)
            _set_policy(tree, change, memory)
    except SettingError as e:
        for policy in reversed(begun):
            _put_back(tree, policy)
        raise SettingError(f"{e} Everything was put back.") from None
    for change in restored:
        memory.forget(change.policy)
    memory.write(tree)


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
    if name in ("min_khz", "max_khz") or (name == "epp" and (asked == "default" or asked.isdigit())):
        memory.learn(policy, name, asked, got)


def _put_back(tree: Tree, policy: CpufreqPolicy) -> None:
    """As well as possible: whatever refuses now has refused already, or has been changed by somebody else meanwhile."""
    for name, path in FILES.items():
        value = getattr(policy.setting, name)
        if value is not None and getattr(read_setting(tree, policy.folder), name) != value:
            with contextlib.suppress(OSError):
                tree.write(f"{policy.folder}/{path}", str(value))
