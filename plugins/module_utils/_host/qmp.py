# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU itself says about its threads, over its control socket (QMP): which one is which vCPU or I/O thread.

The socket serves one client at a time, and PVE asks it every few seconds: so connect, ask, close, and never wait long.
Sources: docs/interop/qmp-spec and qapi/machine.json (query-cpus-fast), qapi/misc.json (query-iothreads) of QEMU.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import os
import socket
import time
import typing as t
from dataclasses import dataclass

TIMEOUT_S = 2.0
_LONGEST_PATH = 100  # bytes; the kernel takes 107 (sun_path in unix(7))
_MOST_BYTES = 1 << 20  # an answer for 1000 vCPUs has 200 KiB


@dataclass(frozen=True)
class QmpThreads:
    """`vcpus`: vCPU number by thread id; `iothreads`: the I/O thread's name by thread id."""

    vcpus: t.Mapping[int, int]
    iothreads: t.Mapping[int, str]


def query_threads(path: str, timeout_s: float = TIMEOUT_S) -> t.Optional[QmpThreads]:
    """Ask the QMP socket at `path`; None where it is missing, or busy or silent for `timeout_s` seconds in all."""
    try:
        with _Connection(path, timeout_s) as connection:
            connection.ask("qmp_capabilities")
            vcpus = connection.ask("query-cpus-fast")
            iothreads = connection.ask("query-iothreads")
        return QmpThreads(
            vcpus={int(vcpu["thread-id"]): int(vcpu["cpu-index"]) for vcpu in vcpus},
            iothreads={int(iothread["thread-id"]): str(iothread["id"]) for iothread in iothreads},
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None


class _Connection:
    """One conversation: lines of JSON, answers in the order of the commands, events in between."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._buffer = b""
        self._folder = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(self._short(path))
            self._line()  # the greeting, which comes once the socket is ours
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def ask(self, command: str) -> t.Any:
        """The command's return value. Raises OSError, also for an answer that is an error, and ValueError for nonsense."""
        self._socket.sendall(json.dumps({"execute": command}).encode() + b"\n")
        while True:
            answer = json.loads(self._line())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise OSError(f"{command}: {answer['error']}")

    def _short(self, path: str) -> str:
        """A name of the socket that fits into the kernel's address: by way of its open directory where it is too long."""
        if len(os.fsencode(path)) <= _LONGEST_PATH:
            return path
        self._folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{os.path.basename(path)}"

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            left = self._deadline - time.monotonic()
            if left <= 0 or len(self._buffer) > _MOST_BYTES:
                raise OSError("no answer in time")
            self._socket.settimeout(left)
            chunk = self._socket.recv(65536)
            if not chunk:
                raise OSError("the socket was closed")
            self._buffer += chunk
        line, _newline, self._buffer = self._buffer.partition(b"\n")
        return line
