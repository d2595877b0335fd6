# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools of the replay must see differences, or its agreement means nothing."""

from __future__ import annotations

import json

import pytest
from pve_lab.replay.compare import compare_bodies, plain_text, salvage
from pve_lab.replay.transcript import Exchange, Note, read_transcript

BODY = {"data": [{"id": "qemu/100", "cores": 2, "cpu": 0.5, "ha": {"managed": 0}}, {"id": "qemu/101", "name": "a"}], "message": None}


def test_equal():
    assert compare_bodies(json.dumps(BODY), json.dumps(BODY).encode()) == []
    swapped = {**BODY, "data": BODY["data"][::-1]}
    assert compare_bodies(json.dumps(BODY), json.dumps(swapped).encode()) == []
    assert compare_bodies("", b"") == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"cores": "2"}, "data[qemu/100].cores: number 2 became text '2'"),
        ({"cores": 3}, "data[qemu/100].cores: 2 became 3"),
        ({"extra": 1}, "data[qemu/100].extra is too much"),
        ({"ha": {}}, "data[qemu/100].ha.managed is missing"),
        ({"ha": {"managed": True}}, "data[qemu/100].ha.managed: number 0 became boolean True"),
        ({"id": "qemu/102"}, "data[qemu/100] is missing"),
    ],
)
def test_different(change, difference):
    changed = {**BODY, "data": [{**BODY["data"][0], **change}, BODY["data"][1]]}
    assert difference in compare_bodies(json.dumps(BODY), json.dumps(changed).encode())


def test_more_differences():
    assert compare_bodies("", b"{}") == ["a body of 2 bytes instead of none"]
    assert compare_bodies("{}", b"") == ["no body at all"]
    assert "data: 2 elements became 1" in compare_bodies(json.dumps(BODY), json.dumps({**BODY, "data": BODY["data"][:1]}).encode())


def test_a_body_cut_short_is_compared_as_far_as_it_goes():
    text = json.dumps(BODY)
    for end in range(len(text)):
        assert compare_bodies(text[:end], text.encode()) == [] or end == 0
    wrong = json.dumps({"data": [{"id": "qemu/100", "cores": 4, "cpu": 0.5, "ha": {"managed": 0}}]}).encode()
    assert compare_bodies(text[:60], wrong) == ["data[qemu/100].cores: 2 became 4"]


def test_salvage():
    assert salvage('{"data":[{"a":1,"b":"x') == {"data": [{"a": 1}]}
    assert salvage('{"mess') is None


def test_what_differs_from_run_to_run_is_made_equal():
    assert plain_text("UPID:pve1:000000B3:0002E349:6B022487:qmstart:200:root@pam:") == "UPID:pve1:PID:START:TIME:qmstart:200:root@pam:"
    assert plain_text("x.conf.tmp.176' - Permission denied") == "x.conf.tmp.PID' - Permission denied"


def test_reading(tmp_path):
    path = tmp_path / "recording.txt"
    path.write_text(
        "=== part\n"
        "PUT /nodes/pve1/qemu/100/config {'affinity': '0;1'} -> 500 \"only root can set 'affinity' config\" {\"data\":null}\n"
        "GET /version {} -> 401 'No ticket' \n"
        'LOGIN root 401 authentication failure {"data":null}\n'
        '{\n "data": {}\n}\n'
    )
    items = read_transcript(path)
    assert items[0] == Note("=== part")
    reason = "only root can set 'affinity' config"
    assert items[1] == Exchange(1, "PUT", "/nodes/pve1/qemu/100/config", {"affinity": "0;1"}, 500, reason, '{"data":null}')
    assert items[2] == Exchange(2, "GET", "/version", {}, 401, "No ticket", "")
    assert (items[3].path, items[3].params["username"], items[3].status) == ("/access/ticket", "root", 401)
    assert (items[4].number, items[4].method, items[4].body) == (4, "GET", '{ "data": {}}')
