# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recording of starts: not exchanges, but configuration, end of the task, log and command line."""

from __future__ import annotations

import ast
import json
import pathlib
import re
import typing as t

from ..cluster import Cluster
from ..lab import Lab
from .player import Player
from .recordings import one_vm

_BASE = {"name": "a", "kvm": 0, "cores": 2, "memory": 512, "numa": 1}


class StartCase:
    """What was set on top of a two-vCPU guest, how its start ended, what the log said, what the process was given."""

    def __init__(self, config: dict[str, t.Any]) -> None:
        self.config = config
        self.status = ""
        self.log: list[str] = []
        self.command: t.Optional[str] = None
        self.refused: t.Optional[str] = None


def read_start_cases(path: pathlib.Path) -> list[StartCase]:
    """The cases in the file, in order."""
    cases: list[StartCase] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _blank, rest = line.strip().partition(" ")
        if line.startswith("--- "):
            cases.append(StartCase(ast.literal_eval(rest)))
        elif kind == "task":
            cases[-1].status = rest[len("qmstart ") :]
        elif kind == "log":
            cases[-1].log = ast.literal_eval(rest)
        elif kind == "qm:":
            cases[-1].command = rest.strip()
        elif kind == "PUT":
            cases[-1].refused = rest
    return cases


def shown_process(command: list[str], affinity: str) -> str:
    """The parts of the command line that the recording kept, and the CPUs that the process may use."""
    kept = [
        f"{option} {value}" if option != "-object" else value
        for option, value in zip(command, command[1:])
        if option in ("-smp", "-object", "-numa")
    ]
    return " ".join([*kept, f"Cpus_allowed_list:\t{affinity}"])


def play_start(case: StartCase) -> list[str]:
    """Set, start, compare: what was different, as sentences."""
    base = {**_BASE, **({"cpu": "host"} if "requires KVM" in "".join(case.log) else {})}
    with Lab(Cluster.from_dict(one_vm(base))) as lab:
        player = Player(lab, "start-errors", 100, "pve1")
        status, _reason, body = player.send("PUT", "/nodes/pve1/qemu/100/config", case.config, player.credentials)
        player.send("POST", "/nodes/pve1/qemu/100/status/start", {}, player.credentials)
        task, guest = next(iter(lab.cluster.tasks.all.values())), lab.cluster.guest(100)
        process = shown_process(guest.live_command, guest.live_affinity) if guest.live_command and guest.live_affinity else None
    wanted = {
        "answer to the change": (int(case.refused[:3]), json.loads(case.refused[4:])) if case.refused else (200, {"data": None}),
        "end of the task": case.status,
        "log": [_plain_pid(line) for line in case.log or ["TASK OK"]],
        "process": case.command,
    }
    got = {
        "answer to the change": (status, json.loads(body)),
        "end of the task": task.exitstatus,
        "log": [_plain_pid(line) for line in task.log],
        "process": process,
    }
    return [f"the {what} is {got[what]!r} instead of {wanted[what]!r}" for what in wanted if got[what] != wanted[what]]


def _plain_pid(line: str) -> str:
    return re.sub(r"pid \d+", "pid PID", line)
