# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random machines: what the generator was told is what the reader says, whatever the kernel leaves out."""

from __future__ import annotations

import tempfile
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from hypothesis import given
from hypothesis import strategies as st
from sysfs_trees import Core, Model, NumaNode, Oddities, write_tree

MAX_CORES = 6


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Cores with any CPU numbers, in packages, L3 domains and NUMA nodes that need not nest; some CPUs offline."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=MAX_CORES))
    numbers = draw(st.lists(st.integers(0, 299), min_size=sum(sizes), max_size=sum(sizes), unique=True))
    numa_ids = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True))
    has_l3 = draw(st.booleans())
    cores = []
    for size in sizes:
        cpus, numbers = numbers[:size], numbers[size:]
        cores.append(
            Core(
                cpus=tuple(cpus),
                package=draw(st.integers(0, 2)),
                numa_node=draw(st.sampled_from(numa_ids)),
                l3=draw(st.integers(0, 3)) if has_l3 else None,
                l2=draw(st.sampled_from([None, "a", "b"])),
                cluster=draw(st.sampled_from([None, "a", "b"])),
            )
        )
    numa_nodes = tuple(NumaNode(number, draw(st.integers(0, 9000)), 0) for number in sorted(numa_ids))
    every_cpu = sorted(cpu for core in cores for cpu in core.cpus)
    offline = draw(st.lists(st.sampled_from(every_cpu), unique=True, max_size=len(every_cpu) - 1))
    lists, masks = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    oddities = Oddities(
        lists=lists,
        masks=masks,
        package_names=draw(st.booleans()),
        online_files=draw(st.booleans()),
        cache=draw(st.booleans()),
        cache_ids=draw(st.booleans()),
        same_l3_id=draw(st.sampled_from([None, 0])),
        numa=draw(st.booleans()),
        nul_bytes=draw(st.booleans()),
        distances=draw(st.booleans()),
    )
    return Model("random", "a random machine", tuple(cores), numa_nodes, offline=tuple(offline), oddities=oddities)


def cpulist_of(text: str) -> t.Tuple[int, ...]:
    """Read a cpulist, anew: the reader is not tested against itself."""
    ranges = [part.split("-") for part in text.split(",") if part]
    return tuple(cpu for bounds in ranges for cpu in range(int(bounds[0]), int(bounds[-1]) + 1))


def sets(domains: t.Optional[t.Iterable[t.Mapping[str, t.Any]]]) -> t.Set[t.Tuple[int, ...]]:
    return {cpulist_of(domain["cpus"]) for domain in domains or []}


def groups(model: Model, key: t.Callable[[Core], t.Any]) -> t.Set[t.Tuple[int, ...]]:
    """The online CPUs of the cores with the same key; cores whose key is None stand alone."""
    found: t.Dict[t.Any, t.List[Core]] = {}
    for core in model.cores:
        name = key(core)
        found.setdefault(core.cpus if name is None else name, []).append(core)
    return {model.online_of(cores) for cores in found.values()} - {()}


@given(models())
def test_a_random_machine_is_read_as_it_was_made(model: Model) -> None:
    with tempfile.TemporaryDirectory() as folder:
        facts = read_host(str(write_tree(model, folder)))

    cores = groups(model, lambda core: None)
    assert cpulist_of(facts["cpus"]["online"]) == model.online
    assert [cpulist_of(core) for core in facts["cores"]] == sorted(cores)
    assert sets(facts["packages"]) == groups(model, lambda core: core.package)

    clusters = groups(model, lambda core: core.cluster) if model.oddities.package_names else set()
    assert sets(facts["clusters"]) == (set() if clusters <= cores else clusters)

    l2_domains = groups(model, lambda core: core.l2) if model.oddities.cache else set()
    assert sets(facts["l2_domains"]) == (set() if l2_domains <= cores else l2_domains)

    with_l3 = model.oddities.cache and model.cores[0].l3 is not None
    assert sets(facts["l3_domains"]) == (groups(model, lambda core: core.l3) if with_l3 else set())
    assert len({domain["id"] for domain in facts["l3_domains"]}) == len(facts["l3_domains"])

    expected_numa = [(numa_node.id, model.cpus_of_numa_node(numa_node), numa_node.memory_mib) for numa_node in model.numa_nodes]
    if not model.oddities.numa:
        expected_numa = [(0, model.online, sum(numa_node.memory_mib for numa_node in model.numa_nodes))]
    assert [(n["id"], cpulist_of(n["cpus"]), n["memory_mib"]) for n in facts["numa_nodes"]] == expected_numa
