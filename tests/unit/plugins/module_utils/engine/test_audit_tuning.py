# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift of governors, energy preferences and interrupts."""

from __future__ import annotations

import typing as t

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.audit import audit
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.audit_live import with_interrupts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import format_cpulist, mask_of, parse_cpulist, parse_ordered
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot

Facts = t.Dict[str, t.Any]
DEVICE = "0000:41:00"
POLICY = Policy.from_dict({"rules": [{"match": {}, "governor": "powersave", "epp": "power", "irq": "follow"}]})


@pytest.fixture
def planned() -> t.Tuple[Facts, Facts]:
    """(snapshot, plan) of one stopped guest of 4 vCPUs with a device."""
    config = {"cores": "4", "memory": "4096"}
    guest = {"vmid": 101, "name": "db", "node": "pve1", "vcpus": 4, "memory_mib": 4096, "config": config, "hostpci": [DEVICE]}
    document = sample_hosts.snapshot([sample_hosts.epyc_9354()], [guest])
    plan = place(Snapshot.from_dict(document), POLICY)
    document["guests"][0]["config"].update({key: value for key, value in plan["changes"][0]["after"].items() if value})
    return document, plan


def with_governors(document: Facts, own: str, **settings: str) -> Facts:
    """The host with `settings` on the CPUs `own` and what is planned on all others."""
    host = document["hosts"]["pve1"]
    rest = format_cpulist(parse_cpulist(host["cpus"]["online"]) & ~parse_cpulist(own))
    wanted = {"governor": "powersave", "epp": "power"}
    groups = [{"cpus": rest, **wanted}, {"cpus": own, **wanted, **settings}]
    return {**document, "hosts": {"pve1": {**host, "cpufreq": groups}}}


def rows(document: Facts, plan: Facts) -> t.List[t.Tuple[t.Any, ...]]:
    return [(row["vmid"], row["what"], row["planned"], row["live"]) for row in audit(document, POLICY, plan)["drift"]]


def test_cpus_with_another_governor_or_preference_are_drift(planned):
    document, plan = planned
    own = format_cpulist(mask_of(parse_ordered(plan["placements"][0]["cpus"])))
    first = str(parse_ordered(plan["placements"][0]["cpus"])[0])
    assert rows(with_governors(document, own), plan) == []
    assert rows(with_governors(document, first, governor="performance"), plan) == [(101, "governor", "powersave", "performance")]
    found = audit(with_governors(document, own, epp="balance_power"), POLICY, plan)
    assert found["drift"][0]["text"] == (
        f"Guest 101 (db): CPUs {own} have the energy preference balance_power instead of power; run the playbook tune."
    )
    assert not found["summary"]["ok"]


def test_other_peoples_cpus_do_not_matter(planned):
    document, plan = planned
    others = parse_cpulist(document["hosts"]["pve1"]["cpus"]["online"]) & ~mask_of(parse_ordered(plan["placements"][0]["cpus"]))
    assert rows(with_governors(document, format_cpulist(others), governor="performance"), plan) == []
    assert rows(document, plan) == []


def test_interrupts_that_go_elsewhere_are_drift(planned):
    document, plan = planned
    right = {"device": f"{DEVICE}.0", "index": 0, "changed": False, "before": "0", "effective": "0"}
    astray = {"device": f"{DEVICE}.1", "index": 0, "changed": True, "before": "0-63", "effective": "12"}
    unknown = {"device": f"{DEVICE}.1", "index": 1, "changed": True, "before": "14-15", "effective": None}
    foreign = {"device": "0000:42:00.0", "index": 0, "changed": True, "before": "3", "effective": "3"}
    assert rows(with_interrupts(document, {"pve1": {"interrupts": [right, foreign]}}), plan) == []
    found = audit(with_interrupts(document, {"pve1": {"interrupts": [right, astray, unknown]}, "pve2": {}}), POLICY, plan)
    assert [(row["what"], row["live"]) for row in found["drift"]] == [("irq", "12,14-15")]
    assert found["drift"][0]["text"] == f"Guest 101 (db): 2 interrupts of {DEVICE} may go to CPUs 12,14-15; run the playbook tune."
