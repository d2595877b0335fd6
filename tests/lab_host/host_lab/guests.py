# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests on a lab host, from outside: write a config, start, look, stop."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from .programs import GUEST
from .remote import Remote

CONFIGS = "/etc/pve/qemu-server"
# A line of shell that stops and forgets all guests, quick where there are none.
REMOVE_ALL = f"if ls {CONFIGS}/[0-9]*.conf >/dev/null 2>&1; then {GUEST} remove; fi"
Config = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Thread:
    """`cpus` is the kernel's own word for what the thread may use, a cpulist."""

    tid: int
    name: str
    cpus: str


@dataclasses.dataclass(frozen=True)
class GuestState:
    """What the kernel says of a guest; pid and scope are None while it is stopped.

    scope_cpus: the CPUs that its scope is held to, None where it is not. helpers: threads of other processes in the
    scope.
    """

    vmid: int
    pid: t.Optional[int]
    scope: t.Optional[str]
    scope_cpus: t.Optional[str]
    threads: t.List[Thread]
    helpers: t.List[Thread]

    @property
    def vcpus(self) -> t.List[Thread]:
        """vCPU threads by number. Under TCG they are called `CPU 0/TCG`, where KVM's are called `CPU 0/KVM`."""
        numbered = [(int(found.group(1)), thread) for thread in self.threads if (found := re.fullmatch(r"CPU (\d+)/\w+", thread.name))]
        return [thread for _number, thread in sorted(numbered, key=lambda pair: pair[0])]

    def named(self, start: str) -> t.List[Thread]:
        """Threads whose name begins so: "IO iothread", "vhost-", "call_rcu". The kernel keeps 15 letters."""
        return [thread for thread in self.threads if thread.name.startswith(start)]


@dataclasses.dataclass(frozen=True)
class Guests:
    remote: Remote

    def configure(self, vmid: int, **config: t.Any) -> None:
        """Write a config whole; keys whose value is None are left out."""
        self.remote.run(f"cat >{CONFIGS}/{vmid}.conf", text=_text(config))

    def start(self, vmid: int, *, busy: bool = False, helper: bool = False, config: t.Optional[Config] = None) -> GuestState:
        """Start a guest from its config, which is written before where it is given.

        busy: all vCPUs write memory; helper: another process in its scope.
        """
        write = "" if config is None else f"cat >{CONFIGS}/{vmid}.conf && "
        flags = " --busy" * busy + " --helper" * helper
        return _states(self.remote.run(f"{write}{GUEST} start {vmid}{flags}", text=_text(config or {})).stdout)[0]

    def stop(self, vmid: int) -> None:
        """Stop a guest; its config stays."""
        self.remote.run(f"{GUEST} stop {vmid}")

    def remove(self, *vmids: int) -> None:
        """Stop guests and remove their configs; without a number, all."""
        self.remote.run(f"{GUEST} remove {' '.join(map(str, vmids))}" if vmids else REMOVE_ALL)

    def states(self) -> t.List[GuestState]:
        """All guests that have a config, by number."""
        return _states(self.remote.run(f"{GUEST} list").stdout)

    def state(self, vmid: int) -> GuestState:
        return next(state for state in self.states() if state.vmid == vmid)


def _text(config: Config) -> str:
    return "".join(f"{key}: {value}\n" for key, value in config.items() if value is not None)


def _states(text: str) -> t.List[GuestState]:
    return [_state(described) for described in json.loads(text)]


def _state(described: t.Dict[str, t.Any]) -> GuestState:
    for key in ("threads", "helpers"):
        described[key] = [Thread(**thread) for thread in described[key]]
    return GuestState(**described)
