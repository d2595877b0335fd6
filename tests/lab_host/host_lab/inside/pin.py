# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what the module guest_pinning runs, without Ansible: from the collection's module_utils, which lie beside this file.

    pin.py once <JOB               {result, warnings, failures}
    pin.py refuse N... <JOB        for each N refuses the Nth mask of a thread: {before, after: [state for each N], failures}
    pin.py kill MOMENT... <JOBS    is killed at each MOMENT (0 to 1) of a run of one job or the other: see `kill`
    pin.py alternate TIMES <JOBS   now one job, now the other: see `alternate`
    pin.py cost <JOB               how many times the CPU time of `python3 -c pass` a run takes: {seconds, multiple}
    pin.py runtime                 what guest_runtime_info returns: [runtime of each guest]
    pin.py fingerprint             that of the host

The guests whose numbers are in the environment's variable PATIENT are given a minute to answer on QMP.

Prints JSON. A job is {plan, options}, in JSON on the standard input; JOBS are a list of two. What is looked at is the guest of
the plan's first placement.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "corepin"))

from plugins.module_utils._engine.cpuset import format_cpulist, parse_cpulist
from plugins.module_utils._engine.errors import SettingError
from plugins.module_utils._host import runtime
from plugins.module_utils._host.files import Tree
from plugins.module_utils._host.hands import Hands
from plugins.module_utils._host.kept import FOLDER, recall
from plugins.module_utils._host.pin_guests import pin_guests
from plugins.module_utils._host.pinning_kept import NAME
from plugins.module_utils._host.qmp import TIMEOUT_S, query_threads
from plugins.module_utils._host.scope import read_scope, scope_of_vm
from plugins.module_utils._host.sysfs import read_host
from plugins.module_utils._host.threads import Thread

POOL = "worker"  # the threads of QEMU's pool come with work and go after ten idle seconds (util/thread-pool.c)
DEFAULTS = {"node": "pve1", "state": "present", "memory_move": False, "memory_timeout": 600, "housekeeping": False}
PATIENT = os.environ.get("PATIENT", "").split()
Job = t.Dict[str, t.Any]
Answer = t.Dict[str, t.Any]


runtime.query_threads = lambda path: query_threads(path, 60.0 if Path(path).stem in PATIENT else TIMEOUT_S)


def pin(job: Job, hands: t.Optional[Hands] = None) -> Answer:
    tree = Tree()
    options = {**DEFAULTS, **job["options"]}
    result, warnings, failures = pin_guests(tree, hands or Hands(tree, 60), options, job["plan"], False)
    return {"result": result, "warnings": warnings, "failures": failures}


# --- what the kernel says --------------------------------------------------------------------------------------------


def first(job: Job) -> t.Tuple[int, int]:
    """The guest that is looked at, and its CPUs (mask)."""
    placement = job["plan"]["placements"][0]
    return placement["vmid"], parse_cpulist(placement["cpus"])


def lasting(vmid: int) -> t.Set[int]:
    """The ids of the threads in a guest's scope that bear another name than the pool's at two looks half a second apart: a worker that
    has just been born does not bear its name yet."""
    earlier = masks(vmid, but=POOL)
    time.sleep(0.5)
    return earlier.keys() & masks(vmid, but=POOL).keys()


def state(vmid: int, known: t.Collection[int]) -> Answer:
    """The cpulists of a guest's scope and of the `known` threads in it by id, and what the file of guest_pinning says of it."""
    tree = Tree()
    effective = read_scope(tree, scope_of_vm(vmid)).effective
    return {
        "scope": format_cpulist(effective or 0),
        "threads": {tid: cpus for tid, cpus in masks(vmid).items() if tid in known},
        "remembered": str(vmid) in recall(tree, NAME).get("guests", {}),
    }


def masks(vmid: int, but: str = "") -> t.Dict[int, str]:
    """The cpulists of all threads in the guest's scope `but` those of that name, by id; threads that end meanwhile are left out."""
    found = {}
    for pid in Path(f"/sys/fs/cgroup/{scope_of_vm(vmid)}/cgroup.procs").read_text().split():
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                if (task / "comm").read_text().strip() != but:
                    found[int(task.name)] = (task / "status").read_text().partition("Cpus_allowed_list:")[2].split()[0]
            except (OSError, IndexError):
                continue
    return found


# --- a step that fails -----------------------------------------------------------------------------------------------


class Refusing(Hands):
    """Refuses one mask, the `number`th that is to be set; those after it are set, for that is how all is put back."""

    def __init__(self, tree: Tree, number: int) -> None:
        super().__init__(tree, 60)
        self.left = number

    def set_mask(self, thread: Thread, cpus: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise SettingError(f"Thread {thread.tid} ({thread.name}) was refused.")
        super().set_mask(thread, cpus)


def refuse(job: Job, numbers: t.Sequence[int]) -> Answer:
    vmid, _cpus = first(job)
    known = lasting(vmid)
    before, after, failures = state(vmid, known), [], []
    for number in numbers:
        failures += pin(job, Refusing(Tree(), number))["failures"]
        after.append(state(vmid, known))
    return {"before": before, "after": after, "failures": failures}


# --- a process that is killed ----------------------------------------------------------------------------------------


class Steps(Hands):
    """Counts the steps of a run: each change, the moment at which systemctl has been started, and each file that is put in its place.

    Before step `end_before` (counted from 0) it kills this process.
    """

    def __init__(self, tree: Tree, end_before: t.Optional[int]) -> None:
        super().__init__(tree, 60)
        self.taken, self.end_before = 0, end_before
        for owner, name in (
            *((self, name) for name in ("set_property", "set_mask", "set_cpuset", "pages")),
            (subprocess.Popen, "communicate"),
            (os, "replace"),
        ):
            setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, act: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def step(*arguments: t.Any, **more: t.Any) -> t.Any:
            if self.taken == self.end_before:
                os.kill(os.getpid(), signal.SIGKILL)
            self.taken += 1
            return act(*arguments, **more)

        return step


def in_child(job: Job, end_before: t.Optional[int] = None) -> t.Optional[int]:
    """Run a job in a process of its own: the number of its steps; None where it was killed before one."""
    pid = os.fork()
    if not pid:
        try:
            steps = Steps(Tree(), end_before)
            pin(job, steps)
            os._exit(min(steps.taken, 254))
        except BaseException:
            traceback.print_exc()
            os._exit(255)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 255:
        sys.exit("The run failed.")
    return None if code == -signal.SIGKILL else code


def kill(jobs: t.Sequence[Job], moments: t.Sequence[float]) -> Answer:
    """Kill a run at each of the moments, now of one job, now of the other, then run the job whole; kill one more in its middle.

    `whole`: the state after each job when nothing kills it. Of the kills, numbers: `killed` that came, `between` that left a state
    neither old nor new, `unremembered` threads that had been changed but not as the file says, `leftovers` beside the file after the
    next run, `astray`: how often that did not end in the whole state. `failures`, `warnings`: those of these runs.
    """
    vmid, _cpus = first(jobs[0])
    known = lasting(vmid)
    pin(jobs[1])
    whole, steps = [], []
    for job in (*jobs, *jobs):  # the fewest steps count: where systemd is slow to set the threads, a run does it in steps of its own
        steps.append(in_child(job) or 0)
        whole.append(state(vmid, known))
    whole = whole[:2]
    numbers = dict.fromkeys(("killed", "between", "unremembered", "leftovers", "astray"), 0)
    failures, warnings = [], []
    for number, moment in enumerate(moments):
        job, old, new = jobs[number % 2], whole[1 - number % 2], whole[number % 2]
        numbers["killed"] += in_child(job, int(moment * min(steps))) is None
        left = state(vmid, known)
        numbers["between"] += left not in (old, new)
        numbers["unremembered"] += unremembered(vmid, left, old)
        done = pin(job)
        failures, warnings = failures + done["failures"], warnings + done["warnings"]
        numbers["leftovers"] += sum(1 for name in os.listdir(f"/{FOLDER}") if name.startswith(f".corepin-{NAME}"))
        numbers["astray"] += state(vmid, known) != new
    in_child(jobs[len(moments) % 2], min(steps) // 2)
    return {**numbers, "failures": failures, "warnings": warnings, "whole": whole, "steps": steps}


def unremembered(vmid: int, left: Answer, old: Answer) -> int:
    entry = recall(Tree(), NAME).get("guests", {}).get(str(vmid), {"masks": []})
    return sum(1 for tid, cpus in left["threads"].items() if cpus not in (old["threads"].get(tid), *entry["masks"]))


# --- to and fro ------------------------------------------------------------------------------------------------------


def alternate(jobs: t.Sequence[Job], times: int) -> Answer:
    """What came of so many runs, as numbers: `outside`: threads that, after a run has returned, may run on other CPUs than those of its
    plan; `astray`: lasting threads that have other CPUs than after the first run of the same job; `changed`: runs that changed
    something; `came`: threads that came during a run or since the one before it; `more_descriptors` that are open in the end than in the
    beginning; `remembered`: masks in the file of guest_pinning, after each run. And the `failures`."""
    vmid, _cpus = first(jobs[0])
    stays = lasting(vmid)
    pin(jobs[1])
    numbers, failures, known = dict.fromkeys(("outside", "astray", "changed", "came"), 0), [], masks(vmid)
    descriptors, whole, remembered = len(os.listdir("/proc/self/fd")), [], set()
    for number in range(times):
        job = jobs[number % 2]
        done = pin(job)
        failures += done["failures"]
        now = masks(vmid)
        whole += [now] * (number < 2)
        numbers["changed"] += done["result"]["changed"]
        numbers["outside"] += sum(1 for cpus in now.values() if parse_cpulist(cpus) & ~first(job)[1])
        numbers["astray"] += sum(1 for tid in stays if now.get(tid) != whole[number % 2].get(tid))
        numbers["came"] += len(now.keys() - known.keys())
        known = now
        remembered.add(len(recall(Tree(), NAME)["guests"][str(vmid)]["masks"]))
    more = len(os.listdir("/proc/self/fd")) - descriptors
    return {**numbers, "failures": failures, "more_descriptors": more, "remembered": sorted(remembered)}


# --- cost ------------------------------------------------------------------------------------------------------------


def cost(job: Job) -> Answer:
    nothing = min(cpu_seconds("", "python3", "-c", "pass") for _time in range(3))
    run = cpu_seconds(json.dumps(job), "python3", __file__, "once")
    return {"seconds": run, "multiple": run / nothing}


def cpu_seconds(text: str, *command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, input=text, text=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def answer(act: str, words: t.Sequence[str]) -> t.Any:
    if act == "fingerprint":
        return read_host()["fingerprint"]
    if act == "runtime":
        return [guest.as_facts() for guest in runtime.read_running(Tree())]
    asked = json.load(sys.stdin)
    if act == "refuse":
        return refuse(asked, [int(word) for word in words])
    if act == "kill":
        return kill(asked, [float(word) for word in words])
    if act == "alternate":
        return alternate(asked, int(words[0]))
    return {"once": pin, "cost": cost}[act](asked)


if __name__ == "__main__":
    print(json.dumps(answer(sys.argv[1], sys.argv[2:])))
