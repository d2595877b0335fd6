# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recordings of a real PVE 9.2 that the lab is compared with: what the cluster looked like when each began, and
stage directions: what was done to it by other means than the API.
"""

from __future__ import annotations

import ast
import pathlib
import re
import typing as t

from ..cluster import Cluster
from ..command import build_command, pretty_command
from ..guest import Guest
from ..lab import Lab
from ..start import halt
from .player import Player
from .transcript import Exchange, Item, read_transcript

MADE = {
    "boot": " ",
    "meta": "creation-qemu=10.0.13,ctime=1795301939",
    "vmgenid": "dacff3c9-3e8a-42f0-97e2-ce85c2c1129d",
    "smbios1": "uuid=6a9b77dd-a50e-4c0b-8045-28a576a2d6f6",
}
SINGLE = {
    "name": "pve1",
    "ip": "10.99.0.1",
    "cpus": 2,
    "threads": 1,
    "memory_mib": 24684092 / 1024,
    "cgroup": 1,
    "kvm": False,
    "model": "AMD EPYC",
}
BALLOON = {
    "id": "0000:00:01.0",
    "class": "0xffff00",
    "vendor": "0x1af4",
    "vendor_name": "Red Hat, Inc.",
    "device": "0x1045",
    "device_name": "Virtio 1.0 balloon",
    "subsystem_vendor": "0x1af4",
    "subsystem_vendor_name": "Red Hat, Inc.",
    "subsystem_device": "0x1045",
    "iommugroup": -1,
}
DISK = {
    **BALLOON,
    "id": "0000:00:02.0",
    "class": "0x018000",
    "device": "0x1042",
    "device_name": "Virtio 1.0 block device",
    "subsystem_device": "0x1042",
}
THREE = [
    {**SINGLE, "name": "pve1", "ip": "10.99.0.1"},
    {**SINGLE, "name": "pve2", "ip": "10.99.0.2", "cpus": 64, "numa_nodes": 8},
    {**SINGLE, "name": "pve3", "ip": "10.99.0.3"},
]

Direction = t.Callable[[Player], t.Any]


class Recording:
    """One file: the cluster it begins with, the guest that its notes speak of, and the stage directions.

    before: number of an exchange -> what is done before it. at: start of a note -> what is done at it.
    """

    def __init__(
        self,
        name: str,
        cluster: dict[str, t.Any],
        vmid: int = 100,
        node: str = "pve1",
        before: t.Optional[dict[int, Direction]] = None,
        at: t.Optional[dict[str, Direction]] = None,
    ) -> None:
        self.name, self.cluster, self.vmid, self.node = name, cluster, vmid, node
        self.before, self.at = before or {}, at or {}

    def play(self, directory: pathlib.Path) -> Player:
        """Play the file in the directory; the player knows what was different."""
        with Lab(Cluster.from_dict(self.cluster)) as lab:
            player = Player(lab, self.name, self.vmid, self.node)
            for item in read_transcript(directory / f"{self.name}.txt"):
                self._direct(player, item)
                player.play(item)
            return player

    def _direct(self, player: Player, item: Item) -> None:
        if isinstance(item, Exchange):
            direction = self.before.get(item.number)
            if direction:
                direction(player)
        else:
            for start, direction in self.at.items():
                if item.text.startswith(start):
                    direction(player)
            if item.text.startswith("CompletedProcess("):
                check_command(player, item.text)


def one_vm(config: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {
        "nodes": [{**SINGLE, **more.pop("node", {})}],
        "guests": [{"vmid": 100, "node": "pve1", "config": {"name": "a", **MADE, **config}}],
        **more,
    }


def as_user(userid: str) -> Direction:
    def change(player: Player) -> None:
        player.credentials = player.login(userid, "secret1234")

    return change


def as_token(tokenid: str) -> Direction:
    def change(player: Player) -> None:
        player.credentials = player.token(tokenid)

    return change


def with_headers(**headers: str) -> Direction:
    def change(player: Player) -> None:
        player.credentials = {key.replace("_", "-"): value for key, value in headers.items()}

    return change


def without_csrf(player: Player) -> None:
    player.credentials = {"Cookie": player.credentials["Cookie"]}


def as_root(player: Player) -> None:
    player.credentials = player.login("root@pam", "lab-root-password")


GRAMMAR = Recording("config-grammar", one_vm({"cores": 2, "memory": 512, "numa": 1}))

PERMISSIONS = Recording(
    "permissions",
    one_vm(
        {
            "cores": 2,
            "numa": 1,
            "memory": "current=1024",
            "numa0": "cpus=0-1,memory=-5",
            "vcpus": 99,
            "hugepages": "any",
            "keephugepages": 1,
            "cpulimit": "1.5",
            "cpuunits": 20000,
            "lock": "backup",
            "tags": "a;b",
            "cpu": "host,flags=+pcid",
        },
        node={"pci_devices": [BALLOON, DISK]},
        users=[{"userid": "admin@pve", "password": "secret1234"}, {"userid": "ops@pve", "password": "secret1234"}],
    ),
    at={
        "=== as admin@pve ticket": as_user("admin@pve"),
        "=== as ops@pve ticket": as_user("ops@pve"),
        "=== as token root!t1": as_token("root@pam!t1"),
        "=== as token root!t2": as_token("root@pam!t2"),
        "=== as token admin!t1": as_token("admin@pve!t1"),
    },
    before={3: lambda player: player.cluster.freeze_broadcasts(), 161: as_root},
)


def break_cgroup(player: Player) -> None:
    player.cluster.node("pve1").cgroup_failure = (
        'Operation "ne": no method found,\n\tleft argument in overloaded package Net::DBus::Error,\n'
        "\tright argument has no overloaded magic at /usr/share/perl5/PVE/QemuServer.pm line 4893.\n"
    )


RUNNING = Recording(
    "running-pending-digest-auth",
    one_vm(
        {"protection": 0, "sockets": 1, "cores": 2, "memory": 512, "numa": 1},
        users=[{"userid": "admin@pve"}, {"userid": "ops@pve"}],
        roles={"Cpu": "VM.Audit,VM.Config.CPU"},
        acl=[{"path": "/", "ugid": "admin@pve", "roleid": "Administrator"}, {"path": "/vms/100", "ugid": "ops@pve", "roleid": "Cpu"}],
    ),
    before={
        1: lambda player: player.cluster.freeze_broadcasts(),
        10: break_cgroup,
        34: without_csrf,
        35: with_headers(),
        37: with_headers(Cookie="PVEAuthCookie=PVE:root@pam:00000000::forged"),
        38: with_headers(Authorization="PVEAPIToken=root@pam!t1=wrong"),
        39: with_headers(),
        43: as_root,
    },
)

SNIPPETS = {"snippets": {"hook.sh": {}, "noexec.sh": {"executable": False}}}


def failing(*phases: str) -> Direction:
    def change(player: Player) -> None:
        player.cluster.node("pve1").snippets["hook.sh"]["fails"] = list(phases)

    return change


HOOKS = Recording(
    "hookscripts",
    one_vm(
        {"kvm": 0, "cores": 1, "memory": 1024, "numa": 1, "tags": "z", "cpulimit": "1.5", "cpuunits": 200, "numa0": "cpus=0-1,memory=512"},
        node=SNIPPETS,
    ),
    at={f"-- fail {phase}": failing(phase) for phase in ("pre-start", "post-start", "pre-stop", "post-stop")},
)


def power_off(player: Player) -> None:
    """The guest ended by itself."""
    guest = player.cluster.guest(player.vmid)
    with player.cluster.mutex:
        halt(player.cluster, guest)


HOOKS.before[9] = power_off


def fail_after_write(player: Player) -> None:
    """The recorded machine had no LXC, which PVE found out after it had written the file."""
    message = "command 'lxc-start --version' failed: open3: exec of lxc-start --version failed: No such file or directory"
    player.lab.faults.add(
        method="PUT",
        path="/lxc/101/config",
        status=500,
        reason=f"{message} at /usr/share/perl5/PVE/Cmd.pm line 174.",
        after_acceptance=True,
        times=1,
    )


HAND_EDITED = """#note
affinity: 0,1
affinity: 1-0
numa: 1
numa0: cpus=0
numa1: cpu=1
foo: bar
memory: 256
cores: 2

[PENDING]
affinity: 1

[snap1]
affinity: 3
cores: 1
"""
WRITTEN_ANEW = """#note
affinity: 1
cores: 2
memory: 256
numa: 1
numa0: cpus=0
tags: x

[snap1]
affinity: 3
cores: 1
"""


def edit_by_hand(player: Player) -> None:
    player.cluster.guests[300] = Guest(300, "qemu", "pve1", HAND_EDITED, player.cluster.major)


def give_up_on_locked_file(player: Player) -> None:
    """A client that waits less long than the lock is held; the change is made all the same."""
    cluster = player.cluster
    if cluster.guest(300).text != WRITTEN_ANEW:
        player.differ(f"the file was rewritten as {cluster.guest(300).text!r}")
    with cluster.held_lock(300):
        try:
            player.send("PUT", "/nodes/pve1/qemu/300/config", {"affinity": "0"}, player.credentials, timeout=0.2)
        except OSError:  # the socket's time-out, which is no TimeoutError before Python 3.10
            pass
        else:
            player.differ("the call did not wait for the lock")
    with cluster.mutex:
        assert cluster.mutex.wait_for(
            lambda: "affinity: 0\n" in cluster.guest(300).text and not cluster.guest(300).lock_holders, timeout=10
        )


def lock_the_file(player: Player) -> None:
    player.cluster.lock_timeout = 0.1
    player.cluster.guest(300).lock_holders += 1


def unlock_the_file(player: Player) -> None:
    player.cluster.lock_timeout = 10.0
    player.cluster.guest(300).lock_holders -= 1


def lose_pve2(player: Player) -> None:
    unlock_the_file(player)
    player.cluster.node("pve2").online = False


def quorum(present: bool) -> Direction:
    def change(player: Player) -> None:
        player.cluster.quorate = present

    return change


CONTAINER = """arch: amd64
cores: 2
hostname: ct
memory: 256
ostype: debian
rootfs: local:101/vm-101-disk-0.raw,size=1G
swap: 0
lxc.cgroup2.cpuset.cpus: 0-1
"""

LXC_AND_EDITS = Recording(
    "lxc-and-hand-edits",
    {
        "name": "testcl",
        "nodes": THREE,
        "guests": [
            {"vmid": 101, "type": "lxc", "node": "pve1", "text": CONTAINER},
            {"vmid": 200, "node": "pve2", "status": "running", "config": {"name": "b", "cores": 2, "memory": 256}},
        ],
    },
    before={
        1: lambda player: setattr(player.cluster.guest(101), "reported", False),
        2: fail_after_write,
        14: lock_the_file,
        15: lose_pve2,
        16: quorum(False),
        20: quorum(True),
    },
    at={"== hand-edited config": edit_by_hand, "== locked config file": give_up_on_locked_file},
)

QUORUM_LOST = Recording(
    "quorum-lost",
    {
        "name": "testcl",
        "nodes": [THREE[0], {**THREE[1], "online": False}, {**THREE[2], "online": False}],
        "quorate": False,
        "guests": [{"vmid": 300, "node": "pve1", "text": WRITTEN_ANEW.replace("affinity: 1\n", "affinity: 0\n")}],
    },
    vmid=300,
    before={4: quorum(True)},
)


def check_command(player: Player, text: str) -> None:
    """`qm showcmd --pretty | grep` on the host."""
    guest = player.cluster.guest(200)
    command = build_command(guest, guest.load().main, player.cluster.node(guest.node))
    lines = [line for line in pretty_command(command).splitlines() if re.search(r"taskset|smp|numa|memory-backend|^  -m|cpu", line)]
    found = re.search(r'stdout=("(?:[^"\\]|\\.)*")', text)
    assert found
    if lines != ast.literal_eval(found.group(1)).splitlines():
        player.differ(f"the command line is {lines}")


def unreachable(reason: str) -> Direction:
    def change(player: Player) -> None:
        player.cluster.node("pve3").online = False
        player.cluster.node("pve3").unreachable = (reason, 0.0)

    return change


CLUSTER = Recording(
    "cluster-ha-pools-nodes",
    {
        "name": "testcl",
        "nodes": THREE,
        "guests": [
            {"vmid": 100, "node": "pve1", "status": "running", "config": {"name": "a", "cores": 2, "memory": 512, "tags": "z", "kvm": 0}}
        ],
    },
    vmid=200,
    node="pve2",
    at={"== node down": unreachable("Connection timed out")},
    before={28: unreachable("No route to host")},
)

HOOKED = [{**node, "snippets": {"hook.sh": {}}} for node in THREE]


def break_migration(player: Player) -> None:
    player.cluster.node("pve3").migration_failure = "can't open tunnel - no reply"


def mend_migration(player: Player) -> None:
    player.cluster.node("pve3").migration_failure = None


def fail_on_pve1(player: Player) -> None:
    player.cluster.node("pve1").snippets["hook.sh"]["fails"] = ["pre-start"]


def no_script_on_pve1(player: Player) -> None:
    player.cluster.node("pve1").snippets.clear()


MIGRATION = Recording(
    "migration",
    {"name": "testcl", "nodes": HOOKED},
    vmid=200,
    node="pve2",
    at={
        "== live migrate": break_migration,
        "== 4 cores": mend_migration,
        "== pre-start fails": fail_on_pve1,
        "== hookscript missing": no_script_on_pve1,
    },
)


def pend_affinity(player: Player) -> None:
    """The recording begins this part with affinity 1 pending."""
    guest = player.cluster.guest(200)
    config = guest.load()
    config.pending["affinity"] = "1"
    guest.store(config)
    player.node = "pve2"


TOPOLOGY = Recording(
    "migration-topology",
    {
        "name": "testcl",
        "nodes": HOOKED,
        "guests": [
            {
                "vmid": 200,
                "node": "pve3",
                "config": {
                    "name": "b",
                    "memory": 256,
                    "cores": 4,
                    "numa": 1,
                    "kvm": 0,
                    "affinity": "0-3",
                    "hookscript": "local:snippets/hook.sh",
                    "boot": " ",
                    "meta": "creation-qemu=10.0.13,ctime=1795303377",
                    "vmgenid": "c43b857f-4b2c-40a6-9a5a-9b600f2bef58",
                    "smbios1": "uuid=61e3034e-ce72-425c-9e8a-c3410fe25edd",
                },
            }
        ],
    },
    vmid=200,
    node="pve3",
    at={"== live migrate with pending affinity": pend_affinity},
)


RECORDED = [GRAMMAR, PERMISSIONS, RUNNING, HOOKS, LXC_AND_EDITS, QUORUM_LOST, CLUSTER, MIGRATION, TOPOLOGY]
