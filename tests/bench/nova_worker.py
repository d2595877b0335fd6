# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenStack nova's own fit, `nova.virt.hardware.numa_fit_instance_to_host`, on a stream of arrivals and departures.

Runs in an environment that has nova and nothing of this repository: the stream comes on standard input and what
became of it goes to standard output, both as JSON. Only the calls of nova's fit are timed; the usage of the host is
kept by nova's host cells themselves (`pin_cpus`), which is faster than nova's own way.

In:  {cpus: [[cpu, core, numa], ...], events: [[vmid, vcpus or 0 for a departure], ...], widths: {vcpus: least cells}}
Out: {steps: [[cpu, ...] for each arrival, [] = refused], seconds: CPU seconds for each arrival, version}
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import sys
import time
import typing as t
import warnings

warnings.filterwarnings("ignore")
with contextlib.redirect_stderr(io.StringIO()):
    from nova.objects import fields, instance_numa, numa
    from nova.virt import hardware

MIB_PER_VCPU = 1
PLENTY_MIB = 1 << 20
DEDICATED = fields.CPUAllocationPolicy.DEDICATED


def host_topology(rows: t.Sequence[t.Sequence[int]]) -> t.Any:
    cells = []
    for node in sorted({row[2] for row in rows}):
        mine = [row for row in rows if row[2] == node]
        cores: t.Dict[int, t.Set[int]] = {}
        for cpu, core, _node in mine:
            cores.setdefault(core, set()).add(cpu)
        cells.append(
            numa.NUMACell(
                id=node,
                cpuset=set(),
                pcpuset={row[0] for row in mine},
                memory=PLENTY_MIB,
                cpu_usage=0,
                memory_usage=0,
                mempages=[],
                pinned_cpus=set(),
                siblings=list(cores.values()),
                socket=0,
            )
        )
    return numa.NUMATopology(cells=cells)


def guest_topology(vcpus: int, number: int) -> t.Any:
    """`number` cells of nearly equal size."""
    cells, first = [], 0
    for cell in range(number):
        size = vcpus // number + (cell < vcpus % number)
        cells.append(
            instance_numa.InstanceNUMACell(
                id=cell,
                cpuset=set(),
                pcpuset=set(range(first, first + size)),
                memory=size * MIB_PER_VCPU,
                cpu_policy=DEDICATED,
            )
        )
        first += size
    return instance_numa.InstanceNUMATopology(cells=cells)


def fit(host: t.Any, vcpus: int, least: int) -> t.Tuple[t.Any, float]:
    """(the fitted topology or None, CPU seconds inside nova): the fewest cells first, more where that does not fit."""
    spent = 0.0
    for number in range(least, min(len(host.cells), vcpus) + 1):
        wanted = guest_topology(vcpus, number)
        begin = time.process_time()
        fitted = hardware.numa_fit_instance_to_host(host, wanted, {})
        spent += time.process_time() - begin
        if fitted:
            return fitted, spent
    return None, spent


def main() -> None:
    work = json.load(sys.stdin)
    host = host_topology(work["cpus"])
    by_id = {cell.id: cell for cell in host.cells}
    held: t.Dict[int, t.List[t.Tuple[t.Any, t.Set[int], int]]] = {}
    steps, seconds = [], []
    for vmid, vcpus in work["events"]:
        if not vcpus:
            for cell, cpus, memory in held.pop(vmid, []):
                cell.unpin_cpus(cpus)
                cell.memory_usage -= memory
            continue
        fitted, spent = fit(host, vcpus, work["widths"][str(vcpus)])
        seconds.append(spent)
        taken: t.List[int] = []
        for cell in fitted.cells if fitted else []:
            cpus = set(cell.cpu_pinning.values())
            by_id[cell.id].pin_cpus(cpus)
            by_id[cell.id].memory_usage += cell.memory
            held.setdefault(vmid, []).append((by_id[cell.id], cpus, cell.memory))
            taken.extend(sorted(cpus))
        steps.append(taken)
    json.dump({"steps": steps, "seconds": seconds, "version": importlib.metadata.version("nova")}, sys.stdout)


if __name__ == "__main__":
    main()
