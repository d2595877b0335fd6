# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI functions: where they sit, what drives them, their interrupts and virtual functions (kernel: ABI sysfs-bus-pci).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .._engine.cpuset import format_cpulist
from .domains import Facts
from .files import Tree

DEVICES = "sys/bus/pci/devices"
ADDRESS = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")


def read_pci_devices(tree: Tree) -> t.Optional[t.List[Facts]]:
    """All PCI functions by address; None where the host shows no PCI bus."""
    addresses = tree.names(DEVICES)
    if addresses is None:
        return None
    return [_read_device(tree, address) for address in addresses if ADDRESS.match(address)]


def _read_device(tree: Tree, address: str) -> Facts:
    folder = f"{DEVICES}/{address}"
    names = frozenset(tree.names(folder) or ())
    numa_node = tree.loose_number(f"{folder}/numa_node")
    local_cpus = tree.cpus(folder, ("local_cpulist",), ("local_cpus",))
    return {
        "address": address,
        "class": tree.word(f"{folder}/class"),
        "vendor": tree.word(f"{folder}/vendor"),
        "device": tree.word(f"{folder}/device"),
        "driver": tree.link_name(f"{folder}/driver") if "driver" in names else None,
        "numa_node": None if numa_node is None or numa_node < 0 else numa_node,
        "local_cpus": None if local_cpus is None else format_cpulist(local_cpus),
        "iommu_group": _iommu_group(tree, folder) if "iommu_group" in names else None,
        "irqs": (tree.numbered(f"{folder}/msi_irqs", "") or []) if "msi_irqs" in names else [],
        "physical_function": tree.link_name(f"{folder}/physfn") if "physfn" in names else None,
        "virtual_functions": _virtual_functions(tree, folder, names),
    }


def _iommu_group(tree: Tree, folder: str) -> t.Optional[int]:
    name = tree.link_name(f"{folder}/iommu_group")
    return int(name) if name and name.isdigit() else None


def _virtual_functions(tree: Tree, folder: str, names: t.Iterable[str]) -> t.List[str]:
    """Addresses in the order of the device's virtfn0, virtfn1, ..."""
    numbers = sorted(int(name[6:]) for name in names if name.startswith("virtfn") and name[6:].isdigit())
    functions = (tree.link_name(f"{folder}/virtfn{number}") for number in numbers)
    return [address for address in functions if address]
