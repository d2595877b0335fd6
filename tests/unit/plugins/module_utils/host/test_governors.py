# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governors, preferences and limits on generated hosts whose files follow the kernel's rules."""

from __future__ import annotations

import dataclasses
import errno
import os
import shlex
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.governor_result import warnings_of
from ansible_collections.corepin.proxmox.plugins.module_utils._host.governors import set_governors
from sysfs_trees import MODELS, CpufreqPolicy, write_tree
from sysfs_trees.cpufreq_rules import EPPS, RuledTree

CPU = "sys/devices/system/cpu/cpufreq"


class Host:
    """A generated host and the options of the module."""

    def __init__(self, root: str) -> None:
        self.tree = RuledTree(root)

    def set(self, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        self.tree.writes.clear()
        return set_governors(self.tree, {"busy": None, "free": None, "persistent": False, "state": "present", **options}, check)

    def values(self, number: int) -> t.Tuple[t.Any, ...]:
        names = ("scaling_governor", "energy_performance_preference", "scaling_min_freq", "scaling_max_freq")
        return tuple(self.tree.word(f"{CPU}/policy{number}/{name}") for name in names)

    def put(self, path: str, text: str) -> None:
        full = self.tree.full(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text + "\n")

    def switch(self, driver: str, **files: str) -> None:
        """Have all policies begin anew under `driver` with what `files` say; the other files of a driver are gone."""
        for number in self.tree.numbered(CPU, "policy") or []:
            folder = self.tree.full(f"{CPU}/policy{number}")
            for name in ("energy_performance_preference", "energy_performance_available_preferences"):
                if os.path.exists(f"{folder}/{name}"):
                    os.remove(f"{folder}/{name}")
            for name, text in {"scaling_driver": driver, **files}.items():
                self.put(f"{CPU}/policy{number}/{name}", text)

    def kept(self) -> bool:
        return self.tree.exists("var/lib/corepin/cpu-governor.json")


@pytest.fixture
def host(tmp_path):
    return lambda model: Host(str(write_tree(model, tmp_path / "host")))


def busy(cpus: str, **setting: t.Any) -> t.Dict[str, t.Any]:
    return {"busy": [{"cpus": cpus, **setting}]}


ACTIVE = ["epyc-9354-nps4", "xeon-6338-2s"]  # amd-pstate-epp and intel_pstate, powersave and balance_performance at first


@pytest.mark.parametrize("model", ACTIVE)
def test_governor_then_preference_once_per_policy(host, model):
    machine = host(model)
    result = machine.set(**busy("0-1", governor="performance"))
    assert result["changed"]
    assert [path for path, text in machine.tree.writes] == [f"{CPU}/policy0/scaling_governor", f"{CPU}/policy1/scaling_governor"]
    assert machine.values(0)[:2] == ("performance", "performance")
    again = machine.set(**busy("0-1", governor="performance"))
    assert not again["changed"]
    assert machine.tree.writes == []
    machine.set(**busy("0-1", governor="powersave", epp="power"))
    assert machine.values(1)[:2] == ("powersave", "power")
    assert [path.rsplit("/", 1)[1] for path, text in machine.tree.writes[:2]] == ["scaling_governor", "energy_performance_preference"]


@pytest.mark.parametrize("model", ACTIVE)
def test_absent_restores_preference_and_governor(host, model):
    machine = host(model)
    before = [machine.values(number) for number in range(4)]
    machine.set(**busy("0-3", governor="performance", max_khz=2000000))
    assert machine.kept()
    assert machine.set(state="absent")["changed"]
    assert [machine.values(number) for number in range(4)] == before
    assert not machine.kept()
    assert not machine.set(state="absent")["changed"]


@pytest.mark.parametrize("model", ACTIVE)
def test_preferences_that_the_governor_performance_hides(host, model):
    machine = host(model)
    machine.set(**busy("0", governor="performance"))
    assert machine.set(**busy("0", governor="powersave", epp="balance_power"))["changed"]
    assert machine.values(0)[:2] == ("powersave", "balance_power")
    machine.set(**busy("0", governor="performance"))
    with pytest.raises(SettingError, match=r"do not offer the energy preference 'fast'; they offer .*balance_power"):
        machine.set(**busy("0", governor="powersave", epp="fast"))


def test_a_cpu_that_leaves_the_set_gets_back_what_it_had(host):
    machine = host("epyc-9354-nps4")
    machine.set(**busy("0-3", governor="performance"))
    result = machine.set(**busy("2-5", governor="performance"))
    assert [(entry["cpus"], entry["changed"], entry["after"]["governor"]) for entry in result["policies"]] == [
        ("0-1", True, "powersave"),
        ("2-3", False, "performance"),
        ("4-5", True, "performance"),
    ]
    assert machine.values(0)[:2] == ("powersave", "balance_performance")


@pytest.mark.parametrize("model", ACTIVE)
def test_values_that_a_wish_no_longer_names_are_restored(host, model):
    machine = host(model)
    before = machine.values(0)
    machine.set(**busy("5", governor="performance"), free={"governor": "powersave", "max_khz": 1500000})
    assert machine.values(0)[3] == "1500000"
    options = {**busy("0", governor="performance"), "free": {"governor": "powersave"}}
    machine.set(**options)
    assert machine.values(0) == ("performance", "performance", *before[2:])
    assert machine.values(5) == before
    assert not machine.set(**options)["changed"]
    options = {**busy("5", governor="performance"), "free": {"epp": "balance_power"}, "persistent": True}
    machine.set(**options)
    assert machine.values(0)[:2] == ("powersave", "balance_power")
    assert not machine.set(**options)["changed"]
    machine.set(state="absent")
    assert [machine.values(number) for number in (0, 5)] == [before, before]


def test_a_minimum_that_a_maximum_pulled_down_is_no_change(host):
    machine = host("epyc-9354-nps4")
    machine.set(**busy("0", min_khz=2000000))
    options = {**busy("0", max_khz=1500500), "free": {"min_khz": 2000000}, "persistent": True}
    machine.set(**options)
    assert not machine.set(**options)["changed"]
    assert not machine.set(**options)["changed"]


def test_free_cpus_have_a_wish_of_their_own(host):
    machine = host("epyc-9354-nps4")
    machine.set(**busy("0-7", governor="performance"), free={"governor": "powersave", "epp": "power"})
    assert machine.values(7)[:2] == ("performance", "performance")
    assert machine.values(8)[:2] == ("powersave", "power")
    assert not machine.set(**busy("0-7", governor="performance"), free={"governor": "powersave", "epp": "power"})["changed"]


def test_default_is_known_again_by_what_it_reads_back_as(host):
    machine = host("epyc-9354-nps4")
    machine.set(**busy("0", epp="power"))
    assert machine.set(**busy("0", epp="default"))["changed"]
    assert machine.values(0)[1] == "balance_performance"
    assert not machine.set(**busy("0", epp="default"))["changed"]
    assert machine.tree.writes == []


def test_numbers_as_preferences_of_intel_pstate(host):
    machine = host("xeon-6338-2s")
    before = machine.values(0)
    for number, name in (("100", "100"), ("128", "balance_performance"), ("255", "power")):
        assert machine.set(**busy("0", epp=number))["changed"]
        assert machine.values(0)[1] == name
        assert not machine.set(**busy("0", epp=number))["changed"]
    machine.set(state="absent")
    with pytest.raises(SettingError, match=r"^CPUs 0 \(intel_pstate\) take energy preferences from 0 to 255, not '256'; choose"):
        machine.set(**busy("0", epp="256"))
    assert machine.values(0) == before
    assert not machine.kept()


def test_a_number_that_was_there_before_is_restored(host):
    machine = host("xeon-6338-2s")
    machine.tree.write(f"{CPU}/policy0/energy_performance_preference", "100")
    machine.set(**busy("0", governor="performance"))
    machine.set(state="absent")
    assert machine.values(0)[:2] == ("powersave", "100")
    assert not machine.kept()


def test_rounded_frequencies_converge(host):
    machine = host("epyc-9354-nps4")
    assert machine.set(**busy("0", min_khz=1000500, max_khz=2000999))["changed"]
    assert machine.values(0)[2:] == ("1000000", "2000000")
    assert not machine.set(**busy("0", min_khz=1000500, max_khz=2000999))["changed"]
    assert machine.set(**busy("0", min_khz=500000, max_khz=900000))["changed"]
    assert machine.values(0)[2:] == ("500000", "900000")


def test_a_minimum_above_the_maximum_in_force_is_refused(host):
    machine = host("epyc-9354-nps4")
    machine.tree.write(f"{CPU}/policy0/scaling_max_freq", "1500000")
    with pytest.raises(SettingError, match=r"^min_khz 2500000 is above max_khz 1500000 for CPUs 0 \(amd-pstate-epp\); lower min_khz or"):
        machine.set(**busy("0", min_khz=2500000))
    assert machine.tree.writes == []
    assert machine.set(**busy("0", min_khz=2500000, max_khz=3000000))["changed"]
    assert machine.values(0)[2:] == ("2500000", "3000000")


@pytest.mark.parametrize("model", ACTIVE)
def test_what_comes_after_is_what_the_kernel_makes_of_it(host, model):
    machine = host(model)
    machine.tree.write(f"{CPU}/policy0/scaling_min_freq", "2000000")
    after = machine.set(**busy("0", governor="performance", max_khz=1500000))["policies"][0]["after"]
    assert tuple(str(value) for value in after.values()) == machine.values(0) == ("performance", "performance", "1500000", "1500000")


def test_a_converged_run_leaves_what_is_remembered_alone(host):
    machine = host("epyc-9354-nps4")
    options = {**busy("0-3", governor="performance"), "persistent": True}
    machine.set(**options)
    files = [machine.tree.full(path) for path in ("var/lib/corepin/cpu-governor.json", "etc/corepin/cpu-governor.conf")]
    before = [os.stat(file).st_ino for file in files]
    machine.set(**options)
    assert [os.stat(file).st_ino for file in files] == before


def test_check_mode_says_the_same_and_writes_nothing(host):
    machine = host("epyc-9354-nps4")
    options = {**busy("0-3", governor="performance"), "persistent": True}
    before = [machine.values(number) for number in range(8)]
    expected = machine.set(check=True, **options)
    assert [machine.values(number) for number in range(8)] == before
    assert not machine.kept()
    assert not machine.tree.exists("etc/corepin")
    assert machine.set(**options) == expected


@pytest.fixture
def sharing(tmp_path):
    """A host with one policy for CPUs 0-7 and one for 8-31, of acpi-cpufreq or as `values` say."""

    def made(**values: t.Any) -> Host:
        policies = tuple(CpufreqPolicy(tuple(cpus), **values) for cpus in (range(8), range(8, 32)))
        return Host(str(write_tree(dataclasses.replace(MODELS["ryzen-5950x"], cpufreq=policies), tmp_path / "host")))

    return made


def test_a_shared_policy_follows_the_faster_wish(sharing):
    machine = sharing()
    result = machine.set(**busy("0-3", governor="performance"), free={"governor": "schedutil"})
    assert machine.values(0)[0] == "performance"
    assert result["policies"][0]["outside"] == "4-7"
    assert warnings_of(result)[0].startswith("CPUs 4-7 share a frequency policy with others of 0-7")


def test_a_shared_policy_is_not_capped_for_free_cpus(sharing):
    machine = sharing()
    capped = {"governor": "schedutil", "max_khz": 2000000}
    result = machine.set(**busy("0-3", governor="performance"), free=capped)
    assert machine.values(0) == ("performance", None, "1500000", "3250000")
    assert machine.values(8) == ("schedutil", None, "1500000", "2000000")
    assert result["policies"][0]["outside"] == "4-7"
    assert [entry["max_khz"] for entry in (result["policies"][0]["after"], result["policies"][1]["after"])] == [3250000, 2000000]
    machine.set(**busy("0-3", min_khz=2500000), free=capped)
    assert machine.values(0)[2:] == ("2500000", "3250000")
    assert not machine.set(**busy("0-3", min_khz=2500000), free=capped)["changed"]


def test_the_governor_performance_overrules_preferences_in_a_shared_policy(sharing):
    both = ("performance", "powersave")
    machine = sharing(driver="amd-pstate-epp", governor="powersave", governors=both, epp="power", epps=EPPS)
    result = machine.set(**busy("0-3", epp="balance_power"), free={"governor": "performance"})
    assert machine.values(0)[:2] == ("performance", "performance")
    assert result["policies"][0]["outside"] == "0-3"
    with pytest.raises(SettingError, match="do not offer the energy preference 'power'; they offer performance"):
        machine.set(**busy("0-3", governor="performance", epp="power"), free={"governor": "powersave"})


def test_a_refused_write_puts_everything_back(host):
    machine = host("epyc-9354-nps4")
    before = [machine.values(number) for number in range(4)]
    machine.tree.refuse[f"{CPU}/policy3/scaling_governor"] = errno.EIO
    with pytest.raises(SettingError, match=r"policy3/scaling_governor refused 'performance' .*put back"):
        machine.set(**busy("0-3", governor="performance"))
    assert [machine.values(number) for number in range(4)] == before
    assert not machine.kept()
    machine.tree.refuse.clear()
    machine.set(**busy("0-3", governor="performance"))
    machine.set(state="absent")
    assert [machine.values(number) for number in range(4)] == before


def test_a_failed_run_leaves_no_earlier_values_behind(host):
    machine = host("epyc-9354-nps4")
    before = machine.values(0)
    machine.set(**busy("0", governor="performance"))
    machine.tree.refuse[f"{CPU}/policy3/scaling_governor"] = errno.EIO
    with pytest.raises(SettingError):
        machine.set(**busy("0-3", governor="performance"))
    machine.tree.refuse.clear()
    machine.tree.write(f"{CPU}/policy1/scaling_governor", "performance")
    machine.set(state="absent")
    assert machine.values(1)[0] == "performance"
    assert machine.values(0) == before


def test_what_cannot_be_put_back_is_restored_later(host, monkeypatch):
    machine = host("epyc-9354-nps4")
    before = machine.values(0)
    honest = machine.tree.write

    def write(path: str, text: str) -> None:
        if machine.tree.writes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        honest(path, text)

    monkeypatch.setattr(machine.tree, "write", write)
    with pytest.raises(SettingError, match=r"All but CPUs 0 was put back; restore those with state: absent\.$"):
        machine.set(**busy("0-1", governor="performance"))
    monkeypatch.undo()
    machine.set(state="absent")
    assert machine.values(0) == before
    assert not machine.kept()


@pytest.mark.parametrize("killed_at", range(6))
def test_killed_at_any_write_the_next_run_puts_it_right(host, monkeypatch, killed_at):
    machine = host("epyc-9354-nps4")
    before = [machine.values(number) for number in range(8)]
    options = {**busy("0-3", governor="powersave", epp="power"), "free": None}
    machine.set(**busy("0-3", governor="performance"))
    honest = machine.tree.write

    def write(path: str, text: str) -> None:
        if len(machine.tree.writes) == killed_at:
            raise KeyboardInterrupt
        honest(path, text)

    monkeypatch.setattr(machine.tree, "write", write)
    with pytest.raises(KeyboardInterrupt):
        machine.set(**options)
    monkeypatch.undo()
    machine.set(**options)
    assert machine.values(3)[:2] == ("powersave", "power")
    machine.set(state="absent")
    assert [machine.values(number) for number in range(8)] == before


PASSIVE = {"scaling_available_governors": "performance schedutil", "scaling_governor": "schedutil"}
AMD_ACTIVE = {
    "scaling_available_governors": "performance powersave",
    "scaling_governor": "performance",
    "energy_performance_preference": "performance",
    "energy_performance_available_preferences": "performance",
}


INTEL_PASSIVE = {
    "scaling_available_governors": "performance schedutil",
    "energy_performance_preference": "balance_performance",
    "energy_performance_available_preferences": " ".join(EPPS),
}


@pytest.mark.parametrize("before", ["schedutil", "performance"])
@pytest.mark.parametrize(
    ("wish", "after"),
    [
        ({"governor": "performance"}, ("performance", "balance_performance")),
        ({"governor": "performance", "epp": "power"}, ("performance", "power")),
        ({"governor": "schedutil", "epp": "100"}, ("schedutil", "100")),
        ({"epp": "balance_power"}, (None, "balance_power")),
    ],
)
def test_in_the_passive_mode_of_intel_pstate_preferences_are_apart_from_governors(host, before, wish, after):
    machine = host("xeon-6338-2s")
    machine.switch("intel_cpufreq", **INTEL_PASSIVE, scaling_governor=before)
    first = machine.values(0)
    expected = machine.set(check=True, **busy("0-1", **wish))
    result = machine.set(**busy("0-1", **wish))
    assert result == expected
    assert machine.values(0)[:2] == (after[0] or before, after[1])
    if result["changed"]:
        assert result["policies"][0]["after"]["epp"] == after[1]
    assert not machine.set(**busy("0-1", **wish))["changed"]
    assert machine.tree.writes == []
    machine.set(state="absent")
    assert machine.values(0) == first
    assert not machine.kept()


def test_in_the_passive_mode_of_intel_pstate_without_hwp_there_are_no_preferences(host):
    machine = host("xeon-6338-2s")
    machine.switch("intel_cpufreq", **PASSIVE)
    with pytest.raises(SettingError, match=r"^CPUs 0 \(intel_cpufreq\) have no energy preference, which .* leave epp out\.$"):
        machine.set(**busy("0", epp="power"))
    assert machine.tree.writes == []
    assert not machine.kept()


def test_values_of_another_driver_are_kept_until_it_is_back(host):
    machine = host("epyc-9354-nps4")
    before = machine.values(0)
    machine.set(**busy("0-3", governor="performance"), persistent=True)
    machine.switch("acpi-cpufreq", **PASSIVE)
    result = machine.set(state="absent")
    assert machine.tree.writes == []
    assert machine.kept()
    (warning,) = warnings_of(result)
    assert warning.startswith("CPUs 0-3 have the driver acpi-cpufreq now; what they had before this module set them under amd-pstate-epp ")
    machine.switch("amd-pstate-epp", **AMD_ACTIVE)
    result = machine.set(state="absent")
    assert warnings_of(result) == []
    assert machine.values(0) == before
    assert not machine.kept()


def test_each_driver_has_earlier_values_of_its_own(host):
    machine = host("epyc-9354-nps4")
    machine.switch("acpi-cpufreq", **PASSIVE)
    first = machine.values(0)
    machine.set(**busy("0-1", governor="performance", max_khz=2000999))
    machine.switch("amd-pstate-epp", **AMD_ACTIVE)
    begun = machine.values(0)
    options = busy("0-1", governor="powersave", epp="power")
    result = machine.set(**options)
    assert result["other_drivers"] == [{"cpus": "0-1", "driver": "amd-pstate-epp", "earlier": "acpi-cpufreq"}]
    assert machine.values(0) == ("powersave", "power", *begun[2:])
    assert not machine.set(**options)["changed"]
    machine.set(state="absent")
    assert machine.values(0) == begun
    machine.switch("acpi-cpufreq", **PASSIVE)
    machine.set(state="absent")
    assert machine.values(0) == first
    assert not machine.kept()


@pytest.fixture
def rebooted(host):
    """A host whose policies 0-1 were set, had ondemand before, and do not list it after a reboot."""
    machine = host("epyc-9354-nps4")
    machine.switch(
        "acpi-cpufreq", **{**PASSIVE, "scaling_available_governors": "performance schedutil ondemand", "scaling_governor": "ondemand"}
    )
    machine.set(**busy("0-1", governor="performance", max_khz=2000000))
    machine.switch("acpi-cpufreq", **PASSIVE)
    machine.put("proc/sys/kernel/osrelease", "6.12")
    return machine


@pytest.mark.parametrize("options", [{"state": "absent"}, {"free": {"min_khz": 1000000}}])
def test_an_earlier_governor_is_loaded(rebooted, options):
    rebooted.tree.modules.add("ondemand")
    rebooted.put("lib/modules/6.12/modules.dep", "kernel/drivers/cpufreq/cpufreq_ondemand.ko.xz:")
    expected = rebooted.set(check=True, **options)
    assert rebooted.set(**options) == expected
    assert expected["policies"][0]["after"]["governor"] == rebooted.values(0)[0] == "ondemand"
    assert warnings_of(expected) == []
    assert rebooted.kept() == (options != {"state": "absent"})


@pytest.mark.parametrize("options", [{"state": "absent"}, {"free": {"min_khz": 1000000}}])
def test_an_earlier_governor_that_has_gone_is_kept_and_named(rebooted, options):
    rebooted.put("lib/modules/6.12/modules.dep", "kernel/drivers/cpufreq/cpufreq_powersave.ko.xz:")
    expected = rebooted.set(check=True, **options)
    assert rebooted.set(**options) == expected
    assert expected["unrestored"] == [{"cpus": "0-1", "online": True, "earlier": {"governor": "ondemand"}}]
    (warning,) = warnings_of(expected)
    assert warning.startswith("CPUs 0-1 (governor ondemand) cannot have back now what they had before this module set them; it is kept")
    assert rebooted.values(0)[0] == "schedutil"
    assert rebooted.values(0)[3] == rebooted.values(2)[3]
    assert not rebooted.set(**options)["changed"]
    rebooted.tree.modules.add("ondemand")
    rebooted.set(state="absent")
    assert rebooted.values(0)[0] == "ondemand"
    assert not rebooted.kept()


def test_values_of_offline_cpus_are_kept_and_named(host):
    machine = host("epyc-9354-nps4")
    online = machine.tree.text("sys/devices/system/cpu/online")
    before = machine.values(1)
    machine.set(**busy("0-1", governor="performance"))
    machine.put("sys/devices/system/cpu/online", "0,2-63")
    expected = machine.set(check=True, state="absent")
    assert machine.set(state="absent") == expected
    (warning,) = warnings_of(expected)
    assert warning.startswith("CPUs 1 are offline or have no frequency policy of their own now; what they had before this module set them ")
    machine.put("sys/devices/system/cpu/online", online)
    machine.set(state="absent")
    assert machine.values(1) == before
    assert not machine.kept()


@pytest.mark.parametrize("options", [{"state": "absent"}, busy("0", governor="performance")])
def test_files_for_the_boot_of_a_host_whose_frequency_scaling_has_gone(host, options):
    machine = host("epyc-9354-nps4")
    machine.set(**busy("0", governor="performance"), persistent=True)
    shutil.rmtree(machine.tree.full(CPU))
    assert machine.set(**busy("0", governor="performance"), persistent=True)["skipped"]
    expected = machine.set(check=True, **options)
    assert machine.tree.exists("etc/systemd/system/corepin-cpu-governor.service")
    assert machine.set(**options) == expected
    assert expected["changed"]
    assert not machine.tree.exists("etc/systemd/system/corepin-cpu-governor.service")
    assert machine.set(**options)["skipped"]


def test_a_host_without_frequency_scaling_is_skipped(host):
    result = host("odd-no-cpufreq").set(**busy("0", governor="performance"))
    assert result["skipped"]
    assert not result["changed"]
    assert "no frequency scaling" in result["msg"]


BAD = {
    "governor": (
        busy("0-3", governor="turbo"),
        "CPUs 0 (amd-pstate-epp) do not offer the governor 'turbo'; they offer performance, powersave.",
    ),
    "preference": (busy("0", epp="fast"), "CPUs 0 (amd-pstate-epp) do not offer the energy preference 'fast'; they offer "),
    "number": (busy("0", epp="128"), "CPUs 0 (amd-pstate-epp) take names as energy preference, not '128'; they offer default, "),
    "held": (busy("0", governor="performance", epp="power"), "CPUs 0 (amd-pstate-epp) keep the preference performance under "),
    "empty": (busy("", governor="performance"), "cpus of busy[0] is empty; name CPUs such as 0-7,32-39, or leave the set out."),
    "beyond": (busy("62-65", governor="performance"), "CPUs 64-65 of busy[0] do not exist here; this host has 0-63."),
    "grammar": (busy("3-", governor="performance"), "cpus of busy[0]: "),
    "twice": (
        {"busy": [{"cpus": "0-3", "governor": "performance"}, {"cpus": "3-4", "governor": "powersave"}]},
        "CPUs 3 of busy[1] are in an earlier set too; name each CPU in one set.",
    ),
    "nothing": (busy("0"), "busy[0] wishes for nothing; give it governor, epp, min_khz or max_khz."),
    "range": (busy("0", max_khz=9000000), "CPUs 0 (amd-pstate-epp) run at 400000 to 3799072 kHz, so max_khz 9000000 is impossible; "),
    "order": (busy("0", min_khz=2000000, max_khz=1000000), "min_khz 2000000 is above max_khz 1000000 for CPUs 0 "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_wishes_are_one_sentence_and_write_nothing(host, name):
    machine = host("epyc-9354-nps4")
    options, message = BAD[name]
    with pytest.raises(SettingError) as caught:
        machine.set(**options)
    assert str(caught.value).startswith(message)
    assert machine.tree.writes == []
    assert not machine.kept()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (busy("4-5", governor="performance"), r"CPUs 5 of busy\[0\] are offline; online are 0-4,6-31\."),
        (busy("0", governor="performance", epp="power"), r"CPUs 0 \(acpi-cpufreq\) have no energy preference"),
    ],
)
def test_offline_cpus_and_drivers_without_preferences_write_nothing(tmp_path, options, message):
    model = dataclasses.replace(MODELS["ryzen-5950x"], offline=(5,), cpufreq=tuple(CpufreqPolicy((cpu,)) for cpu in range(32)))
    machine = Host(str(write_tree(model, tmp_path / "host")))
    with pytest.raises(SettingError, match=message):
        machine.set(**options)
    assert machine.tree.writes == []
    assert not machine.kept()


def test_cpus_without_a_policy(tmp_path):
    model = dataclasses.replace(MODELS["ryzen-5950x"], cpufreq=tuple(CpufreqPolicy((cpu,)) for cpu in range(8)))
    machine = Host(str(write_tree(model, tmp_path / "host")))
    with pytest.raises(SettingError, match=r"^CPUs 8 have no frequency scaling on this host; leave them out of the sets\."):
        machine.set(**busy("7-8", governor="performance"))
    result = machine.set(**busy("0-3", governor="performance"), free={"governor": "schedutil"})
    assert [entry["cpus"] for entry in result["policies"]] == ["0-3", "4-7"]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("tuned.service", "sys/fs/cgroup/system.slice/tuned.service/cgroup.procs"),
        ("power-profiles-daemon.service", "sys/fs/cgroup/system.slice/power-profiles-daemon.service/cgroup.procs"),
        ("cpufrequtils", "etc/init.d/cpufrequtils"),
    ],
)
def test_who_else_sets_governors_is_named_and_left_alone(host, name, theirs):
    machine = host("epyc-9354-nps4")
    machine.put(theirs, "as it was")
    before = os.stat(machine.tree.full(theirs)).st_mtime_ns
    result = machine.set(**busy("0", governor="performance"))
    assert result["conflicts"] == [name]
    assert warnings_of(result) == [f"{name} also sets governors here and may undo this; stop it, or leave the governors to it."]
    assert machine.tree.writes == [(f"{CPU}/policy0/scaling_governor", "performance")]
    assert os.stat(machine.tree.full(theirs)).st_mtime_ns == before
    assert os.listdir(os.path.dirname(machine.tree.full(theirs))) == [os.path.basename(theirs)]


SLEEP = ["suspend.target", "hibernate.target", "hybrid-sleep.target", "suspend-then-hibernate.target"]


@pytest.mark.parametrize("model", ACTIVE)
def test_persistent_leaves_a_unit_and_absent_removes_it(host, model):
    machine = host(model)
    options = {**busy("0", governor="powersave", epp="power"), "persistent": True}
    assert machine.set(**options)["changed"]
    assert not machine.set(**options)["changed"]
    lines = machine.tree.text("etc/corepin/cpu-governor.conf").splitlines()
    assert lines == [
        f"w /{CPU}/policy0/scaling_governor - - - - powersave",
        f"w /{CPU}/policy0/energy_performance_preference - - - - power",
    ]
    unit = "etc/systemd/system/corepin-cpu-governor.service"
    text = machine.tree.text(unit).splitlines()
    assert f"After={' '.join(SLEEP)}" in text
    assert f"WantedBy=multi-user.target {' '.join(SLEEP)}" in text
    links = [f"etc/systemd/system/{target}.wants/corepin-cpu-governor.service" for target in ("multi-user.target", *SLEEP)]
    assert [machine.tree.link_target(link) for link in links] == [f"/{unit}"] * len(links)
    assert machine.set(**busy("0", governor="powersave", epp="power"))["changed"]
    assert not machine.tree.exists(unit)
    machine.set(**options)
    machine.set(state="absent")
    assert not machine.tree.exists("etc/corepin/cpu-governor.conf")
    assert [machine.tree.link_target(link) for link in links] == [None] * len(links)


def conditions(tree: RuledTree) -> t.List[t.List[str]]:
    """The commands that have to succeed before the unit writes, for the files of `tree`."""
    lines = tree.text("etc/systemd/system/corepin-cpu-governor.service").splitlines()
    commands = [line.split("=", 1)[1] for line in lines if line.startswith("ExecCondition=")]
    return [shlex.split(command.replace("/sys/", f"{tree.full('sys')}/")) for command in commands]


@pytest.mark.parametrize(("model", "passive"), list(zip(ACTIVE, ["amd-pstate", "intel_cpufreq"])))
def test_at_boot_values_are_for_the_driver_that_they_were_set_under(host, model, passive):
    machine = host(model)
    machine.set(**busy("0-3", governor="performance"), persistent=True)
    commands = conditions(machine.tree)
    assert [subprocess.run(command, check=False).returncode for command in commands] == [0] * len(commands)
    machine.switch(passive, **PASSIVE)
    assert subprocess.run(commands[-1], check=False).returncode == 1


def test_at_boot_the_unit_waits_for_a_driver_that_comes_late(host):
    machine = host("epyc-9354-nps4")
    machine.set(**busy("0-3", governor="performance"), persistent=True)
    waiting = conditions(machine.tree)[0]
    governor = machine.tree.full(f"{CPU}/policy3/scaling_governor")
    os.rename(governor, f"{governor}.not-yet")
    assert waiting[:2] == ["timeout", "30"]
    assert subprocess.run(["timeout", "1", *waiting[2:]], check=False).returncode == 124
    with subprocess.Popen(waiting) as process:
        os.rename(f"{governor}.not-yet", governor)
        assert process.wait(timeout=60) == 0
