# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that move between hosts and in time."""

from __future__ import annotations

import pytest

HOSTS = {"name": "lab", "nodes": [{"name": "pve1", "cpus": 8, "numa_nodes": 2}, {"name": "pve2", "cpus": 4}, {"name": "pve3", "cpus": 2}]}


def test_live_migration_keeps_what_is_pending_pending(make):
    ask = make({"affinity": "1-2", "cores": 2}, status="running", cluster=HOSTS)
    ask.config(100, affinity="3")
    before = ask.cluster.guest(100).live.pid
    assert ask("POST", "/nodes/pve1/qemu/100/migrate", {"target": "pve2"}).message == "can't migrate running VM without --online\n"
    status, log = ask.task(100, "migrate", target="pve2", online=1)
    assert status == "OK"
    assert any(line.endswith("starting migration of VM 100 to node 'pve2' (10.0.0.2)") for line in log)
    guest = ask.cluster.guest(100)
    assert (guest.node, guest.live_affinity) == ("pve2", "1-2")
    assert guest.live.pid != before
    assert ask.pending(100)["affinity"] == {"key": "affinity", "value": "1-2", "pending": "3"}
    assert ask("GET", "/nodes/pve1/qemu/100/config").message == "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist\n"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"cores": 4}, "[pve3] MAX 2 vcpus allowed per VM on this node"),
        ({"affinity": "4-7"}, "[pve3] taskset: failed to set pid"),
        ({"numa": 1, "numa0": "cpus=0,hostnodes=1,memory=512,policy=bind"}, "[pve3] host NUMA node1 doesn't exist"),
    ],
)
def test_a_target_that_cannot_take_it(make, config, complaint):
    """PVE's preconditions see nothing of it; the guest goes on where it was."""
    ask = make({"memory": 512, **config}, status="running", cluster=HOSTS)
    assert ask("GET", "/nodes/pve1/qemu/100/migrate", {"target": "pve3"}).data["allowed_nodes"] == ["pve2", "pve3"]
    before = ask.cluster.guest(100).live
    status, log = ask.task(100, "migrate", target="pve3", online=1)
    assert status == "migration problems"
    assert any(complaint in line for line in log)
    assert (ask.cluster.guest(100).node, ask.cluster.guest(100).live) == ("pve1", before)


def test_fewer_cpus_on_the_target_are_taken_without_a_word(make):
    ask = make({"affinity": "1-7"}, status="running", cluster=HOSTS)
    assert ask.cluster.guest(100).live_affinity == "1-7"
    assert ask.task(100, "migrate", target="pve3", online=1)[0] == "OK"
    assert ask.cluster.guest(100).live_affinity == "1"


def test_a_stopped_guest_moves_whatever_it_asks_for(make):
    ask = make({"cores": 4}, cluster=HOSTS)
    assert ask.task(100, "migrate", target="pve3")[0] == "OK"
    assert ask.task(100, "start")[0] == "MAX 2 vcpus allowed per VM on this node"


@pytest.mark.parametrize(
    ("target", "message", "errors"),
    [("pve1", "Parameter verification failed.\n", {"target": "target is local node."}), ("pve9", "no such cluster node 'pve9'\n", None)],
)
def test_no_such_target(make, target, message, errors):
    got = make(cluster=HOSTS)("POST", "/nodes/pve1/qemu/100/migrate", {"target": target})
    assert (got.message, got.errors) == (message, errors)


def test_hookscripts_on_the_target(make):
    nodes = [{**node, "snippets": {"hook.sh": {}}} for node in HOSTS["nodes"]]
    ask = make({"hookscript": "local:snippets/hook.sh"}, status="running", cluster={**HOSTS, "nodes": nodes})
    assert ask.task(100, "migrate", target="pve2", online=1)[0] == "OK"
    assert [(call.node, call.phase, call.migrated_from) for call in ask.cluster.hook_calls] == [
        ("pve2", "pre-start", "pve1"),
        ("pve2", "post-start", "pve1"),
    ]
    ask.cluster.node("pve3").snippets.clear()
    status, log = ask.task(100, "migrate", target="pve3", online=1)
    assert status == "migration problems"
    assert any("[pve3] hookscript error for 100 on pre-start: script 'local:snippets/hook.sh' does not exist" in line for line in log)


def test_a_snapshot_changes_the_digest_and_brings_old_values_back(make):
    ask = make({"affinity": "0-1", "numa": 1, "tags": "x"})
    clean = ask.cluster.guest(100).digest
    assert ask.task(100, "snapshot", snapname="one", description="before")[0] == "OK"
    assert ask.cluster.guest(100).digest != clean
    assert ask.config(100, affinity="2", digest=clean).message == "checksum mismatch (file change by other user?)\n"
    ask.config(100, affinity="2", delete="numa")
    listed = ask("GET", "/nodes/pve1/qemu/100/snapshot").data
    assert [(entry["name"], entry.get("parent")) for entry in listed] == [("one", None), ("current", "one")]
    assert ask.task(100, "snapshot", snapname="one")[0] == "snapshot name 'one' already used"
    assert ask.task(100, "snapshot/one/rollback")[0] == "OK"
    shown = ask.shown(100)
    assert (shown["affinity"], shown["numa"], shown["parent"]) == ("0-1", 1, "one")
    assert ask("DELETE", "/nodes/pve1/qemu/100/snapshot/one").status == 200
    assert ask.cluster.guest(100).digest == clean
    assert (
        ask("POST", "/nodes/pve1/qemu/100/snapshot", {"snapname": "current"}).message
        == "unable to use snapshot name 'current' (reserved name)\n"
    )
