# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Ansible's own programs as a person does, and says what they did.

run = controller.playbook("corepin.proxmox.plan", inventory, corepin_plan_file="plan.json")
assert run.ok and run.changed == 0
assert run.task("Plan").result["changed"] is False
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix) / "bin"
Inventory = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What one task did on one host. outcome: ok, failed, ignored, skipped or unreachable."""

    task: str
    host: str
    outcome: str
    result: dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished ansible-playbook: exit code, what it printed (with stderr after it), and each task's results in order."""

    code: int
    output: str
    results: list[TaskResult]

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def changed(self) -> int:
        """How many results say changed."""
        return sum(bool(result.result.get("changed")) for result in self.results)

    @property
    def failures(self) -> list[TaskResult]:
        return [result for result in self.results if result.outcome in ("failed", "unreachable")]

    @property
    def message(self) -> str:
        """What the first failure says; empty where nothing failed."""
        return str(self.failures[0].result.get("msg", "")) if self.failures else ""

    def facts(self, name: str) -> t.Any:
        """The value that a task gave this variable last."""
        for result in reversed(self.results):
            facts = result.result.get("ansible_facts") or {}
            if name in facts:
                return facts[name]
        raise LookupError(f"No task has set {name}.\n{self.output}")

    def task(self, name: str, host: t.Optional[str] = None) -> TaskResult:
        """The last result of the task whose name (without the role's) this is, on that host or on whichever it ran."""
        for result in reversed(self.results):
            if result.task.rpartition(" : ")[2] == name and host in (None, result.host):
                return result
        raise LookupError(
            f"No task {name!r} ran{f' on {host}' if host else ''}; there were {sorted({r.task for r in self.results})}.\n{self.output}"
        )


class Controller:
    """A machine to run Ansible from: a working directory of its own, and a home in which nothing is configured."""

    def __init__(self, folder: Path, collections: Path) -> None:
        self.folder = folder
        self.collections = collections
        self._home = folder / "home"
        self._record = folder / "record.jsonl"
        self._home.mkdir(parents=True, exist_ok=True)

    def playbook(
        self, playbook: str | Path, inventory: Inventory, *arguments: str, env: t.Optional[t.Mapping[str, str]] = None, **variables: t.Any
    ) -> Run:
        """Run a playbook by path or by name; variables become extra variables, and env is added to the environment."""
        self._record.write_text("", encoding="utf-8")
        extra = ["-e", json.dumps(variables)] if variables else []
        done = self._run("ansible-playbook", ["-i", str(self.write_inventory(inventory)), str(playbook), *extra, *arguments], env)
        lines = self._record.read_text(encoding="utf-8").splitlines()
        return Run(done.returncode, done.stdout + done.stderr, [TaskResult(**json.loads(line)) for line in lines])

    def begin(self, playbook: str | Path, inventory: Inventory, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a playbook and do not wait for it; `kill` ends it."""
        command = [str(BIN / "ansible-playbook"), "-i", str(self.write_inventory(inventory)), str(playbook), *arguments]
        nothing = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=self.folder, env=self._environment(), stdin=nothing, stdout=nothing, stderr=nothing)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a playbook that was begun, and all that it has started: workers, and what they run, are in sessions of their own."""
        mark = f"COREPIN_RECORD={self._record}".encode()
        while started := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _environment_of(pid)]:
            for pid in started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()

    def program(self, name: str, *arguments: str, env: t.Optional[t.Mapping[str, str]] = None) -> subprocess.CompletedProcess[str]:
        """Run another of Ansible's programs: ansible-galaxy, ansible-doc, ansible-inventory."""
        return self._run(name, arguments, env)

    def write_inventory(self, inventory: Inventory) -> Path:
        path = self.folder / "inventory.json"
        path.write_text(json.dumps(inventory), encoding="utf-8")
        return path

    def _run(self, name: str, arguments: t.Sequence[str], env: t.Optional[t.Mapping[str, str]]) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / name), *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self._environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        """The machine's, without what configures Ansible, PVE clients or this collection."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PROXMOX_", "COREPIN_"))}
        return {
            **kept,
            "HOME": str(self._home),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "integration" / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "COREPIN_RECORD": str(self._record),
        }


def _environment_of(pid: int) -> list[bytes]:
    """Its variables as NAME=VALUE; none of a process that has ended, or that belongs to somebody else."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def local_host(**variables: t.Any) -> dict[str, t.Any]:
    """The variables of an inventory host that is this machine, with this Python unless another is named."""
    return {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
