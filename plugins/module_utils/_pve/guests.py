# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one pass over a cluster to what guest_info returns; nothing here asks PVE anything.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.errors import GrammarError
from .._engine.guest import Config, affinity_effect, cell_to_mapping, config_cells, config_memory_mib, config_vcpus, split_tags, truthy
from .._engine.guest_config import GuestConfig
from .ha import HaRule, ha_of_guests, ha_rules
from .pci import MappingTable, guest_devices, mapping_table, mappings_for_report
from .reading import CRS_BOOLEANS, Answer, Reading, cluster_name, is_quorate, offline_hosts

MIB = 1024 * 1024

Info = t.Dict[str, t.Any]


def guest_info(reading: Reading) -> t.Tuple[Info, t.List[str]]:
    """{guests, cluster, unread}, each sorted, and the warnings; the shapes are those of the module's documentation."""
    warnings = list(reading.warnings)
    rules = ha_rules(reading.ha_rules, reading.ha_groups, reading.ha_resources)
    managed = ha_of_guests(reading.ha_resources, rules)
    mappings = mapping_table(reading.pci_mappings)
    offline = offline_hosts(reading.status)
    guests = []
    for resource in sorted(reading.resources, key=lambda item: int(item["vmid"])):
        vmid = int(resource["vmid"])
        if vmid in reading.gone:
            continue
        guest = _guest(resource, reading.configs.get(vmid), str(resource["node"]) in offline, mappings, warnings)
        guest["ha"] = managed.get(vmid)
        guests.append(guest)
    unread = _unread(reading)
    warnings += [f"Guest {item['vmid']} on {item['node']} was not read: {item['reason']}." for item in unread]
    return {"guests": guests, "cluster": _cluster(reading, rules, mappings), "unread": unread}, warnings


def _unread(reading: Reading) -> t.List[Info]:
    return [{"vmid": vmid, "node": node, "reason": reason.rstrip(".")} for vmid, (node, reason) in sorted(reading.unread.items())]


def _cluster(reading: Reading, rules: t.List[HaRule], mappings: MappingTable) -> Info:
    hosts = [item for item in reading.status if item.get("type") == "node"]
    return {
        "name": cluster_name(reading.status),
        "quorate": is_quorate(reading.status),
        "nodes": sorted(
            ({"name": str(item["name"]), "ip": item.get("ip") or None, "online": truthy(item.get("online"))} for item in hosts),
            key=lambda host: str(host["name"]),
        ),
        "ha_rules": rules,
        "crs": {key: truthy(value) if key in CRS_BOOLEANS else str(value) for key, value in sorted(reading.crs.items())},
        "pci_mappings": mappings_for_report(mappings),
        "version": reading.version,
    }


def _guest(resource: Answer, read: t.Optional[GuestConfig], offline: bool, mappings: MappingTable, warnings: t.List[str]) -> Info:
    """One guest; what its config says wins over /cluster/resources, which may be half a minute old."""
    config: Config = read.config if read else {}
    complaints = list(read.notes) if read else []
    guest_type, node = str(resource["type"]), str(resource["node"])
    hostpci, missing_devices = guest_devices(config, node, mappings)
    info: Info = {
        "vmid": int(resource["vmid"]),
        "type": guest_type,
        "name": str(config.get("name") or config.get("hostname") or resource.get("name") or ""),
        "node": node,
        "status": "unknown" if offline else str(resource.get("status") or "unknown"),
        "template": truthy(config["template"] if "template" in config else resource.get("template")),
        "lock": config.get("lock") if read else resource.get("lock"),
        "protection": truthy(config.get("protection")),
        "tags": split_tags(config.get("tags") if read else resource.get("tags")),
        "pool": resource.get("pool") or None,
        "ha": None,
        "digest": read.digest if read else None,
        "config": dict(sorted(config.items())),
        "pending": dict(sorted(read.pending.items())) if read else {},
        "vcpus": _vcpus(guest_type, config) if read else _optional_int(resource.get("maxcpu")),
        "memory_mib": _memory_mib(resource, config, complaints) if read else _mib(resource.get("maxmem")),
        "affinity": _affinity(config, complaints),
        "numa_cells": _cells(config, complaints),
        "hostpci": hostpci,
        "hugepages": config.get("hugepages"),
    }
    name = f"Guest {info['vmid']} ({info['name']})" if info["name"] else f"Guest {info['vmid']}"
    warnings += [f"{name} on {node}: {text}." for text in complaints + missing_devices]
    return info


def _vcpus(guest_type: str, config: Config) -> t.Optional[int]:
    """cores x sockets of a VM; the cores of a container, None where it may use all CPUs."""
    if guest_type == "lxc":
        return _optional_int(config.get("cores"))
    return config_vcpus(config)


def _memory_mib(resource: Answer, config: Config, complaints: t.List[str]) -> t.Optional[int]:
    try:
        return config_memory_mib(config)
    except GrammarError as e:
        complaints.append(_clause(e))
        return _mib(resource.get("maxmem"))


def _affinity(config: Config, complaints: t.List[str]) -> t.Optional[str]:
    """The text as it is stored; what a start would refuse is a complaint."""
    text = config.get("affinity")
    try:
        affinity_effect(text)
    except GrammarError as e:
        complaints.append(f"affinity has the value {text!r}: {_clause(e)}")
    return text


def _cells(config: Config, complaints: t.List[str]) -> t.List[Info]:
    try:
        return [cell_to_mapping(cell) for cell in config_cells(config)]
    except GrammarError:
        complaints.extend(_bad_cells(config))
        return []


def _bad_cells(config: Config) -> t.Iterator[str]:
    for key in sorted(key for key in config if key.startswith("numa") and key != "numa"):
        try:
            config_cells({"numa": "1", key: config[key]})
        except GrammarError as e:
            yield f"{key} has the value {config[key]!r}: {_clause(e)}"


def _clause(error: GrammarError) -> str:
    return str(error).rstrip(".")


def _mib(value: t.Any) -> t.Optional[int]:
    number = _optional_int(value)
    return None if number is None else number // MIB


def _optional_int(value: t.Any) -> t.Optional[int]:
    return None if value in (None, "") else int(value)
