# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats but the page, what all of them share, and the filters in front of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
import report_cluster
from ansible.errors import AnsibleFilterError
from ansible_collections.corepin.proxmox.plugins.filter import read_snapshot, render, report_model
from ansible_collections.corepin.proxmox.plugins.plugin_utils._report.figures import gib, moment, processor
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_hosts import epyc_9354, guest, snapshot, snapshots

from .conftest import model_of

FORMATS = ("html", "json", "markdown", "text")


def tables(text):
    """The tables of a Markdown text as lists of rows of cells."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            found.append([re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in block.splitlines()])
    return found


@settings(max_examples=25)
@given(snapshots(), st.text(max_size=30))
def test_markdown_tables_have_one_shape_whatever_the_names_are(drawn, name):
    document, policy = drawn
    for info in document["guests"]:
        info["name"] = name
    for table in tables(render.render(model_of(document, policy), "markdown")):
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch(r"-+:?", cell) for cell in table[1])


def test_markdown_says_what_the_model_says(messy):
    text = render.render(messy, "markdown")
    assert text.startswith("# Placement report of cluster lab\n\nSnapshot 2026-01-31 06:00 UTC, plan ")
    hosts, *_rest = tables(text)
    assert hosts[0][:3] == ["Host", "CPUs", "isolated"]
    numbers = {row[0]: [int(cell.replace("·", "0")) for cell in row[1:11]] for row in hosts[2:]}
    for host in messy["hosts"]:
        assert numbers[host["name"]] == [host["counts"]["cpus"], *host["now"]["cpus"].values()]
        assert numbers[host["name"]][0] == sum(numbers[host["name"]][1:])
    assert numbers["**Cluster**"][0] == sum(host["counts"]["cpus"] for host in messy["hosts"])
    vmids = [row[0] for table in tables(text) if table[0][0] == "vmid" for row in table[2:]]
    assert vmids == [str(entry["vmid"]) for entry in messy["guests"] if entry["now"]]
    for host in messy["hosts"]:
        for finding in host["findings"]:
            assert f"{finding['number']}. **{finding['title']}**: " in text


def test_markdown_shows_markup_in_names_as_text():
    hostile = "<b>*a*|`b`|[c](d)\n# e"
    text = render.render(model_of(snapshot([epyc_9354()], [guest(101, 2, name=hostile)]), {}), "markdown")
    assert "| 101 | &lt;b&gt;\\*a\\*\\|\\`b\\`\\|\\[c\\](d) \\# e | unmanaged |" in text
    assert "<b>" not in text


def test_json_is_the_model(messy):
    assert json.loads(render.render(messy, "json")) == messy


def test_text_is_short(messy):
    lines = render.render(messy, "text").splitlines()
    assert lines[0] == " ".join(messy["headline"])
    assert "pve1: 110 fw-edge and 115 mail-01 share 2 CPUs." in lines
    assert lines[-1] == "Host pve4 is offline."
    many = {**messy, "hosts": [{**messy["hosts"][0], "findings": messy["hosts"][0]["findings"] * 20}]}
    assert "pve1: 80 findings." in render.render(many, "text").splitlines()


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_model_gives_the_same_bytes_in_another_process(messy, output_format, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(messy, sort_keys=True))
    program = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[3]);"
        "from ansible_collections.corepin.proxmox.plugins.plugin_utils._report.render import render;"
        "sys.stdout.buffer.write(render(json.load(open(sys.argv[1])), sys.argv[2]).encode())"
    )
    command = [sys.executable, "-c", program, str(path), output_format, json.dumps([p for p in sys.path if p])]
    printed = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "77"}, capture_output=True, check=True).stdout
    assert hashlib.sha256(printed).hexdigest() == hashlib.sha256(render.render(messy, output_format).encode()).hexdigest()


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_later_report_that_says_the_same_is_the_earlier_one(messy, output_format):
    earlier = render.render(messy, output_format)
    later = {**messy, "gathered_at": "2027-05-05T05:05:05Z", "created_at": "2027-05-05T05:05:05Z", "plan_id": "f" * 64}
    assert render.render(later, output_format, earlier) == earlier
    other = {**later, "headline": ["Something else."]}
    assert render.render(other, output_format, earlier) == render.render(other, output_format) != earlier


@pytest.mark.parametrize(
    ("model", "output_format", "sentence"),
    [
        ({}, "pdf", "The report format 'pdf' is not known; write html, json, markdown or text."),
        ({}, "html", "is no report model; make one with the filter corepin.proxmox.report_model."),
        ("text", "html", "is no report model"),
        ({"schema": 9, "hosts": [], "guests": [], "headline": []}, "html", "has schema 9, but this version draws 1"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(model, output_format, sentence):
    with pytest.raises(AnsibleFilterError, match=re.escape(sentence)):
        render.render(model, output_format)


def test_report_model_takes_what_the_other_filters_give(messy):
    assert report_model.report_model(report_cluster.messy_snapshot(), report_cluster.POLICY)["plan"] is None
    with pytest.raises(AnsibleFilterError, match="has no hosts and guests"):
        report_model.report_model({})
    with pytest.raises(AnsibleFilterError, match="'klass' is not a known key of rule 1"):
        report_model.report_model(report_cluster.messy_snapshot(), {"rules": [{"klass": "shared"}]})


def test_a_snapshot_file_is_read_or_refused():
    document = report_cluster.messy_snapshot()
    assert read_snapshot.read_snapshot(json.dumps(document)) == document
    for text in ("", "{", "[]", '{"hosts": {}}', '{"hosts": {"a": {}}, "guests": []}'):
        with pytest.raises(AnsibleFilterError, match=r"^corepin\.proxmox\.read_snapshot: The (snapshot|topology) "):
            read_snapshot.read_snapshot(text)


def test_small_texts():
    assert [gib(mib) for mib in (None, 0, 512, 1536, 10240, 128654)] == ["?", "0", "0.5", "1.5", "10", "126"]
    assert moment("2026-01-31T06:00:00Z") == "2026-01-31 06:00 UTC"
    assert moment(None) == "unknown"
    assert moment("<b>") == "<b>"
    assert processor("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", 2) == "2 \N{MULTIPLICATION SIGN} Intel Xeon Gold 6338"
    assert processor("AMD EPYC 9354 32-Core Processor") == "AMD EPYC 9354"
    assert processor(None, 2) == ""
