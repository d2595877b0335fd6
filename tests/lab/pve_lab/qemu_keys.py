# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's configuration may hold: keys, types, ranges, who may set them, and which act at once on a running VM.

Ranges and words as in qemu-server 9.2 (QemuServer.pm, Memory.pm, CPUConfig.pm) and as measured against it.
"""

from __future__ import annotations

import re
import typing as t

from . import formats
from .cpu_models import VENDORS
from .schema import BOOLEAN, INTEGER, STRING, FormatError, Prop, parse_property_string

MAX_NUMA = 8
_IDS = r"\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*"

NUMA_FORMAT = {
    "cpus": Prop(pattern=_IDS, optional=False),
    "memory": Prop("number"),
    "hostnodes": Prop(pattern=_IDS),
    "policy": Prop(enum=("preferred", "bind", "interleave")),
}

MEMORY_FORMAT = {"current": Prop("integer", minimum=16, default_key=True, optional=False)}

_CPU_FORMAT = {
    "cputype": Prop(default_key=True),
    "reported-model": STRING,
    "hidden": BOOLEAN,
    "hv-vendor-id": Prop(pattern=r"[a-zA-Z0-9]{1,12}"),
    "flags": Prop(pattern=r"(?:[+-][a-zA-Z0-9\-_.]+)(?:;[+-][a-zA-Z0-9\-_.]+)*"),
    "phys-bits": STRING,
    "guest-phys-bits": Prop("integer", minimum=32, maximum=64),
}

HOSTPCI_FORMAT = {
    "host": Prop(
        pattern=r"(?:[0-9a-f]{4,}:)?[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7a-f])?(?:;(?:[0-9a-f]{4,}:)?[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7a-f])?)*",
        default_key=True,
    ),
    "mapping": Prop(format=formats.config_id),
    "rombar": BOOLEAN,
    "romfile": Prop(pattern=r"[^,;]+"),
    "pcie": BOOLEAN,
    "x-vga": BOOLEAN,
    "mdev": STRING,
    "legacy-igd": BOOLEAN,
    "driver": Prop(enum=("vfio", "keep")),
    "device-id": STRING,
    "vendor-id": STRING,
    "sub-device-id": STRING,
    "sub-vendor-id": STRING,
}

_AGENT_FORMAT = {
    "enabled": Prop("boolean", default_key=True, optional=False),
    "fstrim_cloned_disks": BOOLEAN,
    "freeze-fs-on-backup": BOOLEAN,
    "guest-fsfreeze": BOOLEAN,
    "type": Prop(enum=("virtio", "isa")),
}

LOCKS = ("backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended")


def _cpu_model(text: str) -> None:
    values = parse_property_string(_CPU_FORMAT, text, "cpu")
    model = values.get("cputype")
    if model is not None and not model.startswith("custom-") and model not in VENDORS:
        raise FormatError(f"Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)")


_KEYS: dict[str, Prop] = {
    "acpi": BOOLEAN,
    "affinity": Prop(format=formats.cpuset),
    "agent": Prop(format=_AGENT_FORMAT),
    "allow-ksm": BOOLEAN,
    "amd-sev": STRING,
    "arch": Prop(enum=("x86_64", "aarch64")),
    "args": STRING,
    "audio0": STRING,
    "autostart": BOOLEAN,
    "balloon": Prop("integer", minimum=0),
    "bios": Prop(enum=("seabios", "ovmf")),
    "boot": STRING,
    "bootdisk": STRING,
    "cdrom": STRING,
    "cicustom": STRING,
    "cipassword": STRING,
    "citype": Prop(enum=("configdrive2", "nocloud", "opennebula")),
    "ciupgrade": BOOLEAN,
    "ciuser": STRING,
    "cores": Prop("integer", minimum=1),
    "cpu": Prop(format=_cpu_model),
    "cpulimit": Prop("number", minimum=0, maximum=128),
    "cpuunits": Prop("integer", minimum=1, maximum=262144),
    "description": Prop(max_length=8192),
    "efidisk0": STRING,
    "freeze": BOOLEAN,
    "hookscript": Prop(format=formats.volume_id),
    "hotplug": STRING,
    "hugepages": Prop(enum=("any", "2", "1024")),
    "intel-tdx": STRING,
    "ivshmem": STRING,
    "keephugepages": BOOLEAN,
    "keyboard": STRING,
    "kvm": BOOLEAN,
    "localtime": BOOLEAN,
    "lock": Prop(enum=LOCKS),
    "machine": STRING,
    "memory": Prop(format=MEMORY_FORMAT),
    "migrate_downtime": Prop("number", minimum=0),
    "migrate_speed": Prop("integer", minimum=0),
    "name": Prop(format=formats.dns_name),
    "nameserver": STRING,
    "numa": BOOLEAN,
    "onboot": BOOLEAN,
    "ostype": Prop(enum=("other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris")),
    "protection": BOOLEAN,
    "reboot": BOOLEAN,
    "rng0": STRING,
    "scsihw": STRING,
    "searchdomain": STRING,
    "shares": Prop("integer", minimum=0, maximum=50000),
    "smbios1": Prop(max_length=512),
    "smp": Prop("integer", minimum=1),
    "sockets": Prop("integer", minimum=1),
    "spice_enhancements": STRING,
    "sshkeys": STRING,
    "startdate": STRING,
    "startup": STRING,
    "tablet": BOOLEAN,
    "tags": Prop(format=formats.tag_list),
    "tdf": BOOLEAN,
    "template": BOOLEAN,
    "tpmstate0": STRING,
    "vcpus": Prop("integer", minimum=1),
    "vga": STRING,
    "vmgenid": STRING,
    "vmstatestorage": STRING,
    "watchdog": STRING,
}

for _prefix, _count, _prop in (
    ("numa", MAX_NUMA, Prop(format=NUMA_FORMAT)),
    ("hostpci", 16, Prop(format=HOSTPCI_FORMAT)),
    ("net", 32, STRING),
    ("ipconfig", 32, STRING),
    ("ide", 4, STRING),
    ("sata", 6, STRING),
    ("scsi", 31, STRING),
    ("virtio", 16, STRING),
    ("virtiofs", 10, STRING),
    ("serial", 4, STRING),
    ("parallel", 3, STRING),
    ("usb", 14, STRING),
    ("unused", 256, STRING),
):
    _KEYS.update({f"{_prefix}{_index}": _prop for _index in range(_count)})

# Keys that only PVE itself writes: valid in the file, unknown as a parameter.
_FILE_ONLY = {"meta": STRING, "parent": STRING, "runningcpu": STRING, "runningmachine": STRING, "snaptime": INTEGER, "vmstate": STRING}

_NEW_IN_9 = frozenset(("allow-ksm", "intel-tdx"))


def parameters(major: int) -> dict[str, Prop]:
    """The keys that a call may send, for PVE's major version."""
    return {key: prop for key, prop in _KEYS.items() if major >= 9 or key not in _NEW_IN_9}


def file_keys(major: int) -> dict[str, Prop]:
    """The keys that a configuration file may hold, for PVE's major version."""
    return {**parameters(major), **_FILE_ONLY}


# --- who may set what ------------------------------------------------------------------------------------------------

CONFIG_PRIVILEGES = (
    "VM.Config.Disk",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.HWType",
    "VM.Config.Options",
    "VM.Config.Cloudinit",
)

_BY_PRIVILEGE: dict[str, tuple[str, ...]] = {
    "VM.Config.CPU": ("cores", "cpu", "cpulimit", "cpuunits", "numa", "smp", "sockets", "vcpus"),
    "VM.Config.Memory": ("memory", "balloon", "shares", "allow-ksm"),
    "VM.Config.HWType": (
        "acpi",
        "hotplug",
        "kvm",
        "machine",
        "scsihw",
        "smbios1",
        "tablet",
        "vga",
        "watchdog",
        "audio0",
        "bios",
        "rng0",
        "amd-sev",
        "intel-tdx",
        "ivshmem",
    ),
    "VM.Config.Options": (
        "agent",
        "autostart",
        "description",
        "keyboard",
        "localtime",
        "migrate_downtime",
        "migrate_speed",
        "name",
        "onboot",
        "ostype",
        "protection",
        "reboot",
        "startdate",
        "startup",
        "tdf",
        "template",
        "tags",
        "spice_enhancements",
        "vmgenid",
    ),
    "VM.PowerMgmt": ("freeze",),
    "VM.Config.Disk": ("boot", "bootdisk", "vmstatestorage"),
    "VM.Config.Cloudinit": ("cicustom", "cipassword", "citype", "ciupgrade", "ciuser", "nameserver", "searchdomain", "sshkeys"),
}
_PRIVILEGE_OF = {key: privilege for privilege, keys in _BY_PRIVILEGE.items() for key in keys}
_DRIVE = re.compile(r"(?:ide|sata|scsi|virtio|unused)\d+|cdrom|efidisk0|tpmstate0", re.ASCII)
_BY_VALUE = re.compile(r"(?:usb|hostpci|serial|virtiofs)\d+", re.ASCII)


def privilege_for(key: str) -> t.Optional[str]:
    """The privilege that changing the key takes; "" where the value decides; None: only root@pam may."""
    if _BY_VALUE.fullmatch(key):
        return ""
    if _DRIVE.fullmatch(key):
        return "VM.Config.Disk"
    if re.fullmatch(r"numa\d+", key):
        return "VM.Config.CPU"
    if re.fullmatch(r"net\d+", key):
        return "VM.Config.Network"
    if re.fullmatch(r"ipconfig\d+", key):
        return "VM.Config.Cloudinit"
    return _PRIVILEGE_OF.get(key)


# --- running VMs -----------------------------------------------------------------------------------------------------

# Changes that do not concern the process: taken over at once.
AT_ONCE = frozenset(
    (
        "description",
        "hookscript",
        "lock",
        "migrate_downtime",
        "migrate_speed",
        "name",
        "onboot",
        "protection",
        "shares",
        "startup",
        "tags",
        "vmstatestorage",
        "cicustom",
        "cipassword",
        "citype",
        "ciupgrade",
        "ciuser",
        "nameserver",
        "searchdomain",
        "sshkeys",
    )
)


def hotplug_features(value: t.Optional[str]) -> frozenset[str]:
    """What the key `hotplug` switches on; unset and 1 mean the same."""
    if value is None or value == "1":
        return frozenset(("network", "disk", "usb"))
    if value == "0":
        return frozenset()
    return frozenset(part for part in re.split(r"[,;\s]+", value) if part)
