# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts and governors with the kernel's driver amd-pstate: active, passive and guided."""

from __future__ import annotations

import contextlib
import typing as t

import pytest

from .conftest import Booting
from .facts import assert_described, gather
from .governors import MEMORY, MODULE, POLICIES, UNIT, busy, changed, make_sure, restoring, survive_a_reboot, values
from .host import LabHost

STATUS = "/sys/devices/system/cpu/amd_pstate/status"


@pytest.fixture(scope="module")
def amd(boot_host: Booting) -> t.Iterator[LabHost]:
    with boot_host("amd16", cpufreq="amd_pstate=active") as host:
        yield host


def each_policy(amd: LabHost, command: str) -> None:
    """Run a line of shell in the folder of each policy."""
    amd.run(f"for policy in {POLICIES}/policy*; do cd $policy; {command}; done")


@contextlib.contextmanager
def switched(amd: LabHost, mode: str) -> t.Iterator[None]:
    """Every policy begins anew with each switch."""
    amd.run(f"echo {mode} >{STATUS}")
    try:
        yield
    finally:
        amd.run(f"echo active >{STATUS}")


@pytest.mark.long
@pytest.mark.parametrize("mode", ["passive", "guided"])
def test_other_modes_at_boot(boot_host: Booting, mode: str) -> None:
    """Facts, and governors that survive a reboot. These come first, because two machines of one name do not run side by side."""
    with boot_host("amd16", cpufreq=f"amd_pstate={mode}") as host:
        (settings,) = gather(host)["cpufreq"]
        assert settings["driver"] == "amd-pstate"
        assert settings["epp"] is None
        assert host.read(STATUS) == mode
        survive_a_reboot(host, {**busy("8-15", governor="performance"), "free": {"governor": "schedutil"}})
        assert host.read(STATUS) == mode


@pytest.fixture
def restored(amd: LabHost) -> t.Iterator[None]:
    with restoring(amd):
        yield


@pytest.mark.usefixtures("restored")
def test_active_mode(amd: LabHost) -> None:
    options = {**busy("0-7", governor="powersave", epp="balance_power"), "free": {"governor": "performance"}}
    make_sure(amd, options, lambda number: ("powersave", "balance_power") if number < 8 else ("performance", "performance"))
    default = busy("0-3", governor="powersave", epp="default")
    changed(amd, **busy("0-3", governor="powersave", epp="power"))
    assert changed(amd, **default)
    assert not changed(amd, **default)
    changed(amd, state="absent")


@pytest.mark.usefixtures("restored")
def test_active_mode_after_a_reboot(amd: LabHost) -> None:
    survive_a_reboot(amd, busy("0-7", governor="powersave", epp="power"))


@pytest.mark.parametrize("mode", ["passive", "guided"])
def test_modes_without_preferences(amd: LabHost, mode: str) -> None:
    with switched(amd, mode), restoring(amd):
        make_sure(
            amd,
            {**busy("8-15", governor="performance"), "free": {"governor": "schedutil"}},
            lambda number: ("performance", "") if number >= 8 else ("schedutil", ""),
        )
        before = values(amd)
        failed = amd.ansible(MODULE, **busy("0-3", epp="power"))
        assert failed.outcome == "failed"
        assert values(amd) == before
        assert "(amd-pstate) have no energy preference" in failed.result["msg"]


@pytest.mark.long
@pytest.mark.usefixtures("restored")
def test_values_of_the_active_mode_are_kept_in_another(amd: LabHost) -> None:
    each_policy(amd, "echo powersave >scaling_governor; echo balance_power >energy_performance_preference")
    before = values(amd)
    options = busy("0-7", governor="performance")
    assert changed(amd, persistent=True, **options)
    with switched(amd, "passive"):
        each_policy(amd, "echo schedutil >scaling_governor")
        begun = values(amd)
        amd.run(f"systemctl start {UNIT}", check=False)
        assert values(amd) == begun
        for wish in (options, {"state": "absent"}):
            done = amd.ansible(MODULE, **wish)
            assert done.outcome == "ok", done.result
            assert done.result["other_drivers"] == [{"cpus": "0-7", "driver": "amd-pstate", "earlier": "amd-pstate-epp"}]
            assert any("amd-pstate now" in warning and "under amd-pstate-epp" in warning for warning in done.result["warnings"])
        assert values(amd) == begun
        assert "amd-pstate-epp" in amd.read(MEMORY)
    changed(amd, state="absent")
    assert [values(amd)[number][:2] for number in range(8)] == [before[number][:2] for number in range(8)]
    assert amd.run(f"test -e {MEMORY}", check=False).returncode != 0


def test_facts_of_the_active_mode(amd: LabHost) -> None:
    """With the governor powersave, since performance leaves no choice."""
    each_policy(amd, "echo powersave >scaling_governor; echo balance_power >energy_performance_preference")
    facts = gather(amd)
    assert_described(amd, facts)
    assert facts["vendor"] == "AuthenticAMD"
    (settings,) = facts["cpufreq"]
    assert settings["driver"] == "amd-pstate-epp"
    assert settings["governors"] == ["performance", "powersave"]
    assert "balance_performance" in settings["epps"]
