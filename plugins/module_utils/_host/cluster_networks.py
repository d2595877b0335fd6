# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks that a PVE host's cluster depends on, from the files that all hosts share: Corosync's links, Ceph's networks.

Sources: corosync.conf(5), nodelist and totem; Ceph's network configuration reference, and messenger v2 for `mon_host`.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .files import Tree

PVE = "etc/pve"
_LINK = re.compile(r"^[ \t]*(?:ring\d+_addr|bindnetaddr)[ \t]*:[ \t]*(\S+)", re.MULTILINE)
_CEPH = re.compile(r"^[ \t]*(?:public|cluster|mon)[ _-](?:network|addr|host)[ \t]*=[ \t]*(.*)$", re.MULTILINE)
_MESSENGER = re.compile(r"v\d:(\[[0-9a-fA-F:.]+\]|[0-9.]+):\d+(?:/\d+)?")


def read_cluster_networks(tree: Tree) -> t.Optional[t.List[str]]:
    """Addresses and networks, IPv4 first; [] for a host in no cluster and without Ceph.

    None where they are not known: no PVE host, files that need root, a name that /etc/hosts does not have.
    """
    if tree.names(PVE) is None:
        return None
    found: t.List[str] = []
    for name, names_in in (("corosync.conf", _LINK.findall), ("ceph.conf", _ceph_names)):
        text = tree.text(f"{PVE}/{name}")
        if text is None and tree.exists(f"{PVE}/{name}"):
            return None
        found += names_in(_without_comments(text or ""))
    hosts = _hosts(tree) if any(not _is_network(name) for name in found) else {}
    networks = {ipaddress.ip_network(hosts.get(name, name), strict=False) for name in found if _is_network(hosts.get(name, name))}
    if any(not _is_network(hosts.get(name, name)) for name in found):
        return None
    return [_shown(network) for network in sorted(networks, key=lambda network: (network.version, network))]


def _ceph_names(text: str) -> t.List[str]:
    """Values are lists; a monitor is written as its address or as `[v2:ADDRESS:PORT/0,v1:ADDRESS:PORT/0]`."""
    names: t.List[str] = []
    for value in _CEPH.findall(text):
        names += [address.strip("[]") for address in _MESSENGER.findall(value)]
        names += [word.strip("[]") for word in re.split(r"[\s,;]+", _MESSENGER.sub(" ", value)) if word.strip("[]")]
    return names


def _without_comments(text: str) -> str:
    return re.sub(r"^\s*[#;].*$|\s#.*$", "", text, flags=re.MULTILINE)


def _hosts(tree: Tree) -> t.Dict[str, str]:
    """Name -> address by /etc/hosts, which Corosync and Ceph go by first."""
    hosts: t.Dict[str, str] = {}
    for line in _without_comments(tree.text("etc/hosts") or "").splitlines():
        for name in line.split()[1:]:
            hosts.setdefault(name, line.split()[0])
    return hosts


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _shown(network: t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
