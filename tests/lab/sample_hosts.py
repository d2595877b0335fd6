# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and guests as plain facts, without a tree: what tests of the engine plan for.

`epyc_9354` is the host of the golden results; `hosts` and `snapshots` are hypothesis strategies for anything that
Linux may report: split or adjacent siblings, uneven cores, NUMA nodes without CPUs or memory, gaps in the numbering.
"""

from __future__ import annotations

import os
import typing as t

from hypothesis import settings
from hypothesis import strategies as st

Facts = t.Dict[str, t.Any]


def examples(daily: int, long: int) -> settings:
    """How many cases a property is tried on: `long` in the long run, few where the tests run once more per Python."""
    if os.environ.get("COREPIN_LONG") == "1":
        return settings(max_examples=long)
    return settings(max_examples=10 if "ansible_forked" in os.environ.get("PYTEST_PLUGINS", "") else daily)


def cpulist(cpus: t.Iterable[int]) -> str:
    return ",".join(str(cpu) for cpu in cpus)


def epyc_9354(node: str = "pve1", memory_mib: int = 128000) -> Facts:
    """64 CPUs in 4 NUMA nodes of 8 cores; the sibling of CPU c is c + 32; two L3 domains per NUMA node."""
    return {
        "node": node,
        "fingerprint": "f" * 64,
        "gathered_at": "2026-01-01T00:00:00Z",
        "cpus": {"possible": "0-63", "present": "0-63", "online": "0-63", "isolated": "", "nohz_full": ""},
        "packages": [{"id": 0, "cpus": "0-63"}],
        "cores": [f"{core},{core + 32}" for core in range(32)],
        "l3_domains": [{"id": n, "cpus": f"{4 * n}-{4 * n + 3},{4 * n + 32}-{4 * n + 35}"} for n in range(8)],
        "numa_nodes": [
            {
                "id": n,
                "cpus": f"{8 * n}-{8 * n + 7},{8 * n + 32}-{8 * n + 39}",
                "memory_mib": memory_mib,
                "distances": {str(other): 10 if other == n else 12 for other in range(4)},
            }
            for n in range(4)
        ],
    }


def eight_cores(node: str = "pve1") -> Facts:
    """16 CPUs in one NUMA node; the sibling of CPU c is c + 8; nothing but what planning needs."""
    return {
        "node": node,
        "cpus": {"online": "0-15"},
        "cores": [f"{core},{core + 8}" for core in range(8)],
        "packages": [{"id": 0, "cpus": "0-15"}],
        "l3_domains": [{"id": 0, "cpus": "0-15"}],
        "numa_nodes": [{"id": 0, "cpus": "0-15", "memory_mib": 64000}],
    }


def guest(vmid: int, vcpus: int, memory_mib: int = 1024, node: str = "pve1", **more: t.Any) -> Facts:
    return {"vmid": vmid, "node": node, "vcpus": vcpus, "memory_mib": memory_mib, **more}


def snapshot(hosts: t.Sequence[Facts], guests: t.Sequence[Facts], **more: t.Any) -> Facts:
    return {"schema": 1, "hosts": {facts["node"]: facts for facts in hosts}, "guests": list(guests), "cluster": {}, **more}


@st.composite
def hosts(draw: t.Callable[..., t.Any], node: str = "pve1", max_numa_nodes: int = 5) -> Facts:
    """A random host. CPU numbers are shuffled over the cores and have gaps; some CPUs are offline."""
    core_sizes: t.List[t.List[t.List[int]]] = draw(
        st.lists(
            st.lists(st.lists(st.sampled_from([1, 1, 2, 2, 2, 4]), min_size=1, max_size=6), min_size=0, max_size=3),
            min_size=1,
            max_size=max_numa_nodes,
        ).filter(any)
    )
    needed = sum(size for domains in core_sizes for cores in domains for size in cores)
    numbers = draw(st.permutations(range(needed + 9)))[:needed]
    offline = set(draw(st.sets(st.sampled_from(numbers), max_size=needed // 4)))
    return _host(draw, node, core_sizes, list(numbers), offline)


def _host(draw: t.Callable[..., t.Any], node: str, core_sizes: t.Any, numbers: t.List[int], offline: t.Set[int]) -> Facts:
    cores, l3_domains, numa_nodes, packages = [], [], [], {}
    per_package = draw(st.integers(1, 2))
    for n, domains in enumerate(core_sizes):
        of_node: t.List[int] = []
        for sizes in domains:
            of_domain: t.List[int] = []
            for size in sizes:
                threads = sorted(set(numbers[:size]) - offline)
                del numbers[:size]
                if threads:
                    cores.append(threads)
                    of_domain += threads
            if of_domain:
                l3_domains.append({"id": len(l3_domains), "cpus": cpulist(sorted(of_domain))})
            of_node += of_domain
        packages.setdefault(n // per_package, []).extend(of_node)
        memory = draw(st.one_of(st.just(0), st.integers(64, 4096)))
        numa_nodes.append({"id": 2 * n, "cpus": cpulist(sorted(of_node)), "memory_mib": memory, "distances": {}})
    online = sorted(cpu for core in cores for cpu in core)
    if not online:
        online = [0]
        cores, numa_nodes[0]["cpus"] = [[0]], "0"
        packages = {0: [0]}
    return {
        "node": node,
        "cpus": {"present": cpulist(sorted(set(online) | offline)), "online": cpulist(online)},
        "packages": [{"id": n, "cpus": cpulist(sorted(cpus))} for n, cpus in packages.items() if cpus],
        "cores": [cpulist(core) for core in sorted(cores)],
        "l3_domains": l3_domains if draw(st.booleans()) else [],
        "numa_nodes": numa_nodes,
    }


@st.composite
def snapshots(draw: t.Callable[..., t.Any]) -> t.Tuple[Facts, Facts]:
    """A random snapshot of one or two hosts, and a policy for it."""
    names = ["pve1", "pve2"][: draw(st.integers(1, 2))]
    facts = [draw(hosts(node=name)) for name in names]
    guests = [
        guest(100 + n, draw(st.integers(1, 12)), draw(st.integers(16, 2048)), node=draw(st.sampled_from(names)), **_held(draw))
        for n in range(draw(st.integers(0, 8)))
    ]
    rules = [
        {
            "match": {"vmids": draw(st.lists(st.integers(100, 107), max_size=4))},
            "class": draw(st.sampled_from(["dedicated", "isolated", "local", "shared", "unmanaged"])),
            "siblings": draw(st.sampled_from(["pack", "spread", "require"])),
            "numa": draw(st.sampled_from(["single", "compact", "spread", "any"])),
            "memory": draw(st.sampled_from(["bind", "preferred", "interleave", "none"])),
        }
        for _n in range(draw(st.integers(0, 3)))
    ]
    policy = {
        "rules": [*rules, {"match": {}}],
        "reserved": {"default": {"cores_per_numa_node": draw(st.integers(0, 1)), "memory_mib": draw(st.integers(0, 256))}},
    }
    return snapshot(facts, guests), policy


def _held(draw: t.Callable[..., t.Any]) -> Facts:
    """Sometimes an affinity that somebody set by hand, sometimes keys that keep a guest from starting."""
    affinity = draw(st.one_of(st.none(), st.none(), st.sampled_from(["0", "0-3", "2-4", "1,3,5", "0, 1", "0-0", "8-11", "900"])))
    status = draw(st.sampled_from(["running", "stopped"]))
    held = {"status": status} if affinity is None else {"status": status, "affinity": affinity}
    config, pending = draw(st.one_of(st.just(({}, {})), st.tuples(_ODD_KEYS, _ODD_KEYS)))
    if config or pending:
        held["config"] = {**config, **({} if affinity is None else {"affinity": affinity}), "name": "odd"}
        held["pending"] = pending
    return held


_ODD_CELLS = st.sampled_from(
    ["cpus=0,memory=16", "cpus=0", "cpus=0,hostnodes=0,memory=64,policy=bind", "cpus=0,hostnodes=9,memory=64", "1"]
)
_ODD_KEYS = st.fixed_dictionaries(
    {},
    optional={
        "numa": st.sampled_from(["0", "1"]),
        "numa0": _ODD_CELLS,
        "numa3": _ODD_CELLS,
        "hotplug": st.sampled_from(["1", "disk", "memory", "network,memory"]),
        "hugepages": st.sampled_from(["any", "2", "1024"]),
        "vcpus": st.sampled_from(["1", "99"]),
        "cpu": st.sampled_from(["host", "x86-64-v2-AES"]),
        "kvm": st.sampled_from(["0", "1"]),
    },
)
