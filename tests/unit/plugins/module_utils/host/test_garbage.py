# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with something else in them than the kernel writes: an error of one sentence, or null."""

from __future__ import annotations

import os

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (f"{CPU}/online", "0-x", "a cpulist such as 0-7,32-39"),
        (f"{CPU}/online", "7-0", "a cpulist such as 0-7,32-39"),
        (f"{CPU}/present", "all of them", "a cpulist such as 0-7,32-39"),
        (f"{CPU}/cpu0/topology/thread_siblings_list", "0;8", "a cpulist such as 0-7,32-39"),
        (f"{CPU}/cpu0/topology/physical_package_id", "zero", "a whole number"),
        (f"{CPU}/cpu0/cache/index3/shared_cpu_list", "0-99999", "a cpulist such as 0-7,32-39"),
        (f"{CPU}/cpu0/cache/index3/level", "three", "a whole number"),
        (f"{NODE}/node1/cpulist", "4-7,,12", "a cpulist such as 0-7,32-39"),
        (f"{NODE}/node1/distance", "20 near", "a whole number"),
        (f"{NODE}/node1/meminfo", "Node 1 MemTotal: lots kB", "a whole number"),
        ("sys/devices/cpu_core/cpus", "P", "a cpulist such as 0-7,32-39"),
    ],
)
def test_garbage_that_decides_placement_is_an_error_of_one_sentence(tree, path, content, expected):
    host = tree("odd-no-cpufreq")
    host.write(path, content + "\n")
    with pytest.raises(CorepinError) as error:
        host.read()
    message = str(error.value)
    shown = {"20 near": "near", "Node 1 MemTotal: lots kB": "lots"}.get(content, content)
    assert message == (
        f"{host.root}/{path} holds {shown!r}, which is not {expected}; "
        "gather from the live host, or correct or remove that file in the captured tree."
    )


def test_a_mask_with_garbage(tree):
    host = tree("odd-masks-only")
    host.write(f"{CPU}/cpu0/topology/thread_siblings", "0000010g\n")
    with pytest.raises(CorepinError, match=r"thread_siblings holds '0000010g', which is not a hexadecimal CPU mask"):
        host.read()


def test_long_or_binary_garbage_is_shown_short(tree):
    host = tree("odd-no-cpufreq")
    host.write(f"{CPU}/online", b"\xff\xfe" * 500)
    with pytest.raises(CorepinError) as error:
        host.read()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("proc/sys/kernel/numa_balancing", "on"),
        ("proc/pressure/cpu", "much"),
        ("sys/kernel/mm/ksm/run", "?"),
        (f"{NODE}/node0/hugepages/hugepages-2048kB/nr_hugepages", "many"),
        (f"{CPU}/cpufreq/policy0/affected_cpus", "none"),
        (f"{CPU}/cpu0/cache/index3/size", "big"),
        ("proc/cmdline", '"'),
        ("proc/cpuinfo", "\0\1\2"),
    ],
)
def test_garbage_that_only_informs_does_not_stop_the_reader(tree, path, content):
    host = tree("odd-nul-bytes")
    host.write(path, content)
    assert host.read()["cpus"]["online"] == "0-15"


def test_a_folder_in_place_of_a_file_counts_as_missing(tree):
    host = tree("odd-no-cpufreq")
    host.remove(f"{CPU}/present")
    (host.root / CPU / "present").mkdir()
    assert host.read()["cpus"]["present"] is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads files without permission too")
def test_an_unreadable_file_counts_as_missing(tree):
    host = tree("odd-no-cpufreq")
    (host.root / CPU / "present").chmod(0)
    assert host.read()["cpus"]["present"] is None


@pytest.mark.parametrize("name", ["no-such-directory", "empty"])
def test_a_root_without_a_host_is_an_error_of_one_sentence(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorepinError) as error:
        read_host(str(tmp_path / name))
    assert str(error.value) == (
        f"{tmp_path / name}/sys/devices/system/cpu shows no online CPU; "
        "set root to / or to a directory that holds the sys/ and proc/ of a captured host."
    )


def test_an_empty_online_file_is_an_error(tree):
    host = tree("odd-no-cpufreq")
    host.write(f"{CPU}/online", "\n")
    with pytest.raises(CorepinError, match="shows no online CPU"):
        host.read()
