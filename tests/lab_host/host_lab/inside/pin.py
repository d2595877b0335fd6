# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what the module guest_pinning runs, without Ansible: from the collection's module_utils, which lie beside this file.

    pin.py once PLAN.json [OPTIONS.json]             prints {result, warnings, failures}
    pin.py alternate A.json B.json TIMES VMID        now one plan, now the other; prints {outside, failures, descriptors, changed}
    pin.py fingerprint                               prints that of the host
    pin.py cost PLAN.json                            prints how many times the CPU time of `python3 -c pass` a run takes

`outside` are threads that, after a call has returned, may run on other CPUs than those of its plan.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "corepin"))

from plugins.module_utils._engine.cpuset import parse_cpulist
from plugins.module_utils._host.files import Tree
from plugins.module_utils._host.hands import Hands
from plugins.module_utils._host.pin_guests import pin_guests
from plugins.module_utils._host.sysfs import read_host

DEFAULTS = {"node": "pve1", "state": "present", "memory_move": False, "memory_timeout": 600, "housekeeping": False}
Plan = t.Optional[t.Dict[str, t.Any]]


def pin(plan: Plan, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
    tree = Tree()
    result, warnings, failures = pin_guests(tree, Hands(tree, 60), {**DEFAULTS, **options}, plan, check)
    return {"result": result, "warnings": warnings, "failures": failures}


def read(path: str) -> t.Any:
    return json.loads(Path(path).read_text())


def alternate(plans: t.Sequence[Plan], times: int, vmid: int) -> t.Dict[str, t.Any]:
    outside, failures, changed = 0, [], 0
    pin(plans[1])
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(times):
        plan = plans[number % 2]
        done = pin(plan)
        failures += done["failures"]
        changed += done["result"]["changed"]
        cpus = next(parse_cpulist(entry["cpus"]) for entry in plan["placements"] if entry["vmid"] == vmid)
        outside += sum(1 for mask in masks(vmid) if mask & ~cpus)
    more = len(os.listdir("/proc/self/fd")) - descriptors
    return {"outside": outside, "failures": failures, "descriptors": more, "changed": changed}


def masks(vmid: int) -> t.Iterator[int]:
    """Of all threads in the guest's scope."""
    for pid in Path(f"/sys/fs/cgroup/qemu.slice/{vmid}.scope/cgroup.procs").read_text().split():
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                yield parse_cpulist((task / "status").read_text().partition("Cpus_allowed_list:")[2].split()[0])
            except (OSError, IndexError):
                continue


def cpu_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    act, *words = sys.argv[1:]
    if act == "once":
        print(json.dumps(pin(read(words[0]), **(read(words[1]) if len(words) > 1 else {}))))
    elif act == "fingerprint":
        print(read_host()["fingerprint"])
    elif act == "alternate":
        print(json.dumps(alternate([read(words[0]), read(words[1])], int(words[2]), int(words[3]))))
    elif act == "cost":
        nothing = min(cpu_seconds("python3", "-c", "pass") for _time in range(3))
        run = min(cpu_seconds("python3", __file__, "once", words[0]) for _time in range(2))
        print(json.dumps({"seconds": run, "multiple": run / nothing}))


if __name__ == "__main__":
    main()
