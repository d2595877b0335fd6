# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/cluster, /nodes, /pools, HA, mappings: shapes and types, and what differs between PVE 8 and 9."""

from __future__ import annotations

import pytest

LAB = {"name": "lab", "nodes": [{"name": "pve1", "cpus": 64, "sockets": 2, "memory_mib": 1024}, {"name": "pve2"}]}


def test_cluster_status(make):
    assert make(cluster=LAB)("GET", "/cluster/status").data == [
        {"type": "cluster", "id": "cluster", "name": "lab", "nodes": 2, "version": 2, "quorate": 1},
        {"type": "node", "id": "node/pve1", "name": "pve1", "nodeid": 1, "ip": "10.0.0.1", "online": 1, "local": 1, "level": ""},
        {"type": "node", "id": "node/pve2", "name": "pve2", "nodeid": 2, "ip": "10.0.0.2", "online": 1, "local": 0, "level": ""},
    ]


def test_a_single_host_is_no_cluster(make):
    assert make()("GET", "/cluster/status").data == [
        {"type": "node", "id": "node/pve1", "name": "pve1", "nodeid": 0, "ip": "10.0.0.1", "online": 1, "local": 1, "level": ""}
    ]


def test_resources(make):
    ask = make(
        {"name": "a", "cores": 2, "sockets": 2, "memory": 2048, "tags": "b;a"},
        status="running",
        pool="p",
        cluster={
            **LAB,
            "guests": [
                {"vmid": 101, "node": "pve2", "type": "lxc", "config": {"hostname": "ct", "cores": 2, "memory": 256}},
                {"vmid": 102, "node": "pve2", "config": {"template": 1, "lock": "clone"}},
            ],
        },
    )
    vms = {entry["vmid"]: entry for entry in ask("GET", "/cluster/resources", {"type": "vm"}).data}
    assert {key: vms[100][key] for key in ("id", "type", "node", "name", "status", "template", "maxcpu", "maxmem", "tags", "pool")} == {
        "id": "qemu/100",
        "type": "qemu",
        "node": "pve1",
        "name": "a",
        "status": "running",
        "template": 0,
        "maxcpu": 4,
        "maxmem": 2048 << 20,
        "tags": "b;a",
        "pool": "p",
    }
    assert (vms[101]["id"], vms[101]["type"], vms[101]["maxmem"]) == ("lxc/101", "lxc", 256 << 20)
    assert (vms[102]["name"], vms[102]["template"], vms[102]["lock"]) == ("VM102", 1, "clone")
    assert "affinity" not in vms[100]
    everything = ask("GET", "/cluster/resources").data
    assert {entry["type"] for entry in everything} == {"node", "qemu", "lxc", "pool", "storage"}
    assert ask("GET", "/cluster/resources", {"type": "x"}).status == 400


def test_resources_are_as_old_as_the_last_broadcast(make):
    ask = make({"name": "a"}, cluster=LAB)
    ask.cluster.freeze_broadcasts()
    ask.task(100, "start")
    ask.config(100, tags="new")
    entry = ask("GET", "/cluster/resources", {"type": "vm"}).data[0]
    assert (entry["status"], entry["tags"]) == ("stopped", "new")
    ask.cluster.thaw_broadcasts()
    assert ask("GET", "/cluster/resources", {"type": "vm"}).data[0]["status"] == "running"


def test_node_status_has_text_where_pve_has_text(make):
    info = make(cluster=LAB)("GET", "/nodes/pve1/status").data
    assert info["cpuinfo"] == {
        "cpus": 64,
        "cores": 32,
        "sockets": 2,
        "model": "AMD EPYC 9354 32-Core Processor",
        "mhz": "3250.000",
        "family": "25",
        "flags": info["cpuinfo"]["flags"],
        "hvm": "1",
        "user_hz": 100,
    }
    assert info["memory"]["total"] == 1024 << 20
    assert info["pveversion"].startswith("pve-manager/9.2.6/")
    assert all(isinstance(load, str) for load in info["loadavg"])
    assert "numa" not in str(info).lower()


def test_versions(make):
    assert make()("GET", "/version").data == {"version": "9.2.6", "release": "9.2", "repoid": "0123456789abcdef"}
    assert make(cluster={"version": "8.4.1"})("GET", "/version").data["release"] == "8.4"


def test_rules_since_9(make):
    ask = make(cluster={**LAB, "guests": [{"vmid": 200, "node": "pve2"}]})
    assert ask("GET", "/cluster/ha/groups").message == "cannot index groups: ha groups have been migrated to rules\n"
    assert ask("POST", "/cluster/ha/resources", {"sid": "200", "state": "stopped"}).status == 200
    assert ask("GET", "/cluster/ha/resources").data == [
        {"sid": "vm:200", "type": "vm", "state": "stopped", "digest": "56333f8b84e3db239d9fc604145008ecd98b6fc7"}
    ]
    rule = {"type": "node-affinity", "rule": "r1", "resources": "vm:200", "nodes": "pve2:2,pve1", "strict": 1}
    assert ask("POST", "/cluster/ha/rules", rule).status == 200
    refused = ask(
        "POST", "/cluster/ha/rules", {"type": "resource-affinity", "rule": "r2", "resources": "vm:200,vm:100", "affinity": "negative"}
    )
    assert (refused.status, refused.message) == (500, "create ha rule failed: cannot use unmanaged resource(s) vm:100.\n")
    shown = {
        "rule": "r1",
        "type": "node-affinity",
        "resources": "vm:200",
        "nodes": "pve1,pve2:2",
        "strict": 1,
        "order": 1,
        "digest": "e2470f286e9b8d5877dcdd634b5d7b2c3f5f01fa",
    }
    assert ask("GET", "/cluster/ha/rules").data == [shown]
    assert ask("GET", "/cluster/ha/rules/r1").data == shown
    assert ask("GET", "/cluster/resources", {"type": "vm"}).data[1]["hastate"] == "stopped"
    assert ask("GET", "/nodes/pve2/qemu/200/status/current").data["ha"] == {"managed": 1, "state": "stopped"}
    assert ask("PUT", "/cluster/ha/rules/r1", {"nodes": "pve2", "digest": "0" * 40}).status == 500
    assert ask("PUT", "/cluster/ha/rules/r1", {"nodes": "pve2", "delete": "strict"}).status == 200
    assert ask("GET", "/cluster/ha/rules/r1").data["nodes"] == "pve2"
    assert ask("DELETE", "/cluster/ha/rules/r1").status == 200
    assert ask("GET", "/cluster/ha/rules").data == []
    assert ask.task(200, "start") == ("OK", ["Requesting HA start for VM 200", "TASK OK"])
    assert ask.cluster.guest(200).running
    assert ask("GET", "/cluster/ha/resources/vm:200").data["state"] == "started"


def test_asking_the_manager_ends_well_whatever_becomes_of_the_guest(make):
    ask = make({"cores": 9999}, cluster={**LAB, "ha": {"resources": {"vm:100": {}}}})
    assert ask.task(100, "start")[0] == "OK"
    assert [(task.type, task.user, task.exitstatus) for task in ask.cluster.tasks.all.values()] == [
        ("hastart", "root@pam", "OK"),
        ("qmstart", "root@pam", "MAX 64 vcpus allowed per VM on this node"),
    ]
    assert not ask.cluster.guest(100).running


def test_groups_before_9(make):
    ask = make(
        cluster={
            **LAB,
            "version": "8.4.1",
            "ha": {"groups": [{"group": "g", "nodes": "pve1,pve2:2", "restricted": 1}], "resources": {"vm:100": {"group": "g"}}},
        }
    )
    assert ask("GET", "/cluster/ha/rules").status == 501
    shown = ask("GET", "/cluster/ha/groups").data
    assert {key: shown[0][key] for key in ("group", "type", "nodes", "restricted")} == {
        "group": "g",
        "type": "group",
        "nodes": "pve1,pve2:2",
        "restricted": 1,
    }
    assert ask("GET", "/nodes/pve1/qemu/100/status/current").data["ha"] == {"managed": 1, "state": "started", "group": "g"}
    assert ask("POST", "/cluster/ha/groups", {"group": "h", "nodes": "pve2"}).status == 200
    assert "VM.Monitor" in ask("GET", "/access/permissions").data["/vms"]


@pytest.mark.parametrize(("version", "key", "status"), [("9.2.6", "allow-ksm", 200), ("8.4.1", "allow-ksm", 400)])
def test_keys_of_a_version(make, version, key, status):
    assert make(cluster={"version": version}).config(100, **{key: 1}).status == status


def test_memory_was_a_number_once(make):
    assert make({"memory": 2048}, cluster={"version": "7.4.1"}).shown(100)["memory"] == 2048
    assert make({"memory": 2048}, cluster={"version": "8.4.1"}).shown(100)["memory"] == "2048"


def test_pools(make):
    ask = make({"name": "a"}, cluster=LAB)
    assert ask("GET", "/pools").data == []
    assert ask("GET", "/pools", {"type": "qemu"}).errors == {"poolid": "missing property required by 'type'"}
    assert ask("POST", "/pools", {"poolid": "p1", "comment": "x"}).status == 200
    assert ask("PUT", "/pools", {"poolid": "p1", "vms": "100"}).status == 200
    by_path, listed = ask("GET", "/pools/p1").data, ask("GET", "/pools", {"poolid": "p1"}).data
    assert listed == [by_path]
    assert (by_path["poolid"], by_path["comment"], [member["id"] for member in by_path["members"]]) == ("p1", "x", ["qemu/100"])
    assert "pool" not in by_path["members"][0]
    ask("POST", "/pools", {"poolid": "p2"})
    assert ask("PUT", "/pools/p2", {"vms": "100"}).message == (
        "update pools failed: VM 100 belongs already to pool 'p1' and 'allow-move' is not set\n"
    )
    assert ask("DELETE", "/pools/p1").message == "delete pool failed: pool 'p1' is not empty\n"
    assert ask("PUT", "/pools/p1", {"vms": "100", "delete": 1}).status == 200
    assert ask("DELETE", "/pools/p1").status == 200


def test_mappings_and_options(make):
    ask = make(
        cluster={
            **LAB,
            "options": {"crs": "ha=static"},
            "mappings": {"pci": [{"id": "gpu", "map": [{"node": "pve1", "path": "0000:41:00.0", "id": "10de:2204"}]}]},
            "users": [{"userid": "a@pve"}],
        },
        config={"tags": "z"},
    )
    assert ask("GET", "/cluster/mapping/pci").data == [{"id": "gpu", "map": ["id=10de:2204,node=pve1,path=0000:41:00.0"], "type": "pci"}]
    assert ask("GET", "/cluster/mapping/pci", user="a@pve").data == []
    assert ask("GET", "/cluster/options").data == {
        "mac_prefix": "BC:24:11",
        "description": "",
        "crs": {"ha": "static"},
        "allowed-tags": ["z"],
    }
    assert ask("GET", "/cluster/options", user="a@pve").data == {"allowed-tags": ["z"]}


def test_creating_a_guest(make):
    ask = make(cluster=LAB)
    upid = ask("POST", "/nodes/pve2/qemu", {"vmid": 300, "name": "new", "cores": 2, "affinity": "0-1", "tags": "B,a", "pool": "p"}).data
    assert ask.cluster.tasks.all[upid].exitstatus == "OK"
    shown = ask.shown(300)
    assert (shown["name"], shown["cores"], shown["affinity"], shown["tags"], shown["boot"]) == ("new", 2, "0-1", "a;b", " ")
    assert {"meta", "smbios1", "vmgenid"} <= set(shown)
    assert ask("POST", "/nodes/pve1/qemu", {"vmid": 300}).message == "unable to create VM 300 - VM 300 already exists on node 'pve2'\n"
