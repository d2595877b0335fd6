# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guest_pinning remembers on a host: whom it touched, and what has to be undone.

It is on the disk before the first change, so that a process killed at any moment leaves what the next one needs.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import copy
import typing as t
from dataclasses import asdict, dataclass, field

from .._engine.cpuset import format_cpulist, parse_cpulist
from .container_cpuset import ContainerJob, config_path
from .files import Tree
from .kept import recall, remember
from .runtime import Running, start_of

NAME = "guest-pinning"
SCHEMA = 1

Entry = t.Dict[str, t.Any]


@dataclass
class Kept:
    """`reserved`: the cpulist of the CPUs that the last plan kept for the host. The others by vmid, or by unit:

    `guests`: {pid, started, masks: cpulists that were set on threads, memory_nodes: what AllowedMemoryNodes was set to,
    left_mib: memory by NUMA node that would not move}; `containers`: {before: the stored cpuset key or null, set: the cpulists that
    the key was set to, live: those that the cgroup was, one each but while they are being set}; `units`: {before: the cpulist that
    their owner had asked for, "" for none, set: those that they were given, one but while it is being set}.
    """

    reserved: str = ""
    guests: t.Dict[str, Entry] = field(default_factory=dict)
    containers: t.Dict[str, Entry] = field(default_factory=dict)
    units: t.Dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, tree: Tree) -> Kept:
        """Raises SettingError where the file is damaged."""
        found = recall(tree, NAME)
        units = {unit: _unit(entry) for unit, entry in found.get("units", {}).items()}
        return cls(found.get("reserved", ""), found.get("guests", {}), found.get("containers", {}), units)

    def write(self, tree: Tree) -> None:
        """Raises SettingError where the disk refuses."""
        remember(tree, NAME, {"schema": SCHEMA, **asdict(self)} if self.guests or self.containers or self.units else {})

    def copy(self) -> Kept:
        return copy.deepcopy(self)

    def of(self, guest: Running) -> t.Optional[Entry]:
        """What is remembered of this very process; None for another one with its number."""
        entry = self.guests.get(str(guest.vmid))
        return entry if entry and (entry["pid"], entry["started"]) == (guest.pid, guest.started) else None

    def masks(self, guest: Running) -> t.Set[int]:
        """The masks that were set on its threads, or were about to be."""
        entry = self.of(guest)
        return {parse_cpulist(text) for text in entry["masks"]} if entry else set()

    def enter(self, guest: Running, masks: t.Iterable[int], more: bool) -> Entry:
        """Note that threads of the guest get `masks`; with `more` beside those that they had. Returns its entry."""
        entry = self.of(guest) or {"pid": guest.pid, "started": guest.started, "masks": [], "memory_nodes": [], "left_mib": {}}
        known = self.masks(guest) if more else set()
        entry["masks"] = sorted(format_cpulist(mask) for mask in {*masks, *known})
        self.guests[str(guest.vmid)] = entry
        return entry

    def enter_container(self, job: ContainerJob) -> None:
        """Note what is about to be written to a container's key and cgroup. A key that is not ours is what there was before."""
        entry = self.containers.setdefault(str(job.vmid), {"before": job.stored, "set": [], "live": []})
        if job.wanted is not None and job.wanted != job.stored:
            if job.stored not in entry["set"]:
                entry["before"] = job.stored
            entry["set"] = sorted({*entry["set"], job.wanted})
        if job.live is not None:
            entry["live"] = sorted({*entry["live"], format_cpulist(job.live)})

    def settle_container(self, job: ContainerJob) -> None:
        """Note that a container has what `job` says: of our values these alone."""
        entry = self.containers[str(job.vmid)]
        entry["set"] = [value for value in entry["set"] if value == job.wanted]
        if job.live is not None:
            entry["live"] = [format_cpulist(job.live)]

    def forget(self, tree: Tree, node: str) -> None:
        """Drop what was remembered of processes that are gone, and of containers that are not on this host any more."""
        for vmid, entry in [*self.guests.items()]:
            if start_of(tree, entry["pid"]) != entry["started"]:
                del self.guests[vmid]
        if tree.exists(f"etc/pve/nodes/{node}"):  # else PVE's own file system is not there at the moment
            for vmid in [vmid for vmid in self.containers if not tree.exists(config_path(node, int(vmid)))]:
                del self.containers[vmid]


def _unit(entry: t.Union[Entry, str]) -> Entry:
    """Files of earlier versions say of a unit only what it was given."""
    return {"before": "", "set": [entry]} if isinstance(entry, str) else entry
