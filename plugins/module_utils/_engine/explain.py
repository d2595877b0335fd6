# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One plain sentence for each choice.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .allocator import Choice
from .cpuset import count, format_cpulist, mask_of
from .topology import Host


def chosen(host: Host, choice: Choice) -> str:
    """Why a new placement lies where it does."""
    where = _where(host, choice.mask)
    memory = set(choice.memory) - {numa_node.id for numa_node in host.numa_nodes_of(choice.mask)}
    if memory:
        return f"{where}; memory also on NUMA node {_ids(sorted(memory))}, because none with enough CPUs has enough of it."
    if len(choice.shares) > 1:
        return f"{where}, the fewest NUMA nodes that hold its CPUs and memory."
    return f"{where}, the tightest place that holds it whole."


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
