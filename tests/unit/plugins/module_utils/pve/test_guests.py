# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From PVE's answers to what guest_info returns."""

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Guest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest_config import GuestConfig
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.guests import guest_info
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.reading import OFFLINE, Reading

STATUS = [
    {"type": "cluster", "id": "cluster", "name": "prod", "nodes": 2, "quorate": 1, "version": 3},
    {"type": "node", "name": "pve2", "ip": "192.0.2.2", "online": 0, "local": 0, "nodeid": 2},
    {"type": "node", "name": "pve1", "ip": "192.0.2.1", "online": 1, "local": 1, "nodeid": 1},
]
CONTRACT_KEYS = {
    "vmid", "type", "name", "node", "status", "template", "lock", "protection", "tags", "pool", "ha", "digest", "config", "pending",
    "vcpus", "memory_mib", "affinity", "numa_cells", "hostpci", "hugepages",
}  # fmt: skip


def resource(vmid: int, node: str = "pve1", guest_type: str = "qemu", **other: t.Any) -> t.Dict[str, t.Any]:
    return {"id": f"{guest_type}/{vmid}", "type": guest_type, "vmid": vmid, "node": node, "status": "running", "template": 0, **other}


def reading(resources: t.Sequence[t.Mapping[str, t.Any]], configs: t.Mapping[int, GuestConfig], **other: t.Any) -> Reading:
    return Reading(version="9.2.6", status=STATUS, resources=resources, configs=dict(configs), **other)


def only_guest(config: t.Mapping[str, str], node: str = "pve1", guest_type: str = "qemu", **other: t.Any) -> t.Dict[str, t.Any]:
    info, warnings = guest_info(reading([resource(100, node, guest_type)], {100: GuestConfig(config, {}, "d")}, **other))
    return {**info["guests"][0], "warnings": warnings}


def test_a_vm_in_full() -> None:
    config = GuestConfig(
        {
            "name": "db",
            "cores": "4",
            "sockets": "2",
            "memory": "current=8192",
            "affinity": "0-7",
            "numa": "1",
            "numa0": "cpus=0-3,hostnodes=0,memory=4096,policy=bind",
            "numa1": "cpus=4-7,hostnodes=1;3,memory=4096,policy=interleave",
            "hugepages": "1024",
            "tags": "db;prod",
            "hostpci0": "0000:01:00.0;0000:01:00.1,pcie=1",
            "hostpci1": "mapping=gpu",
            "hostpci10": "c1:00",
            "protection": "1",
        },
        {"affinity": "8-15", "numa1": None},
        "d0",
    )
    mappings = [{"id": "gpu", "map": ["node=pve2,path=0000:05:00.0", "node=pve1,path=0000:41:00.0", "node=pve1,path=0000:81:00.0"]}]
    info, warnings = guest_info(
        reading(
            [resource(100, name="old", pool="p1", tags="old", maxcpu=1)],
            {100: config},
            pci_mappings=mappings,
            ha_resources=[{"sid": "vm:100", "type": "vm", "state": "started"}],
            ha_rules=[{"rule": "r1", "type": "node-affinity", "resources": "vm:100", "nodes": "pve2:2,pve1", "strict": 1}],
        )
    )
    guest = info["guests"][0]
    assert set(guest) == CONTRACT_KEYS
    assert warnings == []
    assert guest["config"] == dict(config.config)
    assert guest["pending"] == {"affinity": "8-15", "numa1": None}
    del guest["config"], guest["pending"]
    assert guest == {
        "vmid": 100, "type": "qemu", "name": "db", "node": "pve1", "status": "running", "template": False, "lock": None, "protection": True,
        "tags": ["db", "prod"], "pool": "p1", "ha": {"state": "started", "group": None, "rules": ["r1"]}, "digest": "d0", "vcpus": 8,
        "memory_mib": 8192, "affinity": "0-7", "hugepages": "1024",
        "numa_cells": [
            {"cpus": "0-3", "hostnodes": "0", "memory_mib": 4096, "policy": "bind"},
            {"cpus": "4-7", "hostnodes": "1,3", "memory_mib": 4096, "policy": "interleave"},
        ],
        "hostpci": ["0000:01:00.0", "0000:01:00.1", "0000:41:00.0", "0000:81:00.0", "0000:c1:00"],
    }  # fmt: skip
    assert info["cluster"] == {
        "name": "prod",
        "quorate": True,
        "nodes": [{"name": "pve1", "ip": "192.0.2.1", "online": True}, {"name": "pve2", "ip": "192.0.2.2", "online": False}],
        "ha_rules": [
            {
                "rule": "r1", "type": "node-affinity", "source": "rule", "affinity": "positive", "strict": True, "enabled": True,
                "vmids": [100], "nodes": [{"name": "pve1", "priority": 0}, {"name": "pve2", "priority": 2}],
            }
        ],
        "crs": {},
        "pci_mappings": [
            {
                "id": "gpu",
                "devices": [
                    {"node": "pve1", "addresses": ["0000:41:00.0", "0000:81:00.0"]},
                    {"node": "pve2", "addresses": ["0000:05:00.0"]},
                ],
            }
        ],
        "version": "9.2.6",
    }  # fmt: skip
    Guest.from_info({**guest, "config": {}, "pending": {}})


def test_defaults_of_an_empty_config() -> None:
    guest = only_guest({})
    assert (guest["vcpus"], guest["memory_mib"], guest["affinity"], guest["numa_cells"], guest["hostpci"]) == (1, 512, None, [], [])
    assert guest["tags"] == []
    assert guest["ha"] is None
    assert guest["warnings"] == []


def test_a_container() -> None:
    guest = only_guest({"hostname": "ct", "cores": "2", "memory": "256", "lxc.cgroup2.cpuset.cpus": "0-1"}, guest_type="lxc")
    assert (guest["type"], guest["name"], guest["vcpus"], guest["memory_mib"], guest["affinity"]) == ("lxc", "ct", 2, 256, None)
    assert only_guest({"hostname": "ct"}, guest_type="lxc")["vcpus"] is None


def test_sorted_by_vmid_and_templates_are_there() -> None:
    configs = {9: GuestConfig({"template": "1"}, {}), 10: GuestConfig({}, {}), 100: GuestConfig({"lock": "backup"}, {})}
    info, _warnings = guest_info(reading([resource(100), resource(9), resource(10)], configs))
    assert [(guest["vmid"], guest["template"], guest["lock"]) for guest in info["guests"]] == [
        (9, True, None),
        (10, False, None),
        (100, False, "backup"),
    ]


def test_bad_values_keep_their_text_and_are_named() -> None:
    guest = only_guest({"numa": "1", "numa0": "cpus=1-0,memory=512", "affinity": "0, 1", "memory": "lots", "hostpci3": "mapping=none"})
    assert guest["numa_cells"] == []
    assert guest["affinity"] == "0, 1"
    assert guest["memory_mib"] is None
    assert guest["config"]["numa0"] == "cpus=1-0,memory=512"
    assert len(guest["warnings"]) == 4
    for key, value in (("numa0", "cpus=1-0"), ("affinity", "0, 1"), ("memory", "lots"), ("hostpci3", "mapping=none")):
        assert any("Guest 100" in text and key in text and value in text for text in guest["warnings"])


def test_cells_that_pve_ignores_are_no_complaint() -> None:
    guest = only_guest({"numa": "0", "numa0": "cpus=1-0"})
    assert guest["numa_cells"] == []
    assert guest["warnings"] == []


def test_a_guest_on_an_offline_host() -> None:
    resources = [resource(200, "pve2"), resource(100)]
    info, warnings = guest_info(reading(resources, {100: GuestConfig({}, {})}, unread={200: ("pve2", OFFLINE)}))
    guest = info["guests"][1]
    assert set(guest) == CONTRACT_KEYS
    assert (guest["vmid"], guest["status"], guest["config"], guest["vcpus"], guest["memory_mib"]) == (200, "unknown", {}, None, None)
    assert info["unread"] == [{"vmid": 200, "node": "pve2", "reason": "its host is offline"}]
    assert warnings == ["Guest 200 on pve2 was not read: its host is offline."]
    Guest.from_info(guest)


def test_a_guest_that_is_gone_is_reported_but_no_guest() -> None:
    info, warnings = guest_info(reading([resource(100)], {}, unread={100: ("pve1", "gone")}, gone={100}))
    assert info["guests"] == []
    assert info["unread"] == [{"vmid": 100, "node": "pve1", "reason": "gone"}]
    assert len(warnings) == 1


def test_a_host_in_no_cluster() -> None:
    alone = Reading(version="8.4.1", status=[{"type": "node", "name": "pve1", "ip": "192.0.2.1", "online": 1, "local": 1}], resources=[])
    cluster = guest_info(alone)[0]["cluster"]
    assert (cluster["name"], cluster["quorate"], [node["name"] for node in cluster["nodes"]]) == ("pve1", True, ["pve1"])


def test_without_quorum() -> None:
    lost = Reading(version="9.2.6", status=[{**STATUS[0], "quorate": 0}, *STATUS[1:]], resources=[])
    assert guest_info(lost)[0]["cluster"]["quorate"] is False


def test_groups_come_in_the_shape_of_rules() -> None:
    info, _warnings = guest_info(
        reading(
            [resource(100), resource(101, guest_type="lxc")],
            {100: GuestConfig({}, {}), 101: GuestConfig({}, {})},
            ha_resources=[{"sid": "vm:100", "group": "big"}, {"sid": "ct:101", "state": "ignored"}],
            ha_groups=[{"group": "big", "nodes": "pve1:1,pve2", "restricted": 1, "nofailback": 0}],
        )
    )
    assert [guest["ha"] for guest in info["guests"]] == [
        {"state": "started", "group": "big", "rules": ["big"]},
        {"state": "ignored", "group": None, "rules": []},
    ]
    rule = info["cluster"]["ha_rules"][0]
    assert (rule["source"], rule["strict"], rule["vmids"]) == ("group", True, [100])
    assert rule["nodes"] == [{"name": "pve1", "priority": 1}, {"name": "pve2", "priority": 0}]


def test_a_disabled_rule_is_listed_but_not_in_force() -> None:
    info, _warnings = guest_info(
        reading(
            [resource(100)],
            {100: GuestConfig({}, {})},
            ha_resources=[{"sid": "vm:100"}],
            ha_rules=[{"rule": "apart", "type": "resource-affinity", "affinity": "negative", "resources": "vm:100,vm:101", "disable": 1}],
        )
    )
    assert info["guests"][0]["ha"]["rules"] == []
    rule = info["cluster"]["ha_rules"][0]
    assert (rule["affinity"], rule["enabled"], rule["vmids"], rule["nodes"]) == ("negative", False, [100, 101], [])


def test_scheduler_settings_have_one_form() -> None:
    for crs in ({"ha": "static", "ha-rebalance-on-start": 1}, {"ha": "static", "ha-rebalance-on-start": "1"}):
        assert guest_info(reading([], {}, crs=crs))[0]["cluster"]["crs"] == {"ha": "static", "ha-rebalance-on-start": True}


def test_planning_counts_the_size_of_the_next_start() -> None:
    config = GuestConfig({"cores": "2", "memory": "512"}, {"cores": "4", "sockets": "2", "memory": "current=1024"})
    info, _warnings = guest_info(reading([resource(100)], {100: config}))
    assert (info["guests"][0]["vcpus"], info["guests"][0]["memory_mib"]) == (2, 512)
    guest = Guest.from_info(info["guests"][0])
    assert (guest.vcpus, guest.memory_mib) == (8, 1024)
