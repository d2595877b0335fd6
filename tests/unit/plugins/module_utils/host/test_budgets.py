# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading a large host may cost: files that are opened, functions that are called, and the size of the facts."""

from __future__ import annotations

import collections
import json
import os
import sys
import time

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from sysfs_trees import MODELS, write_tree

KIB = 1024


@pytest.mark.parametrize("model", ["epyc-7742-2s-nps4", "thunderx2-smt4"])
def test_256_cpus_are_read_with_20_files_and_500_calls_each_at_most(tmp_path, model, monkeypatch, tell):
    """Counts decide, as they are the same on each machine; the CPU time that they stand for is only told."""
    root = str(write_tree(model, tmp_path / "host"))
    opened, calls = _counts(monkeypatch, lambda: read_host(root))
    start = time.process_time()
    read_host(root)
    tell(f"{model}: {opened} files, {calls} calls, {time.process_time() - start:.3f} s of CPU time")
    assert opened <= 20 * 256
    assert calls <= 500 * 256


def _counts(monkeypatch, work):
    """How many files `work` opens, and how many functions it calls."""
    events = collections.Counter()
    opener = os.open

    def opened(*arguments, **options):
        events["open"] += 1
        return opener(*arguments, **options)

    monkeypatch.setattr(os, "open", opened)
    earlier = sys.getprofile()
    sys.setprofile(lambda _frame, event, _argument: events.update([event]))
    try:
        work()
    finally:
        sys.setprofile(earlier)
        monkeypatch.undo()
    return events["open"], events["call"] + events["c_call"]


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
