# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a simulated call fails, with PVE's status codes and words.

A message ends in a newline as Perl's `die` texts do; the HTTP reason phrase is its first line.
"""

from __future__ import annotations

import typing as t


class ApiError(Exception):
    """A call that PVE answers with something else than 200.

    `errors` is the dictionary of parameter errors (status 400), `bare` means that the answer has no body at all
    (PVE does that for 401 and for its proxy errors 595 and 596). `delay`: seconds before the answer goes out.
    """

    def __init__(
        self, status: int, message: str, errors: t.Optional[dict[str, str]] = None, bare: bool = False, delay: float = 0.0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.bare = bare
        self.delay = delay

    @property
    def reason(self) -> str:
        """What the HTTP status line says: the first line of the message."""
        return self.message.split("\n", 1)[0]


class TaskError(Exception):
    """A task that ends with an error: its text, without "TASK ERROR:", and the lines the task printed before."""

    def __init__(self, message: str, log: t.Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message.rstrip("\n")
        self.log = list(log)


def died(message: str) -> ApiError:
    """What PVE answers when the code behind a call dies: 500 and the text."""
    return ApiError(500, message + "\n")


def parameter_error(errors: dict[str, str]) -> ApiError:
    """400 with a message per parameter."""
    return ApiError(400, "Parameter verification failed.\n", errors)


def permission_error(what: str) -> ApiError:
    """403; `what` is "PATH, PRIVILEGE"."""
    return ApiError(403, f"Permission check failed ({what})\n")


def unauthorized(reason: str) -> ApiError:
    """401 without a body."""
    return ApiError(401, reason, bare=True)
