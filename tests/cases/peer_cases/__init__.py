# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the case files, and what their tests share: machines, single takes, the facts about a set of CPUs.

The files are not part of the collection; COREPIN_CASES names their folder (default ../shared/cases beside the
checkout). Where they are absent the tests skip and say so.
"""

from __future__ import annotations

import functools
import json
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.allocator import choose
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import mask_of, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.demand import Demand, Room
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from placebench import metric
from placebench.machines import Machine
from placebench.workloads import cases_folder

Row = t.Mapping[str, t.Any]


@functools.cache
def document(name: str) -> t.Any:
    """A case file; None where it is absent."""
    path = cases_folder() / name
    return json.loads(path.read_text()) if path.is_file() else None


def parameters(name: str, rows: t.Callable[[t.Any], t.Iterable[Row]]) -> t.List[t.Any]:
    """The rows to parametrize a test with; a single skipped one where the file is absent."""
    content = document(name)
    if content is None:
        why = f"there is no {name} in {cases_folder()} (see COREPIN_CASES)"
        return [pytest.param(None, marks=pytest.mark.skip(reason=why), id="absent")]
    return [pytest.param(row, id=row["id"].replace(" ", "_")) for row in rows(content)]


def cpus(cpulist: t.Optional[str]) -> t.FrozenSet[int]:
    return frozenset(cpu for cpu in range(1024) if parse_cpulist(cpulist or "") >> cpu & 1)


def machine_of(name: str, rows: t.Iterable[Row], memory_mib: t.Optional[t.Mapping[str, int]] = None) -> Machine:
    """A machine from rows with cpu, socket, numa, l3 and core; L3 domains and cores count for each package apart."""
    rows = list(rows)
    l3 = {key: i for i, key in enumerate(sorted({(row["socket"], row["l3"]) for row in rows}))}
    core = {key: i for i, key in enumerate(sorted({(row["socket"], row["core"]) for row in rows}))}
    return Machine(
        name or "host",
        {row["cpu"]: core[row["socket"], row["core"]] for row in rows},
        {row["cpu"]: l3[row["socket"], row["l3"]] for row in rows},
        {row["cpu"]: row["numa"] for row in rows},
        {row["cpu"]: row["socket"] for row in rows},
        {int(node): mib for node, mib in (memory_mib or {}).items()},
    )


def peer_machine(name: str) -> Machine:
    """A topology of peer-allocators.json."""
    topology = document("peer-allocators.json")["topologies"][name]
    return machine_of(name, (dict(zip(topology["columns"], row)) for row in topology["cpus"]))


def host_of(machine: Machine) -> Host:
    return Host.from_facts(machine.facts())


def take(
    machine: Machine, available: t.AbstractSet[int], vcpus: int, reserved: t.AbstractSet[int] = frozenset(), **demand: t.Any
) -> t.FrozenSet[int]:
    """What the engine takes, checked for number and availability. Raises PlacementError.

    What is neither available nor reserved counts as other guests'.
    """
    others = machine.cpus - available - reserved
    room = Room(host_of(machine), mask_of(available), mask_of(others))
    taken = choose(room, Demand(vcpus, **demand)).cpus
    assert len(taken) == len(set(taken)) == vcpus
    assert set(taken) <= available
    return frozenset(taken)


def rank(machine: Machine, available: t.AbstractSet[int], chosen: t.AbstractSet[int]) -> t.Tuple[int, ...]:
    """How the vector of the host after taking `chosen` is compared; what is not available counts as one other guest's."""
    others = metric.Held(frozenset(machine.cpus - available))
    parts = metric.vector(machine, [others, metric.Held(frozenset(chosen))])
    cores = 5 * parts["shared_core"] + 10 * parts["orphan"]
    return (parts["numa"], parts["package"], parts["l3"], cores, parts["open_l3"])


def facts(machine: Machine, available: t.AbstractSet[int], chosen: t.AbstractSet[int]) -> t.Dict[str, int]:
    """Domains touched; wholly free cores opened but not filled; cores whose other threads belong to someone else."""
    cores = [machine.units["core"][core] for core in {machine.core[cpu] for cpu in chosen}]
    return {
        "numa_span": len({machine.numa[cpu] for cpu in chosen}),
        "socket_span": len({machine.package[cpu] for cpu in chosen}),
        "l3_span": len({machine.l3[cpu] for cpu in chosen}),
        "cores_broken": sum(1 for core in cores if core <= available and not core <= chosen),
        "cores_shared": sum(1 for core in cores if not core <= available),
    }
