# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands that change a generated host as systemd and the kernel change a real one.

Rules: admin-guide/cgroup-v2.rst (cpuset), sched_setaffinity(2), and what kernel 6.12 with systemd 252 was seen to do. A thread may
use what its cgroup and its own mask have in common, or all of its cgroup where that is nothing; its own mask is not
forgotten meanwhile.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import format_cpulist, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.hands import Hands
from ansible_collections.corepin.proxmox.plugins.module_utils._host.threads import Thread

CGROUP = "sys/fs/cgroup"
_ALLOWED = re.compile(r"^Cpus_allowed_list:\t(.*)$", re.MULTILINE)


class RuledHands(Hands):
    """Every change is listed in `writes`. `refuse`: units and thread ids that are refused; `cut`: CPUs that a partition of somebody
    else takes at the first change; `die_at`: the change before which the process is killed; `meanwhile`: called before each."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self.writes: t.List[t.Tuple[str, t.Any, str]] = []
        self.refuse: t.Set[t.Any] = set()
        self.cut = 0
        self.die_at: t.Optional[int] = None
        self.meanwhile: t.Callable[[], None] = lambda: None
        self._own: t.Dict[int, int] = {}

    def set_property(self, unit: str, name: str, value: str) -> None:
        self._write("property", unit, f"{name}={value}")
        cgroup = unit if unit.endswith(".slice") or unit == "init.scope" else f"qemu.slice/{unit}"
        if name == "AllowedMemoryNodes":
            self._put(f"{CGROUP}/{cgroup}/cpuset.mems", value)
        else:
            self._cpuset(cgroup, value)

    def set_cpuset(self, cgroup: str, cpus: str) -> None:
        self._write("cpuset", cgroup, cpus)
        super().set_cpuset(cgroup, cpus)
        self._cpuset(cgroup, cpus)

    def set_mask(self, thread: Thread, cpus: int) -> None:
        if not self.tree.exists(f"proc/{thread.pid}/task/{thread.tid}"):
            return
        self._write("mask", thread.tid, format_cpulist(cpus))
        room = self._room(thread.pid)
        if not cpus & room:
            raise SettingError(f"The kernel refused CPUs {format_cpulist(cpus)} for thread {thread.tid} (Invalid argument).")
        self._own[thread.tid] = cpus
        self._settle(thread.pid, thread.tid, room)

    def _write(self, kind: str, what: t.Any, value: str) -> None:
        if self.die_at is not None and len(self.writes) >= self.die_at:
            raise KeyboardInterrupt
        self.meanwhile()
        if what in self.refuse:
            raise SettingError(f"{what} was refused.")
        self.writes.append((kind, what, value))

    def _cpuset(self, cgroup: str, value: str) -> None:
        self._put(f"{CGROUP}/{cgroup}/cpuset.cpus", value)
        outer = cgroup.rpartition("/")[0]
        above = self.tree.cpulist(f"{CGROUP}/{outer}/cpuset.cpus.effective") or self.tree.cpulist(f"{CGROUP}/cpuset.cpus.effective") or 0
        self._take_effect(cgroup, above & ~self.cut)

    def _take_effect(self, cgroup: str, above: int) -> None:
        """What the cgroup, and those below it, get of the CPUs of the one above."""
        asked = self.tree.cpulist(f"{CGROUP}/{cgroup}/cpuset.cpus")
        effective = (asked or 0) & above or above
        if asked is not None:
            self._put(f"{CGROUP}/{cgroup}/cpuset.cpus.effective", format_cpulist(effective))
        for pid in self.tree.words(f"{CGROUP}/{cgroup}/cgroup.procs") or []:
            for tid in self.tree.names(f"proc/{pid}/task") or []:
                self._settle(int(pid), int(tid), effective)
        for name in self.tree.folders(f"{CGROUP}/{cgroup}"):
            self._take_effect(f"{cgroup}/{name}", effective)

    def _room(self, pid: int) -> int:
        cgroup = (self.tree.text(f"proc/{pid}/cgroup") or "").rpartition("::/")[2]
        found = self.tree.cpulist(f"{CGROUP}/{cgroup}/cpuset.cpus.effective")
        return (self.tree.cpulist(f"{CGROUP}/cpuset.cpus.effective") or 0) if found is None else found

    def _settle(self, pid: int, tid: int, room: int) -> None:
        for path in [f"proc/{pid}/task/{tid}/status", *([f"proc/{pid}/status"] if pid == tid else [])]:
            text = self.tree.text(path) or ""
            found = _ALLOWED.search(text)
            if found is None:
                return
            self._own.setdefault(tid, parse_cpulist(found.group(1)))
            allowed = format_cpulist(self._own[tid] & room or room)
            self._put(path, _ALLOWED.sub(f"Cpus_allowed_list:\t{allowed}", text))

    def _put(self, path: str, text: str) -> None:
        with open(self.tree.full(path), "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
