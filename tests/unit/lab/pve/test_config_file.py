# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files as text: sections, order, digest, and lines that are lost."""

from __future__ import annotations

import hashlib
import re

import pytest
from pve_lab import Cluster
from pve_lab.config_file import digest_of, parse_config, render_config
from pve_lab.qemu_keys import file_keys

NOT_DEFINED = "property is not defined in schema and the schema does not allow additional properties"
HAND_EDITED = """# a note%3A yes
affinity: 0,1
affinity: 1-0
numa: on
numa0: cpus=0
numa1: cpu=1
foo: bar
cores: two
no colon here
memory: 256
tags: b;a

[PENDING]
affinity: 1
delete: tags,!balloon

[special:cloudinit]
added: x

[snap1]
#of a snapshot
affinity: 3
snaptime: 1700000000
"""


def test_reading_leniently():
    config = parse_config(HAND_EDITED, file_keys(9), 300)
    assert config.main == {"affinity": "0,1", "numa": "1", "numa0": "cpus=0", "memory": "256", "tags": "b;a", "description": " a note: yes"}
    assert config.pending == {"affinity": "1"}
    assert config.pending_deletes == {"tags": False, "balloon": True}
    assert config.snapshots == {"snap1": {"affinity": "3", "snaptime": "1700000000", "description": "of a snapshot"}}
    assert config.warnings[:4] == [
        "vm 300 - unable to parse value of 'affinity' - unable to parse cpuset option",
        f"vm 300 - unable to parse value of 'numa1' - format error\ncpu: {NOT_DEFINED}\ncpus: property is missing and it is not optional",
        "vm 300 - unable to parse value of 'foo' - unknown setting 'foo'",
        "vm 300 - unable to parse value of 'cores' - type check ('integer') failed - got 'two'",
    ]
    assert config.warnings[4] == "vm 300 - unable to parse config: no colon here"


def test_writing():
    assert render_config(parse_config(HAND_EDITED, file_keys(9), 300)) == (
        "# a note%3A yes\naffinity: 0,1\nmemory: 256\nnuma: 1\nnuma0: cpus=0\ntags: b;a\n"
        "\n[PENDING]\naffinity: 1\ndelete: !balloon,tags\n"
        "\n[snap1]\n#of a snapshot\naffinity: 3\nsnaptime: 1700000000\n"
    ).replace("\n[snap1]", "\n[special:cloudinit]\n\n[snap1]")


def test_lines_are_lost_by_an_unrelated_change(make):
    ask = make()
    ask.cluster.guest(100).text = HAND_EDITED
    assert ask.config(100, onboot=1).status == 200
    text = ask.cluster.guest(100).text
    assert "foo" not in text
    assert "numa1" not in text
    assert "1-0" not in text


def test_effective_keeps_the_quirk_of_zero():
    config = parse_config("balloon: 0\ncores: 2\n\n[PENDING]\ndelete: balloon,cores\nmemory: 1024\n", file_keys(9), 100)
    assert config.effective() == {"balloon": "0", "memory": "1024"}


def test_the_digest_is_of_the_whole_text(make):
    ask = make({"cores": 2}, pending={"cores": 4}, snapshots={"one": {"cores": 1}})
    text = "cores: 2\n\n[PENDING]\ncores: 4\n\n[one]\ncores: 1\n"
    assert ask.cluster.guest(100).text == text
    assert digest_of(text) == hashlib.sha1(text.encode()).hexdigest()
    assert {ask.shown(100)["digest"], ask.shown(100, current=1)["digest"], ask.shown(100, snapshot="one")["digest"]} == {digest_of(text)}


def test_a_digest_seen_on_a_real_host():
    text = "#note\naffinity: 0\ncores: 2\nmemory: 256\nnuma: 1\nnuma0: cpus=0\ntags: x\n\n[snap1]\naffinity: 3\ncores: 1\n"
    assert digest_of(text) == "e307c868a249a3e215e65b0a65d6e19333c9aa3e"
    assert render_config(parse_config(text, file_keys(9), 300)) == text


def test_views_of_the_config(make):
    ask = make({"cores": 2, "tags": "x"}, pending={"cores": 4, "tags": None, "numa": 1}, snapshots={"one": {"cores": 1}})
    digest = ask.cluster.guest(100).digest
    assert ask.shown(100) == {"cores": 4, "numa": 1, "digest": digest}
    assert ask.shown(100, current=1) == {"cores": 2, "tags": "x", "digest": digest}
    assert ask.shown(100, snapshot="one") == {"cores": 1, "digest": digest}
    assert sorted(ask.shown(100, "pending"), key=lambda entry: entry["key"]) == [
        {"key": "cores", "value": 2, "pending": 4},
        {"key": "digest", "value": digest},
        {"key": "numa", "pending": 1},
        {"key": "tags", "value": "x", "delete": 1},
    ]
    assert ask("GET", "/nodes/pve1/qemu/100/config", {"snapshot": "two"}).message == "snapshot 'two' does not exist\n"


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ({"nodez": []}, "unknown key 'nodez'"),
        ({"nodes": [{"name": "pve1", "cpu": 4}]}, "unknown key 'cpu'"),
        ({"guests": [{"vmid": 100, "node": "other"}]}, "on the unknown node 'other'"),
        ({"guests": [{"vmid": 100}, {"vmid": 100}]}, "described twice"),
        ({"tokens": [{"tokenid": "a@pve!t", "secret": "s"}]}, "unknown user 'a@pve'"),
        ({"roles": {"R": "VM.Monitor"}}, "the privilege 'VM.Monitor', which PVE 9.2.6 does not know"),
        ({"acl": [{"path": "/", "ugid": "root@pam", "roleid": "No"}]}, "unknown role 'No'"),
        ({"nodes": [{"name": "pve1", "root": "/nonexistent"}]}, "has no directory sys in it"),
    ],
)
def test_a_wrong_description(description, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Cluster.from_dict(description)


def test_a_state_can_be_described_and_built_again(make):
    ask = make(
        {"cores": 2, "affinity": "0-1"},
        status="running",
        pool="p",
        cluster={
            "nodes": [{"name": "pve1", "cpus": 8}, {"name": "pve2", "online": False}],
            "name": "lab",
            "users": [{"userid": "a@pve", "password": "x"}],
            "tokens": [{"tokenid": "a@pve!t", "secret": "s"}],
            "acl": [{"path": "/", "ugid": "a@pve!t", "roleid": "PVEAuditor"}],
            "ha": {
                "resources": [{"sid": "vm:100", "state": "started"}],
                "rules": [{"rule": "r", "type": "node-affinity", "resources": "vm:100", "nodes": "pve1"}],
            },
            "options": {"crs": "ha=static"},
            "mappings": {"pci": [{"id": "gpu", "map": ["node=pve1,path=0000:01:00.0"]}]},
        },
    )
    ask.config(100, cores=4)
    again = Cluster.from_dict(ask.cluster.to_dict())
    assert again.to_dict() == ask.cluster.to_dict()
    assert again.guest(100).live_affinity == "0-1"
    assert again.guest(100).load().pending == {"cores": "4"}
