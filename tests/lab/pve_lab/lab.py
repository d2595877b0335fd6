# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as a whole: a cluster behind an HTTPS server on the loopback interface."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import threading
import types
import typing as t

from .cluster import Cluster
from .faults import Faults
from .requests_log import Request, RequestsLog
from .server import LabServer

_READ_LIKE = ("/access/ticket",)


class Lab:
    """A context manager: inside it, the cluster can be reached at https://{host}:{port} with the CA in `ca_path`.

    delay: seconds before each answer. log_path: a file that gets one JSON line per answered request. state_path: a
    file that holds the cluster's state, as a description, after each change.
    """

    host = "127.0.0.1"

    def __init__(
        self, cluster: Cluster, delay: float = 0.0, port: int = 0, log_path: t.Optional[str] = None, state_path: t.Optional[str] = None
    ) -> None:
        self.cluster = cluster
        self.faults = Faults()
        self.log = RequestsLog(log_path)
        self._delay = delay
        self._wanted_port = port
        self._state_path = state_path
        self.port = 0
        self.ca_path = ""

    def __enter__(self) -> Lab:
        from .tls import make_server_context  # only here: it takes the package cryptography, which the rest does without

        self._directory = tempfile.TemporaryDirectory(prefix="pve-lab-")
        context, ca_path = make_server_context(pathlib.Path(self._directory.name), self.host, self.cluster.nodes)
        self.ca_path = str(ca_path)
        self._server = LabServer((self.host, self._wanted_port), context, self.cluster, self.faults, self.log, self._delay)
        self.port = self._server.server_address[1]
        if self._state_path:
            self.cluster.listeners.append(self._write_state)
            self._write_state()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: t.Optional[type[BaseException]], error: t.Optional[BaseException], trace: t.Optional[types.TracebackType]
    ) -> None:
        self._server.closing.set()
        self.cluster.tasks.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._write_state in self.cluster.listeners:
            self.cluster.listeners.remove(self._write_state)
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """The root of the API."""
        return f"https://{self.host}:{self.port}/api2/json"

    # --- what was asked ----------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order of arrival, also those that were dropped or are still being answered."""
        return self.log.snapshot()

    def mark(self) -> int:
        """A place in the log for requests_since."""
        return len(self.log.snapshot())

    def requests_since(self, mark: int) -> list[Request]:
        """The requests that came after the mark."""
        return self.log.snapshot()[mark:]

    @property
    def writes(self) -> list[Request]:
        """The requests that were meant to change something, successful or not; logins are none."""
        return [request for request in self.requests if request.method != "GET" and request.path not in _READ_LIKE]

    # --- state -------------------------------------------------------------------------------------------------------

    def _write_state(self) -> None:
        assert self._state_path
        target = pathlib.Path(self._state_path)
        fresh = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        fresh.write_text(json.dumps(self.cluster.to_dict(), indent=1) + "\n", encoding="utf-8")
        os.replace(fresh, target)
