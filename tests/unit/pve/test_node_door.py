# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door on a host: files as PVE writes them, and programs whose every call is written down."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest_config import GuestConfig
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import errors
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.guests import guest_info
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.node_door import NodeDoor
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.reading import GuestRef

STATUS = [
    {"type": "cluster", "id": "cluster", "name": "prod", "nodes": 2, "quorate": 1, "version": 2},
    {"type": "node", "name": "pve1", "ip": "192.0.2.1", "online": 1, "local": 1, "nodeid": 1},
    {"type": "node", "name": "pve2", "ip": "192.0.2.2", "online": 1, "local": 0, "nodeid": 2},
]
RESOURCES = [
    {"id": "qemu/100", "type": "qemu", "vmid": 100, "node": "pve1", "name": "db", "status": "running", "template": 0, "pool": "p1"},
    {"id": "lxc/300", "type": "lxc", "vmid": 300, "node": "pve2", "name": "ct", "status": "stopped", "template": 0},
    {"id": "storage/pve1/local", "type": "storage", "node": "pve1"},
]
FILES = {
    "nodes/pve1/qemu-server/100.conf": (
        "#notes\nname: db\ncores: 4\nmemory: 2048\nnuma: yes\nhostpci0: mapping=gpu\naffinity: 0-3\n\n[PENDING]\naffinity: 4-7\n"
    ),
    "nodes/pve2/lxc/300.conf": "hostname: ct\ncores: 2\nmemory: 512\nlxc.cgroup2.cpuset.cpus: 0-1\n",
    "datacenter.cfg": "keyboard: de\ncrs: ha=static,ha-rebalance-on-start=1\n",
    "mapping/pci.cfg": "gpu\n\tdescription the card\n\tmap id=10de:2204,node=pve1,path=0000:41:00.0\n\tmap node=pve2,path=0000:81:00.0\n\n",
    "ha/resources.cfg": "vm: 100\n\tstate started\n\tmax_restart 2\n\nct: 300\n\tcomment spare\n\n",
    "ha/rules.cfg": (
        "node-affinity: near\n\tnodes pve1,pve2:2\n\tresources vm:100\n\tstrict 1\n\n"
        "resource-affinity: apart\n\taffinity negative\n\tdisable\n\tresources vm:100,ct:300\n"
    ),
}

PVESH = """#!/bin/sh
echo "pvesh $*" >>"$CALLS"
case "$2" in
/cluster/status) cat "$ANSWERS/status.json" ;;
/cluster/resources) cat "$ANSWERS/resources.json" ;;
/version) cat "$ANSWERS/version.json" ;;
*) echo "no '$2' handler for 'get'" >&2; exit 2 ;;
esac
"""
QM = """#!/bin/sh
printf 'qm' >>"$CALLS"
printf ' [%s]' "$@" >>"$CALLS"
echo >>"$CALLS"
[ "$1" = list ] && printf '      VMID NAME STATUS\n       100 db   running    2048\n       101 web  stopped    2048\n'
[ -e "$ANSWERS/qm-fails" ] && { cat "$ANSWERS/qm-fails" >&2; exit 255; }
exit 0
"""


class Host:
    """A folder that stands for /etc/pve, and programs that write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.etc_pve = folder / "etc-pve"
        self.answers = folder / "answers"
        self.calls_file = folder / "calls"
        for name, text in FILES.items():
            self.write(name, text)
        self.answers.mkdir()
        self.answer("version", {"version": "9.2.6", "release": "9.2", "repoid": "x"})
        self.answer("status", STATUS)
        self.answer("resources", RESOURCES)
        for name, script in (("pvesh", PVESH), ("qm", QM)):
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(script)
            program.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        file = self.etc_pve / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def answer(self, name: str, data: t.Any) -> None:
        (self.answers / f"{name}.json").write_text(json.dumps(data))

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COREPIN_ETC_PVE", str(host.etc_pve))
    monkeypatch.setenv("CALLS", str(host.calls_file))
    monkeypatch.setenv("ANSWERS", str(host.answers))
    return host


def test_one_pass_with_three_calls(host: Host) -> None:
    info, warnings = guest_info(NodeDoor.on_this_host().read_cluster())
    assert sorted(host.calls) == [
        "pvesh get /cluster/resources --type vm --output-format json",
        "pvesh get /cluster/status --output-format json",
        "pvesh get /version --output-format json",
    ]
    assert warnings == []
    vm, ct = info["guests"]
    assert (vm["vmid"], vm["config"]["numa"], vm["pending"], vm["pool"], vm["hostpci"]) == (
        100,
        "1",
        {"affinity": "4-7"},
        "p1",
        ["0000:41:00.0"],
    )
    assert vm["ha"] == {"state": "started", "group": None, "rules": ["near"]}
    assert (ct["vmid"], ct["type"], ct["config"]["lxc.cgroup2.cpuset.cpus"]) == (300, "lxc", "0-1")
    cluster = info["cluster"]
    assert cluster["crs"] == {"ha": "static", "ha-rebalance-on-start": True}
    assert [(rule["rule"], rule["enabled"], rule["strict"], rule["vmids"]) for rule in cluster["ha_rules"]] == [
        ("apart", False, False, [100, 300]),
        ("near", True, True, [100]),
    ]
    assert cluster["pci_mappings"][0]["devices"][1] == {"node": "pve2", "addresses": ["0000:81:00.0"]}


def test_invalid_lines_are_named_before_they_are_lost(host: Host) -> None:
    host.write("nodes/pve1/qemu-server/100.conf", "name: db\naffinity: 3-1\nfoo: bar\n")
    _info, warnings = guest_info(NodeDoor.on_this_host().read_cluster())
    assert [text for text in warnings if "affinity" in text and "3-1" in text and "Guest 100 (db) on pve1" in text]
    assert [text for text in warnings if "'foo'" in text]


def test_groups_before_pve_9(host: Host) -> None:
    host.answer("version", {"version": "8.4.1"})
    (host.etc_pve / "ha/rules.cfg").unlink()
    host.write("ha/resources.cfg", "vm: 100\n\tgroup big\n")
    host.write("ha/groups.cfg", "group: big\n\tnodes pve1:1\n\tnofailback 0\n\trestricted 1\n")
    info, _warnings = guest_info(NodeDoor.on_this_host().read_cluster())
    assert [(rule["rule"], rule["source"], rule["strict"], rule["vmids"]) for rule in info["cluster"]["ha_rules"]] == [
        ("big", "group", True, [100])
    ]


def test_a_guest_is_where_its_file_is(host: Host) -> None:
    (host.etc_pve / "nodes/pve2/qemu-server").mkdir()
    (host.etc_pve / "nodes/pve1/qemu-server/100.conf").rename(host.etc_pve / "nodes/pve2/qemu-server/100.conf")
    info, _warnings = guest_info(NodeDoor.on_this_host().read_cluster())
    assert info["guests"][0]["node"] == "pve2"


def test_gone_and_offline_guests(host: Host) -> None:
    (host.etc_pve / "nodes/pve1/qemu-server/100.conf").unlink()
    host.answer("status", [*STATUS[:2], {**STATUS[2], "online": 0}])
    info, _warnings = guest_info(NodeDoor.on_this_host().read_cluster())
    assert [(guest["vmid"], guest["status"], guest["config"]) for guest in info["guests"]] == [(300, "unknown", {})]
    assert [(item["vmid"], item["reason"].split(";")[0]) for item in info["unread"]] == [
        (100, "its config is gone"),
        (300, "its host is offline"),
    ]


def test_how_a_config_is_written(host: Host) -> None:
    door = NodeDoor.on_this_host()
    door.write(GuestRef(100, "pve1"), {"numa": "1", "affinity": "0-3", "args": "-smp 4,threads=2"}, ["numa0", "numa1"], "abc")
    assert host.calls == [
        "qm [set] [100] [--affinity] [0-3] [--args] [-smp 4,threads=2] [--numa] [1] [--delete] [numa0,numa1] [--digest] [abc]"
    ]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("VM is locked (backup)", errors.LockedError),
        ("checksum mismatch (file change by other user?)", errors.ConflictError),
        ("can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", errors.BusyError),
        ("unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.9' - Permission denied", errors.NoQuorumError),
        ("please run as root", errors.PveError),
    ],
)
def test_the_words_of_qm_are_those_of_the_api(host: Host, words: str, kind: type[Exception]) -> None:
    (host.answers / "qm-fails").write_text(words + "\n")
    with pytest.raises(kind):
        NodeDoor.on_this_host().write(GuestRef(100, "pve1"), {"numa": "1"}, [], None)


def test_guests_of_other_hosts_are_refused(host: Host) -> None:
    door = NodeDoor.on_this_host()
    assert door.refuse_keys({GuestRef(100, "pve1"): ["affinity"]}) is None
    refusal = door.refuse_keys({GuestRef(100, "pve1"): ["affinity"], GuestRef(200, "pve2"): ["numa"]})
    assert refusal is not None
    assert "changes for pve2, but this is pve1" in refusal


def test_what_runs_is_asked_of_qm(host: Host) -> None:
    refs = [GuestRef(vmid, "pve1") for vmid in (100, 101, 102)]
    assert NodeDoor.on_this_host().running(refs) == {100: True, 101: False, 102: False}
    assert host.calls == ["qm [list]"]


def test_configs_of_guests(host: Host) -> None:
    read = NodeDoor.on_this_host().read_guests([GuestRef(100, "pve1"), GuestRef(999, "pve1")])
    assert isinstance(read[100], GuestConfig)
    assert isinstance(read[999], errors.MissingGuestError)


def test_a_machine_without_the_programs(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.PveError, match="The program pvesh is not on this host"):
        NodeDoor.on_this_host().read_cluster()


def test_a_program_that_prints_something_else(host: Host) -> None:
    (host.answers / "status.json").write_text("not json")
    with pytest.raises(errors.PveError, match="does not print JSON"):
        NodeDoor.on_this_host().read_cluster()
