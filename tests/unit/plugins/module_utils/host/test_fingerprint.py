# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes a host's fingerprint, and what does not."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from sysfs_trees import MODELS, Kernel, NumaNode, write_tree

PLAIN = dataclasses.replace(MODELS["odd-nul-bytes"], oddities=MODELS["odd-no-cpufreq"].oddities)


def fingerprint(model: t.Any, folder: t.Any) -> str:
    return read_host(str(write_tree(model, folder)))["fingerprint"]


@pytest.mark.parametrize(
    "changes",
    [
        {"numa_nodes": (NumaNode(0, 99, 9), NumaNode(1, 88, 8))},
        {"cpufreq": ()},
        {"kernel": Kernel(hostname="other", release="6.17.0", numa_balancing=0, swap_mib=0)},
        {"pci_devices": MODELS["epyc-9354-nps4"].pci_devices},
    ],
)
def test_what_is_not_layout_leaves_it(tmp_path, changes):
    changed = dataclasses.replace(PLAIN, **changes)
    assert fingerprint(changed, tmp_path / "a") == fingerprint(PLAIN, tmp_path / "b")


@pytest.mark.parametrize(
    "changes",
    [
        {"cores": tuple(dataclasses.replace(core, l3=core.l3 // 2) for core in PLAIN.cores)},
        {"cores": tuple(dataclasses.replace(core, l2=str(core.l3)) for core in PLAIN.cores)},
        {"cores": tuple(dataclasses.replace(core, package=0) for core in PLAIN.cores)},
        {"cores": PLAIN.cores[:-1]},
        {"distances": ((10, 12), (12, 10))},
        {"numa_nodes": MODELS["odd-numa-without-cpus-or-memory"].numa_nodes},
        {"kernel": Kernel(cmdline="ro isolcpus=2-3")},
    ],
)
def test_what_is_layout_or_isolation_changes_it(tmp_path, changes):
    changed = dataclasses.replace(PLAIN, **changes)
    assert fingerprint(changed, tmp_path / "a") != fingerprint(PLAIN, tmp_path / "b")
