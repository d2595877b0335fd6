# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which PCI devices a guest's hostpciN keys mean on its host, directly or by a resource mapping of the cluster.

Sources: src/PVE/QemuServer/PCI.pm in qemu-server (hostpci-fmt), src/PVE/Mapping/PCI.pm in pve-guest-common.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .._engine.errors import GrammarError
from .._engine.guest import Config, normalise_pci_address, parse_properties
from .reading import Answer

MappingTable = t.Mapping[str, t.Mapping[str, t.Sequence[str]]]

_HOSTPCI_KEY = re.compile(r"^hostpci(\d+)$", re.ASCII)


def mapping_table(mappings: t.Sequence[Answer]) -> t.Dict[str, t.Dict[str, t.List[str]]]:
    """{mapping id: {host: [addresses]}} from [{id, map: ['node=pve1,path=0000:01:00.0,...']}]."""
    table: t.Dict[str, t.Dict[str, t.List[str]]] = {}
    for mapping in mappings:
        hosts = table.setdefault(str(mapping["id"]), {})
        for text in mapping.get("map") or []:
            _add_device(hosts, str(text))
    return table


def _add_device(hosts: t.Dict[str, t.List[str]], text: str) -> None:
    try:
        properties = parse_properties(text)
    except GrammarError:
        return
    hosts.setdefault(properties.get("node", ""), []).extend(_addresses(properties.get("path", "")))


def mappings_for_report(table: MappingTable) -> t.List[t.Dict[str, t.Any]]:
    """[{id, devices: [{node, addresses}]}], sorted by id and host."""
    return [
        {"id": identifier, "devices": [{"node": node, "addresses": list(table[identifier][node])} for node in sorted(table[identifier])]}
        for identifier in sorted(table)
    ]


def guest_devices(config: Config, node: str, table: MappingTable) -> t.Tuple[t.List[str], t.List[str]]:
    """The addresses of all hostpciN keys in the order of N, and a complaint for each key that gives none.

    A mapping with several devices on the host gives all of them: PVE takes a free one of these when the guest starts.
    """
    addresses: t.List[str] = []
    complaints: t.List[str] = []
    for key in sorted((key for key in config if _HOSTPCI_KEY.match(key)), key=lambda key: int(key[len("hostpci") :])):
        found = _key_addresses(config[key], node, table)
        addresses += [address for address in found if address not in addresses]
        if not found:
            complaints.append(f"{key} has the value {config[key]!r}, which names no PCI device of {node}")
    return addresses, complaints


def _key_addresses(text: str, node: str, table: MappingTable) -> t.List[str]:
    try:
        properties = parse_properties(text, default_key="host")
    except GrammarError:
        return []
    if "mapping" in properties:
        return list(table.get(properties["mapping"], {}).get(node, ()))
    return _addresses(properties.get("host", ""))


def _addresses(text: str) -> t.List[str]:
    return [address for address in (normalise_pci_address(part) for part in text.split(";")) if address]
