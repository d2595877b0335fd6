# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a cluster's networks to network cards."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.corepin.proxmox.plugins.filter.cluster_nics import FilterModule

cluster_nics = FilterModule().filters()["cluster_nics"]


def nic(name, pci=None, *, addresses=(), master=None, lower=()):
    return {"name": name, "pci": pci, "addresses": list(addresses), "master": master, "lower": list(lower)}


# A bond for Ceph with a VLAN, a bridge for guests and the host, a card of its own for Corosync, a bridge for guests alone.
NICS = [
    nic("eno1", "0000:01:00.0", master="bond0"),
    nic("eno2", "0000:01:00.1", master="bond0"),
    nic("eno3", "0000:02:00.0", master="vmbr0"),
    nic("eno4", "0000:03:00.0", addresses=["10.10.0.11/24", "2001:db8:10::11/64"]),
    nic("eno5", "0000:04:00.0", master="vmbr1"),
    nic("eno6", "0000:05:00.0"),
    nic("eno7v0", "0000:06:10.0"),
    nic("bond0", lower=["eno1", "eno2"]),
    nic("bond0.20", addresses=["10.20.0.11/24"], lower=["bond0"]),
    nic("vmbr0", addresses=["192.0.2.11/24"]),
    nic("vmbr1", lower=["eno5"]),
    nic("dummy0", addresses=["172.16.0.1/32"]),
]
HOST = {"nics": NICS, "pci_devices": [{"address": "0000:06:10.0", "physical_function": "0000:06:00.0"}], "cluster_networks": None}
# Nothing shows by which card the address of dummy0 is reached, so that any may be it: all but virtual functions.
EVERY_CARD = ["eno1", "eno2", "eno3", "eno4", "eno5", "eno6"]
WITH_CARDS = {**HOST, "nics": NICS[:-1]}
TALKING = ["eno1", "eno2", "eno3", "eno4", "eno6"]

# Open vSwitch: the bridge with the address shows no port, and the ports have a master that is no bridge.
OVS = {
    "nics": [
        nic("eno1", "0000:01:00.0", master="ovs-system"),
        nic("eno2", "0000:02:00.0", master="vmbr1"),
        nic("eno3v0", "0000:03:10.0", master="ovs-system"),
        nic("eno3v1", "0000:03:10.1"),
        nic("ovs-system", lower=["eno1", "eno3v0"]),
        nic("vmbr0", addresses=["192.0.2.11/24"]),
        nic("vmbr1", lower=["eno2"]),
    ],
    "pci_devices": [{"address": f"0000:03:10.{number}", "physical_function": "0000:03:00.0"} for number in range(2)],
    "cluster_networks": None,
}


@pytest.mark.parametrize(
    ("networks", "names"),
    [
        (["10.10.0.11", "10.10.0.12"], ["eno4"]),
        (["2001:db8:10::12"], ["eno4"]),
        (["10.20.0.0/24"], ["eno1", "eno2"]),
        (["10.20.0.0/16"], ["eno1", "eno2"]),
        (["192.0.2.12", "10.20.0.0/24"], ["eno1", "eno2", "eno3"]),
        (["172.16.0.1"], EVERY_CARD),
        ([], []),
        (["10.10.0.12", "198.51.100.0/24"], EVERY_CARD),
    ],
)
def test_networks_lead_to_cards(networks, names):
    assert cluster_nics(HOST, networks) == names
    assert cluster_nics({**HOST, "cluster_networks": networks}) == names


def test_what_is_not_known_protects_every_card_by_which_the_host_talks():
    assert cluster_nics(WITH_CARDS) == TALKING
    assert cluster_nics(WITH_CARDS, ["10.10.0.12", "198.51.100.0/24"]) == TALKING
    assert cluster_nics({"nics": NICS[:1]}) == []


def test_an_address_without_a_card_beneath_may_use_any_of_them():
    assert cluster_nics(HOST) == EVERY_CARD
    for networks in (None, ["192.0.2.0/24"], ["192.0.2.11", "192.0.2.12"]):
        assert cluster_nics(OVS, networks) == ["eno1", "eno2", "eno3v0"]
    assert cluster_nics(OVS, []) == []


def test_the_addresses_of_the_cluster_s_hosts_count_too():
    cluster = {"nodes": [{"name": "pve1", "ip": "192.0.2.11", "online": True}, {"name": "pve2", "ip": None, "online": False}]}
    assert cluster_nics({**HOST, "cluster_networks": ["10.10.0.12"]}, cluster=cluster) == ["eno3", "eno4"]


@pytest.mark.parametrize(
    ("host", "networks", "message"),
    [
        (HOST, ["pve2"], "'pve2' is neither an address nor a network; write for example 10.20.0.0/24 or 10.20.0.11."),
        ({"nics": None}, None, "cluster_nics needs a corepin_host with nics; gather it from the live host with host_topology_facts."),
        ("pve1", None, "cluster_nics needs a corepin_host with nics; "),
    ],
)
def test_errors_are_one_sentence(host, networks, message):
    with pytest.raises(AnsibleFilterError) as caught:
        cluster_nics(host, networks)
    assert str(caught.value).startswith(f"corepin.proxmox.cluster_nics: {message}")
