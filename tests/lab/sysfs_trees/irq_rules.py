# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A generated tree whose interrupts come and go, and take and refuse CPUs as the kernel does.

Rules: kernel/irq/proc.c (write_irq_affinity looks first whether the kernel manages the interrupt, then at the text),
core-api/irq/irq-affinity.rst, and what kernels 6.1 and 6.12 were seen to do.
"""

from __future__ import annotations

import collections
import errno
import os
import re
import shutil
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree

from .write import cpulist

DEVICES = "sys/bus/pci/devices"
_FILE = re.compile(r"^proc/irq/(\d+)/smp_affinity_list$")
_LIST = re.compile(r"^\d+(-\d+)?(,\d+(-\d+)?)*$")


class IrqTree(Tree):
    """`writes`: every mask that was taken, as (number, cpulist); `refused`: every one that was not. `reads`: how often each file was read.

    `refuse`: number -> errno for masks that are well formed. `remapping` False is a host that moves an interrupt when it next
    fires (`fire`). `managed_error` EIO is an older kernel (6.1), whose files do not show by their mode either who is managed.
    """

    live = True  # type: ignore[assignment]  # as the running kernel's

    def __init__(self, root: str, online: t.Sequence[int], *, remapping: bool = True, managed_error: int = errno.EPERM) -> None:
        super().__init__(root)
        self.online = tuple(online)
        self.remapping = remapping
        self.managed_error = managed_error
        self.managed: t.Set[int] = set()
        self.writes: t.List[t.Tuple[int, str]] = []
        self.refused: t.List[t.Tuple[int, str]] = []
        self.reads: t.Counter[str] = collections.Counter()
        self.refuse: t.Dict[int, int] = {}

    # --- interrupts come and go ----------------------------------------------------------------------------------------

    def give(self, device: str, numbers: t.Iterable[int], *, cpus: t.Optional[str] = None, managed: bool = False) -> None:
        """MSI vectors for a PCI function, in the order of their indexes."""
        for number in numbers:
            self._put(f"{DEVICES}/{device}/msi_irqs/{number}", "msix")
            self.add(number, cpus=cpus, managed=managed)

    def take(self, device: str) -> None:
        """The driver lets all its vectors go."""
        for number in self.numbered(f"{DEVICES}/{device}/msi_irqs", "") or ():
            shutil.rmtree(self.full(f"proc/irq/{number}"))
        shutil.rmtree(self.full(f"{DEVICES}/{device}/msi_irqs"), ignore_errors=True)

    def add(self, number: int, *users: str, cpus: t.Optional[str] = None, managed: bool = False, used: bool = True) -> None:
        """One interrupt; `users` are those of a line. The kernel spreads interrupts over the CPUs that it may choose from."""
        allowed = cpus or cpulist(self.online)
        chosen = _cpus(allowed)
        self._put(f"proc/irq/{number}/smp_affinity_list", allowed)
        self._put(f"proc/irq/{number}/effective_affinity_list", str(chosen[number % len(chosen)]) if used else "")
        for user in users:
            os.makedirs(self.full(f"proc/irq/{number}/{user}"), exist_ok=True)
        if managed:
            self.managed.add(number)
            if self.managed_error == errno.EPERM:
                os.chmod(self.full(f"proc/irq/{number}/smp_affinity_list"), 0o444)

    def fire(self, number: int) -> None:
        """It fires, so that a host without remapping moves it."""
        self._settle(number)

    def masks(self) -> t.Dict[int, t.Tuple[t.Optional[str], t.Optional[str]]]:
        """Every interrupt: CPUs allowed, CPUs in effect."""
        return {number: (self._now(number, "smp"), self._now(number, "effective")) for number in self.numbered("proc/irq", "") or ()}

    # --- the kernel's answers ------------------------------------------------------------------------------------------

    def _read(self, path: str, size: t.Optional[int]) -> t.Optional[str]:
        self.reads[path] += 1
        return super()._read(path, size)

    def write(self, path: str, text: str) -> None:
        match = _FILE.match(path)
        if not match:
            super().write(path, text)
            return
        number = int(match.group(1))
        refusal = self._refusal(number, text)
        if refusal:
            self.refused.append((number, text))
            raise OSError(refusal, os.strerror(refusal))
        self._put(path, text)
        if self.remapping:
            self._settle(number)
        self.writes.append((number, text))

    def _refusal(self, number: int, text: str) -> int:
        """The kernel's error; 0 where it takes the text."""
        if not self.exists(f"proc/irq/{number}"):
            return errno.ENOENT
        if number in self.managed:
            return self.managed_error
        if not _LIST.match(text):
            return errno.EINVAL
        if max(_cpus(text)) >= max(self.online) + 1:
            return errno.ERANGE
        if not set(_cpus(text)) & set(self.online):
            return errno.EINVAL
        return self.refuse.get(number, 0)

    def _settle(self, number: int) -> None:
        """An interrupt stays on its CPU while that is allowed."""
        allowed = [cpu for cpu in _cpus(self._now(number, "smp") or "") if cpu in self.online]
        if self._now(number, "effective") not in [str(cpu) for cpu in allowed]:
            self._put(f"proc/irq/{number}/effective_affinity_list", str(allowed[number % len(allowed)]))

    def _now(self, number: int, kind: str) -> t.Optional[str]:
        """Not counted as read."""
        return super()._read(f"proc/irq/{number}/{kind}_affinity_list", None)

    def _put(self, path: str, text: str) -> None:
        full = self.full(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="ascii") as file:
            file.write(text + "\n")


def _cpus(text: str) -> t.List[int]:
    """A cpulist without strides, read here anew so that the reader is not tested against itself."""
    ends = [part.partition("-") for part in text.split(",") if part]
    return [cpu for first, _dash, last in ends for cpu in range(int(first), int(last or first) + 1)]
