# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second door: qm, pct, pvesh and the files of /etc/pve, on the same state as the API."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from pve_lab import Cluster
from pve_lab.door import Door

BAD_AFFINITY = "400 Parameter verification failed.\naffinity: invalid format - unable to parse cpuset option\n"
NOT_DEFINED = "property is not defined in schema and the schema does not allow additional properties"
DESCRIPTION = {
    "name": "lab",
    "nodes": [{"name": "pve1", "cpus": 8, "numa_nodes": 2}, {"name": "pve2", "cpus": 4}],
    "guests": [
        {
            "vmid": 100,
            "node": "pve1",
            "status": "running",
            "config": {"name": "a", "cores": 2, "memory": 512, "affinity": "0-1", "tags": "x"},
        },
        {"vmid": 101, "node": "pve1", "config": {"name": "b", "cores": 2, "memory": 512, "description": "one: two"}, "pool": "p"},
        {"vmid": 102, "node": "pve1", "type": "lxc", "config": {"hostname": "ct", "cores": 2, "memory": 256}},
        {"vmid": 200, "node": "pve2", "config": {"name": "far"}},
    ],
    "ha": {
        "resources": {"vm:100": {"state": "started"}},
        "rules": {"r": {"type": "node-affinity", "resources": "vm:100", "nodes": "pve1"}},
    },
    "mappings": {"pci": [{"id": "gpu", "map": ["node=pve1,path=0000:41:00.0"]}]},
    "options": {"crs": {"ha": "static"}, "registered-tags": ["gold"]},
}


class Host:
    """Commands as root on one host."""

    def __init__(self, door: Door, name: str) -> None:
        self.door, self.view = door, door.hosts[name]

    def __call__(self, command: str) -> tuple[int, str, str]:
        path = f"{self.view.bin}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(["sh", "-c", command], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def json(self, command: str) -> t.Any:
        code, out, err = self(command + " --output-format json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def file(self, path: str) -> pathlib.Path:
        return self.view.etc_pve / path


@pytest.fixture
def door(tmp_path) -> t.Iterator[Door]:
    with Door(Cluster.from_dict(DESCRIPTION), tmp_path / "door") as opened:
        yield opened


@pytest.fixture
def host(door) -> Host:
    return Host(door, "pve1")


# --- commands --------------------------------------------------------------------------------------------------------


def test_set(host):
    digest = host.door.cluster.guest(101).digest
    assert host(f"qm set 101 --numa on --affinity 0-0 --delete description,args --digest {digest}") == (
        0,
        "update VM 101: -affinity 0-0 -delete description,args -numa 1\n",
        "cannot delete 'args' - not set in current configuration!\n",
    )
    assert host.file("qemu-server/101.conf").read_text() == "affinity: 0-0\ncores: 2\nmemory: 512\nname: b\nnuma: 1\n"
    assert host(f"qm set 101 --cores 4 --digest {digest}") == (255, "", "checksum mismatch (file change by other user?)\n")


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("qm set 101 --affinity a", 255, f"{BAD_AFFINITY}\nqm set <vmid> [OPTIONS]\n"),
        (
            "qm set 101 --affinity a --cores 0",
            255,
            f"{BAD_AFFINITY}cores: value must have a minimum value of 1\n\nqm set <vmid> [OPTIONS]\n",
        ),
        ("qm set 101", 255, "no options specified\n"),
        ("qm set 200 --cores 2", 2, "Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist\n"),
        ("qm set 102 --cores 2", 2, "Configuration file 'nodes/pve1/qemu-server/102.conf' does not exist\n"),
        ("qm config 999", 2, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist\n"),
        ("qm", 255, "ERROR: unknown command 'qm '\n"),
        ("pvesh get /nope", 255, "No 'get' handler defined for '/nope'\n"),
        ("pvesh set /nodes/pve1/qemu/101/config --affinity a", 255, BAD_AFFINITY),
        ("pct set 102 --affinity 0", 255, f"400 Parameter verification failed.\naffinity: {NOT_DEFINED}\n\npct set <vmid> [OPTIONS]\n"),
    ],
)
def test_failures(host, command, code, text):
    assert host(command) == (code, "", text)


def test_config_and_pending(host):
    assert host("qm set 100 --affinity 1 --delete tags --cores 4")[0] == 0
    assert host("qm set 100 --delete memory")[0] == 0
    assert host("qm config 100") == (0, "affinity: 1\ncores: 4\nname: a\n", "")
    assert host("qm config 100 --current 1")[1] == "affinity: 0-1\ncores: 2\nmemory: 512\nname: a\n"
    assert host("qm pending 100")[1] == "cur affinity: 0-1\nnew affinity: 1\ncur cores: 2\nnew cores: 4\ndel memory: 512\ncur name: a\n"
    assert host("qm config 101")[1] == "cores: 2\ndescription: one%3A two\nmemory: 512\nname: b\n"


def test_lists(host):
    lines = host("qm list")[1].splitlines()
    assert lines[0].split() == ["VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID"]
    assert [line.split()[:3] for line in lines[1:]] == [["100", "a", "running"], ["101", "b", "stopped"]]
    assert host("pct list")[1].splitlines()[1].split() == ["102", "stopped", "ct"]
    assert host("qm status 100")[1] == "status: running\n"


def test_power(host):
    assert host("qm start 101") == (0, "", "")
    assert host.door.cluster.guest(101).live_affinity == "0-7"
    assert host("qm start 101")[::2] == (255, "VM 101 already running\n")
    assert host("qm stop 101")[0] == 0
    host("qm set 101 --affinity 0,1,")
    assert host("qm start 101") == (255, "taskset: failed to parse CPU list: 0,1,\n", "start failed: QEMU exited with code 1\n")
    assert host("pct start 102")[0] == 0
    assert host("pct status 102")[1] == "status: running\n"


def test_showcmd(host):
    host("qm set 101 --numa 1 --numa0 cpus=0-1,hostnodes=0,memory=512,policy=bind --affinity 0-3")
    line = host("qm showcmd 101")[1]
    assert line.startswith("/usr/bin/taskset --cpu-list --all-tasks 0-3 /usr/bin/kvm -id 101 -name 'b,debug-threads=on' ")
    assert " \\\n  -smp '2,sockets=1,cores=2,maxcpus=2' \\\n" in host("qm showcmd 101 --pretty")[1]
    host("qm set 101 --cores 16")
    assert host("qm showcmd 101")[::2] == (255, "MAX 8 vcpus allowed per VM on this node\n")


def test_pvesh(host):
    assert [entry["vmid"] for entry in host.json("pvesh get /cluster/resources --type vm")] == [100, 101, 102, 200]
    assert {entry["name"]: entry["local"] for entry in host.json("pvesh get /cluster/status") if entry["type"] == "node"} == {
        "pve1": 1,
        "pve2": 0,
    }
    there = Host(host.door, "pve2")
    assert {entry["name"]: entry["local"] for entry in there.json("pvesh get /cluster/status") if entry["type"] == "node"} == {
        "pve1": 0,
        "pve2": 1,
    }
    assert there.json("pvesh get /nodes/pve1/qemu/100/config")["affinity"] == "0-1"
    assert there("pvesh set /nodes/pve1/qemu/101/config --affinity 0-1")[1] == "update VM 101: -affinity 0-1\n"
    upid = json.loads(host("pvesh create /nodes/pve1/qemu/101/status/start")[1])
    assert upid.startswith("UPID:pve1:")
    host.door.cluster.node("pve2").online = False
    assert host("pvesh get /nodes/pve2/status")[::2] == (255, "ssh: connect to host port 22: No route to host\n")


def test_hand_edited_lines_are_complained_about_and_lost(host):
    with host.file("qemu-server/101.conf").open("a") as stream:
        stream.write("affinity: 1-0\nfoo: bar\n")
    complaints = "".join(
        f"vm 101 - unable to parse value of {what}\n"
        for what in ("'affinity' - unable to parse cpuset option", "'foo' - unknown setting 'foo'")
    )
    assert host("qm config 101")[2] == complaints
    assert host("qm set 101 --onboot 1")[::2] == (0, complaints)
    assert host("qm config 101")[2] == ""
    assert "foo" not in host.file("qemu-server/101.conf").read_text()


def test_locks(host):
    host.door.cluster.lock_timeout = 0.05
    with host.door.cluster.held_lock(101):
        assert host("qm set 101 --cores 4")[::2] == (
            255,
            "trying to acquire lock...\ncan't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout\n",
        )
    host("qm set 101 --lock backup")
    assert host("qm set 101 --cores 4")[::2] == (255, "VM is locked (backup)\n")
    assert host("qm unlock 101")[0] == 0
    assert host("qm set 101 --cores 4")[0] == 0


def test_what_is_asked_stands_in_the_log(host):
    host("qm config 100")
    host("qm set 101 --cores 4")
    assert [(entry.method, entry.path, entry.user, entry.status) for entry in host.door.log.snapshot()] == [
        ("GET", "/nodes/pve1/qemu/100/config", "root@pam", 200),
        ("PUT", "/nodes/pve1/qemu/101/config", "root@pam", 200),
    ]


def test_proxmoxers_local_backend(host, monkeypatch):
    proxmoxer = pytest.importorskip("proxmoxer")
    monkeypatch.setenv("PATH", f"{host.view.bin}{os.pathsep}{os.environ['PATH']}")
    api = proxmoxer.ProxmoxAPI(backend="local")
    assert api.nodes("pve1").qemu(100).config.get()["affinity"] == "0-1"
    assert api.nodes("pve1").qemu(101).config.put(affinity="0-3") == {"errors": "update VM 101: -affinity 0-3\n"}
    with pytest.raises(proxmoxer.core.ResourceException, match="Parameter verification failed"):
        api.nodes("pve1").qemu(101).config.put(affinity="a")


# --- files -----------------------------------------------------------------------------------------------------------


def test_files(host):
    everything = {"nodes", "qemu-server", "lxc", "local", "ha", "mapping"} | {".members", ".version", ".vmlist"}
    assert set(os.listdir(host.file(""))) == everything | {"corosync.conf", "datacenter.cfg", "storage.cfg", "user.cfg"}
    assert sorted(os.listdir(host.file("qemu-server"))) == ["100.conf", "101.conf"]
    assert os.listdir(host.file("nodes/pve2/qemu-server")) == ["200.conf"]
    assert os.listdir(host.file("lxc")) == ["102.conf"]
    assert host.file("local/lxc/102.conf").read_text() == "cores: 2\nhostname: ct\nmemory: 256\n"
    assert host.file("datacenter.cfg").read_text() == "crs: ha=static\nregistered-tags: gold\n"
    assert "pool:p::101::" in host.file("user.cfg").read_text().splitlines()
    assert host.file("ha/rules.cfg").read_text() == "node-affinity: r\n\tnodes pve1\n\tresources vm:100\n\n"
    assert host.file("ha/resources.cfg").read_text() == "vm: 100\n\tstate started\n\n"
    assert host.file("mapping/pci.cfg").read_text() == "gpu\n\tmap node=pve1,path=0000:41:00.0\n\n"
    assert "cluster_name: lab" in host.file("corosync.conf").read_text()
    members = json.loads(host.file(".members").read_text())
    assert (members["nodename"], members["cluster"]["quorate"], members["nodelist"]["pve2"]) == (
        "pve1",
        1,
        {"id": 2, "online": 1, "ip": "10.0.0.2"},
    )
    assert json.loads(host.file(".vmlist").read_text())["ids"]["200"]["node"] == "pve2"
    assert json.loads((host.door.hosts["pve2"].etc_pve / ".members").read_text())["nodename"] == "pve2"


def test_files_follow_the_state(host):
    before = json.loads(host.file(".vmlist").read_text())["version"]
    host("qm migrate 101 pve2")
    assert not host.file("qemu-server/101.conf").exists()
    assert host.file("nodes/pve2/qemu-server/101.conf").exists()
    assert json.loads(host.file(".vmlist").read_text())["version"] > before


def test_the_state_follows_the_files(host):
    cluster = host.door.cluster
    with host.file("lxc/102.conf").open("a") as stream:
        stream.write("lxc.cgroup2.cpuset.cpus: 2-3\n")
    assert host("pct config 102")[1] == "cores: 2\nhostname: ct\nmemory: 256\nlxc.cgroup2.cpuset.cpus: 2-3\n"
    host.file("nodes/pve1/qemu-server/101.conf").rename(host.file("nodes/pve2/qemu-server/101.conf"))
    host.file("qemu-server/103.conf").write_text("cores: 8\n")
    host.file("nodes/pve2/qemu-server/200.conf").unlink()
    host.door.pull()
    assert {vmid: guest.node for vmid, guest in cluster.guests.items()} == {100: "pve1", 101: "pve2", 102: "pve1", 103: "pve1"}
    assert cluster.guest(103).load().main == {"cores": "8"}
    assert host.door.violations == []


def test_what_the_real_file_system_refuses_is_noted(host):
    host.file("qemu-server/101.conf").chmod(0o777)
    assert host.door.violations == ["nodes/pve1/qemu-server/101.conf was given the mode 777"]
    assert host.file("qemu-server/101.conf").stat().st_mode & 0o777 == 0o640


def test_without_quorum_nothing_is_written(host):
    before = host.file("qemu-server/101.conf").read_text()
    host.door.cluster.quorate = False
    code, _out, err = host("qm set 101 --cores 4")
    assert code == 13
    assert err.startswith("unable to open file '/etc/pve/nodes/pve1/qemu-server/101.conf.tmp.")
    assert err.endswith("' - Permission denied\n")
    host.file("qemu-server/101.conf").write_text("cores: 4\n")
    host.file("qemu-server/103.conf").write_text("cores: 4\n")
    assert host.door.violations == [
        "nodes/pve1/qemu-server/101.conf was written while the file system was read-only",
        "nodes/pve1/qemu-server/103.conf was written while the file system was read-only",
    ]
    assert host.file("qemu-server/101.conf").read_text() == before
    assert not host.file("qemu-server/103.conf").exists()
    assert host("qm config 101")[0] == 0


def test_both_doors_show_the_same(host):
    from pve_lab.routes import answer

    for path in (
        "/cluster/resources",
        "/nodes/pve1/qemu/100/config",
        "/nodes/pve1/qemu/100/pending",
        "/nodes/pve1/lxc/102/config",
        "/cluster/ha/rules",
    ):
        with host.door.cluster.mutex:
            api = answer(host.door.cluster, "GET", path, {}, "root@pam")
        assert _without_time(host.json(f"pvesh get {path}")) == _without_time(api)


def _local_nodes(host: Host) -> list[str]:
    return [entry["name"] for entry in host.json("pvesh get /cluster/status") if entry.get("local")]


def _without_time(data: t.Any) -> t.Any:
    return [{key: value for key, value in entry.items() if key != "uptime"} for entry in data] if isinstance(data, list) else data


def test_a_command_without_a_lab_says_so(tmp_path, host):
    assert Host(host.door, "pve1")("PVE_LAB_DOOR=/nonexistent qm list")[0] == 255
    _code, _out, err = host("PVE_LAB_DOOR=/nonexistent qm list")
    assert err.startswith("no lab behind this command: ")
