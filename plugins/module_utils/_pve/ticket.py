# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A login with a password: the ticket that PVE gives for it, which later logins can do without.

PVE signs tickets and keeps no list of them: one is valid for two hours (`$ticket_lifetime` in pve-access-control's
src/PVE/AccessControl.pm) and cannot be taken back. A valid ticket is accepted in place of the password, and then no
second factor is asked for: that is how one is renewed.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

LIFETIME_S = 7200
RENEWAL_S = 3600  # a ticket with less than this left is exchanged for a new one

Answer = t.Mapping[str, t.Any]
Post = t.Callable[[t.Mapping[str, str]], t.Optional[Answer]]


class SecondFactorError(Exception):
    """The password was right, but PVE also wants a second factor: none was given, or (`refused`) not one that counts."""

    def __init__(self, refused: bool) -> None:
        super().__init__("second factor")
        self.refused = refused


@dataclass(frozen=True)
class Ticket:
    """ticket: goes with every request; csrf_token: with every write as well; expires: seconds since the epoch."""

    ticket: str = field(repr=False)
    csrf_token: str = field(repr=False)
    expires: int

    @property
    def wants_renewal(self) -> bool:
        return self.expires - time.time() < RENEWAL_S


def obtain(post: Post, user: str, password: str, otp: t.Optional[str]) -> t.Optional[Ticket]:
    """The ticket for a password, or for another ticket of the same user; None where it is refused.

    `post` sends a form to /access/ticket and returns the data of the answer, None for status 401. Without an `otp` no
    second factor is tried, for PVE locks the second factor of a user after some failures. Raises SecondFactorError,
    KeyError and TypeError where the answer is not PVE's, and what `post` raises.
    """
    asked_at = int(time.time())
    first = post({"username": user, "password": password})
    if first is None:
        return None
    if not first.get("NeedTFA"):
        return Ticket(str(first["ticket"]), str(first["CSRFPreventionToken"]), asked_at + LIFETIME_S)
    if not otp:
        raise SecondFactorError(refused=False)
    answer = otp if otp.startswith(("totp:", "recovery:")) else f"totp:{otp}"
    second = post({"username": user, "password": answer, "tfa-challenge": str(first["ticket"])})
    if second is None:
        raise SecondFactorError(refused=True)
    return Ticket(str(second["ticket"]), str(second["CSRFPreventionToken"]), asked_at + LIFETIME_S)
