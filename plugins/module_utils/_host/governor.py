# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cpufreq policies have to change so that CPU sets get what is wished for them.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field, replace

from .._engine.cpuset import format_cpulist, mask_of, union
from .._engine.errors import SettingError
from .._engine.frequency import PERFORMANCE, Setting, epps_under, fastest, is_raw
from .cpu_options import named_cpus
from .cpufreq_policies import CpufreqPolicy, read_hardware_range
from .files import Tree

FREE = "free"

# The one driver that takes preferences as numbers, in its active and its passive mode (admin-guide/pm/intel_pstate.rst;
# intel_pstate.c, store_energy_performance_preference); amd-pstate of kernel 6.12 takes names only.
_RAW_EPPS = range(256)
_INTEL_PASSIVE = "intel_cpufreq"
_RAW_EPP_DRIVERS = ("intel_pstate", _INTEL_PASSIVE)


@dataclass(frozen=True)
class Wish:
    """A setting for a CPU set; `name` is what it is called in messages."""

    name: str
    cpus: int
    setting: Setting


@dataclass(frozen=True)
class Change:
    """What one policy shall have (None: as it is). `outside` are its CPUs for which nobody wished that.

    `asked` is what wishes name of it; the rest of `wanted` is what the policy had before.
    """

    policy: CpufreqPolicy
    wanted: Setting
    outside: int = 0
    asked: Setting = field(default_factory=Setting)

    @property
    def unlisted(self) -> t.Optional[str]:
        """A governor of before that the policy does not list now. It may be one whose module is not loaded."""
        governor = self.wanted.governor
        return None if governor == self.asked.governor or governor in self.policy.governors else governor


def holds_epp(policy: CpufreqPolicy, governor: t.Optional[str]) -> bool:
    """Whether `governor` brings the preference performance and keeps it.

    In the active modes the governor performance does; in the passive mode of intel_pstate a preference is apart from governors
    (intel_pstate.c, store_energy_performance_preference).
    """
    return governor == PERFORMANCE and policy.driver != _INTEL_PASSIVE


def wishes_of(busy: t.Sequence[t.Mapping[str, t.Any]], free: t.Optional[t.Mapping[str, t.Any]], online: int, present: int) -> t.List[Wish]:
    """The wishes of the sets in `busy` (each with `cpus`, a cpulist) and of `free`, which is for all other online CPUs.

    Raises SettingError for an empty set, for CPUs that are offline, not there, or in two sets, and for a set without a wish.
    """
    wishes: t.List[Wish] = []
    taken = 0
    for number, entry in enumerate(busy):
        name = f"busy[{number}]"
        cpus = mask_of(named_cpus(name, entry["cpus"], online, present))
        if cpus & taken:
            raise SettingError(f"CPUs {format_cpulist(cpus & taken)} of {name} are in an earlier set too; name each CPU in one set.")
        taken |= cpus
        wishes.append(Wish(name, cpus, _setting(name, entry)))
    if free is not None and online & ~taken:
        wishes.append(Wish(FREE, online & ~taken, _setting(FREE, free)))
    return wishes


def _setting(name: str, entry: t.Mapping[str, t.Any]) -> Setting:
    setting = Setting(entry.get("governor"), entry.get("epp"), entry.get("min_khz"), entry.get("max_khz"))
    if setting == Setting():
        raise SettingError(f"{name} wishes for nothing; give it governor, epp, min_khz or max_khz.")
    return setting


def changes_for(policies: t.Sequence[CpufreqPolicy], wishes: t.Sequence[Wish]) -> t.List[Change]:
    """One change per policy that a wish touches, in the order of `policies`, whether it differs already or not.

    Raises SettingError for CPUs without a policy, unless they are only among the free ones.
    """
    changes = []
    for policy in policies:
        touching = [wish for wish in wishes if wish.cpus & policy.cpus]
        if touching:
            wanted = fastest([wish.setting for wish in touching])
            agreed = [wish.cpus for wish in touching if wish.setting == wanted]
            changes.append(Change(policy, wanted, policy.cpus & ~union(agreed), asked=wanted))
    without = union(wish.cpus for wish in wishes if wish.name != FREE) & ~union(policy.cpus for policy in policies)
    if without:
        raise SettingError(f"CPUs {format_cpulist(without)} have no frequency scaling on this host; leave them out of the sets.")
    return changes


def with_earlier(change: Change, earlier: Setting) -> Change:
    """`change` with what its policy had before, `earlier`, for the values that no wish names; a minimum above the maximum cannot be."""
    asked = change.asked
    if asked.max_khz is not None and earlier.min_khz is not None and earlier.min_khz > asked.max_khz:
        earlier = replace(earlier, min_khz=None)
    earlier = only_offered(change.policy, replace(earlier, governor=asked.governor or earlier.governor))
    return replace(change, wanted=replace(earlier, **{name: value for name, value in asdict(asked).items() if value is not None}))


def without_earlier_governor(change: Change) -> Change:
    """What remains of `change` where the kernel refuses its earlier governor."""
    return with_earlier(change, replace(change.wanted, governor=None))


def check(tree: Tree, change: Change) -> None:
    """Raises SettingError where the driver does not offer what is wanted."""
    policy, wanted = change.policy, change.wanted
    where = f"CPUs {format_cpulist(policy.cpus)} ({policy.driver})"
    if change.asked.governor is not None and change.asked.governor not in policy.governors:
        raise SettingError(f"{where} do not offer the governor {change.asked.governor!r}; they offer {_listed(policy.governors)}.")
    if change.asked.epp is not None:
        _check_epp(policy, change.asked.epp, wanted.governor or policy.setting.governor, where)
    if wanted.min_khz is not None or wanted.max_khz is not None:
        _check_range(tree, change, where)


def _check_epp(policy: CpufreqPolicy, epp: str, governor: t.Optional[str], where: str) -> None:
    if policy.epps is None:
        raise SettingError(
            f"{where} have no energy preference, which amd-pstate has in its active mode and intel_pstate with HWP; leave epp out."
        )
    offered = _offered_epps(policy, governor)
    if is_raw(epp) and policy.driver not in _RAW_EPP_DRIVERS:
        raise SettingError(f"{where} take names as energy preference, not {epp!r}; they offer {_listed(offered)}.")
    if is_raw(epp) and int(epp) not in _RAW_EPPS:
        raise SettingError(f"{where} take energy preferences from 0 to {_RAW_EPPS[-1]}, not {epp!r}; choose a number in between.")
    if epp not in offered and not is_raw(epp):
        raise SettingError(f"{where} do not offer the energy preference {epp!r}; they offer {_listed(offered)}.")
    if holds_epp(policy, governor) and epp != PERFORMANCE:
        raise SettingError(
            f"{where} keep the preference performance under the governor performance; leave epp {epp!r} out, or set another governor."
        )


def _offered_epps(policy: CpufreqPolicy, governor: t.Optional[str]) -> t.Tuple[str, ...]:
    return epps_under(governor, policy.epps or (), policy.setting.governor)


def _check_range(tree: Tree, change: Change, where: str) -> None:
    """Earlier values are not measured by the hardware's limits, which a switch such as boost may have changed since."""
    policy, wanted = change.policy, change.wanted
    low, high = read_hardware_range(tree, policy.folder)
    for name, value in (("min_khz", change.asked.min_khz), ("max_khz", change.asked.max_khz)):
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            raise SettingError(f"{where} run at {low} to {high} kHz, so {name} {value} is impossible; choose a frequency in between.")
    highest = policy.setting.max_khz if wanted.max_khz is None else wanted.max_khz
    if wanted.min_khz is not None and highest is not None and wanted.min_khz > highest:
        raise SettingError(f"min_khz {wanted.min_khz} is above max_khz {highest} for {where}; lower min_khz or raise max_khz.")


def _listed(names: t.Sequence[str]) -> str:
    return ", ".join(names) or "none"


def only_offered(policy: CpufreqPolicy, kept: Setting) -> Setting:
    """What of earlier values is worth a try under the driver of today; a preference goes with its governor.

    Any governor is, since the kernel loads the module of one that is not there yet when it is written (cpufreq.c,
    cpufreq_parse_governor). A driver that showed a number as preference takes that number.
    """
    governor = kept.governor or policy.setting.governor
    offered = policy.epps is not None and (kept.epp in _offered_epps(policy, governor) or is_raw(kept.epp))
    held = holds_epp(policy, governor) and kept.epp != PERFORMANCE
    return replace(kept, epp=kept.epp if offered and not held else None)
