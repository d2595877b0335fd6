# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session: TLS, second factors, time-outs, what is repeated and what never is, and that no secret gets out."""

from __future__ import annotations

import socket
import threading
import time
import typing as t
from dataclasses import replace
from urllib.parse import quote

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import errors
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.api import Login, Session, path
from ansible_collections.corepin.proxmox.plugins.modules import guest_info
from pve_lab import Cluster, Lab
from pve_lab.tickets import totp

from .conftest import BY_PASSWORD, ROOT_PASSWORD, connection, described, hurry


def login_to(lab: Lab, **changes: t.Any) -> Login:
    known: dict[str, t.Any] = {"host": lab.host, "port": lab.port, "password": ROOT_PASSWORD, "ca_path": lab.ca_path}
    return Login(**{**known, **changes})


def test_reads_share_one_login_and_come_back_in_order(lab: Lab) -> None:
    session = Session(login_to(lab, concurrency=4))
    names = session.each(lambda vmid: session.get(path("nodes", "pve1", "qemu", vmid, "config"))["name"], [100, 101] * 10)
    assert names == ["db", "web"] * 10
    assert sum(1 for request in lab.requests if request.path == "/access/ticket") == 1


def test_no_more_reads_at_once_than_allowed(lab: Lab) -> None:
    session = Session(login_to(lab, concurrency=3))
    lock, now, most = threading.Lock(), [0], [0]

    def work(_item: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        session.get("version")
        with lock:
            now[0] -= 1

    session.each(work, list(range(30)))
    assert most[0] <= 3


def test_parts_of_a_path_are_quoted() -> None:
    assert path("nodes", "../access", "a b", 1) == "nodes/..%2Faccess/a%20b/1"


def test_the_certificate_is_verified_unless_told_otherwise(lab: Lab) -> None:
    with pytest.raises(errors.PveError, match=r"TLS connection to .* fails .*ca_path"):
        Session(login_to(lab, ca_path=None))
    Session(login_to(lab, ca_path=None, validate_certs=False))


def test_the_variable_of_requests_does_not_win(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(tmp_path / "missing.pem"))
    assert Session(login_to(lab)).get("version")["release"] == "9.2"
    assert Session(login_to(lab, ca_path=None, validate_certs=False)).get("version")["release"] == "9.2"
    with pytest.raises(errors.PveError, match="CA bundle"):
        Session(login_to(lab, ca_path=None))


def test_a_ca_file_that_is_missing_is_named(lab: Lab) -> None:
    with pytest.raises(errors.PveError, match=r"'/no/such/ca\.pem' does not exist; correct ca_path "):
        Session(login_to(lab, ca_path="/no/such/ca.pem"))


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(errors.UnreachableError, match=rf"127\.0\.0\.1:{port} cannot be reached .*refused"):
            Session(Login("127.0.0.1", port, password="secret-word"))


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(errors.UnreachableError, match=r"no-such-host\.invalid:8006 cannot be reached"):
        Session(Login("no-such-host.invalid", password="secret-word"))


@pytest.mark.parametrize(("api_timeout", "connect_and_read"), [(7.0, (7.0, 7.0)), (100.0, (10.0, 100.0))])
def test_connecting_takes_ten_seconds_at_most_and_an_answer_api_timeout(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, run_module: t.Callable[..., dict[str, t.Any]], api_timeout: float, connect_and_read: t.Any
) -> None:
    limits, get = [], Session.get

    def noted(session: Session, *arguments: t.Any, **more: t.Any) -> t.Any:
        limits.append(session._backend.auth.timeout)
        return get(session, *arguments, **more)

    monkeypatch.setattr(Session, "get", noted)
    assert not run_module(guest_info, **connection(lab), api_timeout=api_timeout).get("failed")
    assert set(limits) == {connect_and_read}


def test_a_second_factor(lab: Lab) -> None:
    lab.cluster.access.users["root@pam"].totp = "JBSWY3DPEHPK3PXP"
    with pytest.raises(errors.LoginError, match="needs a second factor; give api_otp"):
        Session(login_to(lab))
    with pytest.raises(errors.LoginError, match="refuses the second factor"):
        Session(login_to(lab, otp="000000"))
    valid = totp("JBSWY3DPEHPK3PXP", lab.cluster.clock())
    assert Session(login_to(lab, otp=valid)).get("version")["release"] == "9.2"


def test_a_read_is_given_up_after_some_attempts(lab: Lab) -> None:
    session = Session(login_to(lab))
    fault = lab.faults.add(path="/version", drop=True)
    with pytest.raises(errors.UncertainError, match="broke during GET /version"):
        session.get("version")
    assert fault.hits == 3


def impatient(lab: Lab) -> Session:
    """One that is connected, and waits a second from now on."""
    session = Session(login_to(lab))
    session.get("version")
    hurry(session)
    return session


def test_a_read_that_takes_too_long_is_not_repeated(lab: Lab) -> None:
    session = impatient(lab)
    fault = lab.faults.add(path="/version", delay=60)
    with pytest.raises(errors.UncertainError, match=r"did not answer GET /version within api_timeout \(35 s\)"):
        session.get("version")
    assert fault.hits == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"drop": True}, errors.UncertainError),
        ({"status": 596, "reason": "Broken pipe"}, errors.UncertainError),
        ({"delay": 60}, errors.UncertainError),
        ({"status": 595, "reason": "No route to host"}, errors.UnreachableError),
        ({"status": 500, "reason": "VM is locked (backup)"}, errors.LockedError),
    ],
)
def test_a_write_is_sent_once_whatever_happens(lab: Lab, fault: dict[str, t.Any], kind: type[Exception]) -> None:
    session = impatient(lab) if "delay" in fault else Session(login_to(lab))
    met = lab.faults.add(method="PUT", **fault)
    with pytest.raises(kind):
        session.put(path("nodes", "pve1", "qemu", 101, "config"), {"cores": 1})
    assert met.hits == 1
    assert len(lab.writes) == 1


def test_a_refused_parameter_is_named(lab: Lab) -> None:
    session = Session(login_to(lab))
    with pytest.raises(errors.PveError, match="affinity: invalid format"):
        session.put(path("nodes", "pve1", "qemu", 101, "config"), {"affinity": "all"})


def test_what_is_not_pve_is_said_so(lab: Lab) -> None:
    lab.faults.add(path="/access/ticket", status=404, reason="Not Found")
    with pytest.raises(errors.PveError, match="status 404"):
        Session(login_to(lab))


def test_no_secret_in_any_message_or_representation(lab: Lab) -> None:
    login = login_to(lab, password="hunter2-secret", otp="123456", token_secret="55555555-eeee")
    with pytest.raises(errors.LoginError) as caught:
        Session(login)
    for text in (str(caught.value), repr(caught.value), repr(login)):
        for secret in ("hunter2-secret", "123456", "55555555-eeee"):
            assert secret not in text


def test_a_ticket_serves_as_password() -> None:
    with Lab(Cluster.from_dict(described())) as lab:
        first = Session(login_to(lab))
        assert first.ticket
        assert Session(login_to(lab, password=first.ticket.ticket)).get("version")["release"] == "9.2"


def test_a_second_factor_that_was_not_given_is_not_tried(lab: Lab) -> None:
    lab.cluster.access.users["root@pam"].totp = "JBSWY3DPEHPK3PXP"
    with pytest.raises(errors.LoginError, match="needs a second factor"):
        Session(login_to(lab))
    assert [(request.path, request.params.get("tfa-challenge")) for request in lab.requests] == [("/access/ticket", None)]


def test_a_session_is_taken_up_by_its_ticket_without_a_login(lab: Lab) -> None:
    ticket = Session(login_to(lab)).ticket
    assert ticket
    seen = lab.mark()
    session = Session(login_to(lab, password=None, ticket=ticket))
    session.get("version")
    session.put(path("nodes", "pve1", "qemu", 101, "config"), {"cores": 1})
    assert [(request.method, request.user) for request in lab.requests_since(seen)] == [("GET", "root@pam"), ("PUT", "root@pam")]
    assert session.login.may_set_root_keys


def test_a_ticket_near_its_end_is_renewed_once_and_without_a_second_factor(lab: Lab) -> None:
    ticket = Session(login_to(lab)).ticket
    assert ticket
    lab.cluster.access.users["root@pam"].totp = "JBSWY3DPEHPK3PXP"
    seen = lab.mark()
    session = Session(login_to(lab, password=None, ticket=replace(ticket, expires=int(time.time()) + 600)))
    session.each(lambda _number: session.get("version"), list(range(20)))
    assert sum(1 for request in lab.requests_since(seen) if request.path == "/access/ticket") == 1
    assert session.ticket
    assert not session.ticket.wants_renewal


def test_an_expired_session_says_so() -> None:
    clock = [1_700_000_000.0]
    with Lab(Cluster.from_dict(described(), clock=lambda: clock[0])) as lab:
        lab.cluster.unauthorized_delay = 0
        ticket = Session(login_to(lab)).ticket
        clock[0] += 7300
        session = Session(login_to(lab, password=None, ticket=ticket))
        for attempt in (lambda: session.get("version"), session.renew):
            with pytest.raises(errors.LoginError, match=r"does not accept the session of root@pam .*log in again"):
                attempt()


def test_who_may_set_what() -> None:
    assert Login("h", password="p").may_set_root_keys
    assert not Login("h", user="admin@pve", password="p").may_set_root_keys
    assert not Login("h", token_id="t", token_secret="s").may_set_root_keys
    assert BY_PASSWORD["api_user"] == Login("h").user


def test_an_answer_of_another_shape_is_said_so(lab: Lab) -> None:
    session = Session(login_to(lab))
    with pytest.raises(errors.PveError, match=r"GET /version is dict .*check that it is PVE"):
        session.get_list("version")
    with pytest.raises(errors.PveError, match="GET /cluster/status is list"):
        session.get_mapping("cluster/status")


def test_what_pve_sends_back_is_shown_without_secrets(lab: Lab) -> None:
    session = Session(login_to(lab))
    assert session.ticket
    secrets = {form for text in (session.ticket.ticket, session.ticket.csrf_token) for form in (text, quote(text), quote(text, safe=""))}
    lab.faults.add(path="/version", status=500, reason=" ".join(["sent", ROOT_PASSWORD, *sorted(secrets)]))
    with pytest.raises(errors.PveError, match=r"sent \*\*\*") as caught:
        session.get("version")
    assert not [secret for secret in (ROOT_PASSWORD, *secrets) if secret in str(caught.value)]
