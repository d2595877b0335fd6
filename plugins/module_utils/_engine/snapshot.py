# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot: everything that planning looks at, as one plain document, and how it is put together.

`{schema: 1, hosts: {name: corepin_host}, guests: [...], cluster: {...}, groups: {name: [host names or vmids]}}`

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .errors import FactsError
from .guest import CELL_KEYS, Guest, config_memory_mib, config_vcpus, split_tags
from .topology import Host
from .wording import listed

SCHEMA = 1
_AMBIENT_GROUPS = ("all", "ungrouped")

Document = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Snapshot:
    """A snapshot read into the engine's types. `guests` are in vmid order, each vmid once."""

    hosts: t.Mapping[str, Host]
    guests: t.Tuple[Guest, ...]
    cluster_name: t.Optional[str]
    online: t.Mapping[str, bool]
    ha_rules: t.Tuple[Document, ...]
    groups: t.Mapping[str, t.FrozenSet[t.Any]]

    @classmethod
    def from_dict(cls, document: t.Any) -> Snapshot:
        """Read a snapshot document. Raises FactsError."""
        if not isinstance(document, t.Mapping) or "hosts" not in document or "guests" not in document:
            raise FactsError("The snapshot has no hosts and guests; make one with the filter corepin.proxmox.snapshot.")
        if document.get("schema", SCHEMA) != SCHEMA:
            raise FactsError(f"The snapshot has schema {document['schema']!r}, but this version reads {SCHEMA}; gather it again.")
        cluster = document.get("cluster") or {}
        guests = sorted((Guest.from_info(info) for info in document["guests"]), key=lambda guest: guest.vmid)
        for one, other in zip(guests, guests[1:]):
            if one.vmid == other.vmid:
                raise FactsError(f"The snapshot has guest {one.vmid} twice (on {one.node} and {other.node}); gather the guests again.")
        return cls(
            hosts={str(name): Host.from_facts(facts, str(name)) for name, facts in sorted(document["hosts"].items())},
            guests=tuple(guests),
            cluster_name=cluster.get("name") or None,
            online={str(n["name"]): bool(n.get("online", True)) for n in cluster.get("nodes") or []},
            ha_rules=tuple(cluster.get("ha_rules") or ()),
            groups={str(name): frozenset(members) for name, members in (document.get("groups") or {}).items()},
        )

    @property
    def unread_hosts(self) -> t.Dict[str, str]:
        """Hosts that are not known well enough to plan for, with the reason: offline, not among the facts, or guests not read."""
        known = set(self.online) | {guest.node for guest in self.guests if guest.node}
        untold = {guest.node: f"did not tell the config of {guest.label}" for guest in reversed(self.guests) if guest.unread}
        reasons = {}
        for name in sorted(known):
            if not self.online.get(name, True):
                reasons[name] = "is offline"
            elif name not in self.hosts:
                reasons[name] = "has no topology facts"
            elif name in untold:
                reasons[name] = untold[name]
        return reasons

    @property
    def foreign_hosts(self) -> t.List[str]:
        """Hosts with facts that the cluster does not have, as far as it tells its hosts."""
        return [name for name in self.hosts if self.online and name not in self.online]

    @property
    def host_warnings(self) -> t.List[str]:
        """Sentences about hosts that are left alone, and about facts of hosts that the cluster does not have."""
        warnings = []
        for name, why in self.unread_hosts.items():
            warning = f"Host {name} {why}, so that nothing is planned for it and its guests"
            unknown = self.online.get(name, True) and name not in self.hosts
            warnings.append(f"{warning}; put it into the inventory by that name, or see why it was not read." if unknown else f"{warning}.")
        warnings += [
            f"Host {name} was read, but the cluster has no host of that name ({', '.join(sorted(self.online))}); set corepin_node "
            "to its name in PVE."
            for name in self.foreign_hosts
        ]
        lost = [guest.label for guest in self.guests if not guest.node]
        if lost:
            warnings.append(f"Nothing is planned for {listed(lost)}, because nobody tells on which host; gather the guests again.")
        return warnings


def build(
    hostvars: Document, guest_info: t.Any, groups: t.Optional[Document], read: t.Optional[t.Collection[str]] = None
) -> t.Dict[str, t.Any]:
    """Put a snapshot together from `corepin_host` facts, the result of guest_info and inventory groups.

    `guest_info` is the registered result, a list of them (one per host that was asked), or None: then the guests come
    from the host variables of community.proxmox's inventory plugin. `read` are the inventory names of the hosts that were
    read just now: facts of others, from a cache, count as not gathered. None means all. Raises FactsError.
    """
    hosts: t.Dict[str, t.Any] = {}
    names_of_hosts: t.Dict[str, str] = {}
    for inventory_name, variables in hostvars.items():
        facts = _host_facts(variables) if read is None or inventory_name in read else None
        if facts:
            name = str(facts.get("node") or inventory_name)
            if name in hosts:
                other = next(known for known, node in names_of_hosts.items() if node == name)
                raise FactsError(
                    f"Inventory hosts {other} and {inventory_name} both call themselves {name}; set corepin_node for one of them."
                )
            hosts[name] = facts
            names_of_hosts[str(inventory_name)] = name
    results = guest_info if isinstance(guest_info, (list, tuple)) else [guest_info] if guest_info else []
    guests = _merged_guests(results)
    vmids = {}
    for inventory_name, variables in hostvars.items():
        vmid = _inventory_vmid(variables)
        if vmid is not None:
            vmids[str(inventory_name)] = vmid
            if not results:
                guests.setdefault(vmid, guest_from_inventory(variables))
    return {
        "schema": SCHEMA,
        "hosts": hosts,
        "guests": [guests[vmid] for vmid in sorted(guests)],
        "cluster": next((dict(result["cluster"]) for result in results if result.get("cluster")), {}),
        "groups": _groups(groups or {}, names_of_hosts, vmids),
    }


def _host_facts(variables: t.Any) -> t.Any:
    if not isinstance(variables, t.Mapping):
        return None
    facts = variables.get("ansible_facts")
    return (facts.get("corepin_host") if isinstance(facts, t.Mapping) else None) or variables.get("corepin_host")


def _merged_guests(results: t.Sequence[t.Any]) -> t.Dict[int, t.Any]:
    guests: t.Dict[int, t.Any] = {}
    for result in results:
        if not isinstance(result, t.Mapping) or "guests" not in result:
            raise FactsError("The result of guest_info has no guests; hand over the registered result of corepin.proxmox.guest_info.")
        unread = {int(entry["vmid"]): str(entry["reason"]) for entry in result.get("unread") or ()}
        for guest in result["guests"]:
            vmid = int(guest["vmid"])
            if vmid not in guests or guests[vmid].get("unread"):  # one host may have read what another could not
                guests[vmid] = {**guest, "unread": unread[vmid]} if vmid in unread else guest
    return guests


def _inventory_vmid(variables: t.Any) -> t.Optional[int]:
    vmid = variables.get("proxmox_vmid") if isinstance(variables, t.Mapping) else None
    return int(vmid) if vmid not in (None, "") else None


def guest_from_inventory(variables: Document) -> t.Dict[str, t.Any]:
    """One guest from the `proxmox_*` host variables that community.proxmox's inventory plugin sets (want_facts)."""
    config = {}
    for key in ("affinity", "numa", "cores", "sockets", "memory", "hugepages", "hotplug", "balloon", "vcpus", "args"):
        if variables.get(f"proxmox_{key}") not in (None, ""):
            config[key] = _config_text(variables[f"proxmox_{key}"])
    for key in CELL_KEYS:
        cell = variables.get(f"proxmox_{key}")
        if cell:
            config[key] = _cell_text(cell)
    tags = variables.get("proxmox_tags_parsed")
    return {
        "vmid": int(variables["proxmox_vmid"]),
        "type": str(variables.get("proxmox_vmtype") or "qemu"),
        "name": str(variables.get("proxmox_name") or ""),
        "node": str(variables.get("proxmox_node") or ""),
        "status": str(variables.get("proxmox_status") or "unknown"),
        "template": str(variables.get("proxmox_template") or "0") in ("1", "True", "true"),
        "lock": variables.get("proxmox_lock") or None,
        "protection": str(variables.get("proxmox_protection") or "0") in ("1", "True", "true"),
        "tags": list(tags) if isinstance(tags, (list, tuple)) else split_tags(variables.get("proxmox_tags")),
        "pool": variables.get("proxmox_pool") or None,
        "digest": variables.get("proxmox_digest") or None,
        "config": config,
        "vcpus": config_vcpus(config),
        "memory_mib": config_memory_mib(config),
    }


def _config_text(value: t.Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, t.Mapping):
        return ",".join(f"{key}={part}" for key, part in value.items())
    return str(value)


def _cell_text(cell: t.Any) -> str:
    if not isinstance(cell, t.Mapping):
        return str(cell)
    return ",".join(f"{key}={cell[key]}" for key in ("cpus", "hostnodes", "memory", "policy") if cell.get(key) not in (None, ""))


def _groups(groups: Document, hosts: t.Mapping[str, str], vmids: t.Mapping[str, int]) -> t.Dict[str, t.List[t.Any]]:
    """Inventory groups with their members by PVE's names: hosts by node name, guests by vmid; empty ones are left out."""
    translated: t.Dict[str, t.List[t.Any]] = {}
    for group, members in sorted(groups.items()):
        if group in _AMBIENT_GROUPS:
            continue
        names: t.List[t.Any] = sorted({hosts[m] for m in members if m in hosts})
        names += sorted({vmids[m] for m in members if m in vmids})
        if names:
            translated[str(group)] = names
    return translated
