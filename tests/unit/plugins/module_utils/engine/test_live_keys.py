# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan says for running guests: the pools of each host, and how the threads of each guest lie."""

from __future__ import annotations

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from sample_hosts import eight_cores, snapshot

RULES = [
    {"match": {"vmids": [101]}, "class": "isolated", "emulator": "reserved"},
    {"match": {"vmids": [102]}, "vcpu_pinning": False},
    {"match": {"vmids": [103]}, "class": "shared"},
]


def test_pools_and_threads_of_each_guest():
    guests = [{"vmid": vmid, "node": "pve1", "vcpus": 2, "memory_mib": 1024} for vmid in (101, 102, 103)]
    document = Snapshot.from_dict(snapshot([eight_cores()], guests))
    plan = check_plan(place(document, Policy.from_dict({"rules": RULES, "reserved": {"default": {"cpus": "0,8"}}})))
    assert {entry["vmid"]: (entry["cpus"], entry["vcpu_pinning"], entry["emulator"]) for entry in plan["placements"]} == {
        101: ("1-2", True, "reserved"),
        102: ("3,11", False, "shared"),
        103: ("4-7,12-15", False, "shared"),
    }
    assert plan["pools"] == {"pve1": {"reserved": "0,8", "shared": "4-7,12-15"}}
