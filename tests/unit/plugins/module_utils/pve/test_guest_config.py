# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of guest config files against the rules of PVE's own parser."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest_config import (
    accepts_affinity,
    accepts_cell,
    from_pending_answer,
    parse_guest_config,
)

FULL = b"""#first%20line
#second
affinity: 0-3
cores: 04
cpulimit: 1.5
cpu: cputype=host
name: db
numa: on
numa0: cpus=0-3,hostnodes=0,memory=8192,policy=bind
memory: current=8192
tags: a;b

[PENDING]
affinity: 8-11
delete: numa0,!hookscript

[special:cloudinit]
ciuser: root

[before_upgrade]
#of the snapshot
affinity: 5
cores: 2
"""


def test_sections_and_normal_forms() -> None:
    read = parse_guest_config(FULL)
    assert read.config == {
        "affinity": "0-3",
        "cores": "4",
        "cpulimit": "1.5",
        "cpu": "cputype=host",
        "name": "db",
        "numa": "1",
        "numa0": "cpus=0-3,hostnodes=0,memory=8192,policy=bind",
        "memory": "current=8192",
        "tags": "a;b",
        "description": "first line\nsecond",
    }
    assert read.pending == {"affinity": "8-11", "numa0": None, "hookscript": None}
    assert read.snapshots == ("before_upgrade",)
    assert read.notes == ()
    assert read.digest == hashlib.sha1(FULL).hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        "affinity: 1-0",
        "affinity: ,0",
        "affinity: 0;1",
        "affinity: 0-7:2",
        "affinity: all",
        "numa1: cpu=1",
        "numa1: memory=512",
        "numa1: cpus=0,policy=strict",
        "numa1: cpus=0;,memory=1",
        "numa8: cpus=0",
        "numa: maybe",
        "cores: two",
        "cores: -1",
        "cpulimit: 1,5",
        "foo: bar",
        "no colon at all",
        "Cores: 2",
        "delete: affinity",
    ],
)
def test_what_pve_drops_is_only_noted(line: str) -> None:
    read = parse_guest_config(f"memory: 512\n{line}\n".encode())
    assert read.config == {"memory": "512"}
    assert len(read.notes) == 1
    assert "dropped by PVE" in read.notes[0]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("affinity: 0", "0"),
        ("affinity: 0, 1", "0, 1"),
        ("affinity: 0,1,", "0,1,"),
        ("affinity: 00-01", "00-01"),
        ("affinity: 0-99999", "0-99999"),
        ("numa0: cpus=1-0", "cpus=1-0"),
        ("numa0: memory=-5,cpus=0", "memory=-5,cpus=0"),
        ("numa0: cpus=0,memory=512.5,hostnodes=0-1;3,policy=interleave", "cpus=0,memory=512.5,hostnodes=0-1;3,policy=interleave"),
        ('args: "-smp 4"', '"-smp 4"'),
        ("machine:   q35   ", "q35"),
        ("intel-tdx: type=tdx", "type=tdx"),
        ("virtio15: local:vm-1-disk-0,size=1G", "local:vm-1-disk-0,size=1G"),
    ],
)
def test_what_pve_keeps_is_kept_even_if_no_start_succeeds_with_it(line: str, value: str) -> None:
    read = parse_guest_config(line.encode())
    assert list(read.config.values()) == [value]
    assert read.notes == ()


def test_the_last_of_duplicate_keys_counts() -> None:
    assert parse_guest_config(b"cores: 2\ncores: 4\n").config == {"cores": "4"}


def test_an_unknown_section_hides_what_follows() -> None:
    read = parse_guest_config(b"cores: 2\n[1 strange]\ncores: 9\n[PENDING]\ncores: 4\n")
    assert (read.config, read.pending) == ({"cores": "2"}, {"cores": "4"})
    assert read.notes == ("the unknown section [1 strange] is ignored by PVE",)


def test_a_password_is_masked_as_the_api_masks_it() -> None:
    assert parse_guest_config(b"cipassword: $5$abc\n").config == {"cipassword": "**********"}


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe\x00\n:::\n[\n", b"\n\n\n", b"a: \n"])
def test_garbage_is_no_crash(raw: bytes) -> None:
    assert parse_guest_config(raw).config == {}


def test_container_with_raw_keys_and_its_own_pending_header() -> None:
    read = parse_guest_config(
        b"#ct\narch: amd64\ncores: 2\nmemory: many\nlxc.cgroup2.cpuset.cpus: 0-1\nlxc.apparmor.profile = unconfined\n"
        b"[pve:pending]\ncores: 4\n[snap]\ncores: 1\n",
        "lxc",
    )
    assert read.config == {
        "arch": "amd64",
        "cores": "2",
        "memory": "many",
        "lxc.cgroup2.cpuset.cpus": "0-1",
        "lxc.apparmor.profile": "unconfined",
        "description": "ct\n",
    }
    assert read.pending == {"cores": "4"}


def test_the_api_answer_says_the_same() -> None:
    read = from_pending_answer(
        [
            {"key": "affinity", "value": "0-3", "pending": "8-11"},
            {"key": "numa", "value": 1},
            {"key": "cores", "value": 2, "pending": 4},
            {"key": "numa0", "value": "cpus=0-1", "delete": 1},
            {"key": "numa1", "pending": "cpus=2-3"},
            {"key": "hookscript", "delete": 2},
            {"key": "protection", "value": 0},
            {"key": "digest", "value": "d0"},
        ]
    )
    assert read.config == {"affinity": "0-3", "numa": "1", "cores": "2", "numa0": "cpus=0-1", "protection": "0"}
    assert read.pending == {"affinity": "8-11", "cores": "4", "numa0": None, "numa1": "cpus=2-3", "hookscript": None}
    assert read.digest == "d0"


def test_raw_keys_of_a_container_come_from_its_config() -> None:
    raw = [["lxc.cgroup2.cpuset.cpus", "0-1"], ["lxc.mount.entry", "a"], ["lxc.cgroup2.cpuset.cpus", "2"]]
    assert from_pending_answer([{"key": "cores", "value": 2}], raw).config == {
        "cores": "2",
        "lxc.cgroup2.cpuset.cpus": "2",
        "lxc.mount.entry": "a",
    }


def test_the_two_grammars() -> None:
    assert accepts_affinity("0-7,32-39")
    assert not accepts_affinity("")
    assert not accepts_affinity("3-1")
    assert accepts_cell("hostnodes=0,cpus=0-3;8,memory=512")
    assert not accepts_cell("cpus=a")
    assert not accepts_cell("0-3")
