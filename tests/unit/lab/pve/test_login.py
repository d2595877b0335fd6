# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tickets, second factors and tokens, without and over the wire."""

from __future__ import annotations

import pytest
from pve_lab import Cluster
from pve_lab.tickets import LIFETIME, TicketMint, totp, totp_step

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # the test secret of RFC 6238: 12345678901234567890


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("now", "digits"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")])
def test_totp_of_the_rfc(now, digits):
    assert totp(SECRET, now) == digits
    assert totp_step(SECRET, digits, now + 30)
    assert not totp_step(SECRET, digits, now + 90)


def test_tickets():
    clock = Clock()
    mint = TicketMint(clock)
    ticket, csrf = mint.ticket("root@pam"), mint.csrf_token("root@pam")
    assert ticket.startswith("PVE:root@pam:6553F100::")
    assert mint.user_of(ticket) == "root@pam"
    assert mint.csrf_fits(csrf, "root@pam")
    assert not mint.csrf_fits(csrf, "other@pam")
    assert mint.user_of(ticket.replace("root", "toor")) is None
    assert TicketMint(clock).user_of(ticket) is None
    clock.now += LIFETIME
    assert mint.user_of(ticket) == "root@pam"
    clock.now += 1
    assert mint.user_of(ticket) is None
    assert not mint.csrf_fits(csrf, "root@pam")


def test_half_tickets():
    mint = TicketMint(Clock())
    half = mint.challenge("a@pve")
    assert half.startswith("PVE:!tfa!")
    assert mint.user_of(half) is None
    assert mint.user_of_challenge(half) == "a@pve"
    assert mint.user_of_challenge(mint.ticket("a@pve")) is None


@pytest.fixture
def ask(make):
    two_steps = {"userid": "a@pve", "password": "secret", "totp": SECRET}
    return make(cluster={"name": "lab", "users": [two_steps, {"userid": "off@pve", "password": "x", "enable": False}]})


def login(ask, **params):
    return ask("POST", "/access/ticket", params, user=None)


def test_login(ask):
    got = login(ask, username="root@pam", password="lab-root-password")
    assert set(got.data) == {"username", "ticket", "CSRFPreventionToken", "cap", "clustername"}
    assert got.data["username"] == "root@pam"
    assert login(ask, username="root", realm="pam", password="lab-root-password").status == 200
    again = login(ask, username="root@pam", password=got.data["ticket"])
    assert again.status == 200


@pytest.mark.parametrize(
    ("username", "password"),
    [("root@pam", "wrong"), ("root", "lab-root-password"), ("nobody@pve", "x"), ("off@pve", "x"), ("root@nope", "lab-root-password")],
)
def test_refused(ask, username, password):
    got = login(ask, username=username, password=password)
    assert (got.status, got.message) == (401, "authentication failure\n")


def test_second_factor(ask):
    ask.cluster.clock = clock = Clock()
    first = login(ask, username="a@pve", password="secret")
    assert first.data["NeedTFA"] == 1
    assert "cap" not in first.data
    challenge = first.data["ticket"]
    good = totp(SECRET, clock.now)
    wrong = f"{(int(good) + 1) % 1000000:06d}"
    for username, password in (("a@pve", f"totp:{wrong}"), ("a@pve", good), ("root@pam", f"totp:{good}")):
        assert login(ask, **{"username": username, "password": password, "tfa-challenge": challenge}).status == 401
    second = login(ask, **{"username": "a@pve", "password": f"totp:{good}", "tfa-challenge": challenge})
    assert ask.cluster.mint.user_of(second.data["ticket"]) == "a@pve"
    assert "NeedTFA" not in second.data
    assert login(ask, username="a@pve", password=second.data["ticket"]).data.get("NeedTFA") is None
    assert login(ask, username="a@pve", password="secret", otp=totp(SECRET, clock.now + 30)).data.get("NeedTFA") is None


def test_a_code_counts_once(ask):
    ask.cluster.clock = clock = Clock()
    code = totp(SECRET, clock.now)

    def second(digits):
        challenge = login(ask, username="a@pve", password="secret").data["ticket"]
        return login(ask, **{"username": "a@pve", "password": f"totp:{digits}", "tfa-challenge": challenge}).status

    assert [second(code), second(code), second(totp(SECRET, clock.now - 30))] == [200, 401, 401]
    clock.now += 30
    assert [second(code), second(totp(SECRET, clock.now))] == [401, 200]


def test_the_clock_of_a_cluster_can_be_set():
    clock = Clock()
    cluster = Cluster.from_dict({}, clock=clock)
    ticket = cluster.mint.ticket("root@pam")
    clock.now += LIFETIME + 1
    assert cluster.mint.user_of(ticket) is None
