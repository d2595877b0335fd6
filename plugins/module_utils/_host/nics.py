# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces: their PCI device, addresses and what they are ports of (kernel: ABI sysfs-class-net).

Addresses come from procfs alone, so that a captured tree shows them too: IPv6 from proc/net/if_inet6, IPv4 from
proc/net/fib_trie (which address is local) joined with proc/net/route (which interface its network is on). An address whose
network is on several interfaces counts as an address of each of them, for nothing there tells whose it is.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t

from .domains import Facts
from .files import Tree
from .pci import ADDRESS

Home = t.Tuple[ipaddress.IPv4Network, str]

CLASS_NET = "sys/class/net"
OVS = "ovs-system"  # the master of all ports of Open vSwitch (net/openvswitch/vport-netdev.c), whose bridges show no ports

_LOCAL_ADDRESS = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s*/32 host LOCAL")
_LINK_LOCAL_SCOPE = "20"
_ROUTE_UP, _ROUTE_GATEWAY = 0x1, 0x2


def read_nics(tree: Tree) -> t.Optional[t.List[Facts]]:
    """Interfaces by name that are hardware, have an address, or stand on one that counts; None where there is no net class.

    A guest's tap and veth interfaces and firewall bridges are none of these and are left out, as is the loopback.
    `lower` are the counted interfaces beneath: a bridge's or bond's ports, a VLAN's parent.
    """
    names = tree.names(CLASS_NET)
    if names is None:
        return None
    addresses = _addresses(tree)
    everything = {name: _read_nic(tree, name, addresses.get(name, [])) for name in names if name != "lo"}
    counted = _counted(everything)
    nics = [everything[name] for name in names if name in counted]
    for nic in nics:
        nic["lower"] = [name for name in nic["lower"] if name in counted]
    return nics


def _read_nic(tree: Tree, name: str, addresses: t.List[str]) -> Facts:
    folder = f"{CLASS_NET}/{name}"
    return {
        "name": name,
        "pci": _pci_address(tree, folder),
        "addresses": addresses,
        "master": tree.link_name(f"{folder}/master"),
        "lower": [entry[6:] for entry in tree.names(folder) or [] if entry.startswith("lower_")],
    }


def _pci_address(tree: Tree, folder: str) -> t.Optional[str]:
    """The PCI function behind an interface, itself or through a bus between them (virtio)."""
    if not tree.exists(f"{folder}/device"):
        return None
    parts = [part for part in tree.real_path(f"{folder}/device").split(os.sep) if ADDRESS.match(part)]
    return parts[-1] if parts else None


def _counted(nics: t.Mapping[str, Facts]) -> t.Set[str]:
    counted = {name for name, nic in nics.items() if nic["pci"] or nic["addresses"]}
    while True:
        above = {name for name, nic in nics.items() if name not in counted and counted.intersection(nic["lower"])}
        if not above:
            return counted
        counted |= above


def _addresses(tree: Tree) -> t.Dict[str, t.List[str]]:
    """Interface -> addresses with prefix length, IPv4 first; link-local IPv6 addresses name no network and are left out."""
    found: t.Dict[str, t.List[str]] = {}
    for address, homes in _ipv4_homes(tree):
        narrowest = max((network.prefixlen for network, _name in homes), default=0)
        for name in dict.fromkeys(name for network, name in homes if network.prefixlen == narrowest):
            found.setdefault(name, []).append(f"{address}/{narrowest}")
    for name, text in _ipv6_addresses(tree):
        found.setdefault(name, []).append(text)
    return found


def has_stray_address(tree: Tree) -> bool:
    """Whether the host has an IPv4 address of which nothing tells the interface, as with one that is a network of its own (/32)."""
    return any(not homes and not address.is_loopback for address, homes in _ipv4_homes(tree))


def _ipv4_homes(tree: Tree) -> t.Iterator[t.Tuple[ipaddress.IPv4Address, t.List[Home]]]:
    """The host's own addresses, each with the networks on interfaces that it is in."""
    networks = _ipv4_networks(tree)
    for text in sorted(set(_LOCAL_ADDRESS.findall(tree.text("proc/net/fib_trie") or "")), key=ipaddress.IPv4Address):
        address = ipaddress.IPv4Address(text)
        yield address, [(network, name) for network, name in networks if address in network]


def _ipv4_networks(tree: Tree) -> t.List[Home]:
    """The directly connected networks; proc/net/route writes addresses in the machine's byte order, little-endian here."""
    networks = []
    for line in (tree.text("proc/net/route") or "").splitlines()[1:]:
        fields = line.split()
        try:
            name, flags = fields[0], int(fields[3], 16)
            destination, mask = (ipaddress.IPv4Address(bytes.fromhex(fields[column])[::-1]) for column in (1, 7))
            network = ipaddress.IPv4Network(f"{destination}/{mask}")
        except (IndexError, ValueError):
            continue
        if flags & _ROUTE_UP and not flags & _ROUTE_GATEWAY and network.prefixlen:
            networks.append((network, name))
    return networks


def _ipv6_addresses(tree: Tree) -> t.Iterator[t.Tuple[str, str]]:
    for line in (tree.text("proc/net/if_inet6") or "").splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[3] != _LINK_LOCAL_SCOPE:
            try:
                yield fields[5], f"{ipaddress.IPv6Address(bytes.fromhex(fields[0]))}/{int(fields[2], 16)}"
            except ValueError:
                continue
