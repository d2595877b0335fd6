# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nova's fit as a contender: its own code, run in an environment of its own that is made on first use."""

from __future__ import annotations

import json
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from environments import Unavailable, python_with

from . import contest, metric
from .contest import Run
from .metric import Held
from .workloads import Churn

ROOT = Path(__file__).resolve().parents[3]
WORKER = ROOT / "tests" / "bench" / "nova_worker.py"


@dataclass(frozen=True)
class Fits:
    """What nova did with a stream. `seconds`: CPU time inside nova's fit, arrival by arrival."""

    run: Run
    seconds: t.Tuple[float, ...]
    refused: int
    version: str


def interpreter() -> Path:
    """The Python of the environment with nova. Raises Unavailable."""
    return python_with("nova", "with nova (once, about two minutes)")


def churn(stream: Churn) -> Fits:
    """The stream through nova's fit; a guest that it refuses counts as unplaced. Raises Unavailable."""
    machine = stream.machine
    work = {
        "cpus": [[cpu, machine.core[cpu], machine.numa[cpu]] for cpu in sorted(machine.cpus)],
        "events": [[event.guest.vmid, 0 if event.departs else event.guest.vcpus] for event in stream.events],
        "widths": {vcpus: metric.least(machine, vcpus)["numa"] for vcpus in {event.guest.vcpus for event in stream.events}},
    }
    done = subprocess.run([str(interpreter()), str(WORKER)], input=json.dumps(work), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"nova's fit ended with: {done.stderr.strip().splitlines()[-1]}")
    answer = json.loads(done.stdout)
    return _judged(stream, [frozenset(step) for step in answer["steps"]], answer["seconds"], answer["version"])


def _judged(stream: Churn, steps: t.Sequence[t.FrozenSet[int]], seconds: t.Sequence[float], version: str) -> Fits:
    run = Run(seconds=sum(seconds), events=len(stream.events))
    held: t.Dict[int, Held] = {}
    waiting: t.Dict[int, int] = {}
    arrivals = iter(steps)
    for index, event in enumerate(stream.events):
        vmid = event.guest.vmid
        if event.departs:
            held.pop(vmid, None)
            waiting.pop(vmid, None)
        else:
            cpus = next(arrivals)
            if cpus:
                held[vmid] = Held(cpus)
            else:
                waiting[vmid] = event.guest.vcpus
        if stream.sampled(index):
            run.samples.append(contest.sample(stream.machine, list(held.values()), sum(waiting.values())))
    run.end = contest.judge(stream.machine, list(held.values()), sum(waiting.values()))
    return Fits(run, tuple(seconds), sum(1 for step in steps if not step), version)
