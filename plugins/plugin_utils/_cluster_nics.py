# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network cards of a host carry the traffic of its cluster.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError, GrammarError

try:
    import netaddr
except ImportError:
    netaddr = None

Facts = t.Mapping[str, t.Any]

_OVS = "ovs-system"  # the master of all ports of Open vSwitch (net/openvswitch/vport-netdev.c), whose bridges show no ports


def cluster_nics(host: t.Any, networks: t.Optional[t.Sequence[str]] = None, cluster: t.Optional[Facts] = None) -> t.List[str]:
    """The names, sorted, of the PCI network cards of `host` (a corepin_host) that cluster networks pass through.

    `networks` are addresses and networks, those that the host knows of (cluster_networks) if None; the addresses of the hosts
    in `cluster` (as guest_info returns it) are added. Where these are not known, one of them is none of the host's, or an
    interface with one of them shows no card beneath it, all cards count by which the host may talk.
    """
    nics = _nics(host)
    known = host.get("cluster_networks") if networks is None else networks
    texts = [*(known or ()), *_addresses_of_hosts(cluster)]
    carriers: t.Set[str] = set()
    complete = known is not None
    for text in texts:
        reached = _reaching(nics, _network(text))
        complete = complete and bool(reached) and all(_cards_beneath(nics, [name]) for name in reached)
        carriers |= reached
    if not complete:
        carriers |= _talking(nics, host)
    return _cards_beneath(nics, carriers)


def _nics(host: t.Any) -> t.Dict[str, Facts]:
    nics = host.get("nics") if isinstance(host, t.Mapping) else None
    if not isinstance(nics, list):
        raise FactsError("cluster_nics needs a corepin_host with nics; gather it from the live host with host_topology_facts.")
    return {nic["name"]: nic for nic in nics}


def _addresses_of_hosts(cluster: t.Optional[Facts]) -> t.List[str]:
    return [str(host["ip"]) for host in (cluster or {}).get("nodes") or () if host.get("ip")]


def _network(text: t.Any) -> t.Any:
    if netaddr is None:
        raise FactsError("cluster_nics needs the Python library netaddr on the controller; install it (pip install netaddr).")
    try:
        return netaddr.IPNetwork(str(text))
    except (netaddr.AddrFormatError, ValueError):
        raise GrammarError(f"{text!r} is neither an address nor a network; write for example 10.20.0.0/24 or 10.20.0.11.") from None


def _reaching(nics: t.Mapping[str, Facts], network: t.Any) -> t.Set[str]:
    """The interfaces with an address in the network, or in whose own network it lies."""
    return {
        name
        for name, nic in nics.items()
        for own in map(netaddr.IPNetwork, nic.get("addresses") or ())
        if own.ip in network or network in own
    }


def _talking(nics: t.Mapping[str, Facts], host: Facts) -> t.Set[str]:
    """With an address; or hardware in no bridge or bond, for routed networks need no addresses. Not what waits for a guest.

    An address that no card is beneath (Open vSwitch, a tunnel) may be reached by any, so that these are in a bridge or bond too.
    """
    virtual = {device["address"] for device in host.get("pci_devices") or () if device.get("physical_function")}
    with_address = {name for name, nic in nics.items() if nic.get("addresses")}
    any_card = not all(_cards_beneath(nics, [name]) for name in with_address)
    cards = {name: nic for name, nic in nics.items() if nic.get("pci")}
    return (
        with_address
        | {name for name, nic in cards.items() if nic["pci"] not in virtual and (any_card or not nic.get("master"))}
        | {name for name, nic in cards.items() if nic.get("master") == _OVS}
    )


def _cards_beneath(nics: t.Mapping[str, Facts], names: t.Iterable[str]) -> t.List[str]:
    return sorted(name for name in _beneath(nics, names) if nics[name].get("pci"))


def _beneath(nics: t.Mapping[str, Facts], names: t.Iterable[str]) -> t.Set[str]:
    """The interfaces themselves, and all that they stand on: ports of bridges and bonds, parents of VLANs."""
    seen: t.Set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in nics and name not in seen:
            seen.add(name)
            left += nics[name].get("lower") or ()
            left += [port for port, nic in nics.items() if nic.get("master") == name]
    return seen
