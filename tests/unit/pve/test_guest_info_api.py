# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_info over the API of the simulated cluster."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.modules import guest_info
from pve_lab import Cluster, Lab

from .conftest import AUDITOR, BY_PASSWORD, CPU_ADMIN, NO_RIGHTS, ROOT_TOKEN, connection, described, logins, reads_of_guests, warnings_of

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner


def by_vmid(result: t.Mapping[str, t.Any]) -> dict[int, dict[str, t.Any]]:
    return {guest["vmid"]: guest for guest in result["guests"]}


def test_the_whole_cluster_in_one_login(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_info, **connection(lab))
    assert "failed" not in result, result
    assert [guest["vmid"] for guest in result["guests"]] == [100, 101, 102, 103, 200, 300]
    assert result["changed"] is False
    assert result["unread"] == []
    assert "warnings" not in result
    guest = by_vmid(result)[100]
    assert guest == {
        "vmid": 100,
        "type": "qemu",
        "name": "db",
        "node": "pve1",
        "status": "running",
        "template": False,
        "lock": None,
        "protection": False,
        "tags": ["db", "prod"],
        "pool": "databases",
        "ha": {"state": "started", "group": None, "rules": ["near"]},
        "digest": lab.cluster.guest(100).digest,
        "config": {
            "name": "db",
            "cores": "4",
            "memory": "8192",
            "numa": "1",
            "numa0": "cpus=0-3,hostnodes=0,memory=8192,policy=bind",
            "affinity": "0-3",
            "tags": "db;prod",
            "hostpci0": "mapping=gpu",
        },
        "pending": {},
        "vcpus": 4,
        "memory_mib": 8192,
        "affinity": "0-3",
        "numa_cells": [{"cpus": "0-3", "hostnodes": "0", "memory_mib": 8192, "policy": "bind"}],
        "hostpci": ["0000:41:00.0"],
        "hugepages": None,
    }
    assert result["cluster"] == {
        "name": "lab",
        "quorate": True,
        "nodes": [{"name": node.name, "ip": node.ip, "online": True} for node in lab.cluster.nodes.values()],
        "ha_rules": [
            {
                "rule": "near",
                "type": "node-affinity",
                "source": "rule",
                "affinity": "positive",
                "strict": True,
                "enabled": True,
                "vmids": [100],
                "nodes": [{"name": "pve1", "priority": 0}, {"name": "pve2", "priority": 2}],
            }
        ],
        "crs": {"ha": "static", "ha-rebalance-on-start": True},
        "pci_mappings": [{"id": "gpu", "devices": [{"node": "pve1", "addresses": ["0000:41:00.0"]}]}],
        "version": "9.2.6",
    }
    assert logins(lab) == 1
    assert lab.writes == []


def test_each_guest_is_read_once_and_a_container_once_more_for_its_raw_keys(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_info, **connection(lab))
    pending = [path for path in reads_of_guests(lab) if path.endswith("/pending")]
    assert len(pending) == len(set(pending)) == 6
    assert [path for path in reads_of_guests(lab) if not path.endswith("/pending") and "/nodes/" in path] == ["/nodes/pve1/lxc/300/config"]
    assert by_vmid(result)[300]["config"]["lxc.cgroup2.cpuset.cpus"] == "8-9"


def test_pending_changes_and_deletes(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.guest(100).text = lab.cluster.guest(100).text + "\n[PENDING]\naffinity: 8-11\ncores: 2\ndelete: numa0\n"
    guest = by_vmid(run_module(guest_info, **connection(lab)))[100]
    assert guest["pending"] == {"affinity": "8-11", "cores": "2", "numa0": None}
    assert (guest["affinity"], guest["vcpus"], len(guest["numa_cells"])) == ("0-3", 4, 1)


def test_check_mode_is_the_same(lab: Lab, run_module: ModuleRunner) -> None:
    assert run_module(guest_info, check_mode=True, **connection(lab)) == run_module(guest_info, **connection(lab))


@pytest.mark.parametrize("login", [AUDITOR, CPU_ADMIN, ROOT_TOKEN])
def test_logins_that_see_everything_give_the_same(lab: Lab, run_module: ModuleRunner, login: dict[str, str]) -> None:
    as_root = run_module(guest_info, **connection(lab))
    result = run_module(guest_info, **connection(lab, **login))
    assert "failed" not in result, result
    for value in (as_root, result):
        value.pop("invocation")
        if login is CPU_ADMIN:  # it has no Mapping.Audit
            value["cluster"].pop("pci_mappings")
            value["guests"][0].pop("hostpci")
            value.pop("warnings", None)
    assert result == as_root


def test_a_token_without_rights(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_info, **connection(lab, **NO_RIGHTS))
    assert result["msg"] == (
        "The login lacks the privilege Sys.Audit on /; grant it (pveum acl modify), for reading with the role PVEAuditor."
    )


def test_a_login_from_which_guests_are_hidden(lab: Lab, run_module: ModuleRunner) -> None:
    result = run_module(guest_info, **connection(lab, api_user="half@pve", api_password="half-password"))
    assert result["failed"]
    assert "VM.Audit on /vms" in result["msg"]
    assert "half@pve" in result["msg"]


@pytest.mark.parametrize(
    ("login", "named"),
    [
        ({**BY_PASSWORD, "api_password": "wrong-secret"}, "refuses the login of root@pam"),
        ({**ROOT_TOKEN, "api_token_secret": "wrong-secret"}, "does not accept the token root@pam!t1"),
        ({"api_user": "root@pam"}, "No credentials"),
        ({"api_user": "root", "api_password": "wrong-secret"}, "no realm"),
    ],
)
def test_wrong_credentials(lab: Lab, run_module: ModuleRunner, login: dict[str, str], named: str) -> None:
    result = run_module(guest_info, **connection(lab, **login))
    assert result["failed"]
    assert named in result["msg"]
    assert "wrong-secret" not in str(result)


def test_a_token_named_in_full(lab: Lab, run_module: ModuleRunner) -> None:
    login = {"api_token_id": "auditor@pve!corepin", "api_token_secret": AUDITOR["api_token_secret"]}
    assert len(run_module(guest_info, **connection(lab, **login))["guests"]) == 6


def test_credentials_from_the_environment(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("HOST", lab.host),
        ("PORT", str(lab.port)),
        ("USER", "auditor@pve"),
        ("TOKEN_ID", "corepin"),
        ("TOKEN_SECRET", AUDITOR["api_token_secret"]),
        ("CA_PATH", lab.ca_path),
    ):
        monkeypatch.setenv(f"PROXMOX_{name}", value)
    assert len(run_module(guest_info)["guests"]) == 6
    assert {request.user for request in lab.requests} == {"auditor@pve!corepin"}


def test_an_offline_host(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.node("pve3").online = False
    result = run_module(guest_info, **connection(lab))
    guest = by_vmid(result)[200]
    assert (guest["status"], guest["config"], guest["digest"]) == ("unknown", {}, None)
    assert result["unread"] == [{"vmid": 200, "node": "pve3", "reason": "its host is offline"}]
    assert not any(request.path.startswith("/nodes/pve3") for request in lab.requests)
    assert warnings_of(result) == ["Guest 200 on pve3 was not read: its host is offline."]


def test_a_host_that_stops_answering_is_asked_once_and_not_for_every_guest(lab: Lab, run_module: ModuleRunner) -> None:
    fault = lab.faults.add(method="GET", path="/nodes/pve1/qemu/", status=595, reason="Connection timed out")
    result = run_module(guest_info, concurrency=1, **connection(lab))
    assert [(item["vmid"], item["node"]) for item in result["unread"]] == [(100, "pve1"), (101, "pve1"), (300, "pve1")]
    assert "Connection timed out" in result["unread"][0]["reason"]
    assert by_vmid(result)[102]["config"]
    assert fault.hits == 3


def test_a_read_that_fails_once_is_repeated(lab: Lab, run_module: ModuleRunner) -> None:
    for fault in ({"status": 596, "reason": "Broken pipe"}, {"drop": True}):
        lab.faults.add(method="GET", path="/nodes/pve2/qemu/102/pending", times=1, **fault)
        result = run_module(guest_info, **connection(lab))
        assert by_vmid(result)[102]["config"], result


def test_a_guest_that_disappears_meanwhile(lab: Lab, run_module: ModuleRunner) -> None:
    words = "Configuration file 'nodes/pve1/qemu-server/101.conf' does not exist"
    lab.faults.add(path="/nodes/pve1/qemu/101/", status=500, reason=words)
    result = run_module(guest_info, **connection(lab))
    assert [guest["vmid"] for guest in result["guests"]] == [100, 102, 103, 200, 300]
    assert [(item["vmid"], item["node"]) for item in result["unread"]] == [(101, "pve1")]
    assert "deleted or moved" in result["unread"][0]["reason"]


def test_a_guest_that_moves_meanwhile_is_followed(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.freeze_broadcasts()
    lab.cluster.guest(101).node = "pve2"
    original = lab.cluster.guest_on

    def thawing(node: str, vmid: int, kind: str) -> t.Any:
        if vmid == 101 and node == "pve1":
            lab.cluster.thaw_broadcasts()
        return original(node, vmid, kind)

    lab.cluster.guest_on = thawing  # type: ignore[method-assign]
    result = run_module(guest_info, **connection(lab))
    assert by_vmid(result)[101]["node"] == "pve2"
    assert by_vmid(result)[101]["config"]["name"] == "web"
    assert result["unread"] == []


def test_a_config_with_values_that_no_start_takes(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.guest(101).text += "numa: 1\nnuma0: cpus=1-0,memory=2048\naffinity: 0, 1\nfoo: bar\n"
    result = run_module(guest_info, **connection(lab))
    guest = by_vmid(result)[101]
    assert guest["config"]["numa0"] == "cpus=1-0,memory=2048"
    assert (guest["numa_cells"], guest["affinity"]) == ([], "0, 1")
    assert any("Guest 101 (web)" in text and "numa0" in text and "cpus=1-0" in text for text in warnings_of(result))


def test_groups_of_pve_8(run_module: ModuleRunner) -> None:
    groups = {
        "resources": {"vm:100": {"type": "vm", "state": "started", "group": "big"}},
        "groups": {"big": {"type": "group", "nodes": "pve1:1,pve2", "restricted": 1}},
    }
    with Lab(Cluster.from_dict(described(version="8.4.1", ha=groups))) as lab:
        result = run_module(guest_info, **connection(lab))
        assert "/cluster/ha/rules" not in {request.path for request in lab.requests}
    assert result["cluster"]["version"] == "8.4.1"
    assert [(rule["rule"], rule["source"], rule["strict"], rule["vmids"]) for rule in result["cluster"]["ha_rules"]] == [
        ("big", "group", True, [100])
    ]
    assert by_vmid(result)[100]["ha"] == {"state": "started", "group": "big", "rules": ["big"]}


def test_pve_7_has_no_mappings(run_module: ModuleRunner) -> None:
    with Lab(
        Cluster.from_dict({"version": "7.4.3", "nodes": [{"name": "pve1"}], "guests": [{"vmid": 100, "config": {"memory": 2048}}]})
    ) as lab:
        lab.faults.add(path="/cluster/mapping", status=501, reason="Method 'GET /cluster/mapping/pci' not implemented")
        result = run_module(guest_info, **connection(lab))
    assert result["cluster"]["pci_mappings"] == []
    assert result["guests"][0]["memory_mib"] == 2048


def test_a_host_in_no_cluster(run_module: ModuleRunner) -> None:
    with Lab(Cluster.from_dict({"nodes": [{"name": "solo"}], "guests": [{"vmid": 100}]})) as lab:
        cluster = run_module(guest_info, **connection(lab))["cluster"]
    assert (cluster["name"], cluster["quorate"], [node["name"] for node in cluster["nodes"]]) == ("solo", True, ["solo"])


def test_without_quorum_reading_goes_on(lab: Lab, run_module: ModuleRunner) -> None:
    lab.cluster.quorate = False
    assert run_module(guest_info, **connection(lab))["cluster"]["quorate"] is False
