# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's judge and the engine's own vector, each written from the definition, agree on everything."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine import score as engine
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import mask_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from hypothesis import given
from hypothesis import strategies as st
from placebench import contest, machines, metric
from placebench.machines import Machine
from placebench.metric import Bound, Held

ENGINE_NAMES = {"unplaced_vcpus": "unplaced_vcpus", **{name: name for name in metric.PARTS}}


@st.composite
def machines_with_guests(draw: st.DrawFn) -> t.Tuple[Machine, t.List[Held], int]:
    """Machines of uneven parts, with guests that may share CPUs, cores and domains in any way, and memory anywhere."""
    packages, numa, l3, cores = (draw(st.integers(1, most)) for most in (2, 3, 2, 3))
    machine = machines.regular("host", packages, numa, l3, cores, draw(st.sampled_from((1, 2, 4))))
    offline = draw(st.sets(st.sampled_from(sorted(machine.cpus)), max_size=len(machine.cpus) // 3))
    kept = sorted(machine.cpus - offline)
    parts = [{cpu: getattr(machine, level)[cpu] for cpu in kept} for level in ("core", "l3", "numa", "package")]
    nodes = sorted(set(parts[2].values()))
    with_memory = draw(st.booleans())
    memory = {node: draw(st.integers(1, 8)) for node in nodes} if with_memory else {}
    machine = Machine("host", parts[0], parts[1], parts[2], parts[3], memory)
    held = [
        Held(draw(st.frozensets(st.sampled_from(kept), min_size=1, max_size=6)), draw(memory_on(nodes)) if with_memory else ())
        for _turn in range(draw(st.integers(0, 5)))
    ]
    return machine, held, draw(st.integers(0, 9))


@st.composite
def memory_on(draw: st.DrawFn, nodes: t.Sequence[int]) -> t.Tuple[Bound, ...]:
    return tuple(Bound(frozenset({node}), draw(st.integers(1, 4))) for node in draw(st.sets(st.sampled_from(nodes))))


def claim(guest: Held) -> engine.Claim:
    nodes = mask_of(node for bound in guest.memory for node in bound.numa_nodes)
    return engine.Claim(mask_of(guest.cpus), len(guest.cpus), nodes, sum(bound.mib for bound in guest.memory))


@given(machines_with_guests())
def test_vector_and_cost_equal_the_engines(case: t.Tuple[Machine, t.List[Held], int]) -> None:
    machine, held, unplaced = case
    ours = metric.vector(machine, held, unplaced)
    theirs = engine.score(Host.from_facts(machine.facts()), [claim(guest) for guest in held], unplaced)
    assert ours == {name: theirs.as_dict()[ENGINE_NAMES[name]] for name in metric.PARTS}
    assert metric.cost(ours) == engine.cost(theirs)


def test_vector_by_hand() -> None:
    """Two NUMA nodes of two L3 domains of two cores: 0-7, siblings 8-15."""
    machine = machines.regular("host", 2, 1, 2, 2).with_memory({0: 100, 1: 100})
    across = Held(frozenset({0, 2, 4}), (Bound(frozenset({0}), 10), Bound(frozenset({1}), 10)))
    beside = Held(frozenset({8, 1, 9}), (Bound(frozenset({1}), 10),))
    parts = metric.vector(machine, [across, beside], 2)
    assert parts == {
        "unplaced_vcpus": 2,
        "numa": 1 + 1,  # three CPUs over both where one holds them; memory away from the CPUs
        "package": 1,
        "l3": 3 - 1,  # three L3 domains for three CPUs where one has four
        "shared_core": 1,  # 0 and 8
        "orphan": 2,  # 10 and 12
        "open_l3": 2,  # the first is full, two are begun, the last is empty
    }
    assert metric.cost(parts) == 200000 + 2000 + 300 + 200 + 5 + 20 + 2


@pytest.mark.parametrize(
    ("held", "what"),
    [
        ([Held(frozenset({0})), Held(frozenset({0}))], "CPUs"),
        ([Held(frozenset({99}))], "CPUs"),
        ([Held(frozenset({0}), (Bound(frozenset({0}), 60),)), Held(frozenset({1}), (Bound(frozenset({0}), 60),))], "NUMA nodes"),
        ([Held(frozenset({0}), (Bound(frozenset({0, 1}), 210),))], "NUMA nodes"),
    ],
)
def test_what_may_not_be_is_refused(held: t.List[Held], what: str) -> None:
    machine = machines.regular("host", 1, 2, 1, 2).with_memory({0: 100, 1: 100})
    with pytest.raises(contest.Illegal, match=what):
        contest.judge(machine, held)
