# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import random

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import (
    count,
    mask_of,
    parse_cpulist,
    parse_ordered,
)
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError, PolicyError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Guest, apply_pending
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.ledger import reserved_cpus
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from hypothesis import given
from sample_hosts import epyc_9354, examples, guest, snapshot

EVERYBODY = {"rules": [{"match": {}}]}
BIND = "policy=bind"


def plan(guests, policy=None, hosts=None, **more):
    document = snapshot(hosts or [epyc_9354()], guests, **more)
    return place(Snapshot.from_dict(document), Policy.from_dict(EVERYBODY if policy is None else policy))


def placement_of(document, vmid):
    return next(p for p in document["placements"] if p["vmid"] == vmid)


def change_of(document, vmid):
    return next((c for c in document["changes"] if c["vmid"] == vmid), None)


def stored(document, guests):
    """The guests as they are once the plan is applied."""
    applied = []
    for info in guests:
        change = change_of(document, info["vmid"])
        config = {**info.get("config", {}), **(change["after"] if change else {})}
        applied.append({**info, "config": {key: value for key, value in config.items() if value is not None} or {"cores": "1"}})
    return applied


def test_four_vcpus_on_an_empty_host():
    document = plan([guest(100, 4, 4096)])
    assert placement_of(document, 100)["cpus"] == "0,32,1,33"
    change = change_of(document, 100)
    assert change["after"] == {"affinity": "0,32,1,33", "numa": "1", "numa0": f"cpus=0-3,hostnodes=0,memory=4096,{BIND}"}
    assert change["before"] == {"affinity": None, "numa": None, "numa0": None}
    assert change["effect"] == "now"


def test_reserved_cpus_are_left_to_the_host():
    policy = {**EVERYBODY, "reserved": {"hosts": {"pve1": {"cpus": "0,32"}}}}
    assert placement_of(plan([guest(100, 4)], policy), 100)["cpus"] == "1,33,2,34"


def test_whole_cores_are_reserved_on_every_numa_node():
    policy = {**EVERYBODY, "reserved": {"default": {"cores_per_numa_node": 1}}}
    document = plan([guest(100, 14)], policy)
    assert parse_cpulist(placement_of(document, 100)["cpus"]) == parse_cpulist("1-7,33-39")
    assert document["summary"]["hosts"]["pve1"] == {"cpus": 64, "reserved": 8, "used": 14, "free": 42}


def test_twenty_four_vcpus_in_two_cells_with_an_exact_sum():
    document = plan([guest(100, 24, 49152)])
    assert change_of(document, 100)["after"]["numa0"] == f"cpus=0-15,hostnodes=0,memory=32768,{BIND}"
    assert change_of(document, 100)["after"]["numa1"] == f"cpus=16-23,hostnodes=1,memory=16384,{BIND}"
    assert placement_of(document, 100)["numa_cells"][1] == {"cpus": "16-23", "hostnodes": "1", "memory_mib": 16384, "policy": "bind"}


def test_a_guest_to_be_spread_takes_as_many_numa_nodes_as_share_it_evenly():
    policy = {"rules": [{"match": {"vmids": 100}, "numa": "spread"}, {"match": {}}], "repack": 3}
    guests = [guest(100, 8, 8192), guest(101, 4)]
    document = plan(guests, policy)
    assert [cell["hostnodes"] for cell in placement_of(document, 100)["numa_cells"]] == ["0", "1", "2", "3"]
    assert placement_of(document, 100)["reason"].endswith("spread over NUMA nodes as its rule asks.")
    assert len(placement_of(document, 101)["numa_cells"]) == 1
    again = plan(stored(document, guests), policy)
    assert again["changes"] == again["moves"] == []


def test_a_numa_node_with_two_cpus_left_is_passed_over_whole():
    unmanaged = guest(1, 14, affinity="1-7,33-39")
    document = plan([unmanaged, guest(100, 4)], {"rules": [{"match": {"vmids": 100}}]})
    assert placement_of(document, 100)["cpus"] == "8,40,9,41"


def test_overlapping_affinities_are_merged():
    host = {"node": "pve1", "cpus": {"online": "0-15"}, "packages": [], "cores": [], "l3_domains": [], "numa_nodes": []}
    document = plan([guest(1, 4, affinity="0-3"), guest(2, 3, affinity="2-4")], {}, [host])
    assert document["summary"]["hosts"]["pve1"] == {"cpus": 16, "reserved": 0, "used": 5, "free": 11}
    assert document["changes"] == [] == document["placements"]


def test_a_guest_without_room_is_refused_with_the_reason():
    document = plan([guest(100, 99)])
    [refusal] = document["refused"]
    assert (refusal["vmid"], refusal["rule"]) == (100, "too_few_cpus")
    assert "99 CPUs are asked for, but host pve1 has 64 free" in refusal["message"]
    assert document["score"]["after"]["unplaced_vcpus"] == 99


def test_a_guest_whose_memory_is_not_known_gets_cpus_without_cells():
    document = plan([guest(100, 4, 0)])
    assert change_of(document, 100)["after"] == {"affinity": "0,32,1,33"}
    assert document["refused"] == []


def test_cpus_that_a_refused_guest_keeps_are_named():
    document = plan([guest(100, 99, affinity="0-3"), guest(101, 4)])
    assert [entry["vmid"] for entry in document["refused"]] == [100]
    assert any("CPUs 0-1 of host pve1 go to guest 101, but guest 100, which was refused, keeps them" in w for w in document["warnings"])


def test_memory_that_no_host_has_is_refused():
    document = plan([guest(100, 4, 600000)])
    assert document["refused"][0]["rule"] == "too_little_memory"


def test_an_applied_plan_leaves_nothing_to_do():
    guests = [guest(100, 24, 49152), guest(101, 3, 5000), guest(102, 4, 4096), guest(103, 1, 16)]
    first = plan(guests)
    second = plan(stored(first, guests))
    assert second["changes"] == []
    assert [p["cpus"] for p in second["placements"]] == [p["cpus"] for p in first["placements"]]
    assert second["summary"]["kept"] == 4


def test_a_valid_affinity_stays_and_gets_its_cells():
    document = plan([guest(100, 4, 4096, affinity="9,41,10,42", status="running")])
    assert placement_of(document, 100)["cpus"] == "9,41,10,42"
    assert change_of(document, 100)["after"] == {"numa": "1", "numa0": f"cpus=0-3,hostnodes=1,memory=4096,{BIND}"}
    assert change_of(document, 100)["effect"] == "pending"
    assert document["moves"] == []


def test_of_two_guests_on_the_same_cpus_one_moves():
    document = plan([guest(100, 4, affinity="0-1,32-33"), guest(101, 4, affinity="1-2,33-34")])
    assert placement_of(document, 100)["cpus"] == "0,32,1,33"
    assert placement_of(document, 101)["cpus"] == "2,34,3,35"
    assert "Its CPUs 1,33 are offline, reserved or held by another guest" in placement_of(document, 101)["reason"]
    assert document["score"]["after"]["moves"] == 1


def test_a_hand_made_set_across_numa_borders_is_replaced():
    document = plan([guest(100, 4, affinity="6-9")])
    assert count(parse_cpulist(placement_of(document, 100)["cpus"]) & parse_cpulist("0-7,32-39")) in (0, 4)


def test_adding_a_guest_moves_nobody():
    guests = [guest(100 + n, 3 + n, 2000) for n in range(6)]
    first = plan(guests)
    second = plan([*stored(first, guests), guest(90, 8, 9000)])
    assert second["moves"] == []
    assert [c["vmid"] for c in second["changes"]] == [90]


def test_remote_memory_stays_where_it_is_while_others_hold_what_is_near():
    numa_nodes = [{"id": 0, "cpus": "0-5", "memory_mib": 1363}, {"id": 1, "cpus": "6-7", "memory_mib": 1245}]
    host = {"node": "pve1", "cpus": {"online": "0-7"}, "packages": [], "cores": [], "l3_domains": [], "numa_nodes": numa_nodes}
    near = {"affinity": "2-3", "numa": "1", "numa0": f"cpus=0-1,hostnodes=0,memory=1363,{BIND}"}
    far = {"affinity": "0-1", "numa": "1", "numa0": f"cpus=0-1,hostnodes=1,memory=16,{BIND}"}
    guests = [guest(101, 2, 16, config=far), guest(102, 2, 1363, config=near)]
    assert plan(guests, hosts=[host])["changes"] == []
    assert change_of(plan(guests[:1], hosts=[host]), 101)["after"] == {"numa0": f"cpus=0-1,hostnodes=0,memory=16,{BIND}"}


def test_pending_values_count_as_the_next_start_uses_them():
    info = guest(100, 4, 4096, status="running", config={"cores": "4", "memory": "4096"}, pending={"affinity": "0,32,1,33"})
    assert "affinity" not in change_of(plan([info]), 100)["after"]


def test_surplus_cells_are_deleted_and_what_was_there_is_kept_for_rollback():
    config = {"affinity": "0-1,32-33", "numa": "1", "numa0": "cpus=0-1,memory=512", "numa1": "cpus=2-3,memory=512"}
    change = change_of(plan([guest(100, 4, 1024, config=config)]), 100)
    assert change["before"] == {"numa0": "cpus=0-1,memory=512", "numa1": "cpus=2-3,memory=512"}
    assert change["after"] == {"numa0": f"cpus=0-3,hostnodes=0,memory=1024,{BIND}", "numa1": None}


def test_shared_guests_have_nothing_stored():
    config = {"affinity": "0-3", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=1024,policy=bind"}
    rules = {"rules": [{"match": {"vmids": 100}}, {"match": {}, "class": "shared"}]}
    document = plan([guest(100, 4), guest(101, 4, config=config)], rules)
    assert change_of(document, 101)["after"] == {"affinity": None, "numa0": None}
    assert parse_cpulist(placement_of(document, 101)["cpus"]) == parse_cpulist("2-31,34-63")


def test_local_guests_float_inside_one_l3_domain():
    rules = {"rules": [{"match": {"vmids": 100}}, {"match": {}, "class": "local"}]}
    guests = [guest(100, 4), guest(101, 4, 2048), guest(102, 4, 2048)]
    document = plan(guests, rules)
    assert placement_of(document, 101)["cpus"] != placement_of(document, 102)["cpus"]
    for vmid in (101, 102):
        cpus = parse_cpulist(placement_of(document, vmid)["cpus"])
        assert not cpus & mask_of([0, 32, 1, 33])
        assert any(not cpus & ~domain.cpus for domain in Snapshot.from_dict(snapshot([epyc_9354()], [])).hosts["pve1"].l3_domains)
    assert plan(stored(document, guests), rules)["changes"] == []


def test_isolated_guests_keep_their_siblings_idle():
    document = plan([guest(100, 4), guest(101, 4)], {"rules": [{"match": {"vmids": 100}, "class": "isolated"}, {"match": {}}]})
    isolated = parse_cpulist(placement_of(document, 100)["cpus"])
    siblings = isolated << 32
    assert not parse_cpulist(placement_of(document, 101)["cpus"]) & (isolated | siblings)
    assert document["score"]["after"]["orphan"] == 0


def test_unmanaged_guests_are_never_touched_but_named_where_they_may_disturb():
    document = plan([guest(1, 4), guest(100, 4)], {"rules": [{"match": {"vmids": 100}}]})
    assert [c["vmid"] for c in document["changes"]] == [100]
    assert any("(1) may run on the dedicated CPUs 0-1,32-33" in warning for warning in document["warnings"])


def test_guests_that_cannot_be_placed_are_skipped_with_the_reason():
    document = plan([guest(1, 4, template=True), guest(2, 4, lock="backup"), guest(3, 4, type="lxc")])
    assert [entry["vmid"] for entry in document["skipped"]] == [1, 2, 3]
    assert "locked (backup)" in document["skipped"][1]["reason"]
    assert document["changes"] == []


def test_karpenters_dummy_guest_holds_nothing():
    dummy = guest(1, 64, 507904, name="node-capacity", tags=["karpenter"], affinity="0-63")
    assert placement_of(plan([dummy, guest(100, 4)]), 100)["cpus"] == "0,32,1,33"


def test_an_affinity_beyond_the_host_is_named():
    document = plan([guest(1, 4, affinity="60-67")], {})
    assert any("names CPU 64-67" in warning and "60-63 only" in warning for warning in document["warnings"])


def test_an_affinity_that_cannot_start_is_mended():
    document = plan([guest(100, 2, affinity="0, 32")])
    assert change_of(document, 100)["before"]["affinity"] == "0, 32"
    assert change_of(document, 100)["after"]["affinity"] == "0,32"


def test_a_host_that_was_not_read_freezes_its_guests():
    cluster = {"name": "c1", "nodes": [{"name": "pve1", "online": True}, {"name": "pve2", "online": False}]}
    guests = [guest(100, 4), guest(200, 4, node="pve2")]
    document = plan(guests, cluster=cluster)
    assert [p["vmid"] for p in document["placements"]] == [100]
    assert any("pve2 is offline" in warning for warning in document["warnings"])
    with pytest.raises(FactsError, match="Host pve2 is offline"):
        plan(guests, {**EVERYBODY, "partial": "refuse"}, cluster=cluster)


def test_a_reserved_cpu_beyond_the_host_is_an_error():
    with pytest.raises(PolicyError, match="CPU 99"):
        plan([], {"reserved": {"hosts": {"pve1": {"cpus": "0,99"}}}})


def test_the_plan_is_a_sealed_document():
    document = plan([guest(100, 4)], cluster={"name": "c1"})
    assert check_plan(json.loads(json.dumps(document))) == document
    assert document["created_at"] == "2026-01-01T00:00:00Z"
    assert (document["cluster"], document["hosts"]) == ("c1", {"pve1": "f" * 64})


def test_requested_guests_get_the_host_that_suffers_least():
    hosts = [epyc_9354("pve1"), epyc_9354("pve2")]
    policy = {
        **EVERYBODY,
        "requests": [{"name": "db", "count": 3, "vcpus": 16, "memory_mib": 4096}, {"name": "all", "vcpus": 65, "memory_mib": 1}],
    }
    document = plan([guest(100, 60)], policy, hosts)
    databases, [too_wide] = document["requests"][:3], document["requests"][3:]
    assert [entry["node"] for entry in databases] == ["pve2"] * 3
    assert len({entry["cpus"] for entry in databases}) == 3
    assert databases[0]["numa_cells"] == [{"cpus": "0-15", "hostnodes": "0", "memory_mib": 4096, "policy": "bind"}]
    assert too_wide["node"] is None
    assert "65 CPUs are asked for" in too_wide["reason"]
    assert [change["vmid"] for change in document["changes"]] == [100]


def test_a_request_keeps_the_largest_hole():
    hosts = [epyc_9354("pve1"), epyc_9354("pve2")]
    policy = {**EVERYBODY, "requests": [{"name": "small", "vcpus": 4, "memory_mib": 1024}]}
    document = plan([guest(100, 12, node="pve2")], policy, hosts)
    assert document["requests"][0]["node"] == "pve2"
    assert parse_cpulist(document["requests"][0]["cpus"]) == parse_cpulist("2-3,34-35")


def test_requests_that_share_cpus_respect_the_overcommit():
    policy = {"requests": [{"name": "web", "count": 2, "vcpus": 40, "memory_mib": 1, "class": "shared"}], "overcommit": {"cpu": 1.0}}
    assert [entry["node"] for entry in plan([], policy)["requests"]] == ["pve1", None]
    assert [entry["node"] for entry in plan([], {**policy, "overcommit": {"cpu": 2}})["requests"]] == ["pve1", "pve1"]


@pytest.mark.parametrize(("moves", "count_of_moves"), [("never", 0), (1, 1), ("suggest", 1)])
def test_moves_are_made_only_where_asked(moves, count_of_moves):
    """Guest 3 spans two L3 domains although guest 1 could make room for it."""
    cells = {"numa": "1", "numa0": f"cpus=0-3,hostnodes=0,memory=1024,{BIND}"}
    small = {"numa": "1", "numa0": f"cpus=0-1,hostnodes=0,memory=1024,{BIND}"}
    guests = [
        guest(1, 2, config={"affinity": "0,32", **small}, status="running"),
        guest(2, 4, config={"affinity": "4-5,36-37", **cells}, status="running"),
        guest(3, 4, config={"affinity": "3,35,6,38", **cells}, status="running"),
    ]
    document = plan(guests, {**EVERYBODY, "repack": moves})
    assert len(document["moves"]) == count_of_moves
    for move in document["moves"]:
        assert move["before"]["l3"] == 1
        assert move["after"]["l3"] == 0
        assert "1 L3 domain border crossed less" in move["reason"]
        assert move["cost"] == "a restart, the new CPUs act at its next start"
    assert bool(document["changes"]) is (moves == 1)


def test_guests_that_share_cores_crosswise_are_sorted_out_where_two_may_move():
    """Guests 1 and 2 have a core each, and guest 3 the other halves of both."""
    one = {"numa": "1", "numa0": f"cpus=0,hostnodes=0,memory=1024,{BIND}"}
    two = {"numa": "1", "numa0": f"cpus=0-1,hostnodes=0,memory=1024,{BIND}"}
    guests = [
        guest(1, 1, config={"affinity": "1", **one}),
        guest(2, 1, config={"affinity": "2", **one}),
        guest(3, 2, config={"affinity": "33,34", **two}),
    ]
    document = plan(guests, {**EVERYBODY, "repack": 2})
    assert len(document["moves"]) == 2
    assert (document["score"]["before"]["shared_core"], document["score"]["after"]["shared_core"]) == (2, 1)
    assert document["score"]["after"]["orphan"] == 0


def test_a_part_used_l3_domain_is_emptied_where_that_takes_few_moves():
    cells = {"numa": "1", "numa0": f"cpus=0-1,hostnodes=0,memory=1024,{BIND}"}
    guests = [guest(vmid, 2, config={"affinity": f"{vmid},{vmid + 32}", **cells}) for vmid in (1, 2, 4, 5)]
    document = plan(guests, {**EVERYBODY, "repack": 2})
    assert len(document["moves"]) == 2
    assert (document["score"]["before"]["open_l3"], document["score"]["after"]["open_l3"]) == (2, 0)


def test_spanning_guests_share_out_their_memory_so_that_all_others_stay_whole():
    """Two guests need the memory of two NUMA nodes each, and another one nearly all CPUs of one."""
    sizes = [(8, 32), (14, 14), (16, 128), (16, 128), (2, 16)]
    guests = [guest(100 + i, vcpus, gib * 1024) for i, (vcpus, gib) in enumerate(sizes)]
    document = plan(guests, hosts=[epyc_9354(memory_mib=84 * 1024)])
    assert document["refused"] == []
    assert document["score"]["after"]["numa"] == 0


@examples(500, 10000)
@given(sample_hosts.snapshots())
def test_no_plan_breaks_a_promise(case):
    document, policy_dict = case
    snapshot_, policy = Snapshot.from_dict(document), Policy.from_dict(policy_dict)
    result = place(snapshot_, policy)
    given_cpus = dict.fromkeys(snapshot_.hosts, 0)
    for placement in result["placements"]:
        host = snapshot_.hosts[placement["node"]]
        reserved = reserved_cpus(host, policy.reservation(host.node))
        cpus = parse_ordered(placement["cpus"])
        assert not mask_of(cpus) & ~host.online
        assert not mask_of(cpus) & reserved
        if placement["class"] in ("dedicated", "isolated"):
            assert len(cpus) == len(set(cpus)) == next(g.vcpus for g in snapshot_.guests if g.vmid == placement["vmid"])
            assert not mask_of(cpus) & given_cpus[host.node]
            given_cpus[host.node] |= mask_of(cpus)
        _check_cells(placement, next(g for g in snapshot_.guests if g.vmid == placement["vmid"]), host)
    _check_memory(result, snapshot_)


def _check_cells(placement, info, host):
    cells = placement["numa_cells"]
    if not cells:
        return
    assert len(cells) <= 8
    assert sum(cell["memory_mib"] for cell in cells) == info.memory_mib
    vcpus = [vcpu for cell in cells for vcpu in parse_ordered(cell["cpus"])]
    assert vcpus == list(range(info.vcpus))
    assert all(n in host.numa_node_by_id for cell in cells for n in parse_ordered(cell["hostnodes"]))


def _check_memory(result, snapshot_):
    bound = {}
    for placement in result["placements"]:
        for cell in placement["numa_cells"]:
            nodes = parse_ordered(cell["hostnodes"])
            if len(nodes) == 1:
                key = (placement["node"], nodes[0])
                bound[key] = bound.get(key, 0) + cell["memory_mib"]
    for (name, numa_node), mib in bound.items():
        assert mib <= snapshot_.hosts[name].numa_node_by_id[numa_node].memory_mib


@examples(100, 2000)
@given(sample_hosts.snapshots())
def test_the_order_of_the_input_does_not_matter(case):
    document, policy = case
    shuffled = {**document, "guests": list(document["guests"]), "hosts": dict(reversed(list(document["hosts"].items())))}
    random.Random(1).shuffle(shuffled["guests"])
    first = place(Snapshot.from_dict(document), Policy.from_dict(policy))
    assert place(Snapshot.from_dict(shuffled), Policy.from_dict(policy)) == first


@examples(100, 2000)
@given(sample_hosts.snapshots())
def test_planning_what_is_applied_changes_nothing(case):
    document, policy = case
    first = place(Snapshot.from_dict(document), Policy.from_dict(policy))
    applied = {**document, "guests": _with_config(first, document["guests"])}
    second = place(Snapshot.from_dict(applied), Policy.from_dict(policy))
    refused = {entry["vmid"] for entry in first["refused"]}
    assert [c for c in second["changes"] if c["vmid"] not in refused] == []
    assert {entry["vmid"] for entry in second["refused"]} <= refused


def _with_config(result, guests):
    applied = []
    for info in guests:
        change = change_of(result, info["vmid"])
        config = apply_pending(Guest.from_info(info).next_config, change["after"] if change else {})
        applied.append({**{k: v for k, v in info.items() if k != "affinity"}, "config": config, "pending": {}})
    return applied
