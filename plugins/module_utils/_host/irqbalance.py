# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling a running irqbalance what to leave alone, through its socket: it stays up, and keeps everything else in balance.

What it understands, one message for each connection, at most 500 bytes of it (irqbalance.c, sock_handle; seen with 1.9.2):
`setup` is answered with `SLEEP 10 IRQ 24 LOAD ... BANNED 00000f00`, the interrupts and CPUs that are banned;
`settings ban irqs 24 25` and `settings cpus 8-11` replace these, `NONE` and `NULL` take them away. A change of CPUs shows
up only with its next round. While it looks at the machine anew, which a change makes it do, it answers nobody for a round.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import typing as t
from dataclasses import dataclass, field

from .._engine.cpuset import format_cpulist, parse_cpulist
from .files import Tree
from .services import system_slice

SOCKETS = "run/irqbalance"
LONGEST_MESSAGE = 499
PATIENCE_S = 45.0  # a round takes 10 s unless somebody chose another time
_NAME = re.compile(r"^irqbalance\d+\.sock$")
_BANNED_IRQ = re.compile(r"\bIRQ (\d+) ")
_BANNED_CPUS = re.compile(r"\bBANNED ([0-9a-f,]+)")


@dataclass(frozen=True)
class Bans:
    """What irqbalance leaves alone: interrupts by number, CPUs as a mask."""

    irqs: t.FrozenSet[int] = frozenset()
    cpus: int = 0


@dataclass(frozen=True)
class Irqbalance:
    """`socket` is the name of the one that answers, None where irqbalance cannot be told anything; `bans` is what it answered."""

    running: bool
    socket: t.Optional[str] = None
    bans: Bans = Bans()


@dataclass(frozen=True)
class BanChange:
    """The messages that lead from `before` to `after`, those that undo them, and what has to be remembered of it ({}: nothing)."""

    before: Bans
    after: Bans
    messages: t.Tuple[str, ...] = ()
    undo: t.Tuple[str, ...] = ()
    remembered: t.Mapping[str, t.Any] = field(default_factory=dict)


def find_irqbalance(tree: Tree) -> Irqbalance:
    """Ask the irqbalance of this host, if there is one, what it leaves alone."""
    for name in tree.names(SOCKETS) or ():
        if _NAME.match(name):
            try:
                return Irqbalance(True, name, _bans(tell(tree, name, "setup")))
            except OSError:
                continue  # left behind by one that was killed, or not for us
    return Irqbalance(bool(tree.words(f"{system_slice(tree)}/irqbalance.service/cgroup.procs")))


def tell(tree: Tree, name: str, message: str) -> str:
    """Send a message to the socket of that name and return the answer when it has been dealt with. Raises OSError."""
    folder = os.open(tree.full(SOCKETS), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(f"/proc/self/fd/{folder}/{name}")  # a path may be longer than a socket's address
            who = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
            client.sendmsg([message.encode()], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, who)])
            return b"".join(iter(lambda: client.recv(65536), b"")).decode("ascii", "replace")
    finally:
        os.close(folder)


def change_bans(now: Irqbalance, remembered: t.Mapping[str, t.Any], wanted: Bans) -> t.Optional[BanChange]:
    """How to have `wanted` left alone besides what others asked for, given what was remembered of our earlier wishes.

    None where a message would be longer than irqbalance reads.
    """
    ours = remembered if remembered.get("socket") == now.socket else {}
    ours_before = parse_cpulist(ours.get("cpus", ""))
    theirs = now.bans.irqs - frozenset(ours.get("irqs", ()))
    their_cpus = parse_cpulist(ours["their_cpus"]) if ours_before else now.bans.cpus
    before = Bans(now.bans.irqs, their_cpus | ours_before)
    after = Bans(theirs | (wanted.irqs - {0}), their_cpus | wanted.cpus)
    messages, undo = [], []
    if after.irqs != before.irqs:
        messages.append(_ban_irqs(after.irqs))
        undo.append(_ban_irqs(before.irqs))
    if after.cpus != before.cpus:
        messages.append(_ban_cpus(after.cpus))
        undo.append(_ban_cpus(before.cpus))
    if any(len(message) > LONGEST_MESSAGE for message in messages):
        return None
    added, added_cpus = sorted(after.irqs - theirs), after.cpus & ~their_cpus
    if not added and not added_cpus:
        return BanChange(before, after, tuple(messages), tuple(undo))
    memory = {"socket": now.socket, "irqs": added, "cpus": format_cpulist(added_cpus), "their_cpus": format_cpulist(their_cpus)}
    return BanChange(before, after, tuple(messages), tuple(undo), memory)


def _bans(answer: str) -> Bans:
    """Raises ConnectionError where the answer is none of irqbalance's."""
    cpus = _BANNED_CPUS.search(answer)
    if not cpus:
        raise ConnectionError(f"irqbalance answered {answer[:60]!r}")
    return Bans(frozenset(int(number) for number in _BANNED_IRQ.findall(answer)), int(cpus.group(1).replace(",", ""), 16))


def _ban_irqs(irqs: t.Collection[int]) -> str:
    return "settings ban irqs " + (" ".join(str(number) for number in sorted(irqs)) or "NONE")


def _ban_cpus(cpus: int) -> str:
    return "settings cpus " + (format_cpulist(cpus) or "NULL")
