# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report model: the books close on any host, every finding is found, and a plan is shown as it will be."""

from __future__ import annotations

import json

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import cpus_of, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.report_model import report_model
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from hypothesis import given
from sample_hosts import epyc_9354, guest, snapshot, snapshots

RULES = {"rules": [{"match": {"tags": [cpu_class]}, "class": cpu_class} for cpu_class in ("dedicated", "isolated", "local", "shared")]}


def report(guests, policy=None, planned=False, hosts=None, **more):
    """The model of `guests` on one EPYC 9354, or on `hosts`."""
    document = snapshot(hosts or [epyc_9354()], guests, **more)
    policy = Policy.from_dict({**RULES, **(policy or {})})
    plan = place(Snapshot.from_dict(document), policy) if planned else None
    return report_model(document, policy, plan)


def tagged(vmid, cpu_class, affinity=None, vcpus=4, **more):
    return guest(vmid, vcpus, tags=[cpu_class], name=f"g{vmid}", status="running", **({"affinity": affinity} if affinity else {}), **more)


def findings(model, kind):
    return [finding for host in model["hosts"] for finding in host["findings"] if finding["kind"] == kind]


def states(model, host=0, when="now"):
    return model["hosts"][host][when]["states"]


def occupancies(model):
    for host in model["hosts"]:
        for when in ("now", "planned"):
            if host[when]:
                yield host, host[when]


@given(snapshots())
def test_each_cpu_is_in_one_state_and_the_sums_close(drawn):
    document, policy = drawn
    model = report_model(document, Policy.from_dict(policy), place(Snapshot.from_dict(document), Policy.from_dict(policy)))
    for host, occupancy in occupancies(model):
        facts = document["hosts"][host["name"]]["cpus"]
        listed = [cpu for cpus in occupancy["states"].values() for cpu in cpus_of(parse_cpulist(cpus))]
        assert sorted(listed) == sorted(cpus_of(parse_cpulist(facts["present"])))
        assert sum(occupancy["cpus"].values()) == host["counts"]["cpus"] == len(listed)
        by_numa_node = [numa_node["cpus"] for numa_node in occupancy["numa_nodes"]]
        for state, number in occupancy["cpus"].items():
            assert number == len(list(cpus_of(parse_cpulist(occupancy["states"].get(state, "")))))
            assert state == "offline" or number == sum(cpus.get(state, 0) for cpus in by_numa_node)
        pool = sum(occupancy["cpus"][state] for state in ("local", "free", "stranded"))
        assert pool == len(list(cpus_of(parse_cpulist(occupancy["pool"])))) == sum(n["free"] for n in occupancy["numa_nodes"])
    for state, number in model["totals"]["cpus"].items():
        assert number == sum(host["now"]["cpus"][state] for host in model["hosts"])
    assert model["totals"]["guests"] == len(model["guests"]) == len({entry["vmid"] for entry in model["guests"]})


@given(snapshots())
def test_states_follow_from_who_holds_what(drawn):
    document, policy = drawn
    model = report_model(document, Policy.from_dict(policy), place(Snapshot.from_dict(document), Policy.from_dict(policy)))
    for host, occupancy in occupancies(model):
        holders = {}
        for claim in occupancy["claims"]:
            for cpu in cpus_of(parse_cpulist(claim["cpus"])):
                holders.setdefault(cpu, []).append(claim)
        idle = {cpu for claim in occupancy["claims"] for cpu in cpus_of(parse_cpulist(claim["idle"]))}
        cores = [set(cpus_of(parse_cpulist(core))) for p in host["map"] for n in p["numa_nodes"] for z in n["zones"] for core in z["cores"]]
        beside_held = {cpu for core in cores if core & set(holders) for cpu in core}
        for state, cpus in occupancy["states"].items():
            for cpu in cpus_of(parse_cpulist(cpus)):
                claims = holders.get(cpu, [])
                assert bool(claims) or state not in ("dedicated", "unmanaged", "conflict")
                assert not claims or state in ("isolated", "dedicated", "unmanaged", "conflict")
                assert state == "conflict" or len(claims) < 2 or not any(claim["alone"] for claim in claims)
                assert claims or state != "isolated" or cpu in idle
                assert (state == "stranded") == (cpu in beside_held and state in ("stranded", "free", "local"))


@given(snapshots())
def test_what_is_free_after_the_plan_is_what_the_planner_says(drawn):
    document, policy = drawn
    plan = place(Snapshot.from_dict(document), Policy.from_dict(policy))
    model = report_model(document, Policy.from_dict(policy), plan)
    stored = {entry["vmid"] for entry in model["guests"] if entry["now"]["cpus"] or not entry["now"]["roams"]}
    for host in model["hosts"]:
        here = {entry["vmid"] for entry in model["guests"] if entry["host"] == host["name"]}
        if not here & stored & {entry["vmid"] for entry in plan["refused"]}:
            free = sum(host["planned"]["cpus"][state] for state in ("local", "free", "stranded"))
            assert free == plan["summary"]["hosts"][host["name"]]["free"]


@given(snapshots())
def test_the_order_of_guests_changes_nothing_and_all_of_it_is_json(drawn):
    document, policy = drawn
    model = report_model(document, Policy.from_dict(policy))
    turned = {**document, "guests": document["guests"][::-1]}
    assert report_model(turned, Policy.from_dict(policy)) == model
    assert json.loads(json.dumps(model)) == model


def test_classes_reserved_cpus_and_idle_siblings():
    model = report(
        [
            tagged(101, "dedicated", "1,33,2,34"),
            tagged(102, "isolated", "4,5", vcpus=2),
            tagged(103, "local", "22-23,54-55"),
            tagged(104, "shared"),
            guest(105, 2, affinity="12-13"),
        ],
        {"reserved": {"default": {"cores_per_numa_node": 1}}},
    )
    assert states(model) == {
        "dedicated": "1-2,33-34",
        "isolated": "4-5,36-37",
        "unmanaged": "12-13",
        "reserved": "0,8,16,24,32,40,48,56",
        "local": "22-23,54-55",
        "stranded": "44-45",
        "free": "3,6-7,9-11,14-15,17-21,25-31,35,38-39,41-43,46-47,49-53,57-63",
    }
    claims = {claim["vmid"]: claim for claim in model["hosts"][0]["now"]["claims"]}
    assert claims[101] == {"vmid": 101, "cpus": "1,33,2,34", "ordered": True, "idle": "", "alone": True}
    assert claims[102]["idle"] == "36-37"
    assert not claims[105]["ordered"]
    floats = {entry["vmid"]: entry for entry in model["hosts"][0]["now"]["floats"]}
    assert floats[104]["in_pool"]
    assert floats[104]["cpus"] == model["hosts"][0]["now"]["pool"]
    assert [(entry["vmid"], entry["state"]) for entry in model["guests"]] == [
        (101, "stored"),
        (102, "stored"),
        (103, "stored"),
        (104, "stored"),
        (105, "unmanaged"),
    ]


def test_a_guest_that_only_floats_over_a_set_by_hand_is_no_conflict_with_its_like():
    pool = [guest(vmid, 2, affinity="0-7") for vmid in (101, 102, 103)]
    assert states(report(pool))["unmanaged"] == "0-7"
    pinned = report([*pool, guest(104, 2, affinity="7-8")])
    assert states(pinned)["conflict"] == "7"
    assert findings(pinned, "overlap")[0]["vmids"] == [101, 102, 103, 104]


def test_two_guests_on_one_cpu():
    model = report([tagged(101, "dedicated", "1,33,2,34"), tagged(102, "dedicated", "2,34,3,35")])
    assert states(model)["conflict"] == "2,34"
    (finding,) = findings(model, "overlap")
    assert finding["severity"] == "conflict"
    assert (finding["vmids"], finding["cpus"]) == ([101, 102], "2,34")
    assert finding["title"] == "101 g101 and 102 g102 share 2 CPUs"
    assert model["headline"][0] == "Two CPUs have more than one owner."
    assert [entry["findings"] for entry in model["guests"]] == [[1], [1]]


def test_conflicts_that_hang_together_are_one_finding_and_others_another():
    model = report(
        [
            guest(101, 2, affinity="0-1"),
            guest(102, 2, affinity="1-2"),
            guest(103, 2, affinity="2-3"),
            guest(110, 1, affinity="9"),
            guest(111, 1, affinity="9"),
        ]
    )
    assert [(f["vmids"], f["cpus"]) for f in findings(model, "overlap")] == [([101, 102, 103], "1-2"), ([110, 111], "9")]


def test_a_plan_ends_a_conflict_and_says_so():
    model = report([tagged(101, "dedicated", "1,33,2,34"), tagged(102, "dedicated", "2,34,3,35")], planned=True)
    assert "conflict" not in states(model, when="planned")
    assert "The plan moves 10" in findings(model, "overlap")[0]["text"]
    assert model["headline"][1] == "The plan changes two guests; both need a restart."
    assert model["figures"][0] == {"label": "guests where the plan wants them", "value": "0", "unit": "of 2"}
    moved = [entry for entry in model["guests"] if entry["now"]["cpus"] != entry["planned"]["cpus"]]
    assert [entry["text"] for entry in moved] == ["moves, waits for a restart"]
    assert moved[0]["reason"].endswith(".")


def test_a_conflict_of_unmanaged_guests_is_left_by_the_plan():
    model = report([guest(101, 2, affinity="0-1"), guest(102, 2, affinity="1-2")], planned=True)
    assert findings(model, "overlap")[0]["text"].endswith("The plan leaves it so.")
    assert model["headline"] == ["One CPU has more than one owner.", "The plan changes nothing."]


def test_a_guest_on_reserved_cpus():
    model = report([tagged(101, "dedicated", "0,32,1,33")], {"reserved": {"default": {"cpus": "0,32"}}})
    assert states(model)["conflict"] == "0,32"
    assert "reserved" not in states(model)
    (finding,) = findings(model, "reserved")
    assert finding["title"] == "101 g101 holds 2 reserved CPUs"
    assert model["headline"][0] == "Two reserved CPUs are given to guests."


def test_an_isolated_guest_with_company_on_its_cores():
    model = report([tagged(101, "isolated", "4-5", vcpus=2), tagged(102, "dedicated", "36", vcpus=1)])
    (finding,) = findings(model, "sibling")
    assert (finding["vmids"], finding["cpus"]) == ([101, 102], "36")
    assert states(model)["isolated"] == "4-5,37"
    assert states(model)["dedicated"] == "36"


def test_a_floating_guest_over_cpus_of_others():
    model = report([tagged(101, "dedicated", "0-3"), tagged(102, "local", "2-5")])
    (finding,) = findings(model, "intruder")
    assert finding["vmids"] == [102]
    assert "CPUs 2-3" in finding["text"]
    assert states(model)["dedicated"] == "0-3"


def test_unmanaged_guests_without_affinity_beside_dedicated_ones():
    wild = guest(103, 4, status="running")
    model = report([tagged(101, "dedicated", "0-3"), wild])
    (finding,) = findings(model, "roaming")
    assert finding["vmids"] == [103]
    assert "4 CPUs" in finding["text"]
    assert findings(report([wild]), "roaming") == []
    to_come = report([tagged(101, "dedicated"), wild], planned=True)
    assert "once the plan is applied" in findings(to_come, "roaming")[0]["text"]
    assert not [warning for warning in to_come["plan"]["warnings"] if "without affinity" in warning]


def test_a_template_neither_roams_nor_floats():
    model = report([tagged(101, "dedicated", "0-3"), guest(103, 4, template=True)])
    assert findings(model, "roaming") == []
    assert model["hosts"][0]["now"]["floats"] == []
    assert model["guests"][1]["status"] == "template"


def test_an_affinity_that_the_host_does_not_have():
    model = report([guest(101, 2, affinity="63-64")])
    (finding,) = findings(model, "config")
    assert "CPU 64" in finding["text"]
    assert states(model)["unmanaged"] == "63"


def test_more_memory_bound_to_a_numa_node_than_it_has():
    cell = {"cpus": "0-3", "hostnodes": "1", "memory_mib": 200000, "policy": "bind"}
    model = report([tagged(101, "dedicated", "8-11", memory_mib=200000, numa_cells=[cell])])
    (finding,) = findings(model, "memory")
    assert finding["title"] == "NUMA node 1 has too little memory"
    assert model["hosts"][0]["now"]["numa_nodes"][1]["bound"] == [{"vmid": 101, "mib": 200000}]


def test_a_guest_across_numa_nodes_without_need():
    model = report([tagged(101, "dedicated", "6-9")], planned=True)
    (finding,) = findings(model, "spans")
    assert finding["text"] == "It would fit into one. The plan brings it together."
    assert model["guests"][0]["now"]["numa_nodes"] == [0, 1]
    assert len(model["guests"][0]["planned"]["numa_nodes"]) == 1


def test_guests_that_are_not_placed_yet():
    model = report([tagged(101, "dedicated")], planned=True)
    (finding,) = findings(model, "unplaced")
    assert finding["text"].endswith("The plan places it.")
    assert model["guests"][0]["text"] == "gets CPUs of its own, waits for a restart"
    assert report([tagged(101, "dedicated")])["guests"][0]["state"] == "unplaced"


def test_an_odd_number_of_vcpus_strands_a_cpu():
    model = report([tagged(101, "dedicated", "0,32,1", vcpus=3)])
    (finding,) = findings(model, "stranded")
    assert finding["cpus"] == "33"
    assert "an odd number of vCPUs" in finding["text"]
    assert model["headline"] == ["No CPU has two owners.", "One CPU is stranded."]


def test_a_guest_that_the_plan_refuses_keeps_what_it_has():
    model = report([tagged(101, "dedicated", "0-3", vcpus=70)], planned=True)
    (finding,) = findings(model, "refused")
    assert "70 CPUs are asked for" in finding["text"]
    assert model["guests"][0]["state"] == "refused"
    assert states(model, when="planned")["dedicated"] == "0-3"


def test_a_container_is_skipped_with_the_reason():
    model = report([guest(101, 2, type="lxc", tags=["dedicated"], config={"lxc.cgroup2.cpuset.cpus": "4-5"})], planned=True)
    assert model["guests"][0]["state"] == "skipped"
    assert model["guests"][0]["class"] == "unmanaged"
    assert states(model)["unmanaged"] == "4-5"


def test_pending_values_count_beside_the_stored_ones_of_a_running_guest():
    waiting = tagged(101, "dedicated", vcpus=2, config={"affinity": "0-1", "cores": "2"}, pending={"affinity": "4-5"})
    model = report([waiting])
    assert states(model)["dedicated"] == "0-1,4-5"
    assert model["guests"][0]["text"] == "stored, waits for a restart"


def test_stopped_guests_are_counted_apart():
    model = report([guest(101, 2, affinity="0-1", status="stopped"), guest(102, 2, affinity="2-3", status="running")])
    assert model["hosts"][0]["now"]["stopped"] == {"guests": 1, "cpus": 2}


def test_a_host_that_was_not_read_and_its_guests():
    model = report([guest(101, 2, node="pve9"), guest(102, 2)], planned=True)
    assert model["unread"] == [{"name": "pve9", "reason": "has no topology facts", "guests": 1}]
    assert {entry["vmid"]: entry["state"] for entry in model["guests"]} == {102: "unmanaged", 101: "unread"}
    assert model["plan"]["warnings"] == []


def test_karpenters_dummy_guest_is_no_guest():
    model = report([guest(1, 64, affinity="0-63", name="node-capacity", tags=["karpenter"])])
    assert model["guests"] == []
    assert states(model) == {"free": "0-63"}


def test_offline_cpus_are_counted():
    facts = epyc_9354()
    facts["cpus"] = {"present": "0-63", "online": "0-62"}
    model = report([], hosts=[facts])
    assert states(model)["offline"] == "63"
    assert model["hosts"][0]["counts"]["cpus"] == 64


def test_an_l3_domain_over_two_numa_nodes_is_drawn_in_both():
    facts = {
        "node": "pve1",
        "cpus": {"online": "0-7"},
        "packages": [{"id": 0, "cpus": "0-7"}],
        "cores": ["0", "1", "2", "3", "4", "5", "6", "7"],
        "l3_domains": [{"id": 3, "cpus": "0-7"}],
        "numa_nodes": [{"id": 0, "cpus": "0-3", "memory_mib": 1000}, {"id": 1, "cpus": "4-7"}, {"id": 2, "cpus": "", "memory_mib": 500}],
    }
    drawn = report([], hosts=[facts])["hosts"][0]["map"]
    assert [(n["id"], [(z["l3"], z["cpus"]) for z in n["zones"]]) for n in drawn[0]["numa_nodes"]] == [(0, [(3, "0-3")]), (1, [(3, "4-7")])]
    assert drawn[1] == {"package": None, "cpus": "", "numa_nodes": [{"id": 2, "cpus": "", "zones": []}]}


def test_devices_stand_at_their_numa_node():
    facts = {**epyc_9354(), "pci_devices": [{"address": "0000:41:00.0", "class": "0x020000", "numa_node": 1}]}
    model = report([tagged(101, "dedicated", "8-11", hostpci=["0000:41:00"])], hosts=[facts])
    assert model["hosts"][0]["now"]["numa_nodes"][1]["devices"] == [{"address": "0000:41:00.0", "kind": "NIC", "vmid": 101}]


def test_nothing_known_but_cpus_is_enough():
    facts = {"node": "pve1", "cpus": {"online": "0-3"}, "packages": [], "cores": [], "l3_domains": [], "numa_nodes": []}
    model = report([], hosts=[facts])
    assert states(model) == {"free": "0-3"}
    assert model["totals"]["memory"] == {"total_mib": None, "reserved_mib": 0, "claimed_mib": 0, "free_mib": None}
    assert report_model({"hosts": {}, "guests": []}, Policy.from_dict({}))["headline"] == ["No host was read."]


def test_an_edited_plan_is_refused():
    document = snapshot([epyc_9354()], [])
    plan = {**place(Snapshot.from_dict(document), Policy.from_dict({})), "warnings": ["edited"]}
    with pytest.raises(PlanError, match="was edited"):
        report_model(document, Policy.from_dict({}), plan)


def test_a_plan_for_another_hardware_layout_is_named():
    document = snapshot([epyc_9354()], [])
    plan = place(Snapshot.from_dict(document), Policy.from_dict({}))
    other = snapshot([{**epyc_9354(), "fingerprint": "0" * 64}], [])
    assert report_model(other, Policy.from_dict({}), plan)["plan"]["warnings"] == [
        "The plan was made for another hardware layout of host pve1; make a new one."
    ]


def test_a_placement_for_another_host_than_the_guests_own_is_not_drawn():
    policy = Policy.from_dict(RULES)
    hosts = [epyc_9354("pve1"), epyc_9354("pve2")]
    plan = place(Snapshot.from_dict(snapshot(hosts, [tagged(101, "dedicated")])), policy)
    model = report_model(snapshot(hosts, [tagged(101, "dedicated", node="pve2")]), policy, plan)
    assert states(model, host=1, when="planned") == {"free": "0-63"}
