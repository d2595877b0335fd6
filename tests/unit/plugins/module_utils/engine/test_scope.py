# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is planned at all: guests that stay as they are, and hosts that nobody read."""

from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.report_model import report_model
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot, build
from ansible_collections.corepin.proxmox.plugins.plugin_utils._text import plan_lines
from sample_hosts import epyc_9354, guest, snapshot

EVERYBODY = {"rules": [{"match": {}}]}
NODES = [{"name": "pve1", "online": True}, {"name": "pve2", "online": True}, {"name": "pve3", "online": False}]
SEEN = {"pve1": {"corepin_host": epyc_9354("pve1")}, "pve2": {"corepin_host": epyc_9354("pve2")}}


def plan(guests, policy=None, hosts=None, **more):
    document = snapshot([epyc_9354()] if hosts is None else hosts, guests, **more)
    return place(Snapshot.from_dict(document), Policy.from_dict(EVERYBODY if policy is None else policy))


def placed(document):
    return [placement["vmid"] for placement in document["placements"]]


@pytest.mark.parametrize(
    ("more", "rule", "reason"),
    [
        ({"template": True}, "template", "is a template, for which PVE ignores affinity and NUMA cells"),
        ({"lock": "backup"}, "locked", "is locked (backup)"),
        ({"protection": True}, "protected", "is protected; set corepin_allow_protected to place it all the same"),
        ({"type": "lxc"}, "container", "is a container, which has no affinity and NUMA keys"),
        ({"name": "other"}, "no_rule", "matches no rule"),
    ],
)
def test_a_guest_is_skipped_with_the_reason_in_plan_and_report(more, rule, reason):
    policy = {"rules": [{"match": {"names": ["", "db"]}}]}
    guests = [guest(100, 4, affinity="0-3", **more), guest(101, 4, name="db")]
    document = plan(guests, policy)
    assert document["skipped"] == [{"vmid": 100, "rule": rule, "reason": reason}]
    assert placed(document) == [101]
    assert [change["vmid"] for change in document["changes"]] == [101]
    if rule != "container":
        assert not {"0", "1", "2", "3"} & set(document["placements"][0]["cpus"].split(","))
    row = report_model(snapshot([epyc_9354()], guests), Policy.from_dict(policy), document)["guests"][0]
    assert (row["vmid"], row["text"]) == (100, f"{reason}, stays as it is")


def test_a_protected_guest_is_placed_where_that_is_allowed():
    document = plan([guest(100, 4, protection=True)], {**EVERYBODY, "allow_protected": True})
    assert (placed(document), document["skipped"]) == ([100], [])


def test_a_guest_that_a_rule_calls_unmanaged_is_not_among_the_skipped():
    document = plan([guest(100, 4), guest(101, 4)], {"rules": [{"match": {"vmids": 100}, "class": "unmanaged"}]})
    assert document["skipped"] == [{"vmid": 101, "rule": "no_rule", "reason": "matches no rule"}]
    assert (document["summary"]["skipped"], document["summary"]["unmanaged"]) == (0, 2)


def test_guests_that_are_skipped_for_one_reason_stand_on_one_line():
    guests = [guest(vmid, 1, name=f"web{vmid}") for vmid in range(100, 114)]
    lines = plan_lines(plan([*guests, guest(200, 1, lock="backup", tags=["x"])], {"rules": [{"match": {"tags": "x"}}]}), guests)
    skipped = [line for line in lines if line.startswith("Skipped")]
    assert skipped[0] == "Skipped: guest 200 is locked (backup)."
    assert skipped[1].startswith("Skipped, because each matches no rule: guests 100 (web100), 101 (web101), ")
    assert skipped[1].endswith(", 109 (web109) and 4 more.")


GUESTS = [guest(100, 4), guest(200, 4, node="pve2"), guest(300, 4, node="pve3"), guest(400, 4, node="pve4")]


def test_hosts_that_were_not_read_are_frozen_and_named():
    policy = {**EVERYBODY, "requests": [{"name": "new", "count": 40, "vcpus": 4, "memory_mib": 1024}]}
    document = plan(GUESTS, policy, cluster={"nodes": NODES})
    assert placed(document) == [100]
    assert [(entry["vmid"], entry["rule"]) for entry in document["skipped"]] == [
        (200, "unread_host"),
        (300, "unread_host"),
        (400, "unread_host"),
    ]
    assert document["skipped"][1]["reason"] == "is on host pve3, which is offline"
    assert {entry["node"] for entry in document["requests"]} == {"pve1", None}
    for host, why in (("pve2", "has no topology facts"), ("pve3", "is offline"), ("pve4", "has no topology facts")):
        assert any(warning.startswith(f"Host {host} {why}") for warning in document["warnings"])
    assert (document["summary"]["skipped"], document["summary"]["unmanaged"]) == (3, 0)


def test_an_offline_host_is_frozen_though_its_facts_are_there():
    document = plan([guest(300, 4, node="pve3")], hosts=[epyc_9354("pve1"), epyc_9354("pve3")], cluster={"nodes": NODES})
    assert placed(document) == []


def test_facts_from_a_cache_do_not_count():
    result = {"guests": [guest(100, 4), guest(200, 4, node="pve2")], "cluster": {"nodes": NODES[:2]}}
    assert sorted(build(SEEN, result, None)["hosts"]) == ["pve1", "pve2"]
    limited = build(SEEN, result, None, ["pve1"])
    assert placed(place(Snapshot.from_dict(limited), Policy.from_dict(EVERYBODY))) == [100]


def test_a_host_that_kept_a_config_to_itself_is_frozen():
    """What that guest holds is not known, so nobody else can be placed beside it."""
    unread = [{"vmid": 200, "node": "pve2", "reason": "its host does not answer (timeout)"}]
    guests = [guest(100, 4), guest(200, 4, node="pve2", config={}), guest(201, 4, node="pve2", name="web")]
    result = {"guests": guests, "cluster": {"nodes": NODES[:2]}, "unread": unread}
    document = place(Snapshot.from_dict(build(SEEN, result, None)), Policy.from_dict(EVERYBODY))
    assert placed(document) == [100]
    assert "Host pve2 did not tell the config of guest 200, so that nothing is planned for it and its guests." in document["warnings"]
    read_elsewhere = {**result, "unread": []}
    assert placed(place(Snapshot.from_dict(build(SEEN, [result, read_elsewhere], None)), Policy.from_dict(EVERYBODY))) == [100, 200, 201]


@pytest.mark.parametrize("node", ["", None])
def test_a_guest_on_no_host_is_skipped_and_named(node):
    document = plan([guest(100, 4, node=node, name="lost"), guest(101, 4)])
    assert placed(document) == [101]
    assert document["skipped"] == [{"vmid": 100, "rule": "unread_host", "reason": "is on no host that is known"}]
    assert any("guest 100 (lost)" in warning for warning in document["warnings"])


def test_refuse_names_every_host_that_was_not_read():
    with pytest.raises(FactsError) as error:
        plan(GUESTS, {**EVERYBODY, "partial": "refuse"}, cluster={"nodes": NODES})
    assert str(error.value) == (
        "Hosts pve2 has no topology facts, pve3 is offline and pve4 has no topology facts; add them to the inventory and gather their "
        "facts, or set corepin_partial to freeze."
    )


def test_refuse_needs_the_clusters_list_of_hosts():
    with pytest.raises(FactsError, match="does not tell which hosts the cluster has"):
        plan([guest(100, 4)], {**EVERYBODY, "partial": "refuse"})
