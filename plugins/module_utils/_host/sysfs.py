# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass over sysfs and procfs: a host as `corepin_host` facts.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import datetime
import typing as t

from .._engine.cpuset import format_cpulist, format_known
from .._engine.topology import fingerprint
from .caches import Cache, data_caches, read_caches
from .cluster_networks import read_cluster_networks
from .cpufreq import read_cpufreq
from .cpus import CpuSets, read_cpu_sets
from .domains import Facts, Group
from .files import Tree
from .kernel import read_kernel, read_node_name, read_processor, read_state
from .levels import read_clusters, read_core_types, read_cores, read_dies, read_packages
from .nics import read_nics
from .numa import NumaNode, read_numa_nodes
from .pci import read_pci_devices
from .services import read_services

SCHEMA = 1


def read_host(root: str = "/", node: t.Optional[str] = None, now: t.Optional[datetime.datetime] = None) -> Facts:
    """The facts of the host whose sys/ and proc/ lie below `root`, in the shape of the `corepin_host` contract.

    `node` replaces the kernel's node name; `now` is the time of gathering (default: the clock's). A missing or
    unreadable file means null. Raises FactsError where a file that decides placement holds garbage.
    """
    tree = Tree(root)
    cpus = read_cpu_sets(tree)
    facts: Facts = {
        "schema": SCHEMA,
        "node": node or read_node_name(tree),
        "gathered_at": (now or datetime.datetime.now(datetime.timezone.utc)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    facts.update(read_processor(tree))
    facts.update(_layout(tree, cpus))
    facts["cpufreq"] = read_cpufreq(tree, cpus.online)
    facts["pci_devices"] = read_pci_devices(tree)
    facts["nics"] = read_nics(tree)
    facts["cluster_networks"] = read_cluster_networks(tree)
    facts.update(read_state(tree))
    facts.update(read_services(tree))
    return facts


def read_fingerprint(tree: Tree) -> str:
    """The `fingerprint` of read_host, out of the files that it covers alone. Raises FactsError."""
    return str(_layout(tree, read_cpu_sets(tree))["fingerprint"])


def _layout(tree: Tree, cpus: CpuSets) -> Facts:
    """What a host's fingerprint covers, and the fingerprint."""
    cores = read_cores(tree, cpus.online)
    caches = read_caches(tree, cores)
    facts = {**_topology(tree, cpus, cores, caches), "kernel": read_kernel(tree)}
    facts["fingerprint"] = fingerprint(facts, [(c.level, c.kind, c.id or 0, format_cpulist(c.cpus)) for c in caches])
    return facts


def _topology(tree: Tree, cpus: CpuSets, cores: t.Sequence[int], caches: t.Sequence[Cache]) -> Facts:
    online = cpus.online
    numa_nodes = read_numa_nodes(tree, online)
    core_types = read_core_types(tree, online)
    return {
        "cpus": {name: format_known(getattr(cpus, name)) for name in ("possible", "present", "online", "isolated", "nohz_full")},
        "packages": [package.as_facts() for package in read_packages(tree, online)],
        "dies": _groups(read_dies(tree, cores, online)),
        "clusters": _groups(read_clusters(tree, cores, online)),
        "l2_domains": _groups(_l2_domains(caches, cores)),
        "numa_nodes": [numa_node.as_facts() for numa_node in numa_nodes],
        "l3_domains": [_l3_domain(cache, numa_nodes) for cache in data_caches(caches, 3)],
        "cores": [format_cpulist(core) for core in cores],
        "core_types": None if core_types is None else {kind: format_cpulist(mask) for kind, mask in core_types.items()},
    }


def _groups(groups: t.Optional[t.Sequence[Group]]) -> t.Optional[t.List[Facts]]:
    return None if groups is None else [group.as_facts() for group in groups]


def _l2_domains(caches: t.Sequence[Cache], cores: t.Sequence[int]) -> t.Optional[t.List[Cache]]:
    """The L2 caches, None where there are none or each belongs to just one core."""
    l2_domains = data_caches(caches, 2)
    return None if {cache.cpus for cache in l2_domains} <= set(cores) else l2_domains


def _l3_domain(cache: Cache, numa_nodes: t.Sequence[NumaNode]) -> Facts:
    """`numa_node` is the one NUMA node that holds all CPUs of the L3 domain, else null."""
    homes = [numa_node.id for numa_node in numa_nodes if numa_node.cpus & cache.cpus == cache.cpus]
    facts = cache.as_facts()
    facts["size_kib"] = cache.size_kib
    facts["numa_node"] = homes[0] if len(homes) == 1 else None
    return facts
