# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An irqbalance that listens below a generated tree and answers as the real one (1.9.2) does; it moves nothing.

It reads at most 500 bytes, believes root alone, replaces whole lists, and shows banned CPUs only from its next round on.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import typing as t
from pathlib import Path

BUFFER = 500


class Irqbalance:
    """`with Irqbalance(root) as balance:`; `messages` is what it was told, `irqs` and `cpus` (text) what it shows that
    it leaves alone, `asked_cpus` what it was asked to last."""

    def __init__(self, root: str, *, pid: int = 922, irqs: t.Iterable[int] = (), cpus: str = "") -> None:
        folder = Path(root) / "run/irqbalance"
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / f"irqbalance{pid}.sock"
        self.irqs = list(irqs)
        self.cpus = self.asked_cpus = cpus
        self.messages: t.List[str] = []
        self._descriptor = os.open(folder, os.O_RDONLY)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(f"/proc/self/fd/{self._descriptor}/{self.socket.name}")
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Irqbalance:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        os.close(self._descriptor)
        self.socket.unlink()

    def next_round(self) -> None:
        self.cpus = self.asked_cpus

    def settings(self) -> t.List[str]:
        """The messages that changed something, and forget them."""
        told = [message for message in self.messages if message != "setup"]
        self.messages.clear()
        return told

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with connection:
                data, ancillary, _flags, _from = connection.recvmsg(BUFFER, socket.CMSG_SPACE(struct.calcsize("3i")))
                users = [struct.unpack("3i", sent)[1] for _level, kind, sent in ancillary if kind == socket.SCM_CREDENTIALS]
                if users == [os.getuid()]:
                    connection.sendall(self._answer(data.decode("ascii")).encode())

    def _answer(self, message: str) -> str:
        self.messages.append(message)
        banned = re.match(r"settings ban irqs (.*)", message)
        if banned:
            self.irqs = [] if banned.group(1).startswith("NONE") else [int(word) for word in banned.group(1).split()]
        cpus = re.match(r"settings cpus (\S+)", message)
        if cpus:
            self.asked_cpus = "" if cpus.group(1) == "NULL" else cpus.group(1)
        return self._setup() if message == "setup" else ""

    def _setup(self) -> str:
        irqs = "".join(f"IRQ {irq} LOAD 0 DIFF 0 CLASS 0 " for irq in self.irqs)
        mask = 0
        for part in filter(None, self.cpus.split(",")):
            first, _dash, last = part.partition("-")
            mask |= sum(1 << cpu for cpu in range(int(first), int(last or first) + 1))
        return f"SLEEP 10 {irqs}BANNED {mask >> 32:08x},{mask & 0xFFFFFFFF:08x}"
