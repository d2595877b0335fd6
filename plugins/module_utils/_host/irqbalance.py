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
    """The messages that lead from `before` to `after`, those that undo them, and what has to be remembered of it ({}: nothing).

    `doubtful` has to be remembered as long as nobody knows which of the messages irqbalance has taken.
    """

    before: Bans
    after: Bans
    messages: t.Tuple[str, ...] = ()
    undo: t.Tuple[str, ...] = ()
    remembered: t.Mapping[str, t.Any] = field(default_factory=dict)
    doubtful: t.Mapping[str, t.Any] = field(default_factory=dict)


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

    CPUs are told again where it is not known that they were told, for irqbalance does not show at once what it knows of them.
    None where a message would be longer than irqbalance reads.
    """
    known = remembered if remembered.get("socket") == now.socket else {}
    ours = Bans(frozenset(known.get("irqs", ())), parse_cpulist(known.get("cpus", "")))
    in_doubt = bool(ours.cpus) and not known.get("told")
    theirs = Bans(now.bans.irqs - ours.irqs, parse_cpulist(known["their_cpus"]) if ours.cpus else now.bans.cpus)
    before = Bans(now.bans.irqs, now.bans.cpus if in_doubt else theirs.cpus | ours.cpus)
    after = Bans(theirs.irqs | (wanted.irqs - {0}), theirs.cpus | wanted.cpus)
    messages, undo = [], []
    if after.irqs != before.irqs:
        messages.append(_ban_irqs(after.irqs))
        undo.append(_ban_irqs(before.irqs))
    if after.cpus != before.cpus or in_doubt:
        messages.append(_ban_cpus(after.cpus))
        undo.append(_ban_cpus(before.cpus))
    if any(len(message) > LONGEST_MESSAGE for message in messages):
        return None
    added = Bans(after.irqs - theirs.irqs, after.cpus & ~theirs.cpus)
    either = Bans(added.irqs | ours.irqs, added.cpus | ours.cpus)
    memory = _memory(now, added, theirs, told=True) if added != Bans() else {}
    return BanChange(before, after, tuple(messages), tuple(undo), memory, _memory(now, either, theirs, told=False))


def _memory(now: Irqbalance, ours: Bans, theirs: Bans, *, told: bool) -> t.Dict[str, t.Any]:
    """As JSON takes it. `told`: whether irqbalance has taken all of it."""
    cpus = {"cpus": format_cpulist(ours.cpus), "their_cpus": format_cpulist(theirs.cpus)}
    return {"socket": now.socket, "irqs": sorted(ours.irqs), **cpus, "told": told}


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
