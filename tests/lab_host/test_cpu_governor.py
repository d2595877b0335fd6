# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module cpu_governor with the kernel's own drivers: acpi-cpufreq, and amd-pstate active, passive and guided."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import Booting
from .host import LabHost

MODULE = "corepin.proxmox.cpu_governor"
POLICIES = "/sys/devices/system/cpu/cpufreq"
UNIT = "corepin-cpu-governor.service"
NAMES = ("scaling_governor", "energy_performance_preference", "scaling_min_freq", "scaling_max_freq")
Values = t.Dict[int, t.Tuple[str, ...]]


def values(lab_host: LabHost) -> Values:
    """Policy -> governor, energy preference ("" where there is none), lowest and highest frequency in kHz."""
    each = "; ".join(f"cat policy$cpu/{name} 2>/dev/null || echo" for name in NAMES)
    lines = lab_host.run(f"cd {POLICIES}; for cpu in $(seq 0 15); do {each}; done").stdout.splitlines()
    return {number: tuple(word.strip() for word in lines[4 * number : 4 * number + 4]) for number in range(len(lines) // 4)}


def changed(lab_host: LabHost, *, check: bool = False, **options: t.Any) -> bool:
    done = lab_host.ansible(MODULE, check=check, **options)
    assert done.outcome == "ok", done.result
    return bool(done.result["changed"])


def make_sure(lab_host: LabHost, options: t.Dict[str, t.Any], wanted: t.Callable[[int], t.Tuple[str, ...]]) -> None:
    """Check mode writes nothing, a run sets what is wanted, another one changes nothing, and absent restores."""
    before = values(lab_host)
    assert len(before) == 16
    assert changed(lab_host, check=True, **options)
    assert values(lab_host) == before
    assert changed(lab_host, **options)
    assert {number: value[: len(wanted(number))] for number, value in values(lab_host).items()} == {n: wanted(n) for n in range(16)}
    assert not changed(lab_host, **options)
    assert changed(lab_host, state="absent")
    assert values(lab_host) == before
    assert not changed(lab_host, state="absent")


def busy(cpus: str, **setting: t.Any) -> t.Dict[str, t.Any]:
    return {"busy": [{"cpus": cpus, **setting}]}


def test_acpi_cpufreq(lab_host: LabHost) -> None:
    make_sure(
        lab_host,
        {**busy("8-15", governor="performance", min_khz=2000000), "free": {"governor": "schedutil", "max_khz": 2000000}},
        lambda number: ("performance", "", "2000000", "2800000") if number >= 8 else ("schedutil", "", "1200000", "2000000"),
    )
    failed = lab_host.ansible(MODULE, **busy("0-3", governor="performance", epp="power"))
    assert failed.outcome == "failed"
    assert "(acpi-cpufreq) have no energy preference" in failed.result["msg"]


def survive_a_reboot(lab_host: LabHost, options: t.Dict[str, t.Any]) -> None:
    before = values(lab_host)
    assert changed(lab_host, persistent=True, **options)
    wanted = values(lab_host)
    lab_host.reboot()
    lab_host.run(f"until [ $(systemctl show -P ExecMainExitTimestampMonotonic {UNIT}) != 0 ]; do sleep 1; done", timeout=60)
    assert values(lab_host) == wanted
    assert not changed(lab_host, persistent=True, **options)
    assert changed(lab_host, state="absent")
    assert values(lab_host) == before
    assert lab_host.run(f"systemctl cat {UNIT}", check=False).returncode != 0


def test_acpi_cpufreq_after_a_reboot(lab_host: LabHost) -> None:
    # The emulated processor does not announce what udev would load the driver for, as it does on real hosts.
    lab_host.write("/etc/modules-load.d/governor-test.conf", "acpi-cpufreq\n")
    try:
        survive_a_reboot(lab_host, busy("8-15", governor="performance", min_khz=2000000))
    finally:
        lab_host.run("rm /etc/modules-load.d/governor-test.conf")


@pytest.fixture(scope="module")
def amd(boot_host: Booting) -> t.Iterator[LabHost]:
    with boot_host("amd16", cpufreq="amd_pstate=active") as host:
        yield host


def test_amd_pstate_active(amd: LabHost) -> None:
    options = {**busy("0-7", governor="powersave", epp="balance_power"), "free": {"governor": "performance"}}
    make_sure(amd, options, lambda number: ("powersave", "balance_power") if number < 8 else ("performance", "performance"))
    default = busy("0-3", governor="powersave", epp="default")
    changed(amd, **busy("0-3", governor="powersave", epp="power"))
    assert changed(amd, **default)
    assert not changed(amd, **default)
    changed(amd, state="absent")


def test_amd_pstate_active_after_a_reboot(amd: LabHost) -> None:
    survive_a_reboot(amd, busy("0-7", governor="powersave", epp="power"))


@pytest.mark.parametrize("mode", ["passive", "guided"])
def test_amd_pstate_without_preferences(amd: LabHost, mode: str) -> None:
    amd.run(f"echo {mode} >/sys/devices/system/cpu/amd_pstate/status")
    try:
        make_sure(
            amd,
            {**busy("8-15", governor="performance"), "free": {"governor": "schedutil"}},
            lambda number: ("performance", "") if number >= 8 else ("schedutil", ""),
        )
        failed = amd.ansible(MODULE, **busy("0-3", epp="power"))
        assert failed.outcome == "failed"
        assert "(amd-pstate) have no energy preference" in failed.result["msg"]
    finally:
        amd.run("echo active >/sys/devices/system/cpu/amd_pstate/status")
