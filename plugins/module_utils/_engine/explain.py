# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One plain sentence for each choice.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .cpuset import count, format_cpulist, mask_of
from .demand import Choice
from .guest import Guest
from .policy import Policy
from .repack import Move, Step
from .topology import Host


def chosen(host: Host, choice: Choice, why_not_before: t.Optional[str] = None, spread: bool = False) -> str:
    """Why a new placement lies where it does, and why the guest does not stay where it was. `spread`: over NUMA nodes, as asked."""
    where = _where(host, choice.mask)
    memory = set(choice.memory) - {numa_node.id for numa_node in host.numa_nodes_of(choice.mask)}
    if memory:
        reason = f"{where}; memory also on NUMA node {_ids(sorted(memory))}, because none with enough CPUs has enough of it."
    elif len(choice.shares) > 1 and spread:
        reason = f"{where}, spread over NUMA nodes as its rule asks."
    elif len(choice.shares) > 1:
        reason = f"{where}, the fewest NUMA nodes that hold its CPUs and memory."
    else:
        reason = f"{where}, the tightest place that holds it whole."
    return f"{why_not_before} {reason}" if why_not_before else reason


def moved(guest: Guest, host: Host, step: Step, move: Move) -> str:
    """What a re-placement is good for."""
    others = [str(other.vmid) for other in step.moves if other.vmid != move.vmid]
    together = f", together with guest {' and '.join(others)}" if others else ""
    label = guest.label[:1].upper() + guest.label[1:]
    return f"{label} to {_where(host, move.after_cpus)}{together}: {_gain(step)}."


def _gain(step: Step) -> str:
    parts = [
        (step.before.unplaced_vcpus - step.after.unplaced_vcpus, "unplaced vCPU"),
        (step.before.numa - step.after.numa, "NUMA node border crossed"),
        (step.before.package - step.after.package, "package border crossed"),
        (step.before.l3 - step.after.l3, "L3 domain border crossed"),
        (step.before.shared_core - step.after.shared_core, "shared core"),
        (step.before.orphan - step.after.orphan, "idle sibling"),
        (step.before.open_l3 - step.after.open_l3, "part-used L3 domain"),
    ]
    return " and ".join(f"{saved} {noun} less" for saved, noun in parts if saved > 0) or "a better fit"


def cost_of_move(guest: Guest, host: Host, before_cpus: int, after_cpus: int, policy: Policy) -> str:
    """What a re-placement costs the guest."""
    if not guest.running:
        return "nothing, it is stopped"
    if policy.mode == "config":
        return "a restart, the new CPUs act at its next start"
    left = [n.id for n in host.numa_nodes_of(before_cpus) if n not in host.numa_nodes_of(after_cpus)]
    if not left:
        return "a live re-pin, its memory is already there"
    if policy.memory_move:
        return f"a live re-pin, its memory follows from NUMA node {_ids(left)}"
    return f"a live re-pin, its memory stays on NUMA node {_ids(left)} until its next start"


def kept(host: Host, cpus: t.Sequence[int]) -> str:
    return f"Stays on {_where(host, mask_of(cpus))}."


def floats(host: Host, cpus: int) -> str:
    return f"Floats over CPUs {format_cpulist(cpus)} in {_domains(host, cpus)}."


def shares_pool(pool: int) -> str:
    return f"Floats over the shared CPUs {format_cpulist(pool)}."


def _where(host: Host, cpus: int) -> str:
    cores = [core for core in host.cores if core & cpus]
    whole = sum(1 for core in cores if core & cpus == core)
    number = count(cpus)
    kind = _plural(whole, "whole core")
    if whole < len(cores):
        kind = f"{kind} and parts of {len(cores) - whole}" if whole else f"parts of {_plural(len(cores), 'core')}"
    return f"{_plural(number, 'CPU')} ({kind}) in {_domains(host, cpus)}"


def _domains(host: Host, cpus: int) -> str:
    numa_nodes = [numa_node.id for numa_node in host.numa_nodes_of(cpus)]
    l3_domains = [domain.id for domain in host.l3_domains if domain.cpus & cpus]
    named = f"L3 domain{'' if len(l3_domains) == 1 else 's'} {_ids(l3_domains)} of " if l3_domains else ""
    return f"{named}NUMA node{'' if len(numa_nodes) == 1 else 's'} {_ids(numa_nodes)}"


def _ids(ids: t.Sequence[int]) -> str:
    return format_cpulist(mask_of(ids))


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
