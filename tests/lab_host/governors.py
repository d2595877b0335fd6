# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of cpu_governor share: reading the kernel's values, running the module, and two ways to put it to the test."""

from __future__ import annotations

import contextlib
import typing as t

from .host import LabHost

MODULE = "corepin.proxmox.cpu_governor"
POLICIES = "/sys/devices/system/cpu/cpufreq"
UNIT = "corepin-cpu-governor.service"
MEMORY = "/var/lib/corepin/cpu-governor.json"
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


def busy(cpus: str, **setting: t.Any) -> t.Dict[str, t.Any]:
    return {"busy": [{"cpus": cpus, **setting}]}


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


@contextlib.contextmanager
def restoring(lab_host: LabHost) -> t.Iterator[None]:
    """Restores the host in the end where a test failed half way."""
    try:
        yield
    finally:
        if lab_host.run(f"ls {MEMORY} /etc/systemd/system/{UNIT}", check=False).stdout:
            changed(lab_host, state="absent")


def survive_a_reboot(lab_host: LabHost, options: t.Dict[str, t.Any], then: t.Callable[[Values], None] = lambda _wanted: None) -> None:
    """`then` is called with what the host has, and shall have still, when it has come back."""
    before = values(lab_host)
    assert changed(lab_host, persistent=True, **options)
    wanted = values(lab_host)
    lab_host.reboot()
    lab_host.run(f"until [ $(systemctl show -P ExecMainExitTimestampMonotonic {UNIT}) != 0 ]; do sleep 1; done", timeout=300)
    assert values(lab_host) == wanted
    then(wanted)
    assert not changed(lab_host, persistent=True, **options)
    assert changed(lab_host, state="absent")
    assert values(lab_host) == before
    assert lab_host.run(f"systemctl cat {UNIT}", check=False).returncode != 0
    assert lab_host.run(f"test -e {MEMORY}", check=False).returncode == 1
