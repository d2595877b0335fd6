# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module cpu_governor with acpi-cpufreq; test_amd_pstate.py has the other driver."""

from __future__ import annotations

import typing as t

import pytest

from .governors import MODULE, POLICIES, UNIT, Values, busy, make_sure, restoring, survive_a_reboot, values
from .host import LabHost

# Loads the driver when the unit of cpu_governor has begun to wait for it, as its control group shows; a boot is a busy time.
LATE_DRIVER = f"""\
[Service]
Type=oneshot
ExecStart=sh -c 'until [ -d /sys/fs/cgroup/system.slice/{UNIT} ]; do sleep 0.2; done; modprobe acpi-cpufreq'
TimeoutStartSec=120

[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(autouse=True)
def restored(lab_host: LabHost) -> t.Iterator[None]:
    with restoring(lab_host):
        yield


def test_acpi_cpufreq(lab_host: LabHost) -> None:
    make_sure(
        lab_host,
        {**busy("8-15", governor="performance", min_khz=2000000), "free": {"governor": "schedutil", "max_khz": 2000000}},
        lambda number: ("performance", "", "2000000", "2800000") if number >= 8 else ("schedutil", "", "1200000", "2000000"),
    )
    before = values(lab_host)
    failed = lab_host.ansible(MODULE, **busy("0-3", governor="performance", epp="power"))
    assert failed.outcome == "failed"
    assert values(lab_host) == before
    assert "(acpi-cpufreq) have no energy preference" in failed.result["msg"]


def test_acpi_cpufreq_after_a_reboot_and_after_sleep(lab_host: LabHost) -> None:
    """The driver is a module, which on real hosts udev loads at a time of its own."""
    lab_host.write("/etc/systemd/system/late-driver.service", LATE_DRIVER)
    lab_host.run("systemctl enable late-driver.service")
    try:
        survive_a_reboot(lab_host, busy("8-15", governor="performance", min_khz=2000000), lambda wanted: _survive_sleep(lab_host, wanted))
    finally:
        lab_host.run("systemctl disable late-driver.service; rm /etc/systemd/system/late-driver.service")


def _survive_sleep(lab_host: LabHost, wanted: Values) -> None:
    """Sleep as systemd knows it: its targets are reached in their order, and the program that would put the host to sleep does nothing."""
    lab_host.run(f"echo schedutil >{POLICIES}/policy8/scaling_governor")
    assert values(lab_host) != wanted
    drop_in, ran = "/run/systemd/system/systemd-suspend.service.d", f"$(systemctl show -P ExecMainExitTimestampMonotonic {UNIT})"
    lab_host.write(f"{drop_in}/awake.conf", "[Service]\nExecStart=\nExecStart=/bin/true\n")
    wake_up = f"systemctl daemon-reload; before={ran}; systemctl start suspend.target; until [ {ran} != $before ]; do sleep 1; done"
    lab_host.run(f"{wake_up}; rm -r {drop_in}; systemctl daemon-reload", timeout=300)
    assert values(lab_host) == wanted
