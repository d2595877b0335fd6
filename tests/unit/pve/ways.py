# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two doors to one simulated cluster, behind one face, so that one suite can go through both."""

from __future__ import annotations

import os
import tempfile
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.modules import guest_info, guest_placement
from pve_lab import Lab
from pve_lab.door import Door

from .conftest import connection

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

Result = dict[str, t.Any]


class ApiWay:
    """Over the API, from anywhere, as root with a password."""

    name = "api"

    def __init__(self, lab: Lab, run_module: ModuleRunner) -> None:
        self.lab = lab
        self._run = run_module

    def info(self, **options: t.Any) -> Result:
        return self._run(guest_info, **connection(self.lab), **options)

    def place(self, plan: t.Mapping[str, t.Any], **options: t.Any) -> Result:
        """Carry out a plan, for the guests of pve1 alone where it has others."""
        return self._run(guest_placement, plan=plan, nodes=["pve1"], **connection(self.lab), **options)

    def settle(self) -> None:
        """Take over what was done to files: there are none here."""


class HostWay:
    """As root on the host pve1, without any login."""

    name = "host"

    def __init__(self, lab: Lab, door: Door, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.door = door
        self._run = run_module
        host = door.hosts["pve1"]
        monkeypatch.setenv("PATH", f"{host.bin}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("COREPIN_ETC_PVE", str(host.etc_pve))

    def info(self, **options: t.Any) -> Result:
        return self._run(guest_info, **options)

    def place(self, plan: t.Mapping[str, t.Any], **options: t.Any) -> Result:
        """Carry out a plan for the guests of this host, which is pve1."""
        return self._run(guest_placement, plan=plan, nodes=["pve1"], **options)

    def settle(self) -> None:
        """The lab writes the files anew where a test has changed its state behind their back."""
        with self.lab.cluster.mutex:
            self.lab.cluster.changed()


Way = t.Union[ApiWay, HostWay]


def open_way(name: str, lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Way]:
    if name == "api":
        yield ApiWay(lab, run_module)
        return
    with tempfile.TemporaryDirectory(prefix="door-") as folder, Door(lab, folder) as door:  # a socket's path must be short
        yield HostWay(lab, door, run_module, monkeypatch)
        assert door.violations == []
