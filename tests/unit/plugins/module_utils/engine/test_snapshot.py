# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot, build
from sample_hosts import epyc_9354, guest, snapshot

CLUSTER = {"name": "c1", "quorate": True, "nodes": [{"name": "pve1", "ip": "192.0.2.1", "online": True}]}


def test_facts_guests_and_groups_come_together():
    hostvars = {
        "host1": {"ansible_facts": {"corepin_host": epyc_9354("pve1")}},
        "host2": {"corepin_host": epyc_9354("pve2")},
        "localhost": {},
    }
    result = {"guests": [guest(101, 4), guest(100, 2)], "cluster": CLUSTER}
    document = build(hostvars, result, {"all": ["host1", "host2"], "fast": ["host1"], "empty": ["localhost"]})
    assert sorted(document["hosts"]) == ["pve1", "pve2"]
    assert [entry["vmid"] for entry in document["guests"]] == [100, 101]
    assert (document["cluster"], document["groups"], document["schema"]) == (CLUSTER, {"fast": ["pve1"]}, 1)


def test_results_of_several_hosts_are_merged():
    results = [{"guests": [guest(100, 2)], "cluster": CLUSTER}, {"guests": [guest(100, 2), guest(200, 2)], "cluster": CLUSTER}]
    assert [entry["vmid"] for entry in build({}, results, None)["guests"]] == [100, 200]


def test_guests_come_from_the_inventory_where_nothing_was_asked():
    hostvars = {
        "db": {
            "proxmox_vmid": 101,
            "proxmox_node": "pve1",
            "proxmox_name": "db",
            "proxmox_cores": "4",
            "proxmox_sockets": 2,
            "proxmox_memory": "8192",
            "proxmox_numa": True,
            "proxmox_numa0": {"cpus": "0-7", "hostnodes": "0", "memory": "8192", "policy": "bind"},
            "proxmox_affinity": "0-7",
            "proxmox_status": "running",
            "proxmox_tags_parsed": ["gold"],
            "proxmox_vmtype": "qemu",
        }
    }
    document = build(hostvars, None, {"proxmox_all_qemu": ["db"]})
    [info] = document["guests"]
    assert (info["vcpus"], info["memory_mib"], info["tags"], info["status"]) == (8, 8192, ["gold"], "running")
    assert info["config"]["numa0"] == "cpus=0-7,hostnodes=0,memory=8192,policy=bind"
    assert (info["config"]["numa"], info["config"]["affinity"]) == ("1", "0-7")
    assert document["groups"] == {"proxmox_all_qemu": [101]}
    assert Snapshot.from_dict(document).guests[0].name == "db"


def test_two_inventory_hosts_with_one_name_are_an_error():
    with pytest.raises(FactsError, match="Inventory hosts a and b both call themselves pve1; set corepin_node"):
        build({"a": {"corepin_host": epyc_9354()}, "b": {"corepin_host": epyc_9354()}}, None, None)


def test_a_result_without_guests_is_an_error():
    with pytest.raises(FactsError, match="has no guests"):
        build({}, {"msg": "failed"}, None)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "no hosts and guests"),
        ({"hosts": {}}, "no hosts and guests"),
        ({**snapshot([], []), "schema": 9}, "has schema 9"),
        (snapshot([], [guest(1, 1), guest(1, 1, node="pve2")]), "guest 1 twice"),
        (snapshot([{"node": "pve1", "cpus": {"online": "x"}}], []), "facts of host pve1 cannot be read: 'x' is not a cpulist"),
        (snapshot([{"node": "pve1", "cpus": {"online": ""}}], []), "Host pve1 has no online CPU"),
        (snapshot([{"node": "pve1", "cpus": "0-3"}], []), "do not have the expected shape"),
    ],
)
def test_what_is_no_snapshot_is_one_sentence(document, words):
    with pytest.raises(FactsError) as error:
        Snapshot.from_dict(document)
    assert words in str(error.value)


def test_hosts_that_were_not_read_are_named_with_the_reason():
    nodes = [{"name": "pve1", "online": True}, {"name": "pve2", "online": False}, {"name": "pve3", "online": True}]
    document = snapshot([epyc_9354("pve1")], [guest(1, 1, node="pve4")], cluster={"nodes": nodes})
    assert Snapshot.from_dict(document).unread_hosts == {
        "pve2": "is offline",
        "pve3": "has no topology facts",
        "pve4": "has no topology facts",
    }
