# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit as lines, JSON and Markdown, and its filters."""

from __future__ import annotations

import json
import typing as t

import pytest
import sample_hosts
from ansible.errors import AnsibleFilterError
from ansible_collections.corepin.proxmox.plugins.filter.add_runtime import add_runtime
from ansible_collections.corepin.proxmox.plugins.filter.audit import audit
from ansible_collections.corepin.proxmox.plugins.filter.render_audit import render_audit


def snapshot(gathered_at: str = "2026-01-01T00:00:00Z") -> t.Dict[str, t.Any]:
    """A guest with a pending change and a name that is no Markdown, two on one CPU, and one that only starts where it is."""
    hosts = [{**sample_hosts.epyc_9354(), "gathered_at": gathered_at}, {**sample_hosts.epyc_9354("pve2"), "gathered_at": None}]
    hosts[1]["cpus"] = {"online": "0-3", "present": "0-3"}
    hosts[1].update(packages=[{"id": 0, "cpus": "0-3"}], cores=["0-1", "2-3"], l3_domains=[], numa_nodes=[{"id": 0, "cpus": "0-3"}])
    guests = [
        sample_hosts.guest(101, 2, name="a|b", status="running", config={"affinity": "8-9"}, pending={"affinity": None}),
        sample_hosts.guest(102, 2, config={"affinity": "0-1"}),
        sample_hosts.guest(103, 2, config={"affinity": "1-2"}),
        sample_hosts.guest(104, 2, config={"affinity": "20-21"}),
        sample_hosts.guest(105, 2, config={"affinity": "24,"}),
    ]
    nodes = [{"name": name, "online": name != "pve3"} for name in ("pve1", "pve2", "pve3")]
    return sample_hosts.snapshot(hosts, guests, cluster={"name": "lab", "nodes": nodes})


def test_lines_say_each_thing_once_and_sum_up():
    lines = render_audit(audit(snapshot()), "lines")
    assert lines[0] == "Not read: host pve3 is offline."
    assert lines[1] == "Drift (pending): Guest 101 (a|b) changes from affinity 8-9 to no affinity at its next stop and start."
    assert lines[2].startswith("Conflict cpu-overlap: Guest 102 and guest 103 share 1 CPU: ")
    assert lines[3].startswith("Conflict affinity_syntax: Guest 105 would not start on pve1: taskset: failed to parse CPU list: 24,.")
    assert lines[4].startswith("Also, ")
    assert lines[-1] == (
        "Audit of 5 guests (stored, pending): 1 difference of 1 guest, 1 conflict, 0 warnings, 0 notes; 1 guest start would fail."
    )
    assert render_audit(audit(snapshot()), "verdict") == "1 difference found, of guest 101"


def test_free_cpus_belong_to_a_host():
    found = audit(snapshot())
    found["drift"].append({**found["drift"][0], "vmid": None, "name": "", "what": "governor", "pending": None})
    found["summary"]["drift"] = 2
    assert render_audit(found, "verdict") == "2 differences found, of guest 101 and host pve1"
    assert "|  | pve1 | governor |" in render_audit(found, "markdown")


def test_files_are_the_same_until_there_is_news():
    first, later = audit(snapshot()), audit(snapshot("2026-02-02T00:00:00Z"))
    assert first != later
    for form in ("json", "markdown"):
        text = render_audit(first, form)
        assert render_audit(later, form) != text
        assert render_audit(later, form, text) == text
        assert render_audit(later, form, "something else") == render_audit(later, form)
        news = {**later, "cluster": "other"}
        assert render_audit(news, form, text) == render_audit(news, form)
    assert json.loads(render_audit(first, "json")) == first


def test_markdown_shows_names_as_they_are():
    text = render_audit(audit(snapshot()), "markdown")
    assert text.startswith("# Placement audit of cluster lab\n\nRead at 2026-01-01T00:00:00Z\n")
    assert "| 101 | pve1 | affinity |  | 8-9 | deleted |  | pending |" in text
    assert r"Guest 101 (a\|b) changes" not in text
    assert "## Findings" in text
    assert "## Starts" in text


def test_guests_that_were_not_read_are_named():
    unknown = sample_hosts.snapshot([sample_hosts.epyc_9354()], [sample_hosts.guest(101, 2)])
    assert render_audit(audit(unknown), "lines")[0] == "Not read: the config of 101."
    assert "- Not read: the config of 101" in render_audit(audit(unknown), "markdown")


def test_an_audit_without_news_is_short():
    empty = sample_hosts.snapshot([sample_hosts.epyc_9354()], [])
    assert len(render_audit(audit(empty), "lines")) == 1
    assert "##" not in render_audit(audit(empty), "markdown")


def test_what_runs_is_added_by_host():
    results = [{"node": "pve1", "runtime": [], "changed": False}, {"unreachable": True}, {"node": "pve2", "failed": True}]
    assert add_runtime(snapshot(), results)["runtime"] == {"pve1": []}
    assert "runtime" not in snapshot()
    line = render_audit(audit(add_runtime(snapshot(), results)), "lines")[-1]
    assert "(stored, pending and live on pve1)" in line


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: render_audit(audit(snapshot()), "pdf"), "'pdf' is not a format of an audit; known are lines, json, markdown, verdict."),
        (lambda: audit({}), "The snapshot has no hosts and guests"),
        (lambda: audit(snapshot(), {"rulez": []}), "'rulez' is not a known policy key; did you mean rules?"),
        (lambda: add_runtime(snapshot(), [{"node": "pve1", "runtime": [{"vmid": "x"}]}]), "gather it again"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(AnsibleFilterError) as error:
        call()
    assert sentence in str(error.value)
