# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator's own doors: names, the command line, and care with what lies there already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sysfs_trees
from sysfs_trees import MODELS, write_tree
from sysfs_trees.write import cpulist, hex_mask


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(sysfs_trees.__file__).parent.parent)}
    return subprocess.run([sys.executable, "-m", "sysfs_trees", *arguments], capture_output=True, text=True, env=environment, check=False)


def test_the_command_lists_and_writes_models(tmp_path):
    listed = run("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(MODELS)
    written = run("ryzen-5950x", str(tmp_path / "host"))
    assert written.stdout.strip() == str(tmp_path / "host")
    assert (tmp_path / "host/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").read_text() == "0,16\n"


def test_an_unknown_model_or_a_directory_in_use_is_refused(tmp_path):
    unknown = run("ryzen", str(tmp_path / "host"))
    assert (unknown.returncode, "no host model 'ryzen'" in unknown.stderr) == (1, True)
    (tmp_path / "kept").write_text("mine")
    assert run("ryzen-5950x", str(tmp_path)).returncode == 1
    with pytest.raises(FileExistsError, match="is not empty"):
        write_tree("ryzen-5950x", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_formats_are_the_kernels():
    assert cpulist([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert cpulist([]) == ""
    assert hex_mask([0, 33], 64) == "00000002,00000001"
    assert hex_mask([4], 8) == "00000010"


def test_models_name_each_cpu_once_and_only_known_numa_nodes():
    for model in MODELS.values():
        assert len(set(model.present)) == len(model.present)
        assert {core.numa_node for core in model.cores} <= {numa_node.id for numa_node in model.numa_nodes} or not model.oddities.numa
        assert set(model.offline) < set(model.present)
