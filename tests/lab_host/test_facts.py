# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a booted host are those of the machine that was described."""

from __future__ import annotations

import typing as t

import pytest

from . import expected
from .conftest import Booting
from .facts import Facts, assert_described, gather
from .host import LabHost


@pytest.fixture(scope="module")
def functions(common_host: LabHost) -> t.List[str]:
    """The addresses of two virtual functions, which are there while the facts are gathered."""
    return common_host.sriov.create(2)


@pytest.fixture(scope="module")
def facts(common_host: LabHost, functions: t.List[str]) -> Facts:
    return gather(common_host)


def test_the_layout_and_the_devices_are_those_of_the_description(lab_host: LabHost, facts: Facts) -> None:
    assert_described(lab_host, facts)


def test_frequencies_are_scaled_by_the_kernels_own_driver(lab_host: LabHost, facts: Facts) -> None:
    (settings,) = facts["cpufreq"]
    described = expected.acpi_cpufreq(lab_host.machine)
    assert {key: settings[key] for key in described} == described
    assert {"performance", "schedutil"} <= set(settings["governors"])


def test_nics_show_the_bridge_and_its_port(facts: Facts) -> None:
    nics = {nic["name"]: nic for nic in facts["nics"]}
    port = next(nic for nic in nics.values() if nic["pci"] == "0000:00:02.0")
    sriov = next(nic for nic in nics.values() if nic["pci"] == "0000:41:00.0")
    assert port["master"] == "vmbr0"
    assert nics["vmbr0"]["lower"] == [port["name"]]
    assert nics["vmbr0"]["addresses"] == ["10.0.2.15/24"]
    assert sriov["master"] is None


def test_virtual_functions_are_told_by_their_physical_one(lab_host: LabHost, facts: Facts, functions: t.List[str]) -> None:
    devices = {device["address"]: device for device in facts["pci_devices"]}
    assert devices[lab_host.sriov.address]["virtual_functions"] == functions
    for address in functions:
        assert devices[address]["physical_function"] == lab_host.sriov.address
        assert devices[address]["driver"] == "vfio-pci"
        assert devices[address]["iommu_group"] is not None
        assert devices[address]["local_cpus"] == expected.cpulist(lab_host.machine.numa_node_cpus(1))


@pytest.mark.long
@pytest.mark.parametrize("machine", ["host64", "host128", "uneven8"])
def test_other_machines_are_as_described(boot_host: Booting, machine: str) -> None:
    with boot_host(machine) as host:
        assert_described(host, gather(host))


@pytest.mark.long
def test_boots_differ_in_parameters_and_keep_the_disk(boot_host: Booting) -> None:
    with boot_host(cpufreq=None) as host:
        host.write("/root/kept", "here")
        assert gather(host)["cpufreq"] is None
        host.reboot(cpufreq="acpi", cpus_per_policy=2, append="isolcpus=2-3 nohz_full=2-3")
        facts = gather(host)
        assert (facts["cpus"]["isolated"], facts["cpus"]["nohz_full"]) == ("2-3", "2-3")
        assert host.read("/root/kept") == "here"
        assert host.read("/sys/devices/system/cpu/cpufreq/policy0/affected_cpus") == "0 1"
