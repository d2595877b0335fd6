# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of cpufreq policies: what they had before they were set, and what values read back as.

The kernel does not always read back what was written: `default` as a preference reads back as the name of the firmware's
value, and frequencies are rounded to what the hardware has (admin-guide/pm/amd-pstate.rst, cpufreq.rst). What a value read
back as is remembered, so that it is known again.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass, field, replace

from .._engine.frequency import Setting
from .cpufreq_policies import CpufreqPolicy
from .files import Tree
from .governor import Change, holds_epp
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
        """What the policy had, under the driver of now, of the values that were set; the empty setting where none were.

        A preference that comes from the governor performance is nobody's choice.
        """
        earlier = Setting(**_of(self.previous, policy))
        return replace(earlier, epp=None) if holds_epp(policy, earlier.governor) else earlier

    def knows(self, policy: CpufreqPolicy) -> bool:
        """Whether there are earlier values under the driver of now."""
        return bool(_of(self.previous, policy))

    def other_drivers(self, policy: CpufreqPolicy) -> t.List[str]:
        """The drivers, but that of now, for which there are earlier values of the policy."""
        return [driver for driver, values in sorted(self.previous.items()) if driver != policy.driver and str(policy.number) in values]

    def without_policy(self, policies: t.Iterable[CpufreqPolicy]) -> t.List[t.Tuple[int, Setting]]:
        """Numbers of policies that are not among `policies`, each with what it had before; one entry per driver."""
        there = {str(policy.number) for policy in policies}
        kept = [entry for of_driver in self.previous.values() for entry in of_driver.items()]
        return [(int(number), Setting(**values)) for number, values in kept if number not in there]

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

    def forget(self, policy: CpufreqPolicy, but: t.Collection[str] = ()) -> None:
        """Drop what is known of the policy under the driver of now, except its earlier values named in `but`."""
        stays = {name: value for name, value in _of(self.previous, policy).items() if name in but}
        for values in (self.previous, self.reads_back):
            of_driver = values.get(policy.driver or "", {})
            of_driver.pop(str(policy.number), None)
            if not of_driver:
                values.pop(policy.driver or "", None)
        if stays:
            _to_fill(self.previous, policy).update(stays)

    def go_back(self, earlier: Memory, but: t.Sequence[CpufreqPolicy]) -> None:
        """Know what `earlier` knew, and of the policies in `but` what they had before."""
        kept = [(policy, _of(self.previous, policy)) for policy in but if self.knows(policy)]
        self.previous, self.reads_back = copy.deepcopy(earlier.previous), copy.deepcopy(earlier.reads_back)
        for policy, values in kept:
            _to_fill(self.previous, policy).update(values)


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
