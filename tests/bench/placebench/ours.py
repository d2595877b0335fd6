# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine under test, driven through its public doors: `place` for whole plans, `choose` for one guest at a time."""

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine import allocator, ledger, planner, policy, snapshot, topology

from .machines import Machine
from .metric import Bound, Held
from .workloads import Wanted

# Where an instance says nothing about memory, guests bind this much per vCPU to NUMA nodes that have plenty.
MIB_PER_VCPU = 1024
PLENTY_MIB = 1 << 20


class Host:
    """One host whose guests are planned with `place` again and again, each plan written into the guests' configs."""

    def __init__(self, machine: Machine, **policy_keys: t.Any) -> None:
        has_memory = bool(machine.memory_mib)
        self.machine = machine if has_memory else machine.with_memory(dict.fromkeys(machine.units["numa"], PLENTY_MIB))
        self._has_memory = has_memory
        self._policy = {"rules": [{}], **policy_keys}
        self._guests: t.Dict[int, t.Dict[str, t.Any]] = {}
        self.cpus: t.Dict[int, t.FrozenSet[int]] = {}
        self._memory: t.Dict[int, t.Tuple[Bound, ...]] = {}

    def arrive(self, guest: Wanted) -> None:
        memory_mib = guest.memory_mib if self._has_memory else guest.vcpus * MIB_PER_VCPU
        self._guests[guest.vmid] = {
            "vmid": guest.vmid,
            "node": self.machine.name,
            "status": "running",
            "vcpus": guest.vcpus,
            "memory_mib": memory_mib,
            "config": {"cores": str(guest.vcpus), "memory": str(memory_mib)},
        }

    def depart(self, vmid: int) -> None:
        del self._guests[vmid]
        self.cpus.pop(vmid, None)
        self._memory.pop(vmid, None)

    def documents(self, **policy_keys: t.Any) -> t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]]:
        """(snapshot, policy) as `place` takes them."""
        guests = list(self._guests.values())
        return {"hosts": {self.machine.name: self.machine.facts()}, "guests": guests}, {**self._policy, **policy_keys}

    def plan(self, **policy_keys: t.Any) -> t.Dict[str, t.Any]:
        """Plan, and carry the plan out: what it changes is what the guests' configs hold from now on."""
        plan = place(*self.documents(**policy_keys))
        for change in plan["changes"]:
            config = self._guests[change["vmid"]]["config"]
            for key, value in change["after"].items():
                if value is None:
                    config.pop(key, None)
                else:
                    config[key] = value
        self.cpus = {entry["vmid"]: _cpus(entry["cpus"]) for entry in plan["placements"]}
        self._memory = {entry["vmid"]: _memory(entry["numa_cells"]) for entry in plan["placements"]}
        return plan

    def held(self) -> t.List[Held]:
        """What the guests hold, memory only where the instance is about memory."""
        return [Held(cpus, self._memory[vmid] if self._has_memory else ()) for vmid, cpus in self.cpus.items()]

    def unplaced_vcpus(self) -> int:
        return sum(guest["vcpus"] for vmid, guest in self._guests.items() if vmid not in self.cpus)


def place(snapshot_document: t.Mapping[str, t.Any], policy_document: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """What the filter corepin.proxmox.place does."""
    return planner.place(snapshot.Snapshot.from_dict(snapshot_document), policy.Policy.from_dict(policy_document))


def _cpus(cpulist: str) -> t.FrozenSet[int]:
    cpus: t.Set[int] = set()
    for part in filter(None, cpulist.split(",")):
        first, _dash, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def _memory(cells: t.Iterable[t.Mapping[str, t.Any]]) -> t.Tuple[Bound, ...]:
    return tuple(Bound(_cpus(cell["hostnodes"]), cell["memory_mib"]) for cell in cells)


class Greedy:
    """The engine's allocator alone, as a peer: one guest at a time, nothing moves, nothing is planned ahead."""

    def __init__(self, machine: Machine) -> None:
        self._host = topology.Host.from_facts(machine.facts())
        self._online = self._host.online

    def take(self, free: t.AbstractSet[int], vcpus: int) -> t.FrozenSet[int]:
        mask = sum(1 << cpu for cpu in free)
        room = allocator.Room(self._host, mask, self._online & ~mask)
        return frozenset(allocator.choose(room, allocator.Demand(vcpus)).cpus)


def ledger_of(machine: Machine) -> ledger.Ledger:
    return ledger.Ledger(topology.Host.from_facts(machine.facts()), policy.Reservation())
