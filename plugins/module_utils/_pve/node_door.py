# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door on a PVE host as root, with the standard library alone: the cluster file system is read, `qm` writes.

Every host of a cluster has the files of all under /etc/pve (pmxcfs), so that one pass over it reads everything but
what runs; `pvesh` tells that. The variable COREPIN_ETC_PVE names another folder than /etc/pve, and PATH finds the
programs, so that a simulated host can stand in for a real one.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

from .._engine.errors import GrammarError
from .._engine.guest import parse_properties
from .._engine.guest_config import GuestConfig, parse_guest_config
from .errors import MissingGuestError, PveError, UncertainError, refusal
from .reading import (
    GONE,
    OFFLINE,
    Answer,
    GuestRef,
    Reading,
    ceph_health,
    guest_refs,
    local_host,
    major_version,
    managed_guests,
    offline_hosts,
)
from .section_config import parse_sections

COMMAND_TIMEOUT_S = 60.0  # PVE itself waits at most 10 s for the lock of a guest
_LISTED_VM = re.compile(r"^\s*(\d+)\s+\S+\s+(\S+)", re.ASCII | re.MULTILINE)  # VMID NAME STATUS ...
FOLDERS = {"qemu": "qemu-server", "lxc": "lxc"}

ReadGuest = t.Union[GuestConfig, Exception]


class NodeDoor:
    """Door on this host; see reading.Door for the methods that both doors have."""

    def __init__(self, etc_pve: Path) -> None:
        """Raises PveError where `etc_pve` is not the cluster file system of a PVE host."""
        self._etc_pve = etc_pve
        self._status: t.Optional[t.Sequence[Answer]] = None
        if not (etc_pve / "nodes").is_dir():
            raise PveError(f"This is no PVE host, for {etc_pve}/nodes is missing; run on a PVE host as root, or give api_host.")

    @classmethod
    def on_this_host(cls) -> NodeDoor:
        return cls(Path(os.environ.get("COREPIN_ETC_PVE", "/etc/pve")))

    def read_cluster(self) -> Reading:
        """One pass: three answers of pvesh, then the files of every guest on an online host."""
        resources = [dict(item) for item in _pvesh("/cluster/resources", "--type", "vm") if item.get("type") in FOLDERS]
        reading = Reading(version=str(_pvesh("/version")["version"]), status=self.read_status(), resources=resources)
        reading.crs = self._crs()
        reading.pci_mappings = parse_sections(self._text("mapping/pci.cfg"), repeated=("map",), typed=False)
        reading.ha_resources = self._ha_resources()
        reading.ha_rules = [{**item, "rule": item["id"]} for item in parse_sections(self._text("ha/rules.cfg"))]
        if major_version(reading.version) < 9 or any(item.get("group") for item in reading.ha_resources):
            reading.ha_groups = [{**item, "group": item["id"]} for item in parse_sections(self._text("ha/groups.cfg"))]
        self._follow_moved_guests(resources)
        self._read_configs(reading)
        return reading

    def _ha_resources(self) -> t.List[t.Dict[str, t.Any]]:
        return [{**item, "sid": f"{item['type']}:{item['id']}"} for item in parse_sections(self._text("ha/resources.cfg"))]

    def _crs(self) -> t.Mapping[str, str]:
        """The property `crs` of datacenter.cfg; {} where it is absent or PVE could not read it either."""
        values = [line.partition(":")[2].strip() for line in self._text("datacenter.cfg").splitlines() if line.startswith("crs:")]
        try:
            return parse_properties(values[-1]) if values else {}
        except GrammarError:
            return {}

    def _follow_moved_guests(self, resources: t.Sequence[t.Dict[str, t.Any]]) -> None:
        """/cluster/resources lags behind a migration; the file lies where the guest is."""
        places = {int(file.stem): file.parts[-3] for file in self._etc_pve.glob("nodes/*/*/*.conf") if file.stem.isdigit()}
        for item in resources:
            item["node"] = places.get(int(item["vmid"]), item["node"])

    def _read_configs(self, reading: Reading) -> None:
        offline = offline_hosts(reading.status)
        for ref in guest_refs(reading.resources):
            read = self._read_guest(ref)
            if ref.node in offline:
                reading.unread[ref.vmid] = (ref.node, OFFLINE)
            elif isinstance(read, GuestConfig):
                reading.configs[ref.vmid] = read
            else:
                reading.gone.add(ref.vmid)
                reading.unread[ref.vmid] = (ref.node, GONE)

    def read_status(self) -> t.Sequence[Answer]:
        self._status = t.cast("t.Sequence[Answer]", _pvesh("/cluster/status"))
        return self._status

    def read_ceph(self) -> t.Optional[str]:
        return ceph_health(lambda: _pvesh("/cluster/ceph/status"))

    def ha_managed(self) -> t.FrozenSet[int]:
        return managed_guests(self._ha_resources())

    def read_guests(self, guests: t.Sequence[GuestRef]) -> t.Dict[int, ReadGuest]:
        return {ref.vmid: self._read_guest(ref) for ref in guests}

    def _read_guest(self, guest: GuestRef) -> ReadGuest:
        file = self._etc_pve / "nodes" / guest.node / FOLDERS[guest.type] / f"{guest.vmid}.conf"
        try:
            return parse_guest_config(file.read_bytes(), guest.type)
        except FileNotFoundError:
            return MissingGuestError(f"{file} does not exist; the guest was deleted or has moved.")
        except OSError as e:
            raise PveError(f"{file} cannot be read ({e.strerror}); run as root (become: true).") from e

    def _text(self, name: str) -> str:
        """The text of a file of the cluster; '' where it does not exist, which is what PVE takes it for too."""
        file = self._etc_pve / name
        try:
            return file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as e:
            raise PveError(f"{file} cannot be read ({e.strerror}); run as root (become: true).") from e

    def running(self, guests: t.Sequence[GuestRef]) -> t.Dict[int, bool]:
        if not guests:
            return {}
        listed = {int(match.group(1)): match.group(2) for match in _LISTED_VM.finditer(_run("qm", "list"))}
        return {ref.vmid: listed.get(ref.vmid) == "running" for ref in guests}

    def refuse_keys(self, wanted: t.Mapping[GuestRef, t.Sequence[str]]) -> t.Optional[str]:
        here = local_host(self._status or self.read_status())
        elsewhere = sorted({guest.node for guest in wanted if guest.node != here})
        if not elsewhere:
            return None
        return (
            f"The plan has changes for {', '.join(elsewhere)}, but this is {here}, whose qm reaches its own guests alone; run the "
            "module on each host with nodes: [that host], or give api_host (nothing was written)."
        )

    def refuse_restarts(self, guests: t.Sequence[GuestRef]) -> t.Optional[str]:
        return self.refuse_keys(dict.fromkeys(guests, ())) if guests else None

    def power(self, guest: GuestRef, action: str, timeout_s: float) -> None:
        options = [] if action == "start" else ["--timeout", str(int(timeout_s))]
        _run("qm", action, str(guest.vmid), *options, timeout_s=timeout_s + COMMAND_TIMEOUT_S)

    def write(self, guest: GuestRef, values: t.Mapping[str, str], delete: t.Sequence[str], digest: t.Optional[str]) -> None:
        arguments = [argument for key, value in sorted(values.items()) for argument in (f"--{key}", value)]
        if delete:
            arguments += ["--delete", ",".join(delete)]
        if digest:
            arguments += ["--digest", digest]
        _run("qm", "set", str(guest.vmid), *arguments)


def _pvesh(call: str, *arguments: str) -> t.Any:
    output = _run("pvesh", "get", call, *arguments, "--output-format", "json")
    try:
        return json.loads(output)
    except ValueError as e:
        raise PveError(f"pvesh get {call} does not print JSON but {output[:60]!r}; check that this is a PVE host.") from e


def _run(*command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """The output of a program of PVE. Raises PveError with PVE's own words; UncertainError where it takes too long."""
    what = " ".join(command[:3])
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=environment)
    except FileNotFoundError as e:
        raise PveError(f"The program {command[0]} is not on this host; run on a PVE host as root, or give api_host.") from e
    except PermissionError as e:
        raise PveError(f"The program {command[0]} may not be run by this user; run as root (become: true).") from e
    except subprocess.TimeoutExpired as e:
        raise UncertainError(f"{what} did not end within {timeout_s:g} s") from e
    if done.returncode != 0:
        raise refusal(done.stderr or done.stdout or f"exit code {done.returncode}", what)
    return done.stdout
