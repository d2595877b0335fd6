# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On which host a guest that is still to be created goes, and why."""

from __future__ import annotations

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PolicyError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.start_check import start_errors
from hypothesis import given
from hypothesis import strategies as st
from sample_hosts import epyc_9354, examples, guest, snapshot

HOSTS = ["pve1", "pve2", "pve3"]


def ha_rule(name, nodes=(), vmids=(), **more):
    kind = "node-affinity" if nodes else "resource-affinity"
    named = [{"name": host, "priority": priority} for host, priority in nodes]
    return {
        "rule": name,
        "type": kind,
        "enabled": True,
        "affinity": "positive",
        "strict": False,
        "vmids": list(vmids),
        "nodes": named,
        **more,
    }


def requested(*requests, guests=(), rules=(), cluster=None, hosts=tuple(HOSTS)):
    nodes = [{"name": host, "online": True} for host in HOSTS]
    document = snapshot([epyc_9354(host) for host in hosts], guests, cluster={"nodes": nodes, "ha_rules": list(rules), **(cluster or {})})
    policy = {"rules": [{"match": {}}], "requests": [{"vcpus": 4, "memory_mib": 1024, **request} for request in requests]}
    return place(Snapshot.from_dict(document), Policy.from_dict(policy))["requests"]


def nodes_of(entries):
    return [entry["node"] for entry in entries]


BUSY = [guest(100, 12, node="pve2")]
ELSEWHERE = [guest(100, 4, node="pve3", name="db")]


@pytest.mark.parametrize(
    ("request_", "expected", "why"),
    [
        ({}, ["pve2", "pve2"], "Host pve2 is the fullest that is as good."),
        ({"across": "pack"}, ["pve2", "pve2"], "Host pve2 is in use already."),
        ({"across": "spread"}, ["pve2", "pve1"], "Host pve1 comes first among hosts that are as good."),
        ({"nodes": ["pve1", "pve3"]}, ["pve1", "pve1"], "Host pve1 suffers least by it."),
        ({"nodes": "pve3"}, ["pve3", "pve3"], "Host pve3 is the only one that can take it."),
        ({"class": "shared", "vcpus": 8}, ["pve1", "pve3"], "Host pve3 is the least loaded."),
        ({"class": "shared", "vcpus": 8, "across": "pack"}, ["pve2", "pve2"], "Host pve2 is in use already."),
    ],
)
def test_the_host_is_chosen_as_asked_and_the_reason_says_why(request_, expected, why):
    entries = requested({"name": "new", "count": 2, **request_}, guests=BUSY)
    assert nodes_of(entries) == expected
    assert entries[1]["reason"].endswith(why)


def test_copies_are_spread_evenly():
    entries = requested({"name": "web", "count": 6, "across": "spread"})
    assert sorted(nodes_of(entries)) == ["pve1", "pve1", "pve2", "pve2", "pve3", "pve3"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (ha_rule("r", nodes=[("pve3", 0)], strict=True), ["pve3", "pve3"]),
        (ha_rule("r", nodes=[("pve1", 1), ("pve3", 2)], strict=True), ["pve3", "pve3"]),
        (ha_rule("r", nodes=[("pve3", 0)]), ["pve3", "pve3"]),
        (ha_rule("r", nodes=[("pve3", 0)], strict=True, enabled=False), ["pve2", "pve2"]),
        (ha_rule("r", vmids=[100]), ["pve2", "pve2"]),
        (ha_rule("r", vmids=[100], affinity="negative"), ["pve1", "pve3"]),
        (ha_rule("other", nodes=[("pve3", 0)], strict=True), [None, None]),
    ],
)
def test_ha_rules_are_respected(rule, expected):
    assert nodes_of(requested({"name": "new", "count": 2, "ha_rules": ["r"]}, guests=BUSY, rules=[rule])) == expected


def test_a_rule_that_is_not_strict_gives_way_where_its_hosts_are_full():
    rule = ha_rule("r", nodes=[("pve3", 0)])
    full = [guest(100, 62, node="pve3")]
    entries = requested({"name": "new", "ha_rules": "r"}, guests=full, rules=[rule])
    assert nodes_of(entries) == ["pve1"]
    strict = requested({"name": "new", "ha_rules": "r"}, guests=full, rules=[{**rule, "strict": True}])
    assert nodes_of(strict) == [None]
    assert "4 CPUs are asked for" in strict[0]["reason"]
    assert "Ruled out: pve1 is not among the hosts of HA rule r (pve3) and pve2" in strict[0]["reason"]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([ha_rule("r", vmids=[100]), ha_rule("s", vmids=[100], affinity="negative")], "HA rule s keeps it apart"),
        ([ha_rule("r", vmids=[100]), ha_rule("s", nodes=[("pve1", 0)], strict=True)], "HA rule r keeps it together"),
        ([ha_rule("r", vmids=[100])], "The cluster has no HA rule s; it has r."),
    ],
)
def test_rules_that_leave_no_host_are_named(rules, words):
    [entry] = requested({"name": "new", "ha_rules": ["r", "s"]}, guests=ELSEWHERE, rules=rules)
    assert entry["node"] is None
    assert words in entry["reason"]


def test_members_on_a_host_that_was_not_read_count():
    rule = ha_rule("r", vmids=[100])
    [entry] = requested({"name": "new", "ha_rules": "r"}, guests=ELSEWHERE, rules=[rule], hosts=HOSTS[:2])
    assert entry["node"] is None
    assert "pve1 does not have guest 100 (db), with which HA rule r keeps it together" in entry["reason"]


def test_copies_are_kept_apart():
    entries = requested({"name": "etcd", "count": 4, "group_affinity": "negative"})
    assert sorted(filter(None, nodes_of(entries))) == HOSTS
    [left] = [entry for entry in entries if not entry["node"]]
    assert "pve1 has one of the group of request 1, whose guests are kept apart" in left["reason"]


def test_a_group_that_stays_together_takes_a_host_that_has_room_for_all():
    """Alone, the first of them would go to the fullest host."""
    group = {"group": "app", "group_affinity": "positive"}
    requests = [{"name": "web", "vcpus": 20, **group}, {"name": "db", "vcpus": 30, **group}]
    assert nodes_of(requested(*requests, guests=[guest(100, 32), guest(200, 32, node="pve2")])) == ["pve3", "pve3"]
    entries = requested(*requests, guests=[guest(n, 32, node=host) for n, host in enumerate(HOSTS, start=100)])
    assert nodes_of(entries) == [None, None]
    assert entries[0]["reason"].startswith("web 1 and db 1 have to be on one host. ")


def test_two_groups_that_share_a_rule_share_a_host():
    rule = ha_rule("r", vmids=[])
    requests = [{"name": name, "count": 2, "across": "spread", "ha_rules": ["r"]} for name in ("a", "b")]
    assert len(set(nodes_of(requested(*requests, rules=[rule])))) == 1


def test_nobody_goes_to_a_host_that_the_cluster_does_not_have():
    entries = requested({"name": "new", "count": 40}, cluster={"nodes": [{"name": "pve2", "online": True}]})
    assert {entry["node"] for entry in entries} == {"pve2", None}


def test_a_request_that_would_not_start_has_no_place():
    [entry] = requested({"name": "new", "memory_mib": 1025, "memory": "none", "hugepages": "2"})
    assert entry["node"] is None
    assert entry["reason"].startswith("It would not start on host pve3 (")


def test_a_local_guest_floats_in_one_l3_domain():
    entries = requested({"name": "new", "count": 2, "class": "local", "nodes": "pve1"})
    assert [entry["reason"].partition(" in ")[0] for entry in entries] == [
        "Floats over CPUs 0-3,32-35",
        "Floats over CPUs 4-7,36-39",
    ]
    assert entries[0]["numa_cells"] == [{"cpus": "0-3", "hostnodes": "0", "memory_mib": 1024, "policy": "bind"}]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"across": "wide"}, "across of request 1 is 'wide'; allowed are pack, spread"),
        ({"group_affinity": "close"}, "group_affinity of request 1 is 'close'; allowed are positive, negative"),
        ({"group": "web"}, "request 1 is in the group web but has no group_affinity"),
        ({"host": "pve1"}, "'host' is not a known key of request 1"),
    ],
)
def test_what_is_no_request_is_one_sentence(more, words):
    with pytest.raises(PolicyError) as error:
        requested({"name": "new", **more})
    assert words in str(error.value)


def test_a_group_has_one_affinity():
    with pytest.raises(PolicyError, match="group web have the group_affinity positive and negative"):
        requested(*({"name": "new", "group": "web", "group_affinity": affinity} for affinity in ("positive", "negative")))


WANTED = st.lists(
    st.fixed_dictionaries(
        {"vcpus": st.integers(1, 9), "memory_mib": st.integers(16, 900), "count": st.integers(1, 3)},
        optional={
            "class": st.sampled_from(["dedicated", "isolated", "local", "shared"]),
            "siblings": st.sampled_from(["pack", "spread", "require"]),
            "hugepages": st.just("2"),
            "memory": st.sampled_from(["bind", "none"]),
            "across": st.sampled_from(["pack", "spread"]),
            "nodes": st.just(["pve1"]),
            "group_affinity": st.sampled_from(["positive", "negative"]),
        },
    ),
    min_size=1,
    max_size=3,
)


@examples(60, 2000)
@given(sample_hosts.snapshots(), WANTED)
def test_requested_guests_fit_and_start_where_they_may_go(case, wanted):
    document, policy = case
    requests = [{"name": f"r{n}", **request} for n, request in enumerate(wanted)]
    result = place(Snapshot.from_dict(document), Policy.from_dict({**policy, "requests": requests}))
    taken = dict.fromkeys(document["hosts"], 0)
    for placement in result["placements"]:
        if placement["class"] in ("dedicated", "isolated"):
            taken[placement["node"]] |= parse_cpulist(placement["cpus"])
    for entry in filter(lambda entry: entry["node"], result["requests"]):
        request = requests[int(entry["name"][1:])]
        assert entry["node"] in request.get("nodes", document["hosts"])
        cpus = parse_cpulist(entry["cpus"])
        assert not cpus & taken[entry["node"]]
        taken[entry["node"]] |= cpus
        created = {"vmid": 1, "vcpus": request["vcpus"], "memory_mib": request["memory_mib"], "numa_cells": entry["numa_cells"]}
        affinity = "0-0" if entry["cpus"] == "0" else entry["cpus"]
        assert start_errors({**created, "affinity": affinity}, document["hosts"][entry["node"]]) == []
    for number, request in enumerate(requests):
        homes = [entry["node"] for entry in result["requests"] if entry["name"] == f"r{number}" and entry["node"]]
        wish = request.get("group_affinity")
        assert wish != "negative" or len(homes) == len(set(homes))
        assert wish != "positive" or (len(set(homes)) <= 1 and len(homes) in (0, request["count"]))
