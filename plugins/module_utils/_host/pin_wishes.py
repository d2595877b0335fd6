# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of guest_pinning is to do, by its options, the plan and what is remembered.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import parse_cpulist
from .._engine.errors import PlanError, SettingError
from .cpus import read_cpu_sets
from .files import Tree
from .pinning import HostPlan, Target, host_plan
from .pinning_kept import Kept
from .scope import read_scope
from .sysfs import read_fingerprint


@dataclass(frozen=True)
class Wishes:
    """What a run is to do. `targets`: by vmid, what placed guests shall have; `release`: whom earlier runs touched and nobody places
    any more; `open_cpus`: what these get; `reserved`: the CPUs that no guest gets; `services`: the CPUs for the host's own services,
    None for all."""

    node: str
    targets: t.Mapping[int, Target]
    release: t.FrozenSet[int]
    open_cpus: int
    reserved: int
    services: t.Optional[int]
    memory_move: bool
    memory_timeout_s: float


def wishes_of(tree: Tree, options: t.Mapping[str, t.Any], plan: t.Optional[t.Mapping[str, t.Any]], kept: Kept) -> Wishes:
    """Raises PlanError where the plan is not for this host as it is, SettingError where housekeeping lacks reserved CPUs."""
    node = options["node"]
    touched = frozenset(int(vmid) for vmid in [*kept.guests, *kept.containers])
    everything = read_scope(tree, "qemu.slice").effective or read_cpu_sets(tree).online
    if options["state"] == "absent":
        known = plan["pools"][node]["reserved"] if plan and node in plan.get("pools", {}) else kept.reserved
        reserved = parse_cpulist(known)  # with all guests released nobody is dedicated, so that all else is open
        return Wishes(node, {}, touched, everything & ~reserved or everything, reserved, None, False, 0.0)
    if plan is None:
        raise PlanError("There is no plan; hand over the document that plan wrote.")
    here = host_plan(plan, node)
    _check_fingerprint(tree, here)
    if options["housekeeping"] and not here.reserved:
        raise SettingError(f"housekeeping keeps services on reserved CPUs, but host {node} has none; reserve some with corepin_reserved.")
    return Wishes(
        node=node,
        targets=here.targets,
        release=frozenset(touched - set(here.targets) - set(here.left_alone)),
        open_cpus=here.shared & everything or everything,
        reserved=here.reserved,
        services=here.reserved if options["housekeeping"] else None,
        memory_move=bool(options["memory_move"]),
        memory_timeout_s=float(options["memory_timeout"]),
    )


def _check_fingerprint(tree: Tree, here: HostPlan) -> None:
    if here.fingerprint and here.fingerprint != read_fingerprint(tree):
        raise PlanError(f"The CPUs of host {here.node} are laid out otherwise than the plan knows them; plan again (nothing was changed).")
