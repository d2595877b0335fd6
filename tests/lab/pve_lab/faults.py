# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand: refuse, hang, drop the connection, be slow, or do the work and then fail to say so."""

from __future__ import annotations

import dataclasses
import re
import threading
import typing as t


@dataclasses.dataclass
class Fault:
    """What happens to matching requests.

    method: None matches any; path: a regular expression searched in the path without /api2/json.
    delay: seconds of silence. status and reason: what is answered. drop: the connection is closed without an answer.
    after_acceptance: the request is carried out first, and only its answer suffers.
    act: called when the request arrives, or once it was carried out where after_acceptance: the world changes meanwhile.
    skip: how many matching requests pass unharmed before it comes into force.
    times: for how many requests (None: all). hits: how many it has met.
    """

    method: t.Optional[str] = None
    path: str = ""
    status: t.Optional[int] = None
    reason: str = ""
    delay: float = 0.0
    drop: bool = False
    after_acceptance: bool = False
    times: t.Optional[int] = None
    act: t.Optional[t.Callable[[], None]] = None
    skip: int = 0
    hits: int = 0

    def fits(self, method: str, path: str) -> bool:
        """Whether the request is one of those meant."""
        if self.times is not None and self.hits >= self.times:
            return False
        return self.method in (None, method) and re.search(self.path, path) is not None


class Faults:
    """The faults in force; the first that fits a request applies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        *,
        method: t.Optional[str] = None,
        path: str = "",
        status: t.Optional[int] = None,
        reason: str = "",
        delay: float = 0.0,
        drop: bool = False,
        after_acceptance: bool = False,
        times: t.Optional[int] = None,
        act: t.Optional[t.Callable[[], None]] = None,
        skip: int = 0,
    ) -> Fault:
        """Put a fault in force; the returned object counts its hits."""
        fault = Fault(method, path, status, reason, delay, drop, after_acceptance, times, act, skip)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take a fault back."""
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Take all faults back."""
        with self._lock:
            self._faults.clear()

    def meet(self, method: str, path: str) -> t.Optional[Fault]:
        """The fault for a request, counted as met; None if there is none."""
        with self._lock:
            for fault in self._faults:
                if fault.fits(method, path) and not self._passes(fault):
                    fault.hits += 1
                    return fault
        return None

    def _passes(self, fault: Fault) -> bool:
        fault.skip -= 1
        return fault.skip >= 0
