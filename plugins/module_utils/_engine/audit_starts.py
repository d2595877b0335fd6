# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether each guest would start: as it is stored, with its pending changes, and on every host that it may reach.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .doctor import strict_hosts, under_ha
from .guest import Guest, describes_host
from .snapshot import Snapshot
from .start_case import Finding
from .start_check import findings
from .topology import Host
from .wording import listed, sentence

# here: at its next start where it is; ha: where a recovery or the cluster's own scheduler may bring it; migration: where
# somebody may move it by hand.
WAYS = ("here", "ha", "migration")


@dataclass(frozen=True)
class StartFinding:
    """One rule that a start breaks, with the hosts where it does. `config`: next (pending changes applied) or stored."""

    guest: Guest
    way: str
    config: str
    hosts: t.Tuple[str, ...]
    finding: Finding

    @property
    def severity(self) -> str:
        """conflict: it cannot start where it is; warning: a recovery would fail, or it runs differently here; else note."""
        if self.way == "here" and self.config == "next":
            return "conflict" if self.finding.fatal else "warning"
        return "warning" if self.way == "ha" else "note"

    @property
    def text(self) -> str:
        where = {"here": "on", "ha": "after a recovery on", "migration": "after a migration to"}[self.way]
        how = ", with what is stored now" if self.config == "stored" else ""
        effect = "would not start" if self.finding.fatal else "would not get what its config says"
        return f"{sentence(self.guest.label)} {effect} {where} {listed(self.hosts)}{how}: {self.finding.message.rstrip('.')}."

    def as_dict(self) -> t.Dict[str, t.Any]:
        return {
            "vmid": self.guest.vmid,
            "name": self.guest.name,
            "node": self.guest.node,
            "way": self.way,
            "hosts": list(self.hosts),
            "config": self.config,
            "severity": self.severity,
            "text": self.text,
            **self.finding.as_dict(),
        }


def start_findings(snapshot: Snapshot) -> t.List[StartFinding]:
    """By guest; equal findings on several hosts are one. Templates and karpenter's dummy guests never start."""
    read = {name: host for name, host in snapshot.hosts.items() if name not in snapshot.unread_hosts}
    found: t.List[StartFinding] = []
    for guest in snapshot.guests:
        if not guest.template and not describes_host(guest):
            found += _of_guest(guest, read, snapshot)
    return found


def _of_guest(guest: Guest, hosts: t.Mapping[str, Host], snapshot: Snapshot) -> t.Iterator[StartFinding]:
    configs = {"next": guest, "stored": replace(guest, pending={})} if guest.pending else {"next": guest}
    for way in WAYS:
        together: t.Dict[t.Tuple[str, Finding], t.List[str]] = {}
        for name in _hosts_by(way, guest, hosts, snapshot):
            said: t.Set[Finding] = set()
            for config, variant in configs.items():
                for finding in findings(variant, hosts[name]):
                    if finding not in said:
                        together.setdefault((config, finding), []).append(name)
                    said.add(finding)
        for (config, finding), names in together.items():
            yield StartFinding(guest, way, config, tuple(names), finding)


def _hosts_by(way: str, guest: Guest, hosts: t.Mapping[str, Host], snapshot: Snapshot) -> t.List[str]:
    """The hosts that were read and that the guest may come to in this way; under HA a strict rule holds for migrations too."""
    others = [name for name in hosts if name != guest.node]
    if way == "here":
        return [guest.node] if guest.node in hosts else []
    if not under_ha(guest):
        return others if way == "migration" else []
    allowed = strict_hosts(snapshot, guest)
    return [name for name in others if not allowed or name in allowed] if way == "ha" else []
