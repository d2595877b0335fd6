# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peers' own cases: Kubernetes, Koordinator, nova and karpenter-provider-proxmox (peer-allocators.json).

Every row is either checked here or listed in NOT_OURS with the reason; a test counts that nothing is left over.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine import planner
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.allocator import choose
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import mask_of, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.demand import Demand, Room
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlacementError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.ledger import Holding, Ledger
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy, Reservation
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from peer_cases import Row, cpus, document, facts, host_of, machine_of, parameters, peer_machine, rank, take
from placebench.machines import Machine

FILE = "peer-allocators.json"

INTERNAL_ORDER = "the order in which the peer looks at CPUs, which its own file marks as not to be asserted"
NO_RESIZE = "the peer keeps a stated part of a guest's CPUs while it grows or shrinks; a plan has no such request"
NO_STATE_FILE = "the peer checks its own state file; the engine has none and merges what guests hold"
SOCKET_HINT = "widening a NUMA hint to the package; the engine takes one NUMA node where one is enough"
GIVEN_CELLS = "the guest comes with cells that each need a NUMA node of their own; the engine makes the cells itself"
MIXED_GUEST = "a guest with pinned and floating vCPUs at once; a guest has one class here"
EMULATOR_CPU = "one more CPU for emulator threads beside given cells; the engine makes the cells itself"
UNKNOWN_ONLY = "a guest on no NUMA node of the host takes devices of unknown place alone; no such guest exists here"

NOT_OURS: t.Mapping[str, str] = {
    "kubernetes-allocate-091": SOCKET_HINT,
    "nova-numa_fit-034": GIVEN_CELLS,
    "nova-numa_fit-040": EMULATOR_CPU,
    "nova-numa_fit-041": EMULATOR_CPU,
    "nova-numa_fit-027": MIXED_GUEST,
    "nova-numa_fit-048": MIXED_GUEST,
    "nova-pci_pick-004": UNKNOWN_ONLY,
}


def reason_not_checked(row: Row) -> t.Optional[str]:
    """Why a row has no counterpart here; None = one of the tests below takes it."""
    if row["kind"] == "resize":
        return NO_RESIZE
    if row["kind"] == "state_error":
        return NO_STATE_FILE
    if row["portability"] == "peer_specific":
        return INTERNAL_ORDER
    return NOT_OURS.get(row["id"])


def rows(kind: str, *portabilities: str) -> t.List[t.Any]:
    def wanted(content: t.Any) -> t.Iterable[Row]:
        for row in content["cases"]:
            if row["kind"] == kind and row["portability"] in portabilities and reason_not_checked(row) is None:
                yield row

    return parameters(FILE, wanted)


@pytest.mark.skipif(document(FILE) is None, reason="there is no peer-allocators.json (see COREPIN_CASES)")
def test_every_row_is_checked_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {"allocate", "sequence", "order", "release", "numa_fit", "pci_pick"}
    left_out: t.Dict[str, t.List[str]] = {}
    checked = 0
    for row in document(FILE)["cases"]:
        reason = reason_not_checked(row)
        if reason:
            left_out.setdefault(reason, []).append(row["id"])
        else:
            assert row["kind"] in kinds, row["id"]
            checked += 1
    with capsys.disabled():
        print(f"\n{FILE}: {checked} rows checked, {sum(map(len, left_out.values()))} without a counterpart:")
        for reason, ids in sorted(left_out.items()):
            print(f"  {len(ids)}: {reason} ({', '.join(ids)})")
    assert checked > sum(map(len, left_out.values()))


@pytest.mark.parametrize("row", rows("allocate", "exact"))
def test_allocate_exact(row: Row) -> None:
    machine, available = peer_machine(row["topology"]), cpus(row["available"])
    if "error" in row["expect"]:
        with pytest.raises(PlacementError, match=rf"\b{row['request']['vcpus']} CPUs are asked for"):
            take(machine, available, row["request"]["vcpus"])
        return
    taken = take(machine, available, row["request"]["vcpus"], reserved=cpus(row.get("reserved")), siblings=_siblings(row))
    assert taken == cpus(row["expect"]["cpus"]), facts(machine, available, taken)
    if "guest_numa" in row["expect"]:
        assert _cells(row, machine) == row["expect"]["guest_numa"]


def _siblings(row: Row) -> str:
    return "require" if row["options"].get("full_pcpus_only") else "pack"


def _cells(row: Row, machine: Machine) -> t.Dict[str, t.Dict[str, t.Any]]:
    """The cells of a plan for a host with this guest alone, by the NUMA node that they lie on."""
    machine = machine.with_memory({int(node): mib for node, mib in row["numa_memory_mib"].items()})
    guest = {"vmid": 100, "node": machine.name, **row["request"]}
    policy = {"rules": [{}], "reserved": {"default": {"cpus": row["reserved"]}}}
    plan = planner.place(Snapshot.from_dict({"hosts": {machine.name: machine.facts()}, "guests": [guest]}), Policy.from_dict(policy))
    cells = plan["placements"][0]["numa_cells"]
    return {cell["hostnodes"]: {key: cell[key] for key in ("cpus", "memory_mib", "policy")} for cell in cells}


@pytest.mark.parametrize("row", rows("allocate", "dominated"))
def test_allocate_dominated(row: Row) -> None:
    """The peer's set is worse than possible: ours has to be as good as the optimum."""
    machine, available = peer_machine(row["topology"]), cpus(row["available"])
    taken = take(machine, available, row["request"]["vcpus"])
    ours = facts(machine, available, taken)
    assert {key: ours[key] for key in row["facts_of_optimum"]} == row["facts_of_optimum"]
    assert ours["cores_shared"] <= row["facts_of_expected"]["cores_shared"]
    assert rank(machine, available, taken) < rank(machine, available, cpus(row["expect"]["cpus"]))


@pytest.mark.parametrize("row", rows("allocate", "option"))
def test_allocate_option(row: Row) -> None:
    machine, available = peer_machine(row["topology"]), cpus(row["available"])
    vcpus, options, expected = row["request"]["vcpus"], row["options"], cpus(row["expect"]["cpus"])
    if "numa_hint" in row:
        near = mask_of(cpu for cpu in machine.cpus if machine.numa[cpu] in row["numa_hint"])
        assert take(machine, available, vcpus, near=near) == expected
    elif options.get("distribute_across_cores"):
        taken = take(machine, available, vcpus, siblings="spread")
        assert _most_on_one_core(machine, taken) <= _most_on_one_core(machine, expected)
        assert _spans(machine, available, taken) <= _spans(machine, available, expected)
    else:
        _check_spread_over_numa_nodes(row, machine, available, expected)


def _most_on_one_core(machine: Machine, chosen: t.FrozenSet[int]) -> int:
    return max(len(core & chosen) for core in machine.units["core"].values())


def _spans(machine: Machine, available: t.FrozenSet[int], chosen: t.FrozenSet[int]) -> t.Tuple[int, ...]:
    found = facts(machine, available, chosen)
    return found["numa_span"], found["socket_span"], found["l3_span"]


def _check_spread_over_numa_nodes(row: Row, machine: Machine, available: t.FrozenSet[int], expected: t.FrozenSet[int]) -> None:
    """The peer spreads over the fewest NUMA nodes, ours over as many as there are: equally evenly, and compact better."""
    vcpus, step = row["request"]["vcpus"], row["options"]["cpu_group_size"]
    spread = take(machine, available, vcpus, numa="spread")
    shares = [len(node & spread) for node in machine.units["numa"].values() if node & spread]
    of_expected = [len(node & expected) for node in machine.units["numa"].values() if node & expected]
    assert len(shares) >= len(of_expected)
    assert max(shares) - min(shares) <= max(step, max(of_expected) - min(of_expected))
    compact = take(machine, available, vcpus)
    assert rank(machine, available, compact) <= rank(machine, available, expected)


@pytest.mark.parametrize("row", rows("sequence", "exact"))
def test_sequence(row: Row) -> None:
    """Guests one after the other on the same host: the same CPUs, or at least the same L3 domains."""
    machine, available = peer_machine(row["topology"]), cpus(row["available"])
    steps = []
    for request in row["requests"]:
        steps.append(take(machine, available, request["vcpus"], reserved=cpus(row["reserved"]), siblings=_siblings(row)))
        available -= steps[-1]
    touched = {machine.l3[cpu] for step in steps for cpu in step}
    assert sorted(touched) == row["expect"]["l3_of_all_guests"]
    if "steps" in row["expect"]:
        assert steps == [cpus(step) for step in row["expect"]["steps"]]


@pytest.mark.parametrize("row", rows("order", "equal_quality"))
def test_wholly_free_domains(row: Row) -> None:
    host, available = host_of(peer_machine(row["topology"])), parse_cpulist(row["available"])
    domains = host.packages if "sockets" in row["expect"]["what"] else host.numa_nodes
    assert {domain.id for domain in domains if not domain.cpus & ~available} == set(row["expect"]["ids"])


@pytest.mark.parametrize("row", rows("release", "exact"))
def test_release(row: Row) -> None:
    machine = peer_machine(row["topology"])
    ledger = Ledger(host_of(machine), Reservation())
    names = sorted(row["held"])
    beyond = machine.cpus - cpus(row["available"]) - frozenset().union(*(cpus(held) for held in row["held"].values()))
    ledger.hold(1, Holding(len(beyond), mask_of(beyond)))
    for vmid, name in enumerate(names, start=100):
        ledger.hold(vmid, Holding(len(cpus(row["held"][name])), parse_cpulist(row["held"][name])))
    ledger.release(100 + names.index(row["release"]) if row["release"] in names else 999)
    assert ledger.free == parse_cpulist(row["expect"]["free_after"])


NOVA_POLICIES: t.Mapping[t.Optional[str], t.Mapping[str, t.Any]] = {
    None: {},
    "prefer": {},
    "require": {"siblings": "require"},
    "isolate": {"isolated": True},
}


@pytest.mark.parametrize("row", rows("numa_fit", "exact", "equal_quality"))
def test_numa_fit(row: Row) -> None:
    """A guest with one cell has to lie in one NUMA node; one with several equal cells is spread over as many."""
    machine, available, memory = _nova_host(row)
    demand = _nova_demand(row)
    room = Room(host_of(machine), mask_of(available), mask_of(machine.cpus - available), memory)
    if not row["expect"]["fits"]:
        with pytest.raises(PlacementError):
            choose(room, demand)
        return
    choice = choose(room, demand)
    taken = frozenset(choice.cpus)
    assert taken <= available
    if "host_cells_allowed" in row["expect"]:
        assert {machine.numa[cpu] for cpu in taken} == set(row["expect"]["host_cells_allowed"])
    if row["expect"].get("one_vcpu_per_core"):
        assert _most_on_one_core(machine, taken) == 1
    for theirs in row.get("peer_pinning_computed", []) if len(row["guest_cells"]) == 1 else []:
        assert demand.isolated or rank(machine, available, taken) <= rank(machine, available, frozenset(theirs.values()))


def _nova_host(row: Row) -> t.Tuple[Machine, t.FrozenSet[int], t.Dict[int, int]]:
    cells = row["host_cells"]
    cores = [cpulist for cell in cells for cpulist in cell["siblings"]]
    rows = [
        {"cpu": cpu, "core": core, "numa": cell["id"], "socket": 0, "l3": cell["id"]}
        for cell in cells
        for core, cpulist in enumerate(cores)
        for cpu in cpus(cpulist) & cpus(cell["pcpus"])
    ]
    machine = machine_of("nova", rows, {cell["id"]: cell["memory_mib"] for cell in cells})
    pinned = frozenset().union(*(cpus(cell["pinned"]) for cell in cells))
    return machine, machine.cpus - pinned, dict(machine.memory_mib)


def _nova_demand(row: Row) -> Demand:
    cells = row["guest_cells"]
    policy = NOVA_POLICIES[cells[0].get("thread_policy")]
    vcpus = sum(len(cpus(cell["vcpus"])) for cell in cells)
    memory = sum(cell["memory_mib"] for cell in cells)
    return Demand(vcpus, memory, numa="single" if len(cells) == 1 else "spread", **policy)


@pytest.mark.parametrize("row", rows("pci_pick", "exact"))
def test_pci_locality(row: Row) -> None:
    """The peer picks devices for a guest on a NUMA node; here the guest goes to the device that it was given.

    So under `required` the devices that the peer would pick are those with which the guest may lie on that NUMA node
    alone, and under `preferred` every device that it picks is accepted, the ones of that NUMA node locally.
    """
    locality = {device["id"]: device["numa"] for device in row["devices"] if device["vendor"] == row["request"]["vendor"]}
    mode = {"required": "require", "preferred": "prefer"}[row["pci_numa_policy"]]
    near_free = {device: _place_with_device(numa, row["guest_host_numa"], mode) for device, numa in locality.items()}
    if mode == "require":
        assert {device for device, placed in near_free.items() if placed} == set(row["expect"]["devices"])
    else:
        assert all(near_free[device] for device in row["expect"]["devices"])
        anywhere = {device: _place_with_device(numa, [0, 1], mode) for device, numa in locality.items()}
        assert all(anywhere[device] == {numa} for device, numa in locality.items() if numa is not None)


def _place_with_device(device_numa: t.Optional[int], free_on: t.Collection[int], mode: str) -> t.Set[int]:
    """The NUMA nodes that a guest with such a device gets on a host whose other NUMA nodes are full; none = refused."""
    rows = [{"cpu": cpu, "core": cpu, "numa": cpu // 4, "socket": 0, "l3": cpu // 4} for cpu in range(8)]
    facts_of_host = machine_of("host", rows).facts()
    address = "0000:01:00.0"
    facts_of_host["pci_devices"] = [{"address": address, "numa_node": device_numa}]
    guests = [{"vmid": 100, "node": "host", "vcpus": 2, "memory_mib": 0, "hostpci": [address]}]
    guests += [
        {"vmid": 200 + node, "node": "host", "vcpus": 4, "memory_mib": 0, "affinity": f"{4 * node}-{4 * node + 3}"}
        for node in (0, 1)
        if node not in free_on
    ]
    policy = {"rules": [{"match": {"vmids": [100]}, "devices": mode, "memory": "none"}]}
    plan = planner.place(Snapshot.from_dict({"hosts": {"host": facts_of_host}, "guests": guests}), Policy.from_dict(policy))
    placed = [entry["cpus"] for entry in plan["placements"] if entry["vmid"] == 100]
    return {cpu // 4 for cpulist in placed for cpu in cpus(cpulist)}
