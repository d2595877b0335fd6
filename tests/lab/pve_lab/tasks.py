# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: work that PVE does in the background, known by a UPID."""

from __future__ import annotations

import dataclasses
import threading
import typing as t

from .errors import ApiError, TaskError


@dataclasses.dataclass
class Task:
    """One task; exitstatus is None while it runs."""

    upid: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    exitstatus: t.Optional[str] = None
    endtime: t.Optional[int] = None
    log: list[str] = dataclasses.field(default_factory=list)
    warnings: int = 0

    @property
    def running(self) -> bool:
        return self.exitstatus is None

    def say(self, line: str) -> None:
        """Print a line into the task's log."""
        self.log.append(line)

    def warn(self, line: str) -> None:
        """Print a warning; a task with warnings ends as "WARNINGS: n"."""
        self.warnings += 1
        self.log.append(f"WARN: {line}")


@dataclasses.dataclass
class Printed:
    """What code prints that runs in the foreground: for a command on the host; the API throws it away."""

    lines: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def say(self, line: str) -> None:
        """Print to the standard output."""
        self.lines.append(line)

    def warn(self, line: str) -> None:
        """Print to the standard error output."""
        self.warnings.append(line)


Speaker = t.Union[Task, Printed]
Work = t.Callable[[Task], None]


class TaskList:
    """All tasks of the cluster. Work is done under `mutex`, at once, or after `delay` seconds in a thread."""

    def __init__(self, mutex: t.Any, clock: t.Callable[[], float]) -> None:
        self._mutex = mutex
        self._clock = clock
        self._boot = clock()
        self.delay = 0.0
        self.closing = threading.Event()
        self.all: dict[str, Task] = {}
        self._next_pid = 0x00000700

    def new_pid(self) -> int:
        """A process id that nobody has had before."""
        self._next_pid += 7
        return self._next_pid

    def start(self, node: str, kind: str, ident: t.Union[int, str], user: str, work: Work) -> Task:
        """Begin a task and return it, perhaps already ended."""
        now = self._clock()
        pid, pstart, begun = self.new_pid(), int((now - self._boot) * 100) + 0x20000, int(now)
        upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{begun:08X}:{kind}:{ident}:{user}:"
        task = Task(upid, node, pid, pstart, begun, kind, str(ident), user)
        self.all[upid] = task
        if self.delay > 0:
            threading.Thread(target=self._run_later, args=(task, work), daemon=True).start()
        else:
            self._run(task, work)
        return task

    def _run_later(self, task: Task, work: Work) -> None:
        if not self.closing.wait(self.delay):
            with self._mutex:
                self._run(task, work)

    def _run(self, task: Task, work: Work) -> None:
        try:
            work(task)
        except TaskError as error:
            task.log.extend(error.log)
            self._end(task, error.message)
        except ApiError as error:
            detail = "".join(f"\n{key}: {text}" for key, text in (error.errors or {}).items())
            self._end(task, (error.message.rstrip("\n") + detail).rstrip("\n"))
        else:
            self._end(task, f"WARNINGS: {task.warnings}" if task.warnings else "OK")

    def _end(self, task: Task, status: str) -> None:
        shown = status.replace("\n", " ")
        task.log.append("TASK OK" if status == "OK" else f"TASK {status}" if status.startswith("WARNINGS: ") else f"TASK ERROR: {shown}")
        task.exitstatus = shown
        task.endtime = int(self._clock())
