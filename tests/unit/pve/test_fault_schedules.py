# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random faults while a plan is carried out: what is reported is what happened, and another run converges."""

from __future__ import annotations

import os
import random
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import same_effect
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import api, placement
from ansible_collections.corepin.proxmox.plugins.modules import guest_placement
from pve_lab import Lab

from .conftest import connection, plan_for

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

SCHEDULES = 200 if os.environ.get("COREPIN_LONG") == "1" else 30
WANTED: dict[int, dict[str, t.Optional[str]]] = {
    100: {"affinity": "8-9,40-41", "numa0": "cpus=0-3,hostnodes=1,memory=8192,policy=bind"},
    101: {"affinity": "0-0", "numa": "1"},
    102: {"affinity": None, "numa": "1"},
    103: {"affinity": "5"},
    200: {"affinity": "16-17"},
}
FAULTS: list[dict[str, t.Any]] = [
    {"status": 500, "reason": "VM is locked (backup)"},
    {"status": 500, "reason": "checksum mismatch (file change by other user?)"},
    {"status": 500, "reason": "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"},
    {"status": 500, "reason": "unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.1' - Permission denied"},
    {"status": 595, "reason": "No route to host"},
    {"status": 596, "reason": "Broken pipe"},
    {"status": 596, "reason": "Broken pipe", "after_acceptance": True},
    {"drop": True},
    {"drop": True, "after_acceptance": True},
    {"status": 401, "reason": "Authentication failed!"},
]


def as_wanted(lab: Lab, vmid: int) -> bool:
    config = lab.cluster.guest(vmid).load().effective()
    return all(same_effect(key, config.get(key), value) for key, value in WANTED[vmid].items())


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_what_is_reported_is_what_happened(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(placement, "READ_BACK_S", 0.05)
    monkeypatch.setattr(placement, "READ_BACK_PAUSE_S", 0.02)
    monkeypatch.setattr(api, "RETRY_DELAYS_S", (0.0, 0.0))
    chance = random.Random(seed)
    plan = plan_for(lab.cluster, WANTED)
    assert not any(as_wanted(lab, vmid) for vmid in WANTED)
    for vmid in chance.sample(sorted(WANTED), 2):
        lab.faults.add(method=chance.choice(["PUT", "PUT", "GET"]), path=f"/{vmid}/", times=chance.randint(1, 3), **chance.choice(FAULTS))

    result = run_module(guest_placement, plan=plan, **connection(lab))
    reported = {guest["vmid"]: guest["changed"] for guest in result.get("guests", [])}
    uncertain = result["not_applied"][0] if result.get("not_applied") and "audit this guest" in result["msg"] else None
    for vmid in WANTED:
        if vmid != uncertain:
            assert reported.get(vmid, False) == as_wanted(lab, vmid), (vmid, result)
    if "guests" in result:  # else the plan was refused as a whole
        assert sorted([*reported, *result.get("not_applied", [])]) == sorted(WANTED)
        assert result["changed"] == any(reported.values())

    lab.faults.clear()
    assert "failed" not in run_module(guest_placement, plan=plan, **connection(lab))
    assert all(as_wanted(lab, vmid) for vmid in WANTED)
    assert run_module(guest_placement, plan=plan, **connection(lab))["changed"] is False
