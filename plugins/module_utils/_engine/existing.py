# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's config already gives it, and whether that may stay as its placement.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cells import cells_of
from .cpuset import count, cpus_of, format_cpulist, mask_of
from .demand import Choice, Demand, Room, Share
from .errors import GrammarError, PlacementError
from .guest import Cell, Guest, affinity_effect, config_cells, lxc_cpuset
from .ledger import Holding, bound_evenly
from .numa_memory import NodeMemory, memory_split
from .score import Least
from .topology import Host


@dataclass(frozen=True)
class Settled:
    """An existing placement that may stay: CPUs in vCPU order, cells, and the idle siblings kept for it."""

    cpus: t.Tuple[int, ...]
    blocked: int
    cells: t.Tuple[Cell, ...]
    memory: t.Mapping[int, int]

    def choice(self, host: Host) -> Choice:
        """The same as the allocator's choices are given."""
        shares = []
        mine = mask_of(self.cpus)
        for numa_node in host.numa_nodes:
            if not numa_node.cpus & mine and numa_node.id not in self.memory:
                continue
            cpus = tuple(cpu for cpu in self.cpus if numa_node.cpus >> cpu & 1)
            if cpus or self.memory.get(numa_node.id):
                shares.append(Share(numa_node.id, cpus, self.memory.get(numa_node.id, 0)))
        return Choice(tuple(shares), self.blocked, ())


def stored_cpus(guest: Guest, host: Host) -> t.Tuple[int, t.List[str]]:
    """The CPUs of `host` that the guest's config holds (0 = none in particular), with warnings about its text.

    A running guest keeps the CPUs that it was started on while others are pending, so both count.
    """
    if guest.type == "lxc":
        text = lxc_cpuset(guest.next_config)
        return _cpus_of_text(guest, "lxc cpuset", text, host)
    cpus, warnings = _cpus_of_text(guest, "affinity", guest.next_config.get("affinity"), host)
    if guest.running and "affinity" in guest.pending:
        cpus |= _cpus_of_text(guest, "affinity", guest.config.get("affinity"), host)[0]
    return cpus, warnings


def _cpus_of_text(guest: Guest, what: str, text: t.Optional[str], host: Host) -> t.Tuple[int, t.List[str]]:
    try:
        asked = affinity_effect(text)
    except GrammarError as e:
        return 0, [f"The {what} of {guest.label} on host {host.node} counts as no CPUs: {e}"]
    if asked is None:
        return 0, []
    beyond = asked & ~host.online
    if not beyond:
        return asked, []
    fate = "it cannot start there" if beyond == asked else f"it runs on {format_cpulist(asked & host.online)} only"
    return asked & host.online, [
        f"The {what} {text} of {guest.label} names CPU {format_cpulist(beyond)}, which host {host.node} does not have online, so {fate}."
    ]


def stored_holding(guest: Guest, host: Host) -> t.Tuple[Holding, t.List[str]]:
    """What the guest's config holds on `host` as it stands, with warnings about what could not be read."""
    cpus, warnings = stored_cpus(guest, host)
    memory: t.Dict[int, int] = {}
    try:
        cells = config_cells(guest.next_config)
    except GrammarError as e:
        warnings.append(f"The NUMA cells of {guest.label} on host {host.node} count as unbound memory: {e}")
        cells = []
    for cell in cells:
        for numa_node, mib in bound_evenly(max(0, cell.memory_mib or 0), cell.hostnodes).items() if cell.hostnodes else ():
            if numa_node in host.numa_node_by_id:
                memory[numa_node] = memory.get(numa_node, 0) + mib
    floating = max(0, guest.memory_mib - sum(memory.values()))
    return Holding(guest.vcpus, cpus, 0, memory, floating), warnings


def settled(guest: Guest, room: Room, demand: Demand, memory_policy: str, reserved: int) -> Settled:
    """The guest's existing placement when it may stay on the host of `room`. Raises PlacementError with what is wrong.

    It may stay when its CPUs are as many as asked for, online, neither reserved nor held by others, and follow the
    rule's siblings, core type and NUMA mode, and its memory fits. Valid cells stay as they are. CPUs that lie across
    more NUMA nodes than needed stay only when cells were made for them: without cells nobody has placed that guest yet.
    """
    text = guest.next_config.get("affinity")
    try:
        cpus = affinity_effect(text)
        cells = _valid_cells(guest, room, memory_policy)
    except GrammarError as e:
        raise PlacementError(str(e), rule="existing") from e
    if cpus is None:
        raise PlacementError("It has no CPUs of its own.", rule="existing")
    _check_cpus(cpus, room, demand)
    blocked = _idle_siblings(cpus, room, demand)
    if not cells and _excess_numa_nodes(cpus, room, demand, reserved):
        raise PlacementError(f"Its CPUs {text} lie across more NUMA nodes than it needs.", rule="existing")
    chosen = cells or _fresh_cells(cpus, room, demand, memory_policy)
    if chosen is None:
        raise PlacementError(f"The NUMA nodes of its CPUs {text} do not have its memory.", rule="existing")
    return _settled(cpus, blocked, chosen, room, memory_policy)


def has_remote_memory(stay: Settled, host: Host) -> bool:
    """Whether some cell binds memory to a NUMA node on which its vCPUs do not run."""
    return bool(stay.cells) and _local_vcpus(mask_of(stay.cpus), host, stay.cells) < len(stay.cpus)


def brought_nearer(stay: Settled, room: Room, demand: Demand, memory_policy: str) -> t.Optional[Settled]:
    """`stay` with cells that bind the memory of more vCPUs to the NUMA node that they run on; None where none are.

    `room` is without the guest itself, and with all that the others hold: what they have must not be promised again.
    """
    cpus = mask_of(stay.cpus)
    local = _local_vcpus(cpus, room.host, stay.cells)
    fresh = _fresh_cells(cpus, room, demand, memory_policy)
    if not fresh or _local_vcpus(cpus, room.host, fresh) <= local:
        return None
    return _settled(cpus, stay.blocked, fresh, room, memory_policy)


def _settled(cpus: int, blocked: int, cells: t.Tuple[Cell, ...], room: Room, memory_policy: str) -> Settled:
    return Settled(_vcpu_order(cpus, room.host, cells, memory_policy), blocked, cells, _memory_of(cells, room))


def spans_hostnodes(guest: Guest) -> bool:
    """Whether some cell of the guest is bound to several NUMA nodes together: the kernel then chooses among them."""
    try:
        return any(count(cell.hostnodes) > 1 for cell in config_cells(guest.next_config))
    except GrammarError:
        return False


def _memory_of(cells: t.Sequence[Cell], room: Room) -> t.Dict[int, int]:
    """MiB by NUMA node id; cells on one NUMA node first, so that those on several find what is left."""
    memory: t.Dict[int, int] = {}
    for cell in sorted(cells, key=lambda cell: count(cell.hostnodes)):
        free = None
        if room.memory_mib is not None:
            free = {numa_node: mib - memory.get(numa_node, 0) for numa_node, mib in room.memory_mib.items()}
        for numa_node, mib in bound_evenly(cell.memory_mib or 0, cell.hostnodes, free).items():
            memory[numa_node] = memory.get(numa_node, 0) + mib
    return {numa_node: mib for numa_node, mib in memory.items() if mib}


def _check_cpus(cpus: int, room: Room, demand: Demand) -> None:
    host = room.host
    if count(cpus) != demand.vcpus:
        raise PlacementError(f"It has {demand.vcpus} vCPUs on {count(cpus)} CPUs.", rule="existing")
    taken = cpus & ~room.free
    if taken:
        raise PlacementError(f"Its CPUs {format_cpulist(taken)} are offline, reserved or held by another guest.", rule="existing")
    if demand.numa == "single" and len(host.numa_nodes_of(cpus)) > 1:
        raise PlacementError("Its CPUs lie on several NUMA nodes.", rule="existing")
    if demand.near and demand.near_required:
        near = {numa_node.id for numa_node in host.numa_nodes_of(demand.near)}
        if any(numa_node.id not in near for numa_node in host.numa_nodes_of(cpus)):
            raise PlacementError("Its CPUs are not on the NUMA node of its device.", rule="existing")
    if not _allowed_core_type(cpus, host, demand):
        raise PlacementError("Its CPUs are not of the core type that its rule asks for.", rule="existing")


def _allowed_core_type(cpus: int, host: Host, demand: Demand) -> bool:
    if not (host.performance and host.efficiency) or demand.core_type == "mixed":
        return True
    allowed = {"performance": (host.performance,), "efficiency": (host.efficiency,)}
    return any(not cpus & ~kind for kind in allowed.get(demand.core_type, (host.performance, host.efficiency)))


def _idle_siblings(cpus: int, room: Room, demand: Demand) -> int:
    """The idle threads that an isolated guest keeps. Raises PlacementError where cores are not as the rule wants them."""
    blocked = 0
    for core in room.host.cores:
        mine = core & cpus
        if not mine:
            continue
        if demand.isolated:
            if count(mine) > 1 or core & ~room.free:
                raise PlacementError(f"It does not have the core of CPU {format_cpulist(mine)} for itself.", rule="existing")
            blocked |= core & ~mine
        elif demand.siblings == "require" and mine != core:
            raise PlacementError(f"It does not have the whole core of CPU {format_cpulist(mine)}.", rule="existing")
    return blocked


def _excess_numa_nodes(cpus: int, room: Room, demand: Demand, reserved: int) -> bool:
    least, _packages, _l3 = Least(room.host, reserved).spans(demand.vcpus, demand.memory_mib)
    return len(room.host.numa_nodes_of(cpus)) > least


def _valid_cells(guest: Guest, room: Room, memory_policy: str) -> t.Tuple[Cell, ...]:
    """The config's cells when the guest would start with them as the rule wants them, else ()."""
    if memory_policy == "none":
        return ()
    cells = config_cells(guest.next_config)
    vcpus = 0
    known = mask_of(numa_node.id for numa_node in room.host.numa_nodes)
    for index, cell in enumerate(cells):
        if f"numa{index}" not in guest.next_config or not cell.hostnodes or cell.policy != memory_policy:
            return ()
        if cell.vcpus & vcpus or not cell.memory_mib or cell.memory_mib < 0 or cell.hostnodes & ~known:
            return ()
        vcpus |= cell.vcpus
    memory = _memory_of(cells, room)
    fits = room.memory_mib is None or all(room.memory_mib.get(i, 0) >= mib for i, mib in memory.items())
    complete = vcpus == (1 << guest.vcpus) - 1 and sum(memory.values()) == guest.memory_mib
    return tuple(cells) if complete and fits else ()


def _fresh_cells(cpus: int, room: Room, demand: Demand, memory_policy: str) -> t.Optional[t.Tuple[Cell, ...]]:
    """The cells that the allocator would make for these CPUs; None where their NUMA nodes lack the memory."""
    if memory_policy == "none":
        return ()
    host = room.host
    touched = host.numa_nodes_of(cpus)
    vcpus = {numa_node.id: count(numa_node.cpus & cpus) for numa_node in touched}
    memory = memory_split(vcpus, [NodeMemory(n.id, room.memory_of(n.id)) for n in touched], host, demand)
    if memory is None:
        return None
    shares = [Share(n.id, _core_order(n.cpus & cpus, host), memory.get(n.id, 0)) for n in touched]
    try:
        return tuple(cells_of(host, shares, memory_policy, demand.memory_step, demand.memory_step > 1))
    except PlacementError:
        return None


def _local_vcpus(cpus: int, host: Host, cells: t.Iterable[Cell]) -> int:
    left = cpus
    local = 0
    for cell in cells:
        near = _cpus_of_hostnodes(cell, host) & left
        if count(near) > count(cell.vcpus):
            near = mask_of(list(cpus_of(near))[: count(cell.vcpus)])
        left &= ~near
        local += count(near)
    return local


def _vcpu_order(cpus: int, host: Host, cells: t.Sequence[Cell], memory_policy: str) -> t.Tuple[int, ...]:
    """CPUs in vCPU order: each cell's vCPUs on the NUMA node of its memory where possible, siblings side by side."""
    if memory_policy == "none" or not cells:
        return _core_order(cpus, host)
    left = cpus
    by_vcpu: t.Dict[int, int] = {}
    for local in (True, False):
        for cell in cells:
            missing = [vcpu for vcpu in cpus_of(cell.vcpus) if vcpu not in by_vcpu]
            room = _cpus_of_hostnodes(cell, host) & left if local else left
            for vcpu, cpu in zip(missing, _core_order(room, host)):
                by_vcpu[vcpu] = cpu
                left &= ~(1 << cpu)
    return tuple(by_vcpu[vcpu] for vcpu in sorted(by_vcpu))


def _cpus_of_hostnodes(cell: Cell, host: Host) -> int:
    cpus = 0
    for numa_node in cpus_of(cell.hostnodes):
        if numa_node in host.numa_node_by_id:
            cpus |= host.numa_node_by_id[numa_node].cpus
    return cpus


def _core_order(cpus: int, host: Host) -> t.Tuple[int, ...]:
    """`cpus` by NUMA node and core, thread siblings side by side."""
    zones = [zone for zone in host.zones if zone.cpus & cpus]
    return tuple(cpu for zone in zones for core in zone.cores if core & cpus for cpu in cpus_of(core & cpus))
