# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading a large host may cost: CPU time in-process, and the size of the facts."""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from sysfs_trees import MODELS, write_tree

KIB = 1024


@pytest.mark.parametrize("model", ["epyc-7742-2s-nps4", "thunderx2-smt4"])
def test_256_cpus_are_read_in_a_quarter_second_of_cpu_time(tmp_path, model):
    root = str(write_tree(model, tmp_path / "host"))
    best = min(_cpu_seconds(root) for _attempt in range(3))
    assert best < 0.25


def _cpu_seconds(root):
    start = time.process_time()
    read_host(root)
    return time.process_time() - start


def test_512_cpus_are_40_kib_at_most(tmp_path):
    facts = read_host(str(write_tree("epyc-9754-2s", tmp_path / "host")))
    assert facts["cpus"]["online"] == "0-511"
    assert facts["pci_devices"] is None
    assert len(json.dumps(facts)) <= 40 * KIB


@pytest.mark.parametrize("model", sorted(MODELS))
def test_facts_of_every_model_are_plain_json(tmp_path, model):
    facts = read_host(str(write_tree(model, tmp_path / "host")))
    assert json.loads(json.dumps(facts)) == facts
    assert len(json.dumps(facts)) <= 40 * KIB
