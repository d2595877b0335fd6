# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to change what runs: a property of a systemd unit, the CPUs of a thread, the place of pages.

Everything else of corepin only reads running guests; tests put others in the place of these hands.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import typing as t

from .._engine.cpuset import cpus_of, format_cpulist
from .._engine.errors import SettingError
from .files import Tree
from .threads import Thread, is_fixed

# move_pages(2): the number of the system call by machine (arch/*/include/asm/unistd*.h).
_MOVE_PAGES = {"x86_64": 279, "aarch64": 239, "riscv64": 239, "loongarch64": 239, "ppc64le": 301, "ppc64": 301, "s390x": 310}
_MOVE_SHARED_TOO = 1 << 2  # MPOL_MF_MOVE_ALL: pages that other processes map as well
_NOT_TRIED = -errno.EAGAIN
REFUSALS = (errno.ENOMEM, errno.EACCES, errno.ENODEV)  # of a NUMA node: without room, closed to the process by a cgroup, without memory


class Unanswered(SettingError):
    """systemd has not said within the time limit whether it did what was asked for, and may still do it."""


class Hands:
    """Acts on the running host. `timeout_s`: how long one call of systemctl may take."""

    def __init__(self, tree: Tree, timeout_s: float = 60.0) -> None:
        self.tree = tree
        self.timeout_s = timeout_s
        self._syscall: t.Any = None

    def set_property(self, unit: str, name: str, value: str) -> None:
        """Set a property of a unit until the next boot; of a guest's scope, until the guest stops. Raises SettingError and Unanswered."""
        command = ["systemctl", "set-property", "--runtime", unit, f"{name}={value}"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=False,
                env=self._environment(),
            )
        except subprocess.TimeoutExpired:
            raise Unanswered(f"systemd did not set {name} of {unit} within {self.timeout_s:g} s; see what keeps it busy.") from None
        except OSError as e:
            raise SettingError(f"systemctl could not be run ({e.strerror}); use this on a Proxmox VE host, as root.") from None
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise SettingError(f"systemd refused {name}={value} for {unit} ({said}); run as root on a host with cgroup v2.")

    def _environment(self) -> t.Dict[str, str]:
        """Messages in English, and no limit of systemctl's own (25 s) before ours: after it nobody could tell that from a refusal."""
        patience = f"{self.timeout_s + 30:.0f}"
        return {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", "SYSTEMD_BUS_TIMEOUT": patience}

    def set_mask(self, thread: Thread, cpus: int) -> None:
        """Let a thread run on `cpus` alone; one that is gone, or that the kernel lets nobody move, is no error. Raises SettingError."""
        if not self.tree.exists(f"proc/{thread.pid}/task/{thread.tid}"):
            return
        try:
            os.sched_setaffinity(thread.tid, cpus_of(cpus))
        except ProcessLookupError:
            return
        except OSError as e:
            if e.errno == errno.EINVAL and is_fixed(self.tree, thread.pid, thread.tid):
                return
            raise SettingError(
                f"The kernel refused CPUs {format_cpulist(cpus)} for thread {thread.tid} ({thread.name}): {e.strerror}; see whether "
                "they are online, and which cgroup holds the thread."
            ) from None

    def set_cpuset(self, cgroup: str, cpus: str) -> None:
        """Write the cpuset of a cgroup that is not systemd's. Raises SettingError."""
        path = f"sys/fs/cgroup/{cgroup}/cpuset.cpus"
        try:
            self.tree.write(path, cpus)
        except OSError as e:
            raise SettingError(f"{self.tree.full(path)} refused {cpus} ({e.strerror}); run as root on a host with cgroup v2.") from None

    def pages(self, pid: int, addresses: t.Sequence[int], numa_nodes: t.Optional[t.Sequence[int]] = None) -> t.List[int]:
        """Where the pages of a process at `addresses` are: NUMA node ids, or negated errno (ENOENT: no page there).

        With `numa_nodes`, one for each page, they are moved there first. The first page that its NUMA node refuses has a negated errno of
        REFUSALS; the kernel then gives up, and also after pages that would not move. What it left undone has -EAGAIN, although some of it
        may have moved (mm/migrate.c, do_pages_move). Raises SettingError where the process may not be looked at.
        """
        number = len(addresses)
        status = (ctypes.c_int * number)(*([_NOT_TRIED] * number))
        wanted = None if numa_nodes is None else (ctypes.c_int * number)(*numa_nodes)
        pages, flags = (ctypes.c_void_p * number)(*addresses), ctypes.c_int(_MOVE_SHARED_TOO if numa_nodes else 0)
        outcome = self._move_pages(ctypes.c_int(pid), ctypes.c_ulong(number), pages, wanted, status, flags)
        if outcome < 0:
            code = ctypes.get_errno()
            if code == errno.ESRCH:
                return [-errno.ESRCH] * number
            if code not in (errno.ENOENT, *REFUSALS):
                raise SettingError(f"The kernel refused to move pages of process {pid} ({os.strerror(code)}); run as root.")
            if code in REFUSALS and _NOT_TRIED in status:
                status[list(status).index(_NOT_TRIED)] = -code
        return list(status)

    def _move_pages(self, *arguments: t.Any) -> int:
        if self._syscall is None:
            number = _MOVE_PAGES.get(os.uname().machine)
            if number is None:
                raise SettingError(f"Moving memory is not supported on {os.uname().machine}; set memory_move to false.")
            self._syscall = (ctypes.CDLL(None, use_errno=True).syscall, ctypes.c_long(number))
        syscall, number = self._syscall
        return int(syscall(number, *arguments))
