# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second door: the lab's cluster as root on one of its hosts sees it, through qm, pct, pvesh and /etc/pve.

The commands are made from the programs in node_door/. Each asks this process over a Unix socket, so that both doors work on the
same state; what they ask stands in the lab's log of requests, as root@pam.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import socketserver
import sys
import tempfile
import threading
import types
import typing as t

from .cluster import Cluster
from .command import build_command, pretty_command, shell_line
from .errors import ApiError, TaskError, died
from .faults import Fault, Faults
from .lab import Lab
from .pmxcfs import Pmxcfs
from .requests_log import RequestsLog
from .routes import answer
from .tasks import Printed

_PROGRAMS = pathlib.Path(__file__).resolve().parent / "node_door"
_COMMANDS = ("qm", "pct", "pvesh")


@dataclasses.dataclass(frozen=True)
class HostView:
    """bin: a directory for PATH with qm, pct and pvesh; etc_pve: what stands for /etc/pve on that host."""

    name: str
    bin: pathlib.Path
    etc_pve: pathlib.Path


class Door:
    """A context manager that keeps a host view per host below `directory`, which must be new or empty.

    Between changes through the lab the files follow at once; changes to the files are taken over at the next call
    through either door, or by `pull()`.
    """

    def __init__(self, lab: t.Union[Lab, Cluster], directory: t.Union[str, pathlib.Path]) -> None:
        self.cluster = lab.cluster if isinstance(lab, Lab) else lab
        self.log = lab.log if isinstance(lab, Lab) else RequestsLog()
        self.faults = lab.faults if isinstance(lab, Lab) else Faults()
        self._closing = threading.Event()
        self.directory = pathlib.Path(directory).resolve()

    def __enter__(self) -> Door:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.cluster.mutex:
            self.pmxcfs = Pmxcfs(self.cluster, self._made("pmxcfs"))
            self.cluster.listeners.append(self.pmxcfs.push)
            self.cluster.before_calls.append(self.pmxcfs.pull)
        # A socket's path may have some hundred characters at most: it lies in a short directory of its own.
        self._short = tempfile.TemporaryDirectory(prefix="pve-door-")
        self._socket = str(pathlib.Path(self._short.name) / "door.sock")
        self.hosts = {name: self._make_host(name) for name in self.cluster.nodes}
        self._server = _DoorServer(self._socket, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: t.Optional[type[BaseException]], error: t.Optional[BaseException], trace: t.Optional[types.TracebackType]
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._short.cleanup()
        with self.cluster.mutex:
            self.pmxcfs.pull()
            self.cluster.listeners.remove(self.pmxcfs.push)
            self.cluster.before_calls.remove(self.pmxcfs.pull)

    @property
    def violations(self) -> list[str]:
        """What was done to /etc/pve that the real one refuses."""
        self.pull()
        return self.pmxcfs.violations

    def pull(self) -> None:
        """Take over changes to the files now."""
        with self.cluster.mutex:
            self.pmxcfs.pull()

    def _made(self, *parts: str) -> pathlib.Path:
        path = self.directory.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _make_host(self, name: str) -> HostView:
        host = self._made("hosts", name)
        (host / "door.json").write_text(json.dumps({"node": name, "socket": self._socket}) + "\n", encoding="utf-8")
        programs = self._made("hosts", name, "bin")
        for command in _COMMANDS:
            program = (_PROGRAMS / f"{command}.py").read_text(encoding="utf-8")
            (programs / command).write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
            (programs / command).chmod(0o755)
        shutil.copy(_PROGRAMS / "door_client.py", programs / "door_client.py")
        self.pmxcfs.view(name, host / "etc-pve")
        return HostView(name, programs, host / "etc-pve")

    # --- answering ---------------------------------------------------------------------------------------------------

    def answer(self, question: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """One question of a command: {"node", "method", "path", "params"}, or method "SHOWCMD".

        The answer: {"status", "data", "message", "errors", "printed", "warnings", "log"}; log is that of a task.
        """
        node, method, path, params = question["node"], question["method"], question["path"], question.get("params") or {}
        printed = Printed()
        entry = self.log.begin(method, path, params)
        entry.user = "root@pam"
        reply: dict[str, t.Any] = {"status": 200, "data": None, "message": "", "errors": None}
        fault = self.faults.meet(method, path)
        try:
            if fault and not fault.after_acceptance:
                self._suffer(fault)
            with self.cluster.mutex:
                reply["data"] = self._do(node, method, path, params, printed)
                reply["log"], reply["exitstatus"] = self._task_of(reply["data"])
            if fault and fault.after_acceptance:
                self._suffer(fault)
        except ApiError as error:
            reply.update({"status": error.status, "message": error.message, "errors": error.errors})
        except TaskError as error:
            reply.update({"status": 500, "message": error.message + "\n"})
        reply.update({"printed": printed.lines, "warnings": printed.warnings})
        self.log.end(entry, reply["status"], reply["message"].split("\n", 1)[0])
        return reply

    def _suffer(self, fault: Fault) -> None:
        """Live through a fault: a command has no connection that could break, so that `drop` is a refusal without words."""
        if fault.act:
            with self.cluster.mutex:
                fault.act()
        self._closing.wait(fault.delay)
        if fault.drop or fault.status is not None:
            raise died(fault.reason or "injected fault")

    def _do(self, node: str, method: str, path: str, params: dict[str, t.Any], printed: Printed) -> t.Any:
        for prepare in self.cluster.before_calls:
            prepare()
        self._warn_about_lines(path, printed)
        if method == "SHOWCMD":
            return self._show_command(node, int(params["vmid"]), bool(params.get("pretty")))
        if method == "UNLOCK":
            return self._unlock(node, int(params["vmid"]), str(params["type"]))
        return answer(self.cluster, method, path, params, "root@pam", printed, seen_from=node)

    def _task_of(self, data: t.Any) -> tuple[list[str], t.Optional[str]]:
        """A command waits for its task."""
        task = self.cluster.tasks.all.get(data) if isinstance(data, str) else None
        if task is None:
            return [], None
        self.cluster.mutex.wait_for(lambda: not task.running, timeout=60)
        return task.log[:-1], task.exitstatus

    def _warn_about_lines(self, path: str, printed: Printed) -> None:
        """Every command that reads a guest's file complains about lines that it does not understand."""
        parts = path.strip("/").split("/")
        if len(parts) >= 4 and parts[0] == "nodes" and parts[2] in ("qemu", "lxc") and parts[3].isdigit():
            guest = self.cluster.guests.get(int(parts[3]))
            if guest is not None:
                printed.warnings += guest.load().warnings

    def _show_command(self, node: str, vmid: int, pretty: bool) -> str:
        guest = self.cluster.guest_on(node, vmid, "qemu")
        command = build_command(guest, guest.load().main, self.cluster.nodes[node])
        return pretty_command(command) if pretty else shell_line(command) + "\n"

    def _unlock(self, node: str, vmid: int, kind: str) -> None:
        guest = self.cluster.guest_on(node, vmid, kind)
        with self.cluster.file_lock(guest):
            config = guest.load()
            config.main.pop("lock", None)
            config.pending.pop("lock", None)
            self.cluster.store(guest, config)


class _DoorServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, door: Door) -> None:
        super().__init__(path, _DoorHandler)
        self.door = door


class _DoorHandler(socketserver.StreamRequestHandler):
    """One line of JSON in, one line of JSON out."""

    server: _DoorServer

    def handle(self) -> None:
        try:
            question = json.loads(self.rfile.readline())
            reply = self.server.door.answer(question)
        except (ValueError, KeyError) as error:
            broken = died(f"the door did not understand the question: {error!r}")
            reply = {"status": 500, "message": broken.message, "errors": None, "data": None, "printed": [], "warnings": [], "log": []}
        self.wfile.write(json.dumps(reply).encode() + b"\n")
