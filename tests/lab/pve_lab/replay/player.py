# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playing a transcript: send each call over HTTPS, compare the answer, and read the notes in between."""

from __future__ import annotations

import ast
import dataclasses
import http.client
import json
import re
import ssl
import typing as t
import urllib.parse

from ..cluster import Cluster
from ..cpulist import read_cpus
from ..lab import Lab
from .compare import compare_bodies, differences, plain_text
from .transcript import Exchange, Item, Note

_TASK = re.compile(r"\s+task (\w+) (.*)")
_NO_HOOK = re.compile(r"   hook (\w+) : -")
_HOOK = re.compile(
    r"(?:\d+\.\d+ |   hook (?P<node>\w+) : )?args=(?P<vmid>\d+) (?P<phase>[a-z-]+)"
    r"(?: MIGRATED_FROM=(?P<source>\S*) .*? pid=(?P<pid>\d*) aff=(?P<affinity>.*))?"
)
_ACTIONS = {"qmstart": "start", "qmstop": "stop", "qmshutdown": "shutdown"}
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Where the lab was not like the recording. place: "FILE:NUMBER" of the exchange before or at it."""

    place: str
    what: str


Credentials = dict[str, str]


class Player:
    """Plays one file. `vmid` is the guest that notes without a guest speak of, `node` where it is looked for."""

    def __init__(self, lab: Lab, name: str, vmid: int, node: str) -> None:
        self.lab = lab
        self.name = name
        self.vmid = vmid
        self.node = node
        self.differences: list[Difference] = []
        self.exchanges = 0
        self.notes = 0
        self._different: set[int] = set()
        self._here = 0
        self._last: t.Optional[Exchange] = None
        self._last_upid: t.Optional[str] = None
        self._hooks_seen = 0
        self._hook_node = node
        self.credentials: Credentials = self.login("root@pam", "lab-root-password")
        self._root = self.credentials

    @property
    def cluster(self) -> Cluster:
        return self.lab.cluster

    @property
    def equal(self) -> int:
        """How many exchanges agreed in everything."""
        return self.exchanges - len(self._different)

    # --- the wire ----------------------------------------------------------------------------------------------------

    def send(
        self, method: str, path: str, params: t.Mapping[str, t.Any], credentials: Credentials, timeout: float = 30.0
    ) -> tuple[int, str, bytes]:
        """One call: status, reason, body. `timeout`: seconds to wait for the answer once there is a connection."""
        context = ssl.create_default_context(cafile=self.lab.ca_path)
        connection = http.client.HTTPSConnection(self.lab.host, self.lab.port, context=context, timeout=30.0)
        query = urllib.parse.urlencode(params)
        url = "/api2/json" + urllib.parse.quote(path) + (f"?{query}" if query and method in ("GET", "DELETE") else "")
        body = query if method in ("POST", "PUT") else None
        headers = {**credentials, **({"Content-Type": "application/x-www-form-urlencoded"} if body else {})}
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
            connection.request(method, url, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.reason, answer.read()
        finally:
            connection.close()

    def login(self, user: str, password: str) -> Credentials:
        """The headers of a fresh ticket."""
        _status, _reason, body = self.send("POST", "/access/ticket", {"username": user, "password": password}, {})
        data = json.loads(body)["data"]
        return {"Cookie": "PVEAuthCookie=" + urllib.parse.quote(data["ticket"]), "CSRFPreventionToken": data["CSRFPreventionToken"]}

    def token(self, tokenid: str) -> Credentials:
        """The header of a token that the cluster knows."""
        return {"Authorization": f"PVEAPIToken={tokenid}={self.cluster.access.tokens[tokenid].secret}"}

    # --- exchanges ---------------------------------------------------------------------------------------------------

    def play(self, item: Item) -> None:
        """Play one item."""
        if isinstance(item, Exchange):
            self._play_exchange(item)
        else:
            self._play_note(item)

    def _play_exchange(self, exchange: Exchange) -> None:
        self.exchanges += 1
        self._here, self._last = exchange.number, exchange
        status, reason, body = self.send(exchange.method, exchange.path, exchange.params, self.credentials)
        self._last_upid = _upid(body)
        if status != exchange.status:
            self.differ(f"status {exchange.status} became {status} {reason}")
        elif plain_text(reason) != plain_text(exchange.reason):
            self.differ(f"reason {exchange.reason!r} became {reason!r}")
        else:
            for difference in compare_bodies(exchange.body, body):
                self.differ(difference)

    def differ(self, what: str) -> None:
        """Note a difference at the exchange played last."""
        self._different.add(self._here)
        self.differences.append(Difference(f"{self.name}:{self._here}", what))

    # --- notes -------------------------------------------------------------------------------------------------------

    def _play_note(self, note: Note) -> None:
        text = note.text
        for pattern, reader in (
            (_TASK, self._task_ended),
            (re.compile(r"     stored: (.*)"), self._stored),
            (re.compile(r"  +log:? (\[.*\])"), self._log),
            (re.compile(r"  \[(.*)\] current=(\{.*\})"), self._current),
            (re.compile(r"     config=(\{.*\})"), self._config),
            (re.compile(r"     pending=(\[.*\])"), self._pending),
            (re.compile(r"     live affinity=\d+ Cpus_allowed_list:\t(\S+)"), self._live),
            (re.compile(r"pid \d+'s current affinity list: (\S+)"), self._live),
            (_NO_HOOK, self._no_hook),
            (_HOOK, self._hook),
        ):
            found = pattern.fullmatch(text)
            if found:
                self.notes += 1
                reader(*found.groups())
                return

    def _task_ended(self, kind: str, status: str) -> None:
        """A task's end. Where the call that began it is not recorded, it is made now."""
        if self._last_upid is None or f":{kind}:" not in self._last_upid:
            action = _ACTIONS[kind]
            _status, _reason, body = self.send("POST", f"/nodes/{self.node}/qemu/{self.vmid}/status/{action}", {}, self._root)
            self._last_upid = _upid(body)
        task = self.cluster.tasks.all[str(self._last_upid)]
        if str(task.exitstatus).strip() != status.strip():
            self.differ(f"task {kind} ended with {task.exitstatus!r} instead of {status!r}")
        self._ended = task
        self._last_upid = None

    def _log(self, text: str) -> None:
        have = [_squeezed(_TIME.sub("", line)) for line in self._ended.log]
        for line in ast.literal_eval(text):
            if _squeezed(_TIME.sub("", line)) not in have:
                self.differ(f"the log lacks {line!r}")

    def _stored(self, text: str) -> None:
        """What GET config shows for the key that was just sent."""
        assert self._last
        key = next(iter(self._last.params))
        shown = self._get("config")
        if shown.get(key) != ast.literal_eval(text):
            self.differ(f"stored is {shown.get(key)!r} instead of {text}")

    def _get(self, what: str, **params: t.Any) -> t.Any:
        _status, _reason, body = self.send("GET", f"/nodes/{self.node}/qemu/{self.vmid}/{what}", params, self._root)
        return json.loads(body)["data"]

    def _same(self, text: str, shown: t.Mapping[str, t.Any], what: str) -> None:
        expected = ast.literal_eval(text)
        for difference in differences(expected, {key: value for key, value in shown.items() if key in expected}, what, True):
            self.differ(difference)

    def _current(self, _label: str, text: str) -> None:
        self._same(text, self._get("config", current=1), "current")

    def _config(self, text: str) -> None:
        self._same(text, self._get("config"), "config")

    def _pending(self, text: str) -> None:
        shown = [entry for entry in self._get("pending") if "pending" in entry or "delete" in entry]
        for difference in differences(ast.literal_eval(text), shown, "pending", True):
            self.differ(difference)

    def _live(self, cpus: str) -> None:
        live = self.cluster.guest(self.vmid).live_affinity
        if read_cpus(live or "") != read_cpus(cpus):
            self.differ(f"the live CPUs are {live} instead of {cpus}")

    def _no_hook(self, node: str) -> None:
        for call in self.cluster.hook_calls[self._hooks_seen :]:
            if call.node == node:
                self.differ(f"the hookscript ran on {node} for {call.phase}")

    def _hook(
        self, node: t.Optional[str], vmid: str, phase: str, source: t.Optional[str], pid: t.Optional[str], affinity: t.Optional[str]
    ) -> None:
        calls = self.cluster.hook_calls[self._hooks_seen :]
        if not calls:
            self.differ(f"no hookscript ran for {phase}")
            return
        self._hooks_seen += 1
        call = calls[0]
        self._hook_node = node or self._hook_node
        if (call.node, call.vmid, call.phase) != (self._hook_node, int(vmid), phase):
            self.differ(f"the hookscript ran on {call.node} for {call.vmid} {call.phase} instead of {self._hook_node} for {vmid} {phase}")
        if source not in (None, "", "unset") and call.migrated_from != source:
            self.differ(f"the hookscript saw a migration from {call.migrated_from} instead of {source}")
        listed = re.fullmatch(r"pid \d+'s current affinity list: (\S+)", affinity or "")
        if pid and listed and read_cpus(call.affinity or "") != read_cpus(listed.group(1)):
            self.differ(f"in {phase} the live CPUs were {call.affinity} instead of {listed.group(1)}")


def _upid(body: bytes) -> t.Optional[str]:
    try:
        data = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError):
        return None
    return data if isinstance(data, str) and data.startswith("UPID:") else None


def _squeezed(text: str) -> str:
    """A log line without what the recorded machine's speed and process table decided."""
    return re.sub(r"(?<=pid )\d+|\d+\.\d+(?= MiB)|\d\d:\d\d:\d\d|\d+(?= ms)", "N", text).strip()
