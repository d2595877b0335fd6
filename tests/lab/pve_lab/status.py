# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How guests and hosts look in listings and status calls."""

from __future__ import annotations

import hashlib
import typing as t

from .config_file import Section
from .guest import Guest, memory_of, vcpus_of

if t.TYPE_CHECKING:
    from .cluster import Cluster, Node

_MIB = 1024 * 1024


def _cpus_of(cluster: Cluster, guest: Guest, section: Section) -> int:
    most = len(cluster.nodes[guest.node].hardware.cpus)
    if guest.type == "lxc":
        return int(float(section.get("cpulimit", 0))) or int(section.get("cores", most)) or most
    return min(vcpus_of(section), most)


def _memory_bytes(guest: Guest, section: Section) -> int:
    return (memory_of(section) if guest.type == "qemu" else int(section.get("memory", 512))) * _MIB


def _uptime(cluster: Cluster, guest: Guest) -> int:
    return max(int(cluster.clock() - guest.live.started), 0) if guest.live else 0


def resource_of(cluster: Cluster, guest: Guest) -> dict[str, t.Any]:
    """The guest in GET /cluster/resources: from broadcasts, so bare when its host is away."""
    entry: dict[str, t.Any] = {"id": f"{guest.type}/{guest.vmid}", "type": guest.type, "vmid": guest.vmid, "node": guest.node}
    pool = cluster.pool_of(guest.vmid)
    if pool:
        entry["pool"] = pool.poolid
    managed = cluster.ha.managed(guest.vmid)
    if managed is not None:
        entry["hastate"] = managed.get("state", "started")
    if not (cluster.nodes[guest.node].online and guest.reported):
        return {**entry, "status": "unknown"}
    section = guest.load().main
    entry.update(
        {
            "name": guest.name,
            "status": guest.status,
            "template": int(section.get("template", "0")),
            "maxcpu": _cpus_of(cluster, guest, section),
            "cpu": 0,
            "maxmem": _memory_bytes(guest, section),
            "mem": 0,
            "memhost": 0,
            "maxdisk": 0,
            "disk": 0,
            "diskread": 0,
            "diskwrite": 0,
            "netin": 0,
            "netout": 0,
            "uptime": _uptime(cluster, guest),
        }
    )
    entry.update(_from_file(section))
    return entry


def _from_file(section: Section) -> dict[str, str]:
    """What listings take from the file and not from broadcasts."""
    return {key: section[key] for key in ("tags", "lock") if key in section}


def broadcast_resource(cluster: Cluster, guest: Guest, broadcast: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The guest in GET /cluster/resources when its numbers are those of an earlier broadcast."""
    old = {key: value for key, value in broadcast.items() if key not in ("tags", "lock")}
    return {**old, **_from_file(guest.load().main)}


def status_of(cluster: Cluster, guest: Guest, full: bool = True) -> dict[str, t.Any]:
    """The guest in GET .../status/current and in the listing of its host."""
    section = guest.load().main
    entry: dict[str, t.Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": guest.status,
        "cpus": _cpus_of(cluster, guest, section),
        "cpu": 0,
        "maxmem": _memory_bytes(guest, section),
        "mem": 0,
        "memhost": 0,
        "maxdisk": 0,
        "disk": 0,
        "netin": 0,
        "netout": 0,
        "uptime": _uptime(cluster, guest),
    }
    if guest.type == "qemu" and full:
        entry["qmpstatus"] = guest.status
    if guest.type == "lxc":
        entry.update({"type": "lxc", "maxswap": int(section.get("swap", 512)) * _MIB, "swap": 0})
    if guest.live:
        entry["pid"] = guest.live.pid
        entry.update(
            {f"pressure{what}{kind}": 0 for what in ("cpu", "io", "memory") for kind in ("some", "full")} if cluster.major >= 9 else {}
        )
    for key in ("tags", "lock"):
        if key in section:
            entry[key] = section[key]
    if section.get("template") == "1":
        entry["template"] = 1
    return entry


def ha_of(cluster: Cluster, guest: Guest) -> dict[str, t.Any]:
    """The part `ha` of status/current."""
    managed = cluster.ha.managed(guest.vmid)
    if managed is None:
        return {"managed": 0}
    return {"managed": 1, "state": managed.get("state", "started"), **({"group": managed["group"]} if managed.get("group") else {})}


def node_resource(cluster: Cluster, node: Node, with_numbers: bool) -> dict[str, t.Any]:
    """The host in GET /nodes and GET /cluster/resources."""
    entry: dict[str, t.Any] = {
        "id": f"node/{node.name}",
        "type": "node",
        "node": node.name,
        "level": "",
        "status": "online" if node.online else "offline",
    }
    if with_numbers:
        entry.update({"maxcpu": len(node.hardware.cpus), "maxmem": int(node.hardware.memory_mib * _MIB), "maxdisk": 270553174016})
        if node.online:
            entry.update({"cpu": 0.01, "mem": int(node.hardware.memory_mib * _MIB) // 8, "disk": 32217993216, "uptime": 86400})
    return entry


def fingerprint_of(node: Node) -> str:
    """A certificate fingerprint for listings."""
    digest = hashlib.sha256(node.name.encode()).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


def node_status(cluster: Cluster, node: Node) -> dict[str, t.Any]:
    """GET /nodes/NODE/status, with the types that PVE has: many numbers are text."""
    hardware = node.hardware
    total = int(hardware.memory_mib * _MIB)
    kernel = "6.17.4-1-pve" if cluster.major >= 9 else "6.8.12-9-pve"
    return {
        "uptime": 86400,
        "loadavg": ["0.10", "0.20", "0.15"],
        "cpu": 0.01,
        "wait": 0,
        "idle": 0,
        "ksm": {"shared": 0},
        "kversion": f"Linux {kernel} #1 SMP PREEMPT_DYNAMIC",
        "pveversion": f"pve-manager/{cluster.version}/0123456789abcdef",
        "cpuinfo": {
            "cpus": len(hardware.cpus),
            "cores": hardware.cores,
            "sockets": hardware.sockets,
            "model": hardware.model,
            "mhz": hardware.mhz,
            "family": hardware.family,
            "flags": hardware.flags,
            "hvm": "1" if node.kvm else "",
            "user_hz": 100,
        },
        "memory": {"total": total, "used": total // 8, "free": total - total // 8, "available": total - total // 8},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": 270553174016, "used": 32219156480, "free": 238334017536, "avail": 76725137408},
        "boot-info": {"mode": "efi", "secureboot": 0},
        "current-kernel": {"sysname": "Linux", "release": kernel, "version": "#1 SMP PREEMPT_DYNAMIC", "machine": "x86_64"},
    }


def monitor_cpus(guest: Guest) -> str:
    """What the monitor answers to `info cpus`."""
    assert guest.live
    return "".join(
        f"{'*' if number == 0 else ' '} CPU #{number}: thread_id={thread}\r\n" for number, thread in enumerate(guest.live.vcpu_threads)
    )
