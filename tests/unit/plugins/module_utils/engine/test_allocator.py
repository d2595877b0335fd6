# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.allocator import choose, take_cpus
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import (
    count,
    format_cpulist,
    mask_of,
    parse_cpulist,
)
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.demand import Demand, Latency, Room
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlacementError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from hypothesis import given
from hypothesis import strategies as st

EPYC = Host.from_facts(sample_hosts.epyc_9354())
HYBRID = Host.from_facts(
    {
        "node": "desk",
        "cpus": {"online": "0-31"},
        "packages": [{"id": 0, "cpus": "0-31"}],
        "cores": [f"{2 * n},{2 * n + 1}" for n in range(8)] + [str(cpu) for cpu in range(16, 32)],
        "l3_domains": [{"id": 0, "cpus": "0-31"}],
        "numa_nodes": [{"id": 0, "cpus": "0-31", "memory_mib": 64000}],
        "core_types": {"performance": "0-15", "efficiency": "16-31"},
    }
)


def without(cpulist: str, host: Host = EPYC) -> int:
    return host.online & ~parse_cpulist(cpulist)


def test_siblings_of_a_core_come_first():
    assert take_cpus(EPYC, None, Demand(4)) == [0, 32, 1, 33]


def test_reserved_cores_are_passed_over():
    assert take_cpus(EPYC, without("0,32"), Demand(4)) == [1, 33, 2, 34]


def test_a_whole_numa_node():
    assert format_cpulist(mask_of(take_cpus(EPYC, None, Demand(16)))) == "0-7,32-39"


def test_a_numa_node_without_enough_room_is_not_started():
    only_two_left = without("1-7,33-39")
    taken = take_cpus(EPYC, only_two_left, Demand(4))
    assert taken == [8, 40, 9, 41]


def test_the_tightest_numa_node_and_l3_domain_that_fit():
    part_used = without("0-1,32-33,8-9,40-41,12,44")
    assert take_cpus(EPYC, part_used, Demand(6)) == [13, 45, 14, 46, 15, 47]


def test_a_guest_wider_than_a_numa_node_takes_a_whole_one_and_one_l3_domain_of_the_next():
    room = Room(EPYC, EPYC.online, 0, dict.fromkeys(range(4), 128000))
    choice = choose(room, Demand(24, memory_mib=49152))
    assert [(share.numa_node, len(share.cpus), share.memory_mib) for share in choice.shares] == [(0, 16, 32768), (1, 8, 16384)]


def test_free_threads_are_counted_not_cores():
    halves_of_one_l3_and_cores_of_two = mask_of([32, 33, 34, 35, 4, 36, 8, 40])
    assert take_cpus(EPYC, halves_of_one_l3_and_cores_of_two, Demand(4)) == [32, 33, 34, 35]


def test_an_odd_guest_ends_on_what_is_left_of_another_core():
    assert take_cpus(EPYC, without("0"), Demand(3)) == [32, 1, 33]


def test_memory_and_cpus_are_decided_together():
    room = Room(EPYC, EPYC.online, 0, {0: 1000, 1: 1000, 2: 9000, 3: 1000})
    assert {share.numa_node for share in choose(room, Demand(4, memory_mib=8000)).shares} == {2}


def test_memory_may_lie_on_another_numa_node_than_the_cpus():
    room = Room(EPYC, EPYC.numa_nodes[0].cpus, 0, {0: 4000, 1: 8000, 2: 0, 3: 0})
    shares = choose(room, Demand(4, memory_mib=10000)).shares
    assert [(share.numa_node, len(share.cpus), share.memory_mib) for share in shares] == [(0, 4, 4000), (1, 0, 6000)]


def test_isolated_guests_get_one_thread_of_whole_cores():
    choice = choose(Room(EPYC, without("0")), Demand(4, isolated=True))
    assert choice.cpus == (4, 5, 6, 7)
    assert choice.blocked == mask_of([36, 37, 38, 39])


def test_spread_takes_one_thread_per_core_while_cores_last():
    assert take_cpus(EPYC, None, Demand(8, siblings="spread")) == [0, 1, 2, 3, 4, 5, 6, 7]
    sixteen = take_cpus(EPYC, EPYC.numa_nodes[1].cpus, Demand(16, siblings="spread"))
    assert mask_of(sixteen) == EPYC.numa_nodes[1].cpus


def test_spread_uses_every_core_before_a_second_thread():
    seven_cores = parse_cpulist("1-7,33-39")
    assert take_cpus(EPYC, seven_cores, Demand(8, siblings="spread")) == [1, 2, 3, 33, 4, 5, 6, 7]


def test_require_takes_whole_cores_or_nothing():
    assert take_cpus(EPYC, without("0"), Demand(4, siblings="require")) == [1, 33, 2, 34]
    with pytest.raises(PlacementError) as error:
        take_cpus(EPYC, None, Demand(3, siblings="require"))
    assert error.value.rule == "no_whole_cores"


def test_single_refuses_to_span_numa_nodes():
    assert len(take_cpus(EPYC, None, Demand(16, numa="single"))) == 16
    with pytest.raises(PlacementError, match="inside one NUMA node"):
        take_cpus(EPYC, None, Demand(17, numa="single"))


def test_spread_over_numa_nodes_is_even():
    choice = choose(Room(EPYC, EPYC.online), Demand(8, numa="spread"))
    assert [len(share.cpus) for share in choice.shares] == [2, 2, 2, 2]


def test_core_types_are_never_mixed_unless_asked():
    assert take_cpus(HYBRID, None, Demand(4, core_type="efficiency")) == [16, 17, 18, 19]
    assert mask_of(take_cpus(HYBRID, None, Demand(16, core_type="performance"))) == parse_cpulist("0-15")
    assert count(mask_of(take_cpus(HYBRID, None, Demand(16))) & HYBRID.performance) in (0, 16)
    with pytest.raises(PlacementError, match="of one core type"):
        take_cpus(HYBRID, None, Demand(20))
    assert len(take_cpus(HYBRID, None, Demand(20, core_type="mixed"))) == 20


def test_a_busy_thread_of_a_performance_core_is_never_given():
    assert 0 not in take_cpus(HYBRID, without("0", HYBRID), Demand(2, core_type="performance"))


def test_near_a_device():
    near = EPYC.numa_nodes[2].cpus
    assert take_cpus(EPYC, None, Demand(4, near=near)) == [16, 48, 17, 49]
    busy = EPYC.online & ~near
    assert len(take_cpus(EPYC, busy, Demand(4, near=near))) == 4
    with pytest.raises(PlacementError) as error:
        take_cpus(EPYC, busy, Demand(4, near=near, near_required=True))
    assert error.value.rule == "device"


def test_latency_refines_among_equals():
    ns = tuple(tuple(0.0 if a == b else 10.0 if (a // 4, b // 4) == (1, 1) else 50.0 for b in range(8)) for a in range(8))
    latency = Latency(tuple(range(8)), ns)
    assert set(take_cpus(EPYC, mask_of(range(8)), Demand(4, latency=latency))) == {4, 5, 6, 7}


def test_nothing_asked_is_nothing_given():
    assert take_cpus(EPYC, None, Demand(0)) == []


@pytest.mark.parametrize(
    ("available", "vcpus", "words"),
    [(0, 1, "has 0 free"), (mask_of([1, 2]), 3, "3 CPUs are asked for, but host pve1 has 2 free"), (None, 65, "65 CPUs")],
)
def test_a_refusal_says_the_numbers(available, vcpus, words):
    with pytest.raises(PlacementError, match=words):
        take_cpus(EPYC, available, Demand(vcpus))


@sample_hosts.examples(200, 5000)
@given(sample_hosts.hosts(), st.integers(1, 20), st.sampled_from(["pack", "spread", "require"]), st.booleans(), st.data())
def test_what_is_taken_is_free_and_complete(facts, vcpus, siblings, isolated, data):
    host = Host.from_facts(facts)
    free = host.online & mask_of(data.draw(st.sets(st.integers(0, 80))))
    demand = Demand(vcpus, siblings=siblings, isolated=isolated)
    try:
        choice = choose(Room(host, free, host.online & ~free), demand)
    except PlacementError:
        assert isolated or siblings == "require" or count(free) < vcpus
        return
    assert len(choice.cpus) == len(set(choice.cpus)) == vcpus
    assert not (choice.mask | choice.blocked) & ~free
    assert not choice.mask & choice.blocked
    if isolated:
        assert all(count(core & choice.mask) <= 1 for core in host.cores)


@sample_hosts.examples(200, 5000)
@given(sample_hosts.hosts(), st.integers(1, 12))
def test_no_border_is_crossed_that_could_have_been_kept(facts, vcpus):
    host = Host.from_facts(facts)
    try:
        taken = mask_of(take_cpus(host, None, Demand(vcpus)))
    except PlacementError:
        return
    if any(count(numa_node.cpus) >= vcpus for numa_node in host.numa_nodes):
        assert len(host.numa_nodes_of(taken)) == 1
    if any(count(domain.cpus) >= vcpus for domain in host.l3_domains):
        assert sum(1 for domain in host.l3_domains if domain.cpus & taken) <= 1
