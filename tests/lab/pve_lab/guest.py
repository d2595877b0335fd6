# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest: where it lives, the text of its configuration file, and what its running process was started with."""

from __future__ import annotations

import dataclasses
import typing as t

from . import lxc_keys, qemu_keys
from .config_file import ConfigFile, digest_of, json_value, parse_config, render_config
from .cpulist import format_cpus
from .schema import FormatError, Prop, parse_property_string


@dataclasses.dataclass
class LiveProcess:
    """What a running guest really has, whatever its configuration says meanwhile.

    pid; cpus: the CPUs that its threads may use; command: the command line; config: the main section at start;
    vcpu_threads: thread ids in vCPU order; cpulimit and cpuunits: as in the guest's control group; started: seconds.
    """

    pid: int
    cpus: frozenset[int]
    command: list[str]
    config: dict[str, str]
    vcpu_threads: list[int]
    cpulimit: str = "0"
    cpuunits: str = "100"
    started: float = 0.0


class Guest:
    """One VM ("qemu") or container ("lxc"). `text` is its configuration file and may be edited by hand.

    deaf: whether it ignores a request to shut down.
    reported: False while its host has not broadcast anything about it, so that listings show its status as "unknown".
    """

    def __init__(self, vmid: int, kind: str, node: str, text: str, major: int) -> None:
        self.vmid = vmid
        self.type = kind
        self.node = node
        self.text = text
        self.major = major
        self.live: t.Optional[LiveProcess] = None
        self.lock_holders = 0
        self.deaf = False
        self.reported = True

    # --- the file ----------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> dict[str, Prop]:
        """The keys that the file may hold."""
        return qemu_keys.file_keys(self.major) if self.type == "qemu" else lxc_keys.file_keys()

    @property
    def parameters(self) -> dict[str, Prop]:
        """The keys that a call may send."""
        return qemu_keys.parameters(self.major) if self.type == "qemu" else lxc_keys.parameters()

    @property
    def path(self) -> str:
        """The file below /etc/pve."""
        return f"nodes/{self.node}/{'qemu-server' if self.type == 'qemu' else 'lxc'}/{self.vmid}.conf"

    @property
    def lock_path(self) -> str:
        """The lock file that a change holds."""
        return f"/var/lock/qemu-server/lock-{self.vmid}.conf" if self.type == "qemu" else f"/run/lock/lxc/pve-config-{self.vmid}.lock"

    @property
    def digest(self) -> str:
        """SHA-1 of the whole text, with pending changes and snapshots."""
        return digest_of(self.text)

    def load(self) -> ConfigFile:
        """The file as PVE reads it."""
        return parse_config(self.text, self.keys, self.vmid, raw_lxc=self.type == "lxc")

    def store(self, config: ConfigFile) -> None:
        """Write the file anew. Whether that is allowed is the cluster's business."""
        self.text = render_config(config)

    def json_section(self, section: t.Mapping[str, str]) -> dict[str, t.Any]:
        """A section with the types that PVE's JSON has; before PVE 8.1 memory was a number."""
        keys = self.keys
        values: dict[str, t.Any] = {key: json_value(keys.get(key), text) for key, text in section.items()}
        if self.type == "qemu" and self.major < 8 and "memory" in values:
            values["memory"] = int(values["memory"])
        return values

    # --- what the configuration amounts to ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name that listings show."""
        fallback = f"VM{self.vmid}" if self.type == "qemu" else f"CT{self.vmid}"
        return self.load().main.get("name" if self.type == "qemu" else "hostname", fallback)

    @property
    def is_template(self) -> bool:
        """Whether it is a template, which never runs."""
        return self.load().main.get("template") == "1"

    @property
    def running(self) -> bool:
        """Whether it has a process."""
        return self.live is not None

    @property
    def status(self) -> str:
        """ "running" or "stopped"."""
        return "running" if self.running else "stopped"

    @property
    def live_affinity(self) -> t.Optional[str]:
        """The CPUs that the running process may use, as a cpulist; None when it does not run."""
        return format_cpus(self.live.cpus) if self.live else None

    @property
    def live_command(self) -> t.Optional[list[str]]:
        """The command line of the running process; None when it does not run."""
        return list(self.live.command) if self.live else None

    def shown_section(self) -> dict[str, str]:
        """The section that status calls go by: of the running process where there is one, else the file's."""
        return self.load().main


def memory_of(section: t.Mapping[str, str]) -> int:
    """MiB of memory in a VM's section: `2048` and `current=2048` alike, 512 when unset."""
    try:
        return int(parse_property_string(qemu_keys.MEMORY_FORMAT, section.get("memory", "512"))["current"])
    except FormatError:
        return 512


def vcpus_of(section: t.Mapping[str, str]) -> int:
    """Virtual CPUs that a VM's section asks for: vcpus where set, else cores x sockets."""
    return int(section.get("vcpus", 0)) or int(section.get("cores", 1)) * int(section.get("sockets", section.get("smp", 1)))
