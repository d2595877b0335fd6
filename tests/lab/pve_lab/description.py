# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a cluster's description (plain JSON data) to a Cluster, and back."""

from __future__ import annotations

import pathlib
import typing as t

from .access import ROOT, AclEntry, Token, User
from .cluster import DEFAULT_PASSWORD, Cluster, Node, Pool
from .config_file import ConfigFile, Section, render_config
from .cpulist import format_cpus, read_cpus
from .guest import Guest, LiveProcess
from .hosts import described_hardware, read_hardware
from .start import adopt_running

_KNOWN = {
    "name",
    "version",
    "nodes",
    "guests",
    "pools",
    "users",
    "tokens",
    "acl",
    "roles",
    "groups",
    "ha",
    "mappings",
    "options",
    "local_node",
    "quorate",
    "ceph",
}
_NODE_KEYS = {
    "name",
    "ip",
    "online",
    "root",
    "cpus",
    "sockets",
    "memory_mib",
    "numa_nodes",
    "threads",
    "cgroup",
    "kvm",
    "snippets",
    "pci_devices",
    "hugepages",
    "model",
    "nodeid",
}
_GUEST_KEYS = {"vmid", "type", "node", "status", "config", "pending", "snapshots", "pool", "text", "live_affinity", "live_config", "lxc"}


def build_cluster(description: t.Mapping[str, t.Any], clock: t.Callable[[], float], base: t.Optional[pathlib.Path] = None) -> Cluster:
    """Build a cluster; ValueError names an unknown key or a reference to nothing."""
    _only(description, _KNOWN, "the cluster")
    nodes = list(description.get("nodes") or [{"name": "pve1"}])
    name = description.get("name") or ("lab" if len(nodes) > 1 else None)
    cluster = Cluster(name, str(description.get("version", "9.2.6")), clock)
    for position, entry in enumerate(nodes, start=1):
        node = _node(entry, position if name else 0, base)
        cluster.nodes[node.name] = node
    cluster.local_name = description.get("local_node") or next(
        (node.name for node in cluster.nodes.values() if node.online), nodes[0]["name"]
    )
    cluster.quorate = bool(description.get("quorate", True))
    cluster.ceph = description.get("ceph")
    cluster.options.update(description.get("options") or {})
    cluster.mappings.update(description.get("mappings") or {})
    ha = description.get("ha") or {}
    _fill_ha(cluster, ha)
    _fill_access(cluster, description)
    for entry in description.get("pools") or []:
        poolid = entry if isinstance(entry, str) else entry["poolid"]
        extra = {} if isinstance(entry, str) else entry
        cluster.pools[poolid] = Pool(poolid, extra.get("comment", ""), [int(vmid) for vmid in extra.get("vmids", extra.get("members", []))])
    for entry in description.get("guests") or []:
        _add_guest(cluster, entry)
    return cluster


def _only(entry: t.Mapping[str, t.Any], known: set[str], where: str) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise ValueError(f"the description of {where} has an unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _node(entry: t.Mapping[str, t.Any], nodeid: int, base: t.Optional[pathlib.Path]) -> Node:
    _only(entry, _NODE_KEYS, f"node {entry.get('name')}")
    hardware = described_hardware(
        int(entry.get("cpus", 64)),
        int(entry.get("sockets", 1)),
        float(entry.get("memory_mib", 393216)),
        int(entry.get("numa_nodes", 1)),
        int(entry.get("threads", 2)),
    )
    root = entry.get("root")
    if root:
        path = (base / root) if base else pathlib.Path(root)
        if not (path / "sys").is_dir():
            raise ValueError(f"the root {str(path)!r} of node {entry['name']} has no directory sys in it")
        hardware = read_hardware(path, hardware)
    if entry.get("model"):
        hardware.model = entry["model"]
    if entry.get("hugepages") is not None:
        hardware.hugepages = {
            int(numa): {int(size): int(count) for size, count in sizes.items()} for numa, sizes in entry["hugepages"].items()
        }
    return Node(
        name=entry["name"],
        ip=entry.get("ip") or f"10.0.0.{max(nodeid, 1)}",
        nodeid=int(entry.get("nodeid", nodeid)),
        hardware=hardware,
        online=bool(entry.get("online", True)),
        root=root,
        cgroup=int(entry.get("cgroup", 2)),
        kvm=bool(entry.get("kvm", True)),
        snippets={script: dict(facts) for script, facts in (entry.get("snippets") or {}).items()},
        pci_devices=[dict(device) for device in entry.get("pci_devices") or []],
    )


def _fill_access(cluster: Cluster, description: t.Mapping[str, t.Any]) -> None:
    access = cluster.access
    access.users[ROOT] = User(ROOT, DEFAULT_PASSWORD)
    for entry in description.get("users") or []:
        access.users[entry["userid"]] = User(
            entry["userid"], entry.get("password"), entry.get("totp"), bool(entry.get("enable", True)), tuple(entry.get("groups") or ())
        )
    for entry in description.get("tokens") or []:
        token = Token(entry["tokenid"], entry["secret"], bool(entry.get("privsep", True)))
        if token.owner not in access.users:
            raise ValueError(f"the token {token.tokenid!r} belongs to the unknown user {token.owner!r}; add the user")
        access.tokens[token.tokenid] = token
    roles = description.get("roles") or {}
    for roleid, privileges in roles.items() if isinstance(roles, t.Mapping) else ((role["roleid"], role["privs"]) for role in roles):
        wanted = frozenset(privileges.replace(",", " ").split() if isinstance(privileges, str) else privileges)
        if wanted - access.everything:
            raise ValueError(
                f"the role {roleid!r} has the privilege {sorted(wanted - access.everything)[0]!r}, which PVE "
                f"{cluster.version} does not know"
            )
        access.roles[roleid] = wanted
    for entry in description.get("acl") or []:
        if entry["roleid"] not in access.roles:
            raise ValueError(f"the access list names the unknown role {entry['roleid']!r}")
        access.acl.append(AclEntry(entry["path"], entry["ugid"], entry["roleid"], bool(entry.get("propagate", True))))


def _fill_ha(cluster: Cluster, ha: t.Mapping[str, t.Any]) -> None:
    """Take over resources, rules and groups: dictionaries by name, or lists as the API shows them."""
    for key, target, ident, generated in (
        ("resources", cluster.ha.resources, "sid", ("type", "digest")),
        ("rules", cluster.ha.rules, "rule", ("order", "digest")),
        ("groups", cluster.ha.groups, "group", ("type", "digest")),
    ):
        entries = ha.get(key) or []
        pairs = entries.items() if isinstance(entries, t.Mapping) else ((entry[ident], entry) for entry in entries)
        for name, options in pairs:
            target[name] = {option: value for option, value in options.items() if option not in (ident, *generated)}


def _as_text(value: t.Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _add_guest(cluster: Cluster, entry: t.Mapping[str, t.Any]) -> None:
    vmid, kind, node = int(entry["vmid"]), entry.get("type", "qemu"), entry.get("node") or cluster.local_name
    _only(entry, _GUEST_KEYS, f"guest {vmid}")
    if kind not in ("qemu", "lxc"):
        raise ValueError(f"guest {vmid} has the type {kind!r}; it is qemu or lxc")
    if node not in cluster.nodes:
        raise ValueError(f"guest {vmid} is on the unknown node {node!r}")
    if vmid in cluster.guests:
        raise ValueError(f"guest {vmid} is described twice")
    text = entry.get("text")
    if text is None:
        text = render_config(_config(entry))
    guest = Guest(vmid, kind, node, text, cluster.major)
    cluster.guests[vmid] = guest
    if entry.get("pool"):
        pool = cluster.pools.setdefault(entry["pool"], Pool(entry["pool"]))
        if vmid not in pool.vmids:
            pool.vmids.append(vmid)
    if entry.get("status") == "running":
        adopt_running(cluster, guest, {key: _as_text(value) for key, value in (entry.get("live_config") or {}).items()} or None)
        if entry.get("live_affinity") is not None and guest.live:
            guest.live.cpus = read_cpus(entry["live_affinity"])


def _config(entry: t.Mapping[str, t.Any]) -> ConfigFile:
    config = ConfigFile()
    stored = dict(entry.get("config") or {})
    config.lxc = [*stored.pop("lxc", []), *(entry.get("lxc") or [])]
    config.main = {key: _as_text(value) for key, value in stored.items()}
    for key, value in (entry.get("pending") or {}).items():
        if value is None:
            config.pending_deletes[key] = False
        else:
            config.pending[key] = _as_text(value)
    for name, section in (entry.get("snapshots") or {}).items():
        config.snapshots[name] = {key: _as_text(value) for key, value in section.items()}
    return config


# --- and back --------------------------------------------------------------------------------------------------------


def describe_cluster(cluster: Cluster) -> dict[str, t.Any]:
    """The state as a description; what cannot be described (tasks, tickets) is left out."""
    return {
        "name": cluster.name,
        "version": cluster.version,
        "local_node": cluster.local_name,
        "quorate": cluster.quorate,
        "ceph": cluster.ceph,
        "nodes": [_describe_node(node) for node in cluster.nodes.values()],
        "guests": [_describe_guest(guest) for _vmid, guest in sorted(cluster.guests.items())],
        "pools": [{"poolid": pool.poolid, "comment": pool.comment, "vmids": pool.vmids} for pool in cluster.pools.values()],
        "users": [
            {"userid": user.userid, "password": user.password, "totp": user.totp, "enable": user.enable, "groups": list(user.groups)}
            for user in cluster.access.users.values()
        ],
        "tokens": [
            {"tokenid": token.tokenid, "secret": token.secret, "privsep": token.privsep} for token in cluster.access.tokens.values()
        ],
        "acl": [
            {"path": entry.path, "ugid": entry.ugid, "roleid": entry.roleid, "propagate": entry.propagate} for entry in cluster.access.acl
        ],
        "roles": {
            roleid: sorted(privileges) for roleid, privileges in cluster.access.roles.items() if roleid not in cluster.access.built_in
        },
        "ha": {"resources": cluster.ha.resources, "rules": cluster.ha.rules, "groups": cluster.ha.groups},
        "mappings": cluster.mappings,
        "options": cluster.options,
    }


def _describe_node(node: Node) -> dict[str, t.Any]:
    hardware = node.hardware
    return {
        "name": node.name,
        "ip": node.ip,
        "nodeid": node.nodeid,
        "online": node.online,
        "root": node.root,
        "cpus": len(hardware.cpus),
        "sockets": hardware.sockets,
        "threads": max(len(hardware.cpus) // max(hardware.cores, 1), 1),
        "memory_mib": hardware.memory_mib,
        "numa_nodes": len(hardware.numa_nodes),
        "hugepages": hardware.hugepages,
        "model": hardware.model,
        "cgroup": node.cgroup,
        "kvm": node.kvm,
        "snippets": node.snippets,
        "pci_devices": node.pci_devices,
    }


def _describe_guest(guest: Guest) -> dict[str, t.Any]:
    entry: dict[str, t.Any] = {"vmid": guest.vmid, "type": guest.type, "node": guest.node, "status": guest.status, "text": guest.text}
    live: t.Optional[LiveProcess] = guest.live
    if live is not None:
        config: Section = live.config
        entry.update({"live_affinity": format_cpus(live.cpus), "live_config": dict(config)})
    return entry
