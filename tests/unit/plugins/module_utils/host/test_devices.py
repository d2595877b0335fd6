# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI devices and network interfaces."""

from __future__ import annotations

import dataclasses

from sysfs_trees import MODELS, Nic


def by(key, entries):
    return {entry[key]: entry for entry in entries}


def test_a_physical_function_and_its_virtual_functions(read):
    devices = by("address", read("epyc-9354-nps4")["pci_devices"])
    assert devices["0000:41:00.0"] == {
        "address": "0000:41:00.0",
        "class": "0x020000",
        "vendor": "0x15b3",
        "device": "0x101d",
        "driver": "mlx5_core",
        "numa_node": 1,
        "local_cpus": "8-15,40-47",
        "iommu_group": 40,
        "irqs": [130, 131, 132, 133],
        "physical_function": None,
        "virtual_functions": ["0000:41:00.2", "0000:41:00.3"],
    }
    assert devices["0000:41:00.3"]["physical_function"] == "0000:41:00.0"
    assert devices["0000:41:00.3"]["virtual_functions"] == []
    assert devices["0000:41:00.3"]["irqs"] == []


def test_a_device_without_a_numa_node_is_near_all_cpus(read):
    device = by("address", read("epyc-9354-nps4")["pci_devices"])["0000:c5:00.0"]
    assert device["numa_node"] is None
    assert device["local_cpus"] == "0-63"
    assert device["iommu_group"] is None


def test_devices_are_ordered_by_address(read):
    addresses = [device["address"] for device in read("epyc-9354-nps4")["pci_devices"]]
    assert addresses == sorted(addresses)
    assert len(addresses) == 7


def test_virtual_functions_are_in_numerical_order(tree):
    host = tree("epyc-9354-nps4")
    folder = "sys/devices/pci0000:41/0000:41:00.1"
    for number in range(11):
        host.link(f"{folder}/virtfn{number}", f"../0000:42:00.{number % 8}")
    devices = by("address", host.read()["pci_devices"])
    assert devices["0000:41:00.1"]["virtual_functions"] == [f"0000:42:00.{number % 8}" for number in range(11)]


def test_a_pci_folder_with_nothing_in_it_is_all_null(tree):
    host = tree("odd-no-cpufreq")
    host.write("sys/bus/pci/devices/0000:00:1f.0/uevent", "")
    host.write("sys/bus/pci/devices/not-an-address/uevent", "")
    devices = host.read()["pci_devices"]
    assert [device.pop("address") for device in devices] == ["0000:00:1f.0"]
    assert {key: value for key, value in devices[0].items() if value is not None} == {"irqs": [], "virtual_functions": []}


def test_nics_with_their_addresses_and_masters(read):
    assert read("epyc-9354-nps4")["nics"] == [
        {"name": "enp65s0f0np0", "pci": "0000:41:00.0", "addresses": [], "master": "vmbr0", "lower": []},
        {"name": "enp65s0f1np1", "pci": "0000:41:00.1", "addresses": ["10.20.0.11/24"], "master": None, "lower": []},
        {
            "name": "vmbr0",
            "pci": None,
            "addresses": ["192.0.2.11/24", "2001:db8::11/64"],
            "master": None,
            "lower": ["enp65s0f0np0"],
        },
    ]


def test_interfaces_of_guests_are_left_out_and_vlans_lead_to_hardware(read):
    nics = (
        Nic("eno1", "0000:41:00.0", master="bond0"),
        Nic("bond0", lower=("eno1",)),
        Nic("bond0.50", addresses=("10.50.0.7/24",), lower=("bond0",)),
        Nic("vmbr1", lower=("bond0", "fwpr100p0")),
        Nic("fwpr100p0", master="vmbr1", lower=("fwln100i0",)),
        Nic("fwln100i0", master="fwbr100i0", lower=("fwpr100p0",)),
        Nic("fwbr100i0", lower=("fwln100i0", "tap100i0")),
        Nic("tap100i0", master="fwbr100i0"),
    )
    host = read(dataclasses.replace(MODELS["epyc-9354-nps4"], nics=nics))
    assert [(nic["name"], nic["lower"]) for nic in host["nics"]] == [
        ("bond0", ["eno1"]),
        ("bond0.50", ["bond0"]),
        ("eno1", []),
        ("vmbr1", ["bond0"]),
    ]


def test_an_address_belongs_to_the_narrowest_network(read):
    nics = (
        Nic("eno1", "0000:41:00.0", ("10.0.0.1/8",)),
        Nic("eno2", "0000:41:00.1", ("10.20.0.1/16", "10.20.30.9/32")),
    )
    host = read(dataclasses.replace(MODELS["epyc-9354-nps4"], nics=nics))
    assert [nic["addresses"] for nic in host["nics"]] == [["10.0.0.1/8"], ["10.20.0.1/16", "10.20.30.9/32"]]


def test_an_address_in_a_network_on_two_interfaces_belongs_to_both(read):
    nics = (
        Nic("eno1", "0000:41:00.0", ("10.20.0.11/24",)),
        Nic("eno2", "0000:41:00.1", ("10.20.0.12/24",)),
    )
    host = read(dataclasses.replace(MODELS["epyc-9354-nps4"], nics=nics))
    assert [nic["addresses"] for nic in host["nics"]] == [["10.20.0.11/24", "10.20.0.12/24"]] * 2


def test_link_local_addresses_and_broken_lines_are_left_out(tree):
    host = tree("epyc-9354-nps4")
    host.write(
        "proc/net/if_inet6",
        "fe800000000000000000000000000001 02 40 20 80 enp65s0f0np0\nnonsense\nzz 02 40 00 80 enp65s0f0np0\n"
        "20010db8000000000000000000000099 02 30 00 80 enp65s0f0np0\n",
    )
    host.write("proc/net/route", "Iface\tDestination\nshort line\nvmbr0\tXX\t0\t1\t0\t0\t0\tYY\n")
    assert by("name", host.read()["nics"])["enp65s0f0np0"]["addresses"] == ["2001:db8::99/48"]


def test_a_nic_behind_another_bus_has_the_pci_device_of_that_bus(tree):
    host = tree("odd-no-cpufreq")
    host.write("sys/devices/pci0000:00/0000:00:03.0/virtio1/net/ens3/operstate", "up\n")
    host.link("sys/devices/pci0000:00/0000:00:03.0/virtio1/net/ens3/device", "../..")
    host.link("sys/class/net/ens3", "../../devices/pci0000:00/0000:00:03.0/virtio1/net/ens3")
    assert [(nic["name"], nic["pci"]) for nic in host.read()["nics"]] == [("ens3", "0000:00:03.0")]
