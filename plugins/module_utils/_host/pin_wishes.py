# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of guest_pinning is to do, by its options, the plan and what is remembered.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._engine.cpuset import format_cpulist, parse_cpulist
from .._engine.errors import GrammarError, PlanError, SettingError
from .._engine.guest import affinity_effect
from .._engine.guest_config import parse_guest_config
from .cpus import read_cpu_sets
from .files import Tree
from .pinning import HostPlan, Target, host_plan
from .pinning_kept import Kept
from .scope import read_scope
from .sysfs import read_fingerprint


@dataclass(frozen=True)
class Wishes:
    """What a run is to do. `targets`: by vmid, what placed guests shall have; `release`: the same for those whom earlier runs touched and
    nobody places any more; `reserved`: the CPUs that no guest gets; `isolated`: those that the kernel's scheduler keeps off;
    `services`: the CPUs for the host's own services, None for what they had."""

    node: str
    targets: t.Mapping[int, Target]
    release: t.Mapping[int, Target]
    reserved: int
    isolated: int
    services: t.Optional[int]
    memory_move: bool
    memory_timeout_s: float


def wishes_of(tree: Tree, options: t.Mapping[str, t.Any], plan: t.Optional[t.Mapping[str, t.Any]], kept: Kept) -> Wishes:
    """Raises PlanError where the plan is not for this host as it is, SettingError where housekeeping lacks reserved CPUs."""
    node = options["node"]
    touched = {int(vmid) for vmid in [*kept.guests, *kept.containers]}
    host = read_cpu_sets(tree)
    everything, isolated = read_scope(tree, "qemu.slice").effective or host.online, host.isolated or 0
    if options["state"] == "absent":
        known = plan["pools"][node]["reserved"] if plan and node in plan.get("pools", {}) else kept.reserved
        reserved = parse_cpulist(known)  # with all guests released nobody is dedicated, so that all else is open
        open_cpus = _balanced(everything & ~reserved or everything, isolated)
        return Wishes(node, {}, {vmid: Target(vmid, None, open_cpus) for vmid in touched}, reserved, isolated, None, False, 0.0)
    if plan is None:
        raise PlanError("There is no plan; hand over the document that plan wrote.")
    here = host_plan(plan, node)
    _check_fingerprint(tree, here)
    if options["housekeeping"] and not here.reserved:
        raise SettingError(f"housekeeping keeps services on reserved CPUs, but host {node} has none; reserve some with corepin_reserved.")
    return Wishes(
        node=node,
        targets=here.targets,
        release={vmid: _released(tree, here, vmid, everything, isolated) for vmid in touched - set(here.targets) - set(here.left_alone)},
        reserved=here.reserved,
        isolated=isolated,
        services=here.reserved if options["housekeeping"] else None,
        memory_move=bool(options["memory_move"]),
        memory_timeout_s=float(options["memory_timeout"]),
    )


def _released(tree: Tree, here: HostPlan, vmid: int, everything: int, isolated: int) -> Target:
    """What a guest gets that nobody places any more, while others are dedicated still: as it was started, or what is open to all."""
    own = _started_on(tree, here.node, vmid) & everything
    if own:
        return Target(vmid, None, own)
    if here.shared & everything:
        return Target(vmid, None, _balanced(here.shared & everything, isolated))
    reserved = here.reserved & everything
    warning = (
        f"Guest {vmid} is not placed any more, and no CPU of host {here.node} is open to shared guests, so it gets "
        f"{f'the reserved CPUs {format_cpulist(reserved)}' if reserved else 'all CPUs'}; leave some to shared guests, and plan again."
    )
    return Target(vmid, None, reserved or everything, warning=warning)


def _balanced(cpus: int, isolated: int) -> int:
    """Without isolated CPUs, where the kernel moves no thread from CPU to CPU, unless there are no others."""
    return cpus & ~isolated or cpus


def _started_on(tree: Tree, node: str, vmid: int) -> int:
    """The CPUs to which PVE held a VM at its start: those of its config without what is pending. 0 where that names none that are valid."""
    config = tree.text(f"etc/pve/nodes/{node}/qemu-server/{vmid}.conf") or ""
    try:
        return affinity_effect(parse_guest_config(config.encode()).config.get("affinity")) or 0
    except GrammarError:
        return 0


def _check_fingerprint(tree: Tree, here: HostPlan) -> None:
    if here.fingerprint and here.fingerprint != read_fingerprint(tree):
        raise PlanError(f"The CPUs of host {here.node} are laid out otherwise than the plan knows them; plan again (nothing was changed).")
