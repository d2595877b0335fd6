# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathering the facts of a lab host, and comparing them with the machine that was described."""

from __future__ import annotations

import typing as t

from . import expected
from .host import LabHost

Facts = t.Dict[str, t.Any]


def gather(host: LabHost) -> Facts:
    gathered = host.ansible("corepin.proxmox.host_topology_facts")
    assert gathered.outcome == "ok", gathered.result
    facts: Facts = gathered.result["ansible_facts"]["corepin_host"]
    return facts


def assert_described(host: LabHost, facts: Facts) -> None:
    machine = host.machine
    assert expected.reduced(facts) == expected.layout(machine)
    for numa_node, described in zip(facts["numa_nodes"], machine.numa_nodes):
        # The kernel keeps a little for itself, most of it on the first NUMA node.
        assert 0.85 * described.memory_mib <= numa_node["memory_mib"] <= described.memory_mib
    described_devices = expected.pci_functions(machine)
    found = {device["address"]: device for device in facts["pci_devices"]}
    assert [{key: found[device["address"]][key] for key in device} for device in described_devices] == described_devices
