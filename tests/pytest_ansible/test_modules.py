# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules, run through Ansible's own machinery on the hosts of the lab by the fixtures of pytest-ansible."""

from __future__ import annotations

import typing as t

import pytest
from pve_lab import Lab


def module(dispatcher: t.Any, name: str) -> t.Callable[..., t.Any]:
    return t.cast("t.Callable[..., t.Any]", getattr(dispatcher, f"corepin.proxmox.{name}"))


@pytest.mark.parametrize(("name", "online", "numa_nodes"), [("pve1", "0-63", 4), ("pve2", "0-47", 2), ("pve3", "0-79", 1)])
def test_each_host_reads_its_own_topology(hosts: t.Any, trees: dict[str, str], name: str, online: str, numa_nodes: int) -> None:
    answer = module(hosts[name], "host_topology_facts")(root=trees[name], node=name)[name]
    assert answer.is_ok
    facts = answer["ansible_facts"]["corepin_host"]
    assert (facts["node"], facts["cpus"]["online"], len(facts["numa_nodes"])) == (name, online, numa_nodes)


def test_one_call_reads_on_all_hosts(hosts: t.Any, trees: dict[str, str]) -> None:
    answers = module(hosts.all, "host_topology_facts")(root=trees["pve1"])
    fingerprints = {name: answers[name]["ansible_facts"]["corepin_host"]["fingerprint"] for name in trees}
    assert len(fingerprints) == 3
    assert len(set(fingerprints.values())) == 1


def test_a_tree_that_is_not_there_is_refused_in_one_sentence(hosts: t.Any) -> None:
    answer = module(hosts.pve1, "host_topology_facts")(root="/nowhere/at/all")["pve1"]
    assert answer.is_failed
    assert "/nowhere/at/all" in answer["msg"]
    assert "Traceback" not in str(dict(answer))


def test_guests_are_read_over_the_api(hosts: t.Any, connection: dict[str, t.Any]) -> None:
    answer = module(hosts.pve1, "guest_info")(**connection)["pve1"]
    assert answer.is_successful
    assert not answer.is_changed
    assert [guest["vmid"] for guest in answer["guests"]] == [100, 101]
    assert answer["guests"][1]["affinity"] == "0-3"


def test_wrong_credentials_are_refused_without_naming_them(hosts: t.Any, connection: dict[str, t.Any]) -> None:
    answer = module(hosts.pve1, "guest_info")(**{**connection, "api_password": "not-the-password"})["pve1"]
    assert answer.is_failed
    assert "not-the-password" not in str(dict(answer))


@pytest.fixture
def plan(lab: Lab) -> dict[str, t.Any]:
    """A plan that pins guest 101 elsewhere and leaves guest 100 alone."""
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed

    change = {
        "vmid": 101,
        "node": "pve2",
        "digest": lab.cluster.guests[101].digest,
        "before": {"affinity": "0-3"},
        "after": {"affinity": "4-5"},
        "effect": "now",
        "reason": "test",
    }
    hosts = dict.fromkeys(("pve1", "pve2", "pve3"), "0" * 64)
    body = {"created_at": None, "cluster": "lab", "hosts": hosts, "placements": [], "refused": [], "moves": [], "warnings": []}
    return t.cast(
        "dict[str, t.Any]", sealed({"schema": 1, **body, "changes": [change], "summary": {}, "score": {"before": [], "after": []}})
    )


def test_a_plan_is_carried_out_once(hosts: t.Any, lab: Lab, connection: dict[str, t.Any], plan: dict[str, t.Any]) -> None:
    place = module(hosts.pve1, "guest_placement")
    first = place(plan=plan, **connection)["pve1"]
    second = place(plan=plan, **connection)["pve1"]
    assert first.is_successful, first
    assert first.is_changed
    assert not second.is_changed
    assert lab.cluster.guests[101].load().effective()["affinity"] == "4-5"
