# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan document, the ledger, cells and the quality vector."""

from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cells import cells_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import count, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.demand import Share
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlacementError, PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.ledger import Holding, Ledger, bound_evenly
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.numa_memory import proportional
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import canonical, check_plan, plan_id, sealed
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Reservation
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.score import ISOLATING, Claim, Vector, cost, rank, score
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host, fingerprint
from hypothesis import given
from hypothesis import strategies as st
from sample_hosts import epyc_9354

EPYC = Host.from_facts(epyc_9354())
CHANGE = {"vmid": 1, "node": "a", "digest": None, "before": {"numa": None}, "after": {"numa": "1"}, "effect": "now", "reason": ""}
PLAN = {
    "schema": 1,
    "hosts": {},
    "placements": [],
    "changes": [CHANGE],
    "refused": [],
    "moves": [],
    "warnings": [],
    "summary": {},
    "score": {},
    "cluster": None,
    "created_at": None,
}


def test_a_plan_is_known_by_the_hash_of_its_canonical_content():
    assert canonical({"b": 1, "a": [None, "ä"]}) == '{"a":[null,"\\u00e4"],"b":1}'
    assert plan_id({"b": 1, "plan_id": "x"}) == plan_id({"b": 1})
    assert check_plan(sealed(PLAN))["changes"] == [CHANGE]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "plan is empty"),
        ({}, "plan is empty"),
        ("text", "is str instead of a mapping"),
        ({**PLAN, "schema": 2}, "schema 2"),
        ({key: value for key, value in PLAN.items() if key != "changes"}, "lacks 'changes'"),
        ({**sealed(PLAN), "warnings": ["edited"]}, "was edited after it was made"),
        (sealed({**PLAN, "changes": [{**CHANGE, "after": {}}]}), "names different keys before and after"),
        (sealed({**PLAN, "changes": [{**CHANGE, "effect": "soon"}]}), "has the effect 'soon'"),
        (sealed({**PLAN, "changes": [{"vmid": 1}]}), "does not have the expected shape"),
    ],
)
def test_a_plan_that_was_not_made_so_is_refused(document, words):
    with pytest.raises(PlanError) as error:
        check_plan(document)
    assert words in str(error.value)


def test_a_cpu_is_free_again_when_the_last_holder_lets_go():
    ledger = Ledger(EPYC, Reservation())
    ledger.hold(1, Holding(4, parse_cpulist("0-3")))
    ledger.hold(2, Holding(4, parse_cpulist("2-5")))
    assert count(ledger.used) == 6
    ledger.release(1)
    assert ledger.used == parse_cpulist("2-5")


def test_memory_that_floats_limits_what_can_be_bound():
    ledger = Ledger(EPYC, Reservation(memory_mib=1000, memory_mib_per_numa_node=8000))
    assert ledger.memory_free_mib() == dict.fromkeys(range(4), 120000)
    ledger.hold(1, Holding(4, 0, 0, {0: 20000}, 400000))
    assert ledger.memory_total_free_mib == 4 * 120000 - 1000 - 420000
    assert ledger.memory_free_mib() == {0: 59000, 1: 59000, 2: 59000, 3: 59000}


def test_memory_bound_to_several_numa_nodes_goes_where_there_is_some():
    assert bound_evenly(10, 0b101) == {0: 5, 2: 5}
    assert bound_evenly(11, 0b101) == {0: 6, 2: 5}
    assert bound_evenly(10, 0b101, {0: 2, 2: 100}) == {0: 2, 2: 8}


@given(st.integers(0, 10000), st.dictionaries(st.integers(0, 9), st.integers(1, 64), min_size=1))
def test_parts_add_up(total, weights):
    parts = proportional(total, weights)
    assert sum(parts.values()) == total
    assert all(abs(parts[key] - total * weights[key] / sum(weights.values())) < 1 for key in weights)


def cells(*shares, host=EPYC, **options):
    return [(c.vcpus, c.memory_mib, c.hostnodes) for c in cells_of(host, [Share(*share) for share in shares], "bind", **options)]


def test_cells_number_the_vcpus_through():
    assert cells((0, tuple(range(16)), 32768), (1, tuple(range(8)), 16384)) == [(0xFFFF, 32768, 1), (0xFF0000, 16384, 2)]


def test_memory_without_cpus_gets_vcpus_of_the_nearest_share():
    assert cells((0, (0, 32, 1, 33), 6000), (1, (), 2000)) == [(0b0111, 6000, 1), (0b1000, 2000, 2)]


def test_one_vcpu_with_memory_on_two_numa_nodes_is_one_cell_on_both():
    assert cells((0, (0,), 600), (1, (), 400)) == [(1, 1000, 0b11)]
    with pytest.raises(PlacementError, match="Hugepages"):
        cells((0, (0,), 600), (1, (), 400), one_hostnode=True)


def test_a_guest_has_at_most_eight_cells():
    numa_nodes = [{"id": n, "cpus": str(n), "memory_mib": 1000} for n in range(12)]
    host = Host.from_facts(
        {"node": "a", "cpus": {"online": "0-11"}, "packages": [], "cores": [], "l3_domains": [], "numa_nodes": numa_nodes}
    )
    wide = cells(*((n, (n,), 100 + n) for n in range(12)), host=host)
    assert len(wide) == 8
    assert sum(memory for _vcpus, memory, _hostnodes in wide) == sum(100 + n for n in range(12))


def test_the_vector_counts_borders_cores_and_open_l3_domains():
    assert score(EPYC, []) == Vector()
    whole = Claim(parse_cpulist("0-3,32-35"), 8)
    assert score(EPYC, [whole]) == Vector()
    crossing = Claim(parse_cpulist("7,8"), 2)
    assert score(EPYC, [whole, crossing], unplaced_vcpus=5, moves=1) == Vector(5, 1, 0, 1, 0, 2, 2, 1)
    assert score(EPYC, [Claim(1, 1), Claim(1 << 32, 1)]) == Vector(shared_core=1, open_l3=1)
    assert score(EPYC, [Claim(1, 1, blocked=1 << 32)]).orphan == 0
    assert score(EPYC, [Claim(1, 1)], reserved=1 << 32) == Vector(open_l3=1)
    assert score(EPYC, [Claim(1 | 1 << 32, 2, memory=0b10, memory_mib=100)]).numa == 1


def test_vectors_are_compared_from_the_first_part_on():
    shared, idle = Vector(shared_core=1), Vector(orphan=1)
    assert rank(shared) < rank(idle)
    assert rank(idle, ISOLATING) < rank(shared, ISOLATING)
    assert rank(Vector(l3=1)) < rank(Vector(numa=1))
    assert cost(Vector(1, 1, 1, 1, 1, 1, 1, 9)) == 101416
    assert Vector(1, 2) + Vector(3, 4) == Vector(4, 6)


def test_the_fingerprint_is_of_the_layout_alone():
    facts = {**epyc_9354(), "kernel": {"cmdline_isolation": {}}}
    other_memory = {**facts, "numa_nodes": [{**n, "memory_mib": 1} for n in facts["numa_nodes"]]}
    isolated = {**facts, "kernel": {"cmdline_isolation": {"isolcpus": "2-3"}}}
    assert fingerprint(facts) == fingerprint(other_memory) != fingerprint(isolated)
    assert fingerprint(facts, [(3, "Unified", 0, "0-63")]) != fingerprint(facts)


def test_a_host_is_cut_into_zones_along_every_border():
    facts = {
        "node": "a",
        "cpus": {"online": "0-7"},
        "packages": [{"id": 0, "cpus": "0-7"}],
        "cores": [str(cpu) for cpu in range(8)],
        "l3_domains": [{"id": 0, "cpus": "0-7"}],
        "numa_nodes": [{"id": 0, "cpus": "0-3"}, {"id": 1, "cpus": "4-7"}, {"id": 5, "cpus": ""}],
    }
    zones = Host.from_facts(facts).zones
    assert [(zone.cpus, zone.numa_node, zone.l3, zone.package) for zone in zones] == [(0x0F, 0, 0, 0), (0xF0, 1, 0, 0)]
