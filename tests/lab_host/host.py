# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host as tests see it: a shell, Ansible, guests, virtual functions."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from host_lab.emulator import Boot
from host_lab.guests import REMOVE_ALL, Guests, GuestState
from host_lab.host_files import HOST_NAME
from host_lab.instance import Instance
from host_lab.machines import Machine
from host_lab.remote import Done
from host_lab.sriov import Sriov

from ..integration.harness import Controller, Run, TaskResult


@dataclass(frozen=True)
class LabHost:
    """A booted machine. `guests` and `sriov` have more than the short cuts here."""

    instance: Instance
    controller: Controller

    @property
    def machine(self) -> Machine:
        """What was described, and so what has to be found."""
        return self.instance.machine

    @property
    def guests(self) -> Guests:
        return Guests(self.instance.remote)

    @property
    def sriov(self) -> Sriov:
        return Sriov(self.instance.remote)

    # --- a shell -----------------------------------------------------------------------------------------------------

    def run(self, command: str, *, check: bool = True, text: t.Optional[str] = None, timeout: float = 900) -> Done[str]:
        """Run a line of shell as root, with `text` as its input; an error where it fails, unless `check` is false."""
        return self.instance.remote.run(command, check=check, text=text, timeout=timeout)

    def read(self, path: str) -> str:
        """What a file says, without the blanks around."""
        return self.run(f"cat {path}").stdout.strip()

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.instance.remote.write(path, text, mode)

    def reboot(self, **changes: t.Any) -> None:
        """Shut down and boot again from the same disk; changes are those of emulator.Boot: cpufreq, append, ..."""
        self.instance.reboot(Boot(**{**vars(self.instance.boot), **changes}))

    # --- Ansible -----------------------------------------------------------------------------------------------------

    @property
    def inventory(self) -> t.Dict[str, t.Any]:
        """The host by its name in PVE, in the group pve_hosts."""
        return {"all": {"children": {"pve_hosts": {"hosts": {HOST_NAME: self.instance.remote.inventory}}}}}

    def playbook(self, playbook: t.Union[str, Path], *arguments: str, **variables: t.Any) -> Run:
        """Run a playbook, by path or by name in the collection, with ansible-playbook's further arguments and extra variables."""
        return self.controller.playbook(playbook, self.inventory, *arguments, **variables)

    def ansible(self, module: str, *, check: bool = False, diff: bool = False, **options: t.Any) -> TaskResult:
        """Run one module on the host. The result's `outcome` is "ok" or "failed", its `result` what the module returned."""
        play = {"hosts": HOST_NAME, "gather_facts": False, "tasks": [{"name": "The module", module: options}]}
        path = self.controller.folder / "one_module.json"
        path.write_text(json.dumps([play]), encoding="utf-8")
        return self.playbook(path, *["--check"] * check, *["--diff"] * diff).task("The module")

    # --- guests ------------------------------------------------------------------------------------------------------

    def start_guest(self, vmid: int, *, busy: bool = False, helper: bool = False, **config: t.Any) -> GuestState:
        """Write a guest's config and start it. Without more it has 1 core and 64 MiB. The options are those of Guests.start."""
        return self.guests.start(vmid, busy=busy, helper=helper, config={"cores": 1, "memory": 64, **config})

    def guest(self, vmid: int) -> GuestState:
        """What the kernel says of it now."""
        return self.guests.state(vmid)

    def stop_guest(self, vmid: int) -> None:
        self.guests.stop(vmid)

    def clear(self) -> None:
        """Stop and forget all guests, and remove all virtual functions."""
        self.run(f"{REMOVE_ALL} && {self.sriov.removal}")
