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


FREE = Policy.from_dict({"rules": [{"match": {}, "governor": "performance"}], "free_cpus": {"governor": "powersave", "epp": "power"}})


def with_policies(document: Facts, *groups: Facts) -> Facts:
    return {**document, "hosts": {"pve1": {**document["hosts"]["pve1"], "cpufreq": list(groups)}}}


def test_free_cpus_with_another_governor_or_preference_are_drift(planned):
    document, _plan = planned
    plan = place(Snapshot.from_dict(document), FREE)
    busy = parse_cpulist(plan["tuning"]["pve1"]["busy"][0]["cpus"])
    free = parse_cpulist(document["hosts"]["pve1"]["cpus"]["online"]) & ~busy
    own, rest = ({"cpus": format_cpulist(cpus), "epp": "performance", "governor": "performance"} for cpus in (busy, free))
    assert rows(with_policies(document, own, {**rest, "governor": "powersave", "epp": "power"}), plan) == []
    found = audit(with_policies(document, own, {**rest, "governor": "powersave"}), FREE, plan)
    assert [row["text"] for row in found["drift"]] == [
        f"Free CPUs of host pve1: CPUs {rest['cpus']} have the energy preference performance instead of power; run the playbook tune."
    ]
    assert (found["drift"][0]["vmid"], found["summary"]["drifted"], found["summary"]["ok"]) == (None, [], False)
    assert rows(with_policies(document, {**own, "governor": "powersave"}, rest), plan) == [
        (101, "governor", "performance", "powersave"),
        (None, "governor", "powersave", "performance"),
        (None, "epp", "power", "performance"),
    ]


def test_cpus_that_share_a_policy_are_judged_by_the_faster_wish(planned):
    document, _plan = planned
    document["guests"] = [{**document["guests"][0], "vmid": vmid, "tags": [tag]} for vmid, tag in ((101, "fast"), (102, "slow"))]
    rules = [{"match": {"tags": [tag]}, "governor": governor} for tag, governor in (("fast", "performance"), ("slow", "powersave"))]
    plan = place(Snapshot.from_dict(document), Policy.from_dict({"rules": rules, "free_cpus": {"governor": "powersave", "epp": "power"}}))
    everything = {"cpus": "0-63", "shared": ["0-63"], "governor": "performance", "epp": "performance"}

    def found(*groups: Facts) -> t.List[t.Tuple[t.Any, ...]]:
        return [row for row in rows(with_policies(document, *groups), plan) if row[1] in ("governor", "epp")]

    assert found(everything) == []
    assert found({**everything, "shared": []}) == [
        (102, "governor", "powersave", "performance"),
        (None, "governor", "powersave", "performance"),
        (None, "epp", "power", "performance"),
    ]
    assert found({**everything, "governor": "powersave"}) == [(vmid, "governor", "performance", "powersave") for vmid in (101, 102, None)]


def test_interrupts_that_go_elsewhere_are_drift(planned):
    document, plan = planned
    right = {"device": f"{DEVICE}.0", "index": 0, "reason": "device", "changed": False, "before": "0", "effective": "0"}
    astray = {**right, "device": f"{DEVICE}.1", "changed": True, "before": "0-63", "effective": "12"}
    unknown = {**astray, "index": 1, "before": "14-15", "effective": None}
    foreign = {**astray, "device": "0000:42:00.0", "before": "3", "effective": "3"}
    given_back = {**astray, "reason": "restore"}
    assert rows(with_interrupts(document, {"pve1": {"interrupts": [right, foreign, given_back]}}), plan) == []
    found = audit(with_interrupts(document, {"pve1": {"interrupts": [right, astray, unknown]}, "pve2": {}}), POLICY, plan)
    assert [(row["what"], row["live"]) for row in found["drift"]] == [("irq", "12,14-15")]
    assert found["drift"][0]["text"] == f"Guest 101 (db): 2 interrupts of {DEVICE} may go to CPUs 12,14-15; run the playbook tune."


def test_interrupts_that_could_not_be_looked_at_are_noted_with_the_reason(planned):
    document, plan = planned
    reason = "CPUs 8 of devices[0] are offline; online are 0-7,9-63."
    results = {"pve1": {"failed": False, "msg": reason}, "pve2": {"msg": reason}, "pve3": {"skipped": True, "msg": "no /proc/irq"}}
    found = audit(with_interrupts(document, results), POLICY, plan)
    notes = [finding for finding in found["findings"] if finding["id"] == "interrupts-unseen"]
    assert [(note["node"], note["severity"], note["vmids"]) for note in notes] == [("pve1", "note", [101])]
    assert notes[0]["text"] == f"Where the interrupts of guests' devices on pve1 go could not be looked at: {reason}"


LEFT_OUT = {
    "device-missing": ("missing", "Host pve1 does not have {}."),
    "device-protected": (
        "refused",
        (
            "The playbook tune leaves the interrupts of {}, as they are, because on pve1 it carries the cluster's traffic or is part of a "
            "card that does."
        ),
    ),
}


@pytest.mark.parametrize("check", LEFT_OUT)
def test_a_device_that_is_left_out_is_a_finding(planned, check):
    document, plan = planned
    key, text = LEFT_OUT[check]
    results = {"pve1": {"interrupts": [], "missing": [], "refused": [], key: [DEVICE]}, "pve2": {"interrupts": []}}
    found = audit(with_interrupts(document, results), POLICY, plan)
    [finding] = [finding for finding in found["findings"] if finding["id"] in LEFT_OUT]
    assert (finding["id"], finding["node"], finding["severity"], finding["vmids"]) == (check, "pve1", "warning", [101])
    assert finding["text"] == text.format(f"PCI device {DEVICE}, which the plan counts among those of guest 101")
