# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.plugin_utils._text import plan_lines, result_lines

CHANGE = {
    "vmid": 101,
    "node": "pve1",
    "before": {"affinity": "8-11", "numa": None, "numa0": None},
    "after": {"affinity": "0,32,1,33", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=8192,policy=bind"},
    "effect": "pending",
    "reason": "There it fits.",
}
SUMMARY = {"guests": 3, "placed": 1, "kept": 0, "changed": 1, "pending": 1, "refused": 1, "skipped": 1, "unmanaged": 0}
GUESTS = [{"vmid": 101, "name": "db"}, {"vmid": 102, "name": ""}]


def plan(*changes: dict[str, t.Any], cells: t.Sequence[dict[str, t.Any]] = ()) -> dict[str, t.Any]:
    return {
        "plan_id": "0123456789abcdef",
        "changes": list(changes),
        "placements": [{"vmid": change["vmid"], "numa_cells": list(cells)} for change in changes],
        "moves": [],
        "requests": [],
        "refused": [],
        "skipped": [],
        "warnings": [],
        "summary": SUMMARY,
    }


def test_a_change_is_one_sentence_with_its_reason() -> None:
    lines = plan_lines(plan(CHANGE, cells=[{"hostnodes": "0"}]), GUESTS)
    assert lines[0] == "Guest 101 (db) on pve1: CPUs 8-11 -> 0,32,1,33, memory on NUMA node 0, from its next start on. There it fits."
    assert len(lines) == 2


def test_a_guest_without_a_name_and_a_stopped_one() -> None:
    change = {**CHANGE, "vmid": 102, "before": {"affinity": None}, "after": {"affinity": "4-5"}, "effect": "now"}
    assert plan_lines(plan(change), GUESTS)[0] == "Guest 102 on pve1: CPUs any -> 4-5, at once. There it fits."


def test_memory_of_several_cells_and_of_none() -> None:
    numa_alone = {**CHANGE, "before": {"numa0": None}, "after": {"numa0": "cpus=0-3"}}
    assert "memory on NUMA nodes 0 and 2" in plan_lines(plan(numa_alone, cells=[{"hostnodes": "0"}, {"hostnodes": "2"}]))[0]
    gone = {**CHANGE, "before": {"numa0": "cpus=0-3"}, "after": {"numa0": None}}
    assert "memory not bound to a NUMA node" in plan_lines(plan(gone))[0]
    pages = {**CHANGE, "before": {"hugepages": None}, "after": {"hugepages": "1024"}}
    assert "hugepages absent -> 1024" in plan_lines(plan(pages))[0]


def test_what_the_host_will_do_for_its_guests() -> None:
    tuning = {
        "busy": [{"cpus": "0-1,8-9", "governor": "powersave", "epp": "power", "vmids": [101, 102]}],
        "free": {"governor": "schedutil", "epp": None},
        "interrupts": [{"pci": "0000:41:00.0", "cpus": "0-1", "vmid": 101}],
    }
    assert plan_lines({**plan(), "tuning": {"pve1": tuning}})[:3] == [
        "Tuning of pve1: CPUs 0-1,8-9 get governor powersave and energy preference power for guests 101, 102.",
        "Tuning of pve1: the other CPUs get governor schedutil.",
        "Tuning of pve1: the interrupts of 0000:41:00.0 go to CPUs 0-1 of guest 101.",
    ]


def test_moves_and_requested_guests_are_named() -> None:
    document = {
        **plan(),
        "moves": [{"node": "pve1", "reason": "Guest 101 (db) to 2 CPUs: 1 shared core less.", "cost": "nothing, it is stopped"}],
        "requests": [
            {"name": "web", "number": 1, "node": "pve2", "cpus": "0,32", "reason": "There it fits."},
            {"name": "web", "number": 2, "node": None, "cpus": "", "reason": "No host was read."},
        ],
    }
    assert plan_lines(document)[:-1] == [
        "Move on pve1: Guest 101 (db) to 2 CPUs: 1 shared core less. It costs the guest nothing, it is stopped.",
        "Requested: web 1 on pve2, CPUs 0,32. There it fits.",
        "Requested: web 2 has no room: No host was read.",
    ]


def test_refusals_skipped_guests_and_warnings_follow_and_the_sum_is_last() -> None:
    document = {
        **plan(),
        "refused": [{"vmid": 103, "message": "Guest 103 gets no placement: too large."}],
        "skipped": [{"vmid": 101, "reason": "is locked (backup)"}],
        "warnings": ["Host pve9 is offline."],
    }
    refused, skipped, warning, total = plan_lines(document, GUESTS)
    assert refused == "Refused: Guest 103 gets no placement: too large."
    assert skipped == "Skipped: guest 101 (db) is locked (backup)."
    assert warning == "Warning: Host pve9 is offline."
    assert total.startswith("Plan 0123456789ab for 3 guests: 1 placed")


def result(**other: t.Any) -> dict[str, t.Any]:
    present = {"vmid": 101, "node": "pve1", "changed": False, "before": {}, "after": {}, "effect": "now", "skipped": False, "reason": None}
    return {**present, **other}


def test_written_keys_are_shown_with_what_they_were() -> None:
    changed = result(changed=True, before={"affinity": None, "numa": "1"}, after={"affinity": "0-3", "numa": "1"}, effect="pending")
    lines = result_lines([changed, result(vmid=102), result(vmid=103, skipped=True, effect=None, reason="its host is offline")])
    assert lines == [
        "Guest 101 on pve1: affinity absent -> 0-3, from its next start on.",
        "Skipped: guest 103 on pve1, because its host is offline.",
        "Changed: 1 guest. As planned already: 1 guest. Skipped: 1 guest.",
        "Pending until their next start (stop and start): 101.",
    ]


def test_check_mode_speaks_of_what_would_be() -> None:
    assert result_lines([], check_mode=True) == [
        "Would change: 0 guests. As planned already: 0 guests. Skipped: 0 guests.",
        "None waits for a start.",
    ]
