# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A QMP socket without a QEMU behind it: one client at a time, a greeting, answers, and an event in between."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import typing as t

_GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}, "capabilities": ["oob"]}}
_EVENT = {"event": "RTC_CHANGE", "data": {"offset": 0}, "timestamp": {"seconds": 1, "microseconds": 0}}


def listening(path: t.Union[str, os.PathLike[str]]) -> socket.socket:
    """A listening Unix socket, bound by its folder so that the path may have any length."""
    folder, name = os.path.split(os.fspath(path))
    os.makedirs(folder, exist_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        server.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
    server.listen(4)
    return server


class QmpServer:
    """Answers query-cpus-fast and query-iothreads. `clients` counts the conversations, `commands` are all that were sent."""

    def __init__(
        self, path: t.Union[str, os.PathLike[str]], vcpus: t.Sequence[int], iothreads: t.Optional[t.Mapping[str, int]] = None
    ) -> None:
        self.answers: t.Dict[str, t.Any] = {
            "qmp_capabilities": {},
            "query-cpus-fast": [_vcpu(number, tid) for number, tid in enumerate(vcpus)],
            "query-iothreads": [{"id": name, "thread-id": tid, "poll-max-ns": 32768} for name, tid in (iothreads or {}).items()],
        }
        self.clients = 0
        self.commands: t.List[str] = []
        self._server = listening(path)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> QmpServer:
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._server.accept()
            except OSError:
                return
            self.clients += 1
            client.settimeout(10)
            with contextlib.suppress(OSError):
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        with client, client.makefile("rw", encoding="utf-8") as file:
            _send(file, _GREETING)
            for line in file:
                command = json.loads(line)["execute"]
                self.commands.append(command)
                _send(file, _EVENT)
                if command in self.answers:
                    _send(file, {"return": self.answers[command]})
                else:
                    _send(file, {"error": {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}})


class StuckQmpServer:
    """Listens, as QEMU does while another client is served, and never greets."""

    def __init__(self, path: t.Union[str, os.PathLike[str]]) -> None:
        self._server = listening(path)

    def __enter__(self) -> StuckQmpServer:
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        self._server.close()


def _vcpu(number: int, tid: int) -> t.Dict[str, t.Any]:
    return {
        "cpu-index": number,
        "thread-id": tid,
        "props": {"core-id": number, "thread-id": 0, "socket-id": 0},
        "qom-path": f"/machine/unattached/device[{number}]",
        "target": "x86_64",
    }


def _send(file: t.TextIO, message: t.Any) -> None:
    file.write(json.dumps(message) + "\r\n")
    file.flush()
