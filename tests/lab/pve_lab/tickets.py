# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Login tickets, CSRF tokens and one-time passwords, in the shapes that PVE gives them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import struct
import typing as t
import urllib.parse

LIFETIME = 7200
_CHALLENGE = "!tfa!"


class TicketMint:
    """Makes and checks tickets with a secret of its own; `clock` gives seconds since the epoch."""

    def __init__(self, clock: t.Callable[[], float]) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self.issued: list[str] = []  # every ticket, half ticket and CSRF token, for tests that look where these turn up

    def ticket(self, user: str) -> str:
        """A login ticket."""
        return self._signed(f"PVE:{user}:{int(self._clock()):08X}")

    def user_of(self, ticket: str) -> t.Optional[str]:
        """Whose ticket it is; None for a forged, expired or half (TFA) one."""
        plain = self._checked(ticket)
        if plain is None:
            return None
        prefix, _colon, rest = plain.partition(":")
        user, _colon, stamp = rest.rpartition(":")
        return user if prefix == "PVE" and not user.startswith(_CHALLENGE) and self._fresh(stamp) else None

    def challenge(self, user: str) -> str:
        """The half ticket of a login that still needs its second factor."""
        offer = urllib.parse.quote(json.dumps({"totp": True, "user": user}), safe="")
        return self._signed(f"PVE:{_CHALLENGE}{offer}:{int(self._clock()):08X}")

    def user_of_challenge(self, ticket: str) -> t.Optional[str]:
        """Whose half ticket it is; None for a forged, expired or whole one."""
        plain = self._checked(ticket)
        if plain is None or not plain.startswith("PVE:" + _CHALLENGE):
            return None
        offer, _colon, stamp = plain[len("PVE:" + _CHALLENGE) :].rpartition(":")
        return str(json.loads(urllib.parse.unquote(offer))["user"]) if self._fresh(stamp) else None

    def csrf_token(self, user: str) -> str:
        """The token that every writing call with a ticket must carry."""
        stamp = f"{int(self._clock()):08X}"
        return self._noted(f"{stamp}:{self._signature('csrf:' + stamp + ':' + user)}")

    def csrf_fits(self, token: str, user: str) -> bool:
        """Whether the CSRF token belongs to the user and is fresh."""
        stamp, _colon, signature = token.partition(":")
        return hmac.compare_digest(signature.encode(), self._signature("csrf:" + stamp + ":" + user).encode()) and self._fresh(stamp)

    def _signed(self, plain: str) -> str:
        return self._noted(f"{plain}::{self._signature(plain)}")

    def _noted(self, secret: str) -> str:
        self.issued.append(secret)
        return secret

    def _checked(self, ticket: str) -> t.Optional[str]:
        plain, _colons, signature = ticket.rpartition("::")
        return plain if hmac.compare_digest(signature.encode(), self._signature(plain).encode()) else None

    def _signature(self, plain: str) -> str:
        return base64.b64encode(hmac.new(self._secret, plain.encode(), hashlib.sha256).digest()).decode()

    def _fresh(self, stamp: str) -> bool:
        try:
            return -300 <= self._clock() - int(stamp, 16) <= LIFETIME
        except ValueError:
            return False


def totp(secret: str, now: float, step: int = 30) -> str:
    """The six digits of RFC 6238 for a base32 secret."""
    padded = secret.upper() + "=" * (-len(secret) % 8)
    mac = hmac.new(base64.b32decode(padded), struct.pack(">Q", int(now) // step), hashlib.sha1).digest()
    offset = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[offset : offset + 4])[0] & 0x7FFFFFFF) % 1000000:06d}"


def totp_step(secret: str, digits: str, now: float, step: int = 30) -> t.Optional[int]:
    """The number of the time step for which the digits are right, one step of clock difference allowed; None if they are wrong."""
    for shift in (-step, 0, step):
        if hmac.compare_digest(digits.encode(), totp(secret, now + shift).encode()):
            return int(now + shift) // step
    return None
