# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of everything that clients asked."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import typing as t

_SECRET = ("password", "tfa-challenge", "otp")


@dataclasses.dataclass
class Request:
    """One request. path: without /api2/json; user: None before login; status: None until answered, 0: never answered."""

    method: str
    path: str
    params: dict[str, t.Any]
    user: t.Optional[str] = None
    status: t.Optional[int] = None
    reason: str = ""
    began: float = 0.0
    ended: t.Optional[float] = None


class RequestsLog:
    """In order of arrival; an entry stands there from the moment the request has been read."""

    def __init__(self, path: t.Optional[str] = None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self.entries: list[Request] = []

    def begin(self, method: str, path: str, params: t.Mapping[str, t.Any]) -> Request:
        """Note a request; secrets are not kept, a repeated parameter is shown as a list with commas."""
        shown = {key: "***" if key in _SECRET else _shown(value) for key, value in params.items()}
        entry = Request(method, path, shown, began=time.monotonic())
        with self._lock:
            self.entries.append(entry)
        return entry

    def end(self, entry: Request, status: int, reason: str) -> None:
        """Note the answer (status 0: the connection was dropped instead)."""
        entry.status, entry.reason, entry.ended = status, reason, time.monotonic()
        if self._path:
            line = json.dumps(
                {"method": entry.method, "path": entry.path, "params": entry.params, "user": entry.user, "status": status, "reason": reason}
            )
            with self._lock, open(self._path, "a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def snapshot(self) -> list[Request]:
        """All entries so far."""
        with self._lock:
            return list(self.entries)


def _shown(value: t.Any) -> t.Any:
    return value.replace("\0", ",") if isinstance(value, str) else value
