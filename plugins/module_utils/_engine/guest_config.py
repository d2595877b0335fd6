# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config file of a guest, read as leniently as PVE reads it, and PVE's answer that says the same over the API.

PVE drops a line that it does not understand with a mere warning, and the next write by anybody loses it for good; so
such a line is no part of the config, only of the notes. Sources: parse_vm_config in qemu-server's
src/PVE/QemuServer.pm, parse_pct_config in pve-container's src/PVE/LXC/Config.pm, config_with_pending_array in
pve-guest-common's src/PVE/GuestHelpers.pm.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import unquote

from .errors import GrammarError
from .guest import CELL_KEYS, CELL_POLICIES, Config, Pending, parse_properties

PASSWORD_MASK = "**********"  # what the API shows instead of cipassword

_BOOLEANS = frozenset((
    "acpi", "allow-ksm", "autostart", "ciupgrade", "console", "debug", "freeze", "keephugepages", "kvm", "localtime", "numa",
    "onboot", "protection", "reboot", "tablet", "tdf", "template", "unprivileged"
))  # fmt: skip
_INTEGERS = frozenset((
    "balloon", "cores", "cpuunits", "migrate_speed", "shares", "smp", "snaptime", "sockets", "swap", "tty", "vcpus"
))  # fmt: skip
_NUMBERS = frozenset(("cpulimit", "migrate_downtime"))
_VM_TEXTS = frozenset((
    "affinity", "agent", "amd-sev", "arch", "args", "audio0", "bios", "boot", "bootdisk", "cdrom", "cicustom", "cipassword", "citype",
    "ciuser", "cpu", "description", "efidisk0", "hookscript", "hotplug", "hugepages", "import-working-storage", "intel-tdx",
    "ivshmem", "keyboard", "lock", "machine", "memory", "meta", "name", "nameserver", "ostype", "parent", "rng0",
    "running-nets-host-mtu", "runningcpu", "runningmachine", "scsihw", "searchdomain", "smbios1", "spice_enhancements", "sshkeys",
    "startdate", "startup", "tags", "tpmstate0", "vga", "vmgenid", "vmstate", "vmstatestorage", "watchdog"
))  # fmt: skip
_VM_KEYS = _BOOLEANS | _INTEGERS | _NUMBERS | _VM_TEXTS
_VM_NUMBERED = re.compile(r"^(ide|scsi|virtio|sata|net|usb|parallel|serial|hostpci|ipconfig|unused|virtiofs)\d+$", re.ASCII)

_VM_LINE = re.compile(r"^([a-z][a-z_\-]*\d*):\s*(.+?)\s*$", re.ASCII)
_CT_LINE = re.compile(r"^([a-z][a-z_]*\d*):\s*(.+?)\s*$", re.ASCII)
_CT_RAW_LINE = re.compile(r"^(lxc\.[a-z0-9_\-.]+)(?::|\s*=)\s*(.*?)\s*$", re.ASCII)
_DELETE_LINE = re.compile(r"^delete:\s*(.*\S)\s*$")
_DESCRIPTION_LINE = re.compile(r"^description:\s*(.*\S)\s*$")
_SECTION = re.compile(r"^\[([^\]]*)\]\s*$")
_SNAPSHOT_NAME = re.compile(r"^[a-z][a-z0-9_\-]+$", re.ASCII | re.IGNORECASE)
_CPU_RANGE = re.compile(r"^\s*(\d+)(?:-(\d+))?\s*$", re.ASCII)
_CELL_IDS = re.compile(r"^\d+(-\d+)?(;\d+(-\d+)?)*$", re.ASCII)
_DECIMAL = re.compile(r"^[+-]?\d+(\.\d+)?$", re.ASCII)


@dataclass(frozen=True)
class GuestConfig:
    """What one guest's config says: stored values, pending changes (None = pending delete), digest of the whole file.

    `notes` are sentences about lines that PVE drops; `snapshots` names the snapshots that the file holds.
    """

    config: Config
    pending: Pending
    digest: t.Optional[str] = None
    notes: t.Tuple[str, ...] = ()
    snapshots: t.Tuple[str, ...] = ()


@dataclass
class _Section:
    """One section while it is read: `kind` is main, pending, snapshot or ignored."""

    kind: str
    values: t.Dict[str, str] = field(default_factory=dict)
    deletes: t.List[str] = field(default_factory=list)
    description: t.Optional[str] = None


def parse_guest_config(raw: bytes, guest_type: str = "qemu") -> GuestConfig:
    """Read a file of /etc/pve/nodes/NODE/qemu-server or .../lxc; `guest_type` is qemu or lxc. Raises nothing."""
    sections: t.List[_Section] = [_Section("main")]
    snapshots: t.List[str] = []
    notes: t.List[str] = []
    for line in raw.decode("utf-8", "replace").split("\n"):
        if not line.strip():
            continue
        header = _SECTION.match(line)
        if header:
            sections.append(_open_section(header.group(1), guest_type, snapshots, notes))
        else:
            _read_line(line, sections[-1], guest_type, notes)
    main = sections[0]
    pending = _last(sections, "pending")
    return GuestConfig(
        config=_values(main, guest_type),
        pending={**dict.fromkeys(pending.deletes), **_values(pending, guest_type)},
        digest=hashlib.sha1(raw).hexdigest(),
        notes=tuple(notes),
        snapshots=tuple(snapshots),
    )


def _open_section(name: str, guest_type: str, snapshots: t.List[str], notes: t.List[str]) -> _Section:
    if name.lower() == ("pending" if guest_type == "qemu" else "pve:pending"):
        return _Section("pending")
    if _SNAPSHOT_NAME.match(name):
        snapshots.append(name)
        return _Section("snapshot")
    if not name.lower().startswith("special:"):
        notes.append(f"the unknown section [{name}] is ignored by PVE")
    return _Section("ignored")


def _last(sections: t.Sequence[_Section], kind: str) -> _Section:
    """The last section of a kind, which is the one that counts; an empty one where there is none."""
    return next((section for section in reversed(sections) if section.kind == kind), _Section(kind))


def _values(section: _Section, guest_type: str) -> t.Dict[str, str]:
    values = dict(section.values)
    if section.description is not None:
        values["description"] = section.description.rstrip() if guest_type == "qemu" else section.description
    if values.get("cipassword"):
        values["cipassword"] = PASSWORD_MASK
    return values


def _read_line(line: str, section: _Section, guest_type: str, notes: t.List[str]) -> None:
    if section.kind in ("ignored", "snapshot"):
        return
    if line.startswith("#"):
        section.description = (section.description or "") + unquote(line[1:]) + "\n"
        return
    described, deleted = _DESCRIPTION_LINE.match(line), _DELETE_LINE.match(line)
    if described:
        section.description = (section.description or "") + unquote(described.group(1))
    elif deleted:
        _read_delete(deleted.group(1), section, notes)
    elif re.search(r"snapstate:\s*(prepare|delete)\s*$", line):
        return
    else:
        _read_key(line, section, guest_type, notes)


def _read_delete(text: str, section: _Section, notes: t.List[str]) -> None:
    if section.kind == "pending":
        section.deletes = [key.lstrip("!") for key in re.split(r"[\s,;]+", text) if key]
    else:
        notes.append("the line 'delete: ...' outside of the pending section is dropped by PVE")


def _read_key(line: str, section: _Section, guest_type: str, notes: t.List[str]) -> None:
    raw = _CT_RAW_LINE.match(line) if guest_type == "lxc" else None
    match = raw or (_CT_LINE if guest_type == "lxc" else _VM_LINE).match(line)
    if match is None:
        notes.append(f"the line {line[:60]!r} cannot be parsed and is dropped by PVE")
        return
    key, value = match.group(1), match.group(2)
    try:
        section.values["ide2" if key == "cdrom" else key] = value if raw or key == "args" else _checked(key, value, guest_type)
    except GrammarError as e:
        notes.append(str(e))
        if guest_type == "lxc":
            section.values[key] = value


def _checked(key: str, value: str, guest_type: str) -> str:
    """The value as PVE keeps it: booleans 0/1, integers without leading zeros. Raises GrammarError for what PVE drops."""
    if guest_type == "qemu" and not (key in _VM_KEYS or key in CELL_KEYS or _VM_NUMBERED.match(key)):
        raise GrammarError(f"the unknown key {key!r} (value {value!r}) is dropped by PVE")
    if key in _BOOLEANS:
        return _boolean(key, value)
    if key in _INTEGERS:
        return str(int(_matching(r"^\d+$", key, value)))
    if key in _NUMBERS:
        return _matching(r"^\d+(\.\d+)?$", key, value)
    if guest_type == "qemu" and ((key == "affinity" and not accepts_affinity(value)) or (key in CELL_KEYS and not accepts_cell(value))):
        raise GrammarError(f"the value {value!r} of {key} has a format error and is dropped by PVE")
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _boolean(key: str, value: str) -> str:
    if value.lower() in ("1", "on", "yes", "true"):
        return "1"
    if value.lower() in ("0", "off", "no", "false"):
        return "0"
    raise GrammarError(f"the value {value!r} of {key} is not a boolean and is dropped by PVE")


def _matching(pattern: str, key: str, value: str) -> str:
    if not re.match(pattern, value, re.ASCII):
        raise GrammarError(f"the value {value!r} of {key} is not a number and is dropped by PVE")
    return value


def accepts_affinity(text: str) -> bool:
    """Whether PVE stores this affinity (pve_verify_cpuset); that does not mean that a guest starts with it."""
    for part in re.sub(r",+$", "", text).split(","):
        match = _CPU_RANGE.match(part)
        if not match or (match.group(2) is not None and int(match.group(2)) < int(match.group(1))):
            return False
    return True


def accepts_cell(text: str) -> bool:
    """Whether PVE stores this numaN value; that does not mean that a guest starts with it."""
    try:
        properties = parse_properties(text)
    except GrammarError:
        return False
    return (
        "cpus" in properties
        and set(properties) <= {"cpus", "hostnodes", "memory", "policy"}
        and all(_CELL_IDS.match(properties[key]) for key in ("cpus", "hostnodes") if key in properties)
        and bool(_DECIMAL.match(properties.get("memory", "0")))
        and properties.get("policy", "bind") in CELL_POLICIES
    )


def from_pending_answer(items: t.Sequence[t.Mapping[str, t.Any]], raw_keys: t.Sequence[t.Sequence[str]] = ()) -> GuestConfig:
    """Read the answer of GET .../pending: a list of {key, value?, pending?, delete?: 1 | 2}, one of them the digest.

    `raw_keys` is the list `lxc` of GET /nodes/NODE/lxc/VMID/config, pairs of a raw key and its value, which are not
    in the pending answer; the last one of a key counts.
    """
    config: t.Dict[str, str] = {}
    pending: t.Dict[str, t.Optional[str]] = {}
    for item in items:
        key = str(item["key"])
        if item.get("value") is not None:
            config[key] = str(item["value"])
        if item.get("pending") is not None:
            pending[key] = str(item["pending"])
        elif item.get("delete"):
            pending[key] = None
    digest = config.pop("digest", None)
    config.update((str(key), str(value)) for key, value in raw_keys)
    return GuestConfig(config=config, pending=pending, digest=digest)
