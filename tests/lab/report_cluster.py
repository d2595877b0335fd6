# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots to draw reports of: a small cluster with the usual mess, and big ones without end.

    python report_cluster.py DIRECTORY [messy | big | wide]

writes snapshot.json, policy.json, model.json, report.html and report.md there (the collection has to be importable).
"""

from __future__ import annotations

import datetime
import functools
import random
import tempfile
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from sysfs_trees import write_tree

Facts = t.Dict[str, t.Any]

_TAKEN_AT = datetime.datetime(2026, 1, 31, 6, 0, tzinfo=datetime.timezone.utc)


@functools.cache
def host_facts(model: str, node: str) -> Facts:
    """The facts of a host called `node`, read from a generated tree of that model."""
    with tempfile.TemporaryDirectory() as directory:
        return read_host(str(write_tree(model, directory + "/host")), node=node, now=_TAKEN_AT)


def guest(vmid: int, name: str, node: str, vcpus: int, gib: int, tag: str = "", **more: t.Any) -> Facts:
    """A running VM; `affinity` and `cells` (numaN values in order) go into its config."""
    config = {"cores": str(vcpus), "memory": str(gib * 1024), "name": name}
    if more.get("affinity"):
        config["affinity"] = more.pop("affinity")
    for number, cell in enumerate(more.pop("cells", ())):
        config.update({"numa": "1", f"numa{number}": cell})
    config.update(more.pop("config", {}))
    return {
        "vmid": vmid,
        "name": name,
        "node": node,
        "type": "qemu",
        "status": "running",
        "vcpus": vcpus,
        "memory_mib": gib * 1024,
        "tags": [tag] if tag else [],
        "config": config,
        "pending": {},
        **more,
    }


POLICY: Facts = {
    "rules": [
        {"match": {"tags": ["database"]}, "class": "dedicated"},
        {"match": {"tags": ["voice"]}, "class": "isolated"},
        {"match": {"tags": ["build"]}, "class": "local"},
        {"match": {"tags": ["office"]}, "class": "shared"},
    ],
    "reserved": {"default": {"cores_per_numa_node": 1, "memory_mib_per_numa_node": 2048}},
}


def _bound(vcpus: int, numa_node: int, gib: int) -> str:
    return f"cpus=0-{vcpus - 1},hostnodes={numa_node},memory={gib * 1024},policy=bind"


def messy_snapshot() -> Facts:
    """Three hosts on which everything happens that a report has to show."""
    guests = [
        # pve1: an EPYC with two guests on one core, one across NUMA nodes, hand-made affinities
        guest(101, "db-main", "pve1", 6, 40, "database", affinity="1,33,2,34,3,35", cells=[_bound(6, 0, 40)]),
        guest(104, "rt-voice", "pve1", 2, 8, "voice", affinity="4,5", cells=[_bound(2, 0, 8)]),
        guest(110, "fw-edge", "pve1", 4, 16, "database", affinity="9,41,10,42", cells=[_bound(4, 1, 16)], hostpci=["0000:41:00.2"]),
        guest(115, "mail-01", "pve1", 4, 12, "database", affinity="10,42,11,43", cells=[_bound(4, 1, 12)]),
        guest(118, "analytics", "pve1", 8, 48, "database", affinity="20,52,21,53,28,60,29,61"),
        guest(120, "ci-runner", "pve1", 4, 16, "build", affinity="22-23,54-55", cells=[_bound(4, 2, 16)]),
        guest(122, "kafka-1", "pve1", 5, 24, "database", affinity="17,49,18,50,19", cells=[_bound(5, 2, 24)]),
        guest(131, "legacy-erp", "pve1", 4, 16, affinity="12-15"),
        guest(133, "queue-1", "pve1", 2, 8, "database", affinity="25,57", cells=[_bound(2, 3, 8)]),
        *(guest(140 + n, name, "pve1", 2, 8, "office") for n, name in enumerate(("wiki", "git", "monitor"))),
        guest(143, "proxy", "pve1", 1, 4, "office", type="lxc", config={"cores": "1"}),
        guest(150, "win-test", "pve1", 4, 16),
        # pve2: a dual Xeon with guests that were never placed, one that cannot fit
        guest(201, "erp", "pve2", 16, 64, "database"),
        guest(202, "erp-db", "pve2", 12, 96, "database", affinity="0-11"),
        guest(203, "warehouse", "pve2", 24, 128, "database"),
        guest(204, "gigantic", "pve2", 140, 64, "database"),
        guest(205, "sip-1", "pve2", 2, 4, "voice", status="stopped"),
        *(guest(210 + n, f"desk-{n}", "pve2", 4, 8, "office") for n in range(6)),
        guest(220, "ci-1", "pve2", 8, 16, "build"),
        guest(221, "ci-2", "pve2", 8, 16, "build"),
        guest(230, "old-web", "pve2", 2, 4, affinity="40,41"),
        # pve3: a hybrid workstation, tidy but for one template and one misspelt affinity
        guest(301, "pbx", "pve3", 4, 8, "voice", affinity="2,4,6,8"),
        guest(302, "camera", "pve3", 4, 8, "database", affinity="16-19"),
        guest(303, "typo", "pve3", 2, 4, affinity="20, 21"),
        guest(390, "golden-image", "pve3", 2, 4, status="stopped", template=True),
    ]
    hosts = {
        "pve1": host_facts("epyc-9354-nps4", "pve1"),
        "pve2": host_facts("xeon-6338-2s", "pve2"),
        "pve3": host_facts("i9-13900", "pve3"),
    }
    nodes = [{"name": name, "ip": None, "online": True} for name in hosts] + [{"name": "pve4", "ip": None, "online": False}]
    guests.append(guest(401, "far-away", "pve4", 2, 4))
    return {"schema": 1, "hosts": hosts, "guests": guests, "cluster": {"name": "lab", "quorate": True, "nodes": nodes}, "groups": {}}


def big_snapshot(hosts: int = 32, model: str = "epyc-7742-2s-nps4", seed: int = 7) -> Facts:
    """`hosts` hosts of 256 CPUs, filled with guests in order of their CPUs and a few mistakes on every fourth."""
    dice = random.Random(seed)
    facts = {f"pve{n:02}": host_facts(model, f"pve{n:02}") for n in range(1, hosts + 1)}
    guests: t.List[Facts] = []
    for number, (node, host) in enumerate(facts.items(), start=1):
        free = [cpu for core in host["cores"] for cpu in core.split(",")]
        vmid = number * 1000
        while len(free) > 60:
            vmid += 1
            size = dice.choice((2, 2, 4, 4, 6, 8, 8, 12, 16))
            share, free = free[:size], free[size + dice.choice((0, 0, 0, 2)) :]
            tag = dice.choice(("database", "database", "database", "voice", ""))
            guests.append(
                guest(
                    vmid, f"{dice.choice(('web', 'db', 'mq', 'etl', 'cache'))}-{vmid}", node, size, 2 * size, tag, affinity=",".join(share)
                )
            )
        for _turn in range(8):
            vmid += 1
            guests.append(guest(vmid, f"office-{vmid}", node, 4, 8, dice.choice(("office", "office", "build"))))
        if number % 4 == 0:
            guests.append(guest(vmid + 1, f"odd-{vmid + 1}", node, 4, 8, "database", affinity="3,131,4,132"))
    cluster = {"name": "big", "quorate": True, "nodes": [{"name": name, "ip": None, "online": True} for name in facts]}
    return {"schema": 1, "hosts": facts, "guests": guests, "cluster": cluster, "groups": {}}


def main(directory: str, which: str = "messy") -> None:
    import json
    from pathlib import Path

    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.report_model import report_model
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
    from ansible_collections.corepin.proxmox.plugins.plugin_utils._report.render import render

    snapshot = {"messy": messy_snapshot, "big": big_snapshot, "wide": lambda: big_snapshot(hosts=1)}[which]()
    policy = Policy.from_dict(POLICY)
    plan = place(Snapshot.from_dict(snapshot), policy)
    model = report_model(snapshot, policy, plan)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "snapshot.json": json.dumps(snapshot),
        "policy.json": json.dumps(POLICY),
        "plan.json": json.dumps(plan),
        "model.json": render(model, "json"),
        "report.html": render(model, "html"),
        "report.md": render(model, "markdown"),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
