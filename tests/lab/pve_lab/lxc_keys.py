# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's configuration may hold (pve-container, LXC/Config.pm)."""

from __future__ import annotations

import typing as t

from . import formats
from .schema import BOOLEAN, INTEGER, STRING, Prop

_KEYS: dict[str, Prop] = {
    "arch": Prop(enum=("amd64", "i386", "arm64", "armhf", "riscv32", "riscv64")),
    "cmode": Prop(enum=("shell", "console", "tty")),
    "console": BOOLEAN,
    "cores": Prop("integer", minimum=1, maximum=8192),
    "cpulimit": Prop("number", minimum=0, maximum=8192),
    "cpuunits": Prop("integer", minimum=0, maximum=500000),
    "debug": BOOLEAN,
    "description": Prop(max_length=8192),
    "features": STRING,
    "hookscript": Prop(format=formats.volume_id),
    "hostname": Prop(format=formats.dns_name, max_length=255),
    "lock": Prop(enum=("backup", "create", "destroyed", "disk", "fstrim", "migrate", "mounted", "rollback", "snapshot", "snapshot-delete")),
    "memory": Prop("integer", minimum=16),
    "nameserver": STRING,
    "onboot": BOOLEAN,
    "ostype": STRING,
    "protection": BOOLEAN,
    "rootfs": STRING,
    "searchdomain": STRING,
    "startup": STRING,
    "swap": Prop("integer", minimum=0),
    "tags": Prop(format=formats.tag_list),
    "template": BOOLEAN,
    "timezone": STRING,
    "tty": Prop("integer", minimum=0, maximum=6),
    "unprivileged": BOOLEAN,
}
for _prefix, _count in (("net", 32), ("mp", 256), ("dev", 256), ("unused", 256)):
    _KEYS.update({f"{_prefix}{_index}": STRING for _index in range(_count)})

_FILE_ONLY = {"parent": STRING, "snaptime": INTEGER}


def parameters() -> dict[str, Prop]:
    """The keys that a call may send."""
    return dict(_KEYS)


def file_keys() -> dict[str, Prop]:
    """The keys that a configuration file may hold."""
    return {**_KEYS, **_FILE_ONLY}


CONFIG_PRIVILEGES = ("VM.Config.Disk", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options")

_BY_PRIVILEGE: dict[str, tuple[str, ...]] = {
    "VM.Config.CPU": ("cores", "cpulimit", "cpuunits"),
    "VM.Config.Disk": ("rootfs",),
    "VM.Config.Memory": ("memory", "swap"),
    "VM.Config.Network": ("nameserver", "searchdomain", "hostname"),
    "VM.Config.Options": (
        "arch",
        "cmode",
        "console",
        "debug",
        "description",
        "features",
        "lock",
        "onboot",
        "ostype",
        "protection",
        "startup",
        "tags",
        "template",
        "timezone",
        "tty",
        "unprivileged",
    ),
}
_PRIVILEGE_OF = {key: privilege for privilege, keys in _BY_PRIVILEGE.items() for key in keys}


def privilege_for(key: str) -> t.Optional[str]:
    """The privilege that changing the key takes; None: only root@pam may."""
    for prefix, privilege in (("net", "VM.Config.Network"), ("mp", "VM.Config.Disk"), ("unused", "VM.Config.Disk")):
        if key.startswith(prefix) and key[len(prefix) :].isdigit():
            return privilege
    return _PRIVILEGE_OF.get(key)


# What a running container takes over without a restart.
LIVE = frozenset(
    (
        "cores",
        "cpulimit",
        "cpuunits",
        "memory",
        "swap",
        "description",
        "hookscript",
        "lock",
        "onboot",
        "protection",
        "startup",
        "tags",
        "template",
    )
)
