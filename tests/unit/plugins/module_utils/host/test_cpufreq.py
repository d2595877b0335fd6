# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency scaling, as different drivers and kernels show it."""

from __future__ import annotations

import dataclasses

from sysfs_trees import MODELS, CpufreqPolicy

CPU = "sys/devices/system/cpu"


def test_equal_settings_are_one_entry(read):
    assert read("epyc-9354-nps4")["cpufreq"] == [
        {
            "cpus": "0-63",
            "shared": [],
            "driver": "amd-pstate-epp",
            "governor": "powersave",
            "governors": ["performance", "powersave"],
            "epp": "balance_performance",
            "epps": ["default", "performance", "balance_performance", "balance_power", "power"],
            "min_khz": 400000,
            "max_khz": 3799072,
            "boost": True,
        }
    ]


def test_a_driver_without_preferences(read):
    group = read("odd-nul-bytes")["cpufreq"][0]
    assert group["epp"] is None
    assert group["epps"] is None
    assert group["boost"] is None


def test_policies_of_several_cpus_are_told_apart(tree):
    model = MODELS["ryzen-5950x"]
    pairs = tuple(CpufreqPolicy((cpu, cpu + 16)) for cpu in range(3))
    group = tree(dataclasses.replace(model, cpufreq=(*pairs, CpufreqPolicy((3,))))).read()["cpufreq"][0]
    assert group["cpus"] == "0-3,16-18"
    assert group["shared"] == ["0,16", "1,17", "2,18"]


def test_one_policy_that_differs(tree):
    host = tree("epyc-9354-nps4")
    host.write(f"{CPU}/cpufreq/policy5/scaling_governor", "performance\n")
    assert [(group["cpus"], group["governor"]) for group in host.read()["cpufreq"]] == [("0-4,6-63", "powersave"), ("5", "performance")]


def test_intel_pstate_says_no_turbo(tree):
    host = tree("i9-13900")
    host.write(f"{CPU}/intel_pstate/no_turbo", "1\n")
    assert {group["boost"] for group in host.read()["cpufreq"]} == {False}


def test_a_policy_may_have_a_switch_of_its_own(tree):
    host = tree("epyc-9354-nps4")
    host.write(f"{CPU}/cpufreq/policy5/boost", "0\n")
    assert [(group["cpus"], group["boost"]) for group in host.read()["cpufreq"]] == [("0-4,6-63", True), ("5", False)]


def test_old_kernels_keep_the_policies_below_the_cpus(tree):
    host = tree("odd-no-cpufreq")
    for cpu in range(16):
        host.write(f"{CPU}/cpu{cpu}/cpufreq/scaling_driver", "acpi-cpufreq\n")
        host.write(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor", "ondemand\n" if cpu < 8 else "performance\n")
    assert [(group["cpus"], group["governor"]) for group in host.read()["cpufreq"]] == [("0-7", "ondemand"), ("8-15", "performance")]


def test_values_that_are_no_numbers_are_null(tree):
    host = tree("odd-nul-bytes")
    for cpu in range(16):
        host.write(f"{CPU}/cpufreq/policy{cpu}/scaling_max_freq", "<unsupported>\n")
        host.write(f"{CPU}/cpufreq/policy{cpu}/scaling_governor", "\n")
    group = host.read()["cpufreq"][0]
    assert group["max_khz"] is None
    assert group["governor"] is None
    assert group["min_khz"] == 1500000
