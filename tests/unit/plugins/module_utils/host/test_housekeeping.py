# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the host's services on reserved CPUs, and giving back what their owner had asked for."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from .test_guest_pinning import CGROUP, KEPT, SERVICES, Host

OWNERS = ("0-3", "", "0-7")  # what the owner asks for, in the order of SERVICES


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    boot(host, *OWNERS)
    return host


def boot(host: Host, *asked: str) -> None:
    for unit, cpus in zip(SERVICES, asked):
        host.running.cgroup(unit, [], asked=cpus, effective=cpus or "0-63")


def asked(host: Host) -> t.List[str]:
    return [host.tree.text(f"{CGROUP}/{unit}/cpuset.cpus") for unit in SERVICES]


def with_reserved(host: Host, reserved: str) -> t.Dict[str, t.Any]:
    return host.plan(pools={"pve1": {"reserved": reserved, "shared": "24-31"}})


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("killed_at", [None, 0, 2])
def test_what_the_owner_had_asked_for_is_given_back(host, state, killed_at):
    host.pin(with_reserved(host, "0,32"), housekeeping=True)
    assert asked(host) == ["0,32"] * 3
    host.hands.die_at = killed_at
    for _run in range(2):
        try:
            host.pin(with_reserved(host, "0-1"), housekeeping=True)
        except KeyboardInterrupt:
            host.hands.die_at = None
    assert asked(host) == ["0-1"] * 3
    expected = host.pin(host.plan(), check=True, state=state)
    result = host.pin(host.plan(), state=state)
    assert [(unit["before"], unit["after"]) for unit in result["units"]] == [("0-1", "0-3"), ("0-1", "0-63"), ("0-1", "0-7")]
    assert result == expected
    assert asked(host) == ["0-3", "0-63", "0-7"]
    assert not host.tree.exists(KEPT)
    assert not host.pin(host.plan(), state=state)["changed"]


def test_after_a_boot_there_is_nothing_to_undo(host):
    host.pin(host.plan(), housekeeping=True)
    boot(host, *OWNERS)
    assert not host.pin(host.plan())["changed"]
    assert host.hands.writes == []
    assert not host.tree.exists(KEPT)
    host.pin(host.plan(), housekeeping=True)
    boot(host, "0-5", "", "")
    host.pin(host.plan(), housekeeping=True)
    host.pin(None, state="absent")
    assert asked(host) == ["0-5", "0-63", "0-63"]


def test_cpus_of_the_owner_that_are_offline_are_asked_for_again_all_the_same(host):
    host.pin(host.plan(), housekeeping=True)
    host.running.write(f"{CGROUP}/cpuset.cpus.effective", "0-2,4-63\n")
    host.pin(host.plan())
    assert not host.failures
    assert asked(host) == ["0-3", "0-2,4-63", "0-7"]


def test_a_file_of_an_earlier_version_is_read(host):
    host.pin(host.plan(), housekeeping=True)
    kept = json.loads(host.tree.text(KEPT))
    host.running.write(KEPT, json.dumps({**kept, "units": dict.fromkeys(SERVICES, "0,32")}))
    assert not host.pin(host.plan(), housekeeping=True)["changed"]
    host.pin(host.plan())
    assert asked(host) == ["0-63"] * 3
    assert not host.tree.exists(KEPT)
