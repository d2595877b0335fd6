# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interrupts of a host: which there are, whose they are, and which CPUs they go to.

An interrupt of a PCI function is known by the function and its MSI index: numbers change whenever a driver lets its
interrupts go and takes new ones. Of a function that a guest has, vfio says the index; new kernels take its vectors one by one,
as the guest asks for them. Elsewhere it is the place among the function's numbers, for the kernel gives the vectors that a
driver asks for at once out in ascending order. Interrupts of other kinds are known by the names of those who asked for them.

Sources: core-api/irq/irq-affinity.rst, ABI sysfs-bus-pci (msi_irqs), filesystems/proc.rst (1.2, /proc/irq),
drivers/vfio/pci/vfio_pci_intrs.c.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import errno
import os
import re
import typing as t
from dataclasses import dataclass

from .files import Tree
from .pci import ADDRESS, DEVICES

IRQ = "proc/irq"
NO_INTERRUPT = (0, 255)  # what the file `irq` of a PCI function says where it has no line
MANAGED_ERRORS = (errno.EPERM, errno.EIO)  # as kernel 6.12 refuses, and 6.1

_VFIO_DRIVER = re.compile(r"vfio[-_]pci$")  # vfio-pci, and its variants for some devices: mlx5_vfio_pci, virtio_vfio_pci
_VFIO_NAME = re.compile(r"^vfio-msix?\[(\d+)\]")


@dataclass(frozen=True)
class Interrupt:
    """One interrupt. `device` and `index` are of PCI functions; `index` None is the line that functions may share.

    `users` are the names of those who asked for a line; () for MSI, whose only user is the function.
    """

    key: str
    number: int
    device: t.Optional[str] = None
    index: t.Optional[int] = None
    users: t.Tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        return len(self.users) > 1


@dataclass(frozen=True)
class Target:
    """Where an interrupt goes, as masks: the CPUs that it may go to, and those that it goes to (None: the kernel does not say).

    `effective` 0 is an interrupt that nobody has asked for.
    """

    allowed: int
    effective: t.Optional[int]


def key_of(device: str, index: t.Optional[int]) -> str:
    """`0000:41:00.2/0`, or `0000:41:00.2/line`."""
    return f"{device}/{'line' if index is None else index}"


def device_of(key: str) -> t.Optional[str]:
    """The PCI function in a key; None for an interrupt of another kind."""
    device = key.rpartition("/")[0]
    return device if ADDRESS.match(device) else None


def vectors_of(tree: Tree, device: str) -> t.List[Interrupt]:
    """The interrupts that a PCI function has now, by index: its MSI vectors or, where it has none, its line if it is in use."""
    vectors = _msi_vectors(tree, device)
    if vectors:
        return vectors
    line = _line(tree, device)
    users = () if line is None else _users(tree, line)
    return [Interrupt(key_of(device, None), line, device, None, users)] if line is not None and users else []


def _msi_vectors(tree: Tree, device: str) -> t.List[Interrupt]:
    """By index. A vector of a guest that is not in use has no name, and gets an index that no other has."""
    numbers = tree.numbered(f"{DEVICES}/{device}/msi_irqs", "") or []
    names = {number: _index_in_name(tree, number) for number in numbers} if numbers and held_by_vfio(tree, device) else {}
    taken = {number: index for number, index in names.items() if index is not None}
    free = iter(index for index in range(len(numbers) + len(taken)) if index not in taken.values())
    indexes = {(taken[number] if number in taken else next(free)): number for number in numbers}
    return [Interrupt(key_of(device, index), indexes[index], device, index) for index in sorted(indexes)]


def held_by_vfio(tree: Tree, device: str) -> bool:
    """Whether a guest has the function, or may have it."""
    return bool(_VFIO_DRIVER.search(tree.link_name(f"{DEVICES}/{device}/driver") or ""))


def _index_in_name(tree: Tree, number: int) -> t.Optional[int]:
    matches = [_VFIO_NAME.match(user) for user in _users(tree, number)]
    return next((int(match.group(1)) for match in matches if match), None)


def lines_of(tree: Tree, functions: t.Iterable[str]) -> t.FrozenSet[int]:
    """The numbers of the lines of those functions that have no MSI vectors; others may share them."""
    without_msi = (function for function in functions if not tree.numbered(f"{DEVICES}/{function}/msi_irqs", ""))
    return frozenset(line for line in (_line(tree, function) for function in without_msi) if line is not None)


def _line(tree: Tree, device: str) -> t.Optional[int]:
    line = tree.loose_number(f"{DEVICES}/{device}/irq")
    return None if line in NO_INTERRUPT else line


def all_interrupts(tree: Tree, known: t.Iterable[Interrupt], functions: t.Iterable[str]) -> t.List[Interrupt]:
    """Every interrupt of the host that is in use, by number: the `known` ones, those of other PCI `functions`, and the rest."""
    found = {interrupt.number: interrupt for interrupt in known}
    for device in functions:
        for interrupt in _msi_vectors(tree, device):
            found.setdefault(interrupt.number, interrupt)
    names: t.Set[str] = set()
    for number in tree.numbered(IRQ, "") or ():
        users = () if number in found else _users(tree, number)
        if users:
            key = "line " + ",".join(users)
            key = key if key not in names else f"{key} {number}"
            names.add(key)
            found[number] = Interrupt(key, number, users=users)
    return [found[number] for number in sorted(found)]


class Readings:
    """Where interrupts go, each file read once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._effective: t.Dict[int, t.Optional[int]] = {}
        self._allowed: t.Dict[int, t.Optional[int]] = {}

    def effective(self, interrupt: Interrupt) -> t.Optional[int]:
        if interrupt.number not in self._effective:
            self._effective[interrupt.number] = read_effective(self._tree, interrupt)
        return self._effective[interrupt.number]

    def allowed(self, interrupt: Interrupt) -> t.Optional[int]:
        if interrupt.number not in self._allowed:
            self._allowed[interrupt.number] = read_allowed(self._tree, interrupt)
        return self._allowed[interrupt.number]


def read_effective(tree: Tree, interrupt: Interrupt) -> t.Optional[int]:
    """The CPUs that an interrupt goes to as a mask; 0 where it is not in use, None where the kernel does not say."""
    return tree.cpulist(f"{IRQ}/{interrupt.number}/effective_affinity_list")


def read_allowed(tree: Tree, interrupt: Interrupt) -> t.Optional[int]:
    """The CPUs that an interrupt may go to as a mask; None where there is no such interrupt (any more)."""
    return tree.cpulist(affinity_file(interrupt))


def affinity_file(interrupt: Interrupt) -> str:
    return f"{IRQ}/{interrupt.number}/smp_affinity_list"


def still_there(tree: Tree, interrupt: Interrupt) -> bool:
    """Whether the number still is that interrupt's: a guest that resets its device lets it go, for anybody to take."""
    if interrupt.index is None:
        return tree.exists(affinity_file(interrupt))
    return tree.exists(f"{DEVICES}/{interrupt.device}/msi_irqs/{interrupt.number}")


def driver_of(tree: Tree, interrupt: Interrupt) -> t.Optional[str]:
    """The driver of the PCI function whose interrupt it is; None for interrupts of other kinds."""
    return tree.link_name(f"{DEVICES}/{interrupt.device}/driver") if interrupt.device else None


def looks_managed(tree: Tree, interrupt: Interrupt) -> bool:
    """Whether the file's mode says that the kernel keeps the interrupt where it is, as with the queues of NVMe disks.

    New kernels (6.12) say so, others (6.8) do not.
    """
    try:
        return not os.stat(tree.full(affinity_file(interrupt))).st_mode & 0o222
    except OSError:
        return False


def refuses_all(tree: Tree, interrupt: Interrupt) -> bool:
    """Whether the kernel keeps the interrupt where it is, by trying: where it does not look so, only a write tells.

    The kernel refuses before it looks at the text, so that a text which is no cpulist is refused either way, with another error,
    and never changes anything.
    """
    if not tree.live:
        return False
    try:
        tree.write(affinity_file(interrupt), "x")
    except OSError as e:
        return e.errno in MANAGED_ERRORS
    return False


def _users(tree: Tree, number: int) -> t.Tuple[str, ...]:
    """Each who asked for an interrupt has a folder in its folder (kernel/irq/proc.c, register_handler_proc)."""
    return tuple(tree.folders(f"{IRQ}/{number}"))
