# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One login for many modules: api_session, and the option of the same name in the others."""

from __future__ import annotations

import functools
import json
import time
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.modules import api_session, guest_info, guest_placement
from pve_lab import Lab
from pve_lab.tickets import totp

from .conftest import AUDITOR, connection, logins, plan_for

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

TOTP_SECRET = "JBSWY3DPEHPK3PXP"


@pytest.fixture
def log_in(lab: Lab, run_module: ModuleRunner) -> t.Callable[..., dict[str, t.Any]]:
    return functools.partial(run_module, api_session, _ansible_no_log=True, **connection(lab))


@pytest.fixture
def session(log_in: t.Callable[..., dict[str, t.Any]]) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", log_in()["api_session"])


def test_what_a_session_says(lab: Lab, log_in: t.Callable[..., dict[str, t.Any]]) -> None:
    before = int(time.time())
    result = log_in()
    after = int(time.time())
    session = result["api_session"]
    assert result["changed"] is False
    assert session["ticket"] in lab.cluster.mint.issued
    assert session["csrf_token"] in lab.cluster.mint.issued
    assert before <= session["expires"] - 7200 <= after
    rest = {"host": lab.host, "port": lab.port, "user": "root@pam", "ca_path": lab.ca_path, "validate_certs": True}
    assert {key: session[key] for key in rest} == rest


def test_one_login_for_reads_and_writes_in_check_mode_too(
    lab: Lab, log_in: t.Callable[..., dict[str, t.Any]], run_module: ModuleRunner
) -> None:
    session = log_in(check_mode=True)["api_session"]
    read = run_module(guest_info, api_session=session)
    assert len(read["guests"]) == 6
    placed = run_module(guest_placement, api_session=session, plan=plan_for(lab.cluster, {101: {"affinity": "4-7"}}))
    assert placed["changed"], placed
    assert logins(lab) == 1
    for secret in (session["ticket"], session["csrf_token"]):
        assert secret not in json.dumps([read, placed])


def test_a_session_wins_over_what_else_is_given(
    session: dict[str, t.Any], run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXMOX_HOST", "other.invalid")
    monkeypatch.setenv("PROXMOX_PASSWORD", "other-password")
    other = {"api_host": "another.invalid", "ca_path": "/nowhere.pem", **AUDITOR}
    assert len(run_module(guest_info, api_session=session, **other)["guests"]) == 6


def test_one_code_serves_for_a_session_but_not_for_two_logins(
    lab: Lab, log_in: t.Callable[..., dict[str, t.Any]], run_module: ModuleRunner
) -> None:
    lab.cluster.access.users["root@pam"].totp = TOTP_SECRET
    code = totp(TOTP_SECRET, lab.cluster.clock())
    session = log_in(api_otp=code)["api_session"]
    for _task in range(2):
        assert "failed" not in run_module(guest_info, api_session=session)
    again = log_in(api_otp=code)
    assert "give a fresh api_otp" in again["msg"]
    assert code not in json.dumps(again)


def test_a_session_renews_itself_without_password_and_second_factor(lab: Lab, session: dict[str, t.Any], run_module: ModuleRunner) -> None:
    lab.cluster.access.users["root@pam"].totp = TOTP_SECRET
    renewed = run_module(api_session, _ansible_no_log=True, api_session=session)["api_session"]
    assert {**renewed, **{key: session[key] for key in ("ticket", "csrf_token", "expires")}} == session
    assert "failed" not in run_module(guest_info, api_session=renewed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"_ansible_no_log": False}, "set no_log: true on the task"),
        ({"api_password": None, **AUDITOR}, "the token auditor@pve!corepin, which needs no session"),
        ({"api_host": None}, "No api_host is given"),
        ({"api_password": "wrong-password"}, "refuses the login of root@pam"),
    ],
)
def test_what_it_refuses(lab: Lab, run_module: ModuleRunner, options: dict[str, t.Any], words: str) -> None:
    lab.cluster.unauthorized_delay = 0
    result = run_module(api_session, **{"_ansible_no_log": True, **connection(lab), **options})
    assert result["failed"]
    assert words in result["msg"]
    assert "\n" not in result["msg"]
    assert lab.cluster.mint.issued == []


def test_a_session_that_is_over_is_told_from_a_wrong_password(session: dict[str, t.Any], run_module: ModuleRunner) -> None:
    forged = {**session, "ticket": session["ticket"][:-4] + "AAA="}
    for result in (run_module(guest_info, api_session=forged), run_module(api_session, _ansible_no_log=True, api_session=forged)):
        assert "does not accept the session of root@pam" in result["msg"]
        assert "log in again" in result["msg"]
