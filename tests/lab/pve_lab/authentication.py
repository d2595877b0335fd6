# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is calling: the ticket in the cookie or the token in the header, and the CSRF token of writing calls."""

from __future__ import annotations

import hmac
import typing as t
import urllib.parse

from .cluster import Cluster
from .errors import unauthorized

_TOKEN = "PVEAPIToken="
_COOKIE = "PVEAuthCookie"


def caller(cluster: Cluster, method: str, headers: t.Mapping[str, str]) -> str:
    """The user ("root@pam") or token ("root@pam!name"); ApiError 401 for everybody else."""
    authorization = headers.get("Authorization", "")
    if authorization.startswith(_TOKEN):
        return _token_user(cluster, authorization[len(_TOKEN) :])
    ticket = _ticket(headers)
    if not ticket:
        raise unauthorized("No ticket")
    user = cluster.mint.user_of(ticket)
    if user is None or user not in cluster.access.users or not cluster.access.users[user].enable:
        raise unauthorized("Authentication failed!")
    if method != "GET" and not cluster.mint.csrf_fits(headers.get("CSRFPreventionToken", ""), user):
        raise unauthorized("Permission denied - invalid csrf token")
    return user


def _ticket(headers: t.Mapping[str, str]) -> str:
    if headers.get("Authorization", "").startswith(_COOKIE + "="):
        return urllib.parse.unquote(headers["Authorization"][len(_COOKIE) + 1 :])
    for part in headers.get("Cookie", "").split(";"):
        name, _equals, value = part.strip().partition("=")
        if name == _COOKIE:
            return urllib.parse.unquote(value.strip('"'))
    return ""


def _token_user(cluster: Cluster, text: str) -> str:
    tokenid, _equals, secret = text.partition("=")
    if not _equals:
        tokenid, _colon, secret = text.rpartition(":")
    token = cluster.access.tokens.get(tokenid)
    if token is None or not hmac.compare_digest(token.secret.encode(), secret.encode()) or not cluster.access.users[token.owner].enable:
        raise unauthorized("Authentication failed!")
    return tokenid
