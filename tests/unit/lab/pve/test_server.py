# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab over the wire: HTTP as PVE speaks it, faults, the log of requests, the program."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time
import typing as t
import urllib.parse

import pytest

pytest.importorskip("cryptography", reason="the lab's server needs the package cryptography")

from pve_lab import Cluster, Lab
from pve_lab.tickets import totp

LAB_FOLDER = pathlib.Path(__file__).resolve().parents[3] / "lab"
FORM = "application/x-www-form-urlencoded"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
Answer = t.Tuple[int, str, bytes]
DESCRIPTION = {
    "nodes": [{"name": "pve1", "cpus": 8}],
    "guests": [{"vmid": 100, "config": {"cores": 2, "memory": 512, "tags": "x"}}],
    "users": [{"userid": "two@pve", "password": "secret", "totp": SECRET}],
    "tokens": [{"tokenid": "root@pam!t", "secret": "1234-5678", "privsep": False}],
}
TOKEN = {"Authorization": "PVEAPIToken=root@pam!t=1234-5678"}
CONFIG = "/nodes/pve1/qemu/100/config"


class Wire:
    """One kept-alive connection to a lab."""

    def __init__(self, lab: Lab) -> None:
        context = ssl.create_default_context(cafile=lab.ca_path)
        self.connection = http.client.HTTPSConnection(lab.host, lab.port, context=context, timeout=20)

    def __call__(
        self, method: str, path: str, body: t.Optional[str] = None, headers: t.Optional[dict[str, str]] = None, kind: str = FORM
    ) -> Answer:
        extra = {"Content-Type": kind} if body is not None else {}
        self.connection.request(method, f"/api2/json{path}", body, {**(headers or {}), **extra})
        answer = self.connection.getresponse()
        return answer.status, answer.reason, answer.read()

    def give_up_after(self, seconds: float) -> None:
        """Connect, however long that takes; from then on wait no longer than this for an answer."""
        self.connection.connect()
        self.connection.sock.settimeout(seconds)

    def ticket(self) -> dict[str, str]:
        _status, _reason, body = self("POST", "/access/ticket", "username=root@pam&password=lab-root-password")
        data = json.loads(body)["data"]
        return {"Cookie": "PVEAuthCookie=" + urllib.parse.quote(data["ticket"]), "CSRFPreventionToken": data["CSRFPreventionToken"]}


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    with Lab(Cluster.from_dict(DESCRIPTION)) as running:
        yield running


def test_one_connection_serves_many_calls(lab):
    wire = Wire(lab)
    headers = wire.ticket()
    socket = wire.connection.sock
    for _turn in range(5):
        assert wire("GET", "/version", headers=headers)[0] == 200
    assert wire.connection.sock is socket


def test_a_stranger_does_not_trust_the_lab(lab):
    connection = http.client.HTTPSConnection(lab.host, lab.port, context=ssl.create_default_context(), timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/api2/json/version")
    assert Wire(lab)("GET", "/version", headers=TOKEN)[0] == 200


def test_who_has_no_login_gets_an_empty_body(lab):
    wire = Wire(lab)
    headers = wire.ticket()
    no_csrf = {"Cookie": headers["Cookie"]}
    for method, path, given, reason in (
        ("GET", "/version", {}, "No ticket"),
        ("PUT", CONFIG, {}, "No ticket"),
        ("GET", "/nope", {}, "No ticket"),
        ("GET", "/version", {"Cookie": "PVEAuthCookie=PVE:root@pam:00::x"}, "Authentication failed!"),
        ("GET", "/version", {"Authorization": "PVEAPIToken=root@pam!t=wrong"}, "Authentication failed!"),
        ("GET", "/version", {"Authorization": "PVEAPIToken=root@pam!no=1234-5678"}, "Authentication failed!"),
        ("PUT", CONFIG, no_csrf, "Permission denied - invalid csrf token"),
        ("PUT", CONFIG, {**no_csrf, "CSRFPreventionToken": "00:x"}, "Permission denied - invalid csrf token"),
    ):
        assert wire(method, path, "cores=2" if method == "PUT" else None, given) == (401, reason, b"")
    assert wire("GET", "/version", headers=no_csrf)[0] == 200
    assert lab.cluster.guest(100).load().main["cores"] == "2"


def test_a_failed_login_has_a_body(lab):
    status, reason, body = Wire(lab)("POST", "/access/ticket", "username=root@pam&password=wrong")
    assert (status, reason, json.loads(body)) == (401, "authentication failure", {"data": None, "message": "authentication failure\n"})
    assert lab.requests[-1].params == {"username": "root@pam", "password": "***"}


def test_the_reason_is_the_first_line(lab):
    lab.cluster.node("pve1").cgroup_failure = "first line\n\tsecond line\n"
    assert Wire(lab)("POST", "/nodes/pve1/qemu/100/status/start", "", TOKEN)[0] == 200
    status, reason, body = Wire(lab)("PUT", CONFIG, "cpulimit=1", TOKEN)
    assert (status, reason, json.loads(body)["message"]) == (500, "first line", "first line\n\tsecond line\n")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("cores=4&delete=tags&delete=memory", FORM),
        ("cores=4&delete=tags%2Cmemory", FORM),
        ('{"cores": 4, "delete": "tags,memory"}', "application/json"),
        ('{"cores": "4", "delete": ["tags", "memory"]}', "application/json; charset=utf-8"),
    ],
)
def test_bodies(lab, body, kind):
    assert Wire(lab)("PUT", CONFIG, body, TOKEN, kind) == (200, "OK", b'{"data": null}')
    assert lab.cluster.guest(100).text == "cores: 4\n"
    assert lab.writes[-1].params["delete"] == "tags,memory"


def test_booleans_of_json_and_broken_json(lab):
    wire = Wire(lab)
    status, _reason, body = wire("PUT", CONFIG, '{"numa": true}', TOKEN, "application/json")
    assert (status, json.loads(body)["errors"]) == (400, {"numa": "type check ('boolean') failed - got JSON::PP::Boolean"})
    assert wire("PUT", CONFIG, '{"numa": 1', TOKEN, "application/json")[0] == 500
    assert wire("PUT", CONFIG, '{"numa": 1}', TOKEN, "application/json")[0] == 200


def test_errors_per_parameter(lab):
    status, reason, body = Wire(lab)("PUT", CONFIG, "numa=on&affinity=a", {**Wire(lab).ticket()})
    assert (status, reason) == (400, "Parameter verification failed.")
    assert json.loads(body) == {
        "data": None,
        "message": "Parameter verification failed.\n",
        "errors": {"numa": "type check ('boolean') failed - got 'on'", "affinity": "invalid format - unable to parse cpuset option\n"},
    }


def test_the_web_interfaces_format(lab):
    connection = Wire(lab).connection
    connection.request("PUT", f"/api2/extjs{CONFIG}", "cores=x", {**TOKEN, "Content-Type": FORM})
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["success"] == 0


# --- faults ----------------------------------------------------------------------------------------------------------


def test_refused_a_number_of_times(lab):
    fault = lab.faults.add(method="PUT", path=r"/qemu/100/", status=500, reason="VM is locked (backup)", times=2)
    wire = Wire(lab)
    answers = [wire("PUT", CONFIG, "cores=4", TOKEN)[:2] for _turn in range(3)]
    assert answers == [(500, "VM is locked (backup)")] * 2 + [(200, "OK")]
    assert fault.hits == 2
    assert wire("GET", CONFIG, headers=TOKEN)[0] == 200


def test_the_connection_breaks(lab):
    lab.faults.add(path="/version", drop=True, times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        Wire(lab)("GET", "/version", headers=TOKEN)
    assert Wire(lab)("GET", "/version", headers=TOKEN)[0] == 200
    assert [request.status for request in lab.requests] == [0, 200]


@pytest.mark.parametrize("fault", [{"delay": 30.0}, {"drop": True}, {"status": 596, "reason": "Broken pipe"}])
def test_the_change_is_made_and_the_answer_is_lost(lab, fault):
    lab.faults.add(method="PUT", after_acceptance=True, **fault)
    wire = Wire(lab)
    if "delay" in fault:
        wire.give_up_after(0.3)
    try:
        assert wire("PUT", CONFIG, "cores=4", TOKEN) == (596, "Broken pipe", b"")
    except (OSError, http.client.RemoteDisconnected):
        assert "status" not in fault
    _wait_for_the_change(lab)


def test_a_client_that_gives_up_does_not_undo_its_change(lab):
    with lab.cluster.held_lock(100):
        wire = Wire(lab)
        wire.give_up_after(0.2)
        with pytest.raises(OSError, match="timed out"):
            wire("PUT", CONFIG, "cores=4", TOKEN)
        assert lab.cluster.guest(100).load().main["cores"] == "2"
    _wait_for_the_change(lab)


def _wait_for_the_change(lab):
    with lab.cluster.mutex:
        assert lab.cluster.mutex.wait_for(lambda: lab.cluster.guest(100).load().main["cores"] == "4", timeout=60)


def test_a_delay_before_the_answer_holds_nobody_else_up(lab):
    arrived = threading.Event()
    lab.faults.add(path="/slow", act=arrived.set, delay=60.0)
    slow = Wire(lab)
    slow.connection.request("GET", "/api2/json/slow", headers=TOKEN)
    assert arrived.wait(60)
    assert Wire(lab)("GET", "/version", headers=TOKEN)[0] == 200
    assert [(request.path, request.status) for request in lab.requests] == [("/slow", None), ("/version", 200)]


def test_many_at_once(lab):
    lab.cluster.guest(100)

    def change(number: int) -> int:
        return Wire(lab)("PUT", CONFIG, f"numa{number % 8}=cpus={number}", TOKEN)[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(change, range(32))) == {200}
    assert len(lab.writes) == 32
    assert len([key for key in lab.cluster.guest(100).load().main if key.startswith("numa")]) == 8


# --- the log and the program -----------------------------------------------------------------------------------------


def test_the_log(lab):
    wire = Wire(lab)
    headers = wire.ticket()
    mark = lab.mark()
    wire("GET", f"{CONFIG}?current=1", headers=headers)
    wire("PUT", CONFIG, "cores=4", headers)
    wire("PUT", CONFIG, "cores=x", TOKEN)
    assert [(r.method, r.path, r.params, r.user, r.status) for r in lab.requests_since(mark)] == [
        ("GET", CONFIG, {"current": "1"}, "root@pam", 200),
        ("PUT", CONFIG, {"cores": "4"}, "root@pam", 200),
        ("PUT", CONFIG, {"cores": "x"}, "root@pam!t", 400),
    ]
    assert [request.status for request in lab.writes] == [200, 400]
    assert len(lab.requests) == mark + 3


def test_the_program(tmp_path):
    description, ready, log, state = (tmp_path / name for name in ("cluster.json", "ready.json", "log.jsonl", "state.json"))
    description.write_text(json.dumps(DESCRIPTION))
    command = [sys.executable, "-m", "pve_lab", description, "--ready-file", ready, "--log", log, "--state-file", state]
    command += ["--door", tmp_path / "door", "--lifetime", "60"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(LAB_FOLDER)}, stdout=subprocess.PIPE, text=True) as program:
        try:
            said = json.loads(program.stdout.readline())
            assert said == json.loads(ready.read_text())
            assert said["pid"] == program.pid

            class There:
                host, port, ca_path = said["host"], said["port"], said["ca_path"]

            assert Wire(There)("PUT", CONFIG, "cores=4", TOKEN)[0] == 200
            assert json.loads(log.read_text().splitlines()[0])["params"] == {"cores": "4"}
            assert "cores: 4" in subprocess.check_output([tmp_path / "door/hosts/pve1/bin/qm", "config", "100"], text=True)
            assert json.loads(state.read_text())["guests"][0]["text"] == "cores: 4\nmemory: 512\ntags: x\n"
        finally:
            program.terminate()
    assert program.returncode == 0
    assert not pathlib.Path(said["ca_path"]).exists()


def test_the_program_ends_by_itself_and_says_what_is_wrong(tmp_path):
    description = tmp_path / "cluster.json"
    description.write_text('{"nodez": []}')
    environment = {**os.environ, "PYTHONPATH": str(LAB_FOLDER)}
    wrong = subprocess.run([sys.executable, "-m", "pve_lab", description], env=environment, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "unknown key 'nodez'" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    description.write_text("{}")
    brief = subprocess.run(
        [sys.executable, "-m", "pve_lab", description, "--lifetime", "0.1"], env=environment, capture_output=True, text=True, check=False
    )
    assert brief.returncode == 0


# --- proxmoxer -------------------------------------------------------------------------------------------------------


def test_proxmoxer_with_ticket_token_and_second_factor(lab):
    proxmoxer = pytest.importorskip("proxmoxer")
    tools = pytest.importorskip("proxmoxer.tools")
    where = {"host": lab.host, "port": lab.port, "verify_ssl": lab.ca_path}
    root = proxmoxer.ProxmoxAPI(user="root@pam", password="lab-root-password", **where)
    vm = root.nodes("pve1").qemu(100)
    vm.config.put(affinity="0-3", delete=["tags", "memory"])
    assert vm.config.get()["affinity"] == "0-3"
    assert {entry["key"] for entry in vm.pending.get()} == {"affinity", "cores", "digest"}
    upid = vm.status.start.post()
    assert tools.Tasks.blocking_status(root, upid)["exitstatus"] == "OK"
    token = proxmoxer.ProxmoxAPI(user="root@pam", token_name="t", token_value="1234-5678", **where)
    assert token.nodes("pve1").qemu(100).config.put(numa=1) is None
    with pytest.raises(proxmoxer.core.ResourceException) as caught:
        token.nodes("pve1").qemu(100).config.put(affinity="0-3")
    assert (caught.value.status_code, caught.value.content) == (500, "only root can set 'affinity' config")
    with pytest.raises(proxmoxer.core.ResourceException) as caught:
        root.nodes("pve1").qemu(100).config.put(numa=True)
    assert caught.value.errors == {"numa": "type check ('boolean') failed - got 'True'"}
    two = proxmoxer.ProxmoxAPI(user="two@pve", password="secret", otp=totp(SECRET, time.time()), **where)
    assert two.version.get()["release"] == "9.2"
    with pytest.raises(proxmoxer.core.AuthenticationError):
        proxmoxer.ProxmoxAPI(user="root@pam", password="wrong", **where)
