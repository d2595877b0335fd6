# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts keep for their Ceph daemons and for ZFS."""

from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import format_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.ledger import Ledger, reserved_cpus
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy, Reservation
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.report_model import report_model
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from sample_hosts import epyc_9354, guest, snapshot

SMALL = {"osd": 2, "mon": 1, "mgr": 0, "mds": 0}
EIGHT = {"osd": 6, "mon": 1, "mgr": 1, "mds": 0}


def host(**facts):
    return Host.from_facts({**epyc_9354(), **facts})


def plan(facts, guests, **reserved):
    policy = {"rules": [{"match": {}}], "reserved": {"default": reserved}}
    document = snapshot([{**epyc_9354(), **facts}], guests)
    return place(Snapshot.from_dict(document), Policy.from_dict(policy)), document, policy


@pytest.mark.parametrize(
    ("ceph", "reservation", "expected"),
    [
        (SMALL, Reservation(auto=("ceph",)), "0,8,16,32,40,48"),
        (EIGHT, Reservation(auto=("ceph",)), "0-1,8-9,16-17,24-25,32-33,40-41,48-49,56-57"),
        (SMALL, Reservation(auto=("ceph",), cores_per_numa_node=1), "0-1,8-9,16-17,24,32-33,40-41,48-49,56"),
        (SMALL, Reservation(auto=("ceph",), cpus=0b11), "0-2,8,16,34,40,48"),
        (SMALL, Reservation(auto=("zfs",)), ""),
        (SMALL, Reservation(), ""),
        (None, Reservation(auto=("ceph",)), ""),
        ({"osd": 99}, Reservation(auto=("ceph",)), "0-63"),
    ],
)
def test_each_daemon_has_a_core_in_turn_of_the_numa_nodes(ceph, reservation, expected):
    assert format_cpulist(reserved_cpus(host(ceph=ceph), reservation)) == expected


def test_cores_of_their_own_threads_are_taken_where_numa_nodes_are_unlike():
    facts = {
        "node": "pve1",
        "cpus": {"online": "0-6"},
        "cores": ["0,1", "2,3", "4", "5", "6"],
        "packages": [],
        "l3_domains": [],
        "numa_nodes": [{"id": 0, "cpus": "0-3"}, {"id": 1, "cpus": ""}, {"id": 2, "cpus": "4-6"}],
        "ceph": {"osd": 5},
    }
    assert format_cpulist(reserved_cpus(Host.from_facts({**facts, "ceph": {"osd": 3}}), Reservation(auto=("ceph",)))) == "0-4"
    assert format_cpulist(reserved_cpus(Host.from_facts(facts), Reservation(auto=("ceph",)))) == "0-6"


def test_memory_for_osds_and_the_arc_is_held_back():
    books = Ledger(host(ceph=EIGHT, zfs={"arc_max_mib": 16384}), Reservation(auto=("ceph", "zfs"), memory_mib=1000))
    assert books.memory_total_free_mib == 4 * 128000 - 6 * 4096 - 16384 - 1000


def test_plan_and_report_agree_on_what_is_held_back():
    facts = {"ceph": EIGHT, "zfs": {"arc_max_mib": 16384}}
    result, document, policy = plan(facts, [guest(100, 16)], auto=["ceph", "zfs"])
    assert result["summary"]["hosts"]["pve1"] == {"cpus": 64, "reserved": 16, "used": 16, "free": 32}
    assert result["warnings"] == []
    [row] = report_model(document, Policy.from_dict(policy), result)["hosts"]
    assert row["now"]["memory"]["reserved_mib"] == 6 * 4096 + 16384


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {},
            ["auto ceph on host pve1, but its facts do not tell how many Ceph daemons", "auto zfs on host pve1, but its facts do not tell"],
        ),
        ({"ceph": SMALL, "zfs": {"arc_max_mib": None}}, ["auto zfs on host pve1"]),
        ({"ceph": {"osd": 40}, "zfs": {"arc_max_mib": 0}}, ["The Ceph daemons of host pve1 need 40 cores, but it has 32"]),
        ({"ceph": SMALL, "zfs": {"arc_max_mib": 500000}}, ["The ARC of ZFS on host pve1 may grow to 500000 of 512000 MiB"]),
    ],
)
def test_what_is_not_known_or_leaves_nothing_is_a_warning(facts, words):
    result, _document, _policy = plan(facts, [], auto=["ceph", "zfs"])
    assert len(result["warnings"]) == len(words)
    for warning, word in zip(result["warnings"], words):
        assert word in warning
