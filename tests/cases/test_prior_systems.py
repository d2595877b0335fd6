# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of the systems that came before: karpenter-provider-proxmox, proxmox-cpu-affinity, documents (prior-systems.json).

Every row is either checked here or has a reason in `reason_not_checked`; a test counts that nothing is left over.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine import planner
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.allocator import take_cpus
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import count, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.demand import Demand, Latency
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.desired import pinned_keys
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlacementError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.existing import stored_holding
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Guest, cell_from_mapping, same_effect
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.ledger import Holding, Ledger
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy, Reservation
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from peer_cases import Row, cpus, document, host_of, machine_of, parameters, rank, take
from placebench.machines import Machine

FILE = "prior-systems.json"
BYTES_PER_MIB = 1 << 20

INTERNAL_STATE = "a step inside the peer's allocator that no result shows"
MODEL_NAME = "topology guessed from the CPU's model name; here it is read from the host"
SETTINGS_FILE = "karpenter's settings file, which the filters from_node_settings and to_node_settings are about"
ON_THE_HOST = "what is done to a process on the host; the engine only plans"
ZERO_CPUS = "the peer refuses a request for no CPUs; the engine answers it with none"
DUMMY_GUEST = "the dummy guest that describes a host to karpenter; the engine leaves it out and writes none"

REASONS: t.Mapping[str, str] = {
    "accumulator.take": INTERNAL_STATE,
    "predict_settings": MODEL_NAME,
    "discover_from_settings": SETTINGS_FILE,
    "settings_from_vm": SETTINGS_FILE,
    "egandro.apply": ON_THE_HOST,
    "egandro.update_affinity": ON_THE_HOST,
}
CHECKED = (
    "take.packed",
    "take.numa_distributed",
    "accumulator.freeSockets",
    "accumulator.freeNUMANodes",
    "accumulator.freeSocketsAndNUMANodes",
    "accumulator.freeCores",
    "accumulator.freeCPUs",
    "policy.simple.Allocate",
    "policy.simple.AllocateOrUpdate",
    "policy.static.Allocate",
    "policy.static.AllocateOrUpdate",
    "resource_manager.simple.AllocateOrUpdate",
    "resource_manager.static.AllocateOrUpdate",
    "vm_config_generate",
    "vm_config_parse",
    "l3_alignment",
    "egandro.select",
    "document",
)


def reason_not_checked(row: Row) -> t.Optional[str]:
    if row["level"] == "egandro.select" and row["request"]["n"] == 0:
        return ZERO_CPUS
    if row["level"] == "document" and "affinity" in row["expected"]:
        return DUMMY_GUEST
    return REASONS.get(row["level"])


def rows(*levels: str) -> t.List[t.Any]:
    def wanted(content: t.Any) -> t.Iterable[Row]:
        return (row for row in content if row["level"] in levels and reason_not_checked(row) is None)

    return parameters(FILE, wanted)


def machine(row: Row) -> Machine:
    topology = row["topology"]
    memory = (topology.get("memory") or {}).get("per_node_bytes") or {}
    in_mib = {node: size // BYTES_PER_MIB for node, size in memory.items()}
    return machine_of(topology.get("name") or "host", topology["cpus"], in_mib)


@pytest.mark.skipif(document(FILE) is None, reason="there is no prior-systems.json (see COREPIN_CASES)")
def test_every_row_is_checked_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    left_out: t.Dict[str, t.List[str]] = {}
    checked = 0
    for row in document(FILE):
        reason = reason_not_checked(row)
        if reason:
            left_out.setdefault(reason, []).append(row["id"].split(":")[0])
        else:
            assert row["level"] in CHECKED, row["id"]
            checked += 1
    with capsys.disabled():
        print(f"\n{FILE}: {checked} rows checked, {sum(map(len, left_out.values()))} without a counterpart:")
        for reason, ids in sorted(left_out.items()):
            print(f"  {len(ids)}: {reason} ({', '.join(ids)})")
    assert checked > sum(map(len, left_out.values()))


@pytest.mark.parametrize("row", rows("take.packed", "take.numa_distributed"))
def test_take(row: Row) -> None:
    """As many CPUs, out of the same ones, with a vector that is never worse; refused where the peer has to refuse."""
    host, available, vcpus = machine(row), cpus(row["available_cpus"]), row["request"]["cpus"]
    if row["expected"]["error"]:
        with pytest.raises(PlacementError):
            take(host, available, vcpus)
        return
    taken = take(host, available, vcpus)
    assert rank(host, available, taken) <= rank(host, available, cpus(row["expected"]["cpus"]))


@pytest.mark.parametrize("row", rows("take.numa_distributed"))
def test_take_spread_over_numa_nodes(row: Row) -> None:
    """With numa: spread, at least as many NUMA nodes as the peer's, filled as evenly."""
    host, available, expected = machine(row), cpus(row["available_cpus"]), cpus(row["expected"]["cpus"])
    taken = take(host, available, len(expected), numa="spread")
    ours, theirs = ([len(node & chosen) for node in host.units["numa"].values() if node & chosen] for chosen in (taken, expected))
    assert len(ours) >= len(theirs)
    if expected:
        assert max(ours) - min(ours) <= max(row["request"]["cpu_group_size"], max(theirs) - min(theirs))


def _wholly_free(domains: t.Iterable[t.Any], available: int) -> t.Set[int]:
    return {domain.id for domain in domains if not domain.cpus & ~available}


@pytest.mark.parametrize("row", rows("accumulator.freeSockets", "accumulator.freeNUMANodes", "accumulator.freeSocketsAndNUMANodes"))
def test_wholly_free_domains(row: Row) -> None:
    host, available, expected = host_of(machine(row)), parse_cpulist(row["available_cpus"]), row["expected"]
    packages, numa_nodes = _wholly_free(host.packages, available), _wholly_free(host.numa_nodes, available)
    if row["level"] == "accumulator.freeSocketsAndNUMANodes":
        assert (packages, numa_nodes) == (set(expected["sockets"]), set(expected["numa_nodes"]))
    else:
        assert (packages if row["level"] == "accumulator.freeSockets" else numa_nodes) == set(expected["ids"])


@pytest.mark.parametrize("row", rows("accumulator.freeCores", "accumulator.freeCPUs"))
def test_wholly_free_cores(row: Row) -> None:
    """As a set: whole cores by their lowest CPU, or what is available at all; the peer's order is its own."""
    host, available = host_of(machine(row)), parse_cpulist(row["available_cpus"])
    if row["level"] == "accumulator.freeCPUs":
        assert sorted(row["expected"]["ids"]) == [cpu for cpu in range(count(host.online)) if available >> cpu & 1]
        return
    free = {core for core in host.cores if not core & ~available}
    core_ids = {entry["cpu"]: entry["core"] for entry in row["topology"]["cpus"]}
    lowest = {(core & -core).bit_length() - 1 for core in free}
    assert {core_ids[cpu] for cpu in lowest} == set(row["expected"]["ids"])


def _reservation(row: Row) -> Reservation:
    """What the row reserves; where its memory does not add up over its NUMA nodes, the difference too."""
    topology = row["topology"]
    missing = sum(machine(row).memory_mib.values()) - topology["memory"]["total_bytes"] // BYTES_PER_MIB
    cpulist = ",".join(map(str, topology["reserved_cpus"]))
    reserved_mib = topology["reserved_memory_bytes"] // BYTES_PER_MIB
    return Reservation(cpus=parse_cpulist(cpulist), memory_mib=reserved_mib + (missing if machine(row).memory_mib else 0))


def _holding(vm: Row) -> Holding:
    """What a guest of a row holds: its CPUs where it has a set, its memory by NUMA node where that is told."""
    bound = {int(node): cell["memory_mib"] for node, cell in (vm.get("numa_nodes") or {}).items()}
    memory_mib = vm["memory_bytes"] // BYTES_PER_MIB
    return Holding(vm["cpus"], parse_cpulist(vm.get("cpuset") or ""), 0, bound, memory_mib - sum(bound.values()))


@pytest.mark.parametrize(
    "row",
    rows(
        "policy.simple.AllocateOrUpdate",
        "policy.static.AllocateOrUpdate",
        "resource_manager.simple.AllocateOrUpdate",
        "resource_manager.static.AllocateOrUpdate",
    ),
)
def test_accounting_of_guests_that_are_there(row: Row) -> None:
    """The books after guests were observed; a guest without CPUs of its own counts its vCPUs against the pool."""
    ledger = Ledger(host_of(machine(row)), _reservation(row))
    guests = [*row["existing_vms"], *([row["request"]] if row["request"] else [])]
    for vmid, vm in enumerate(guests, start=100):
        ledger.hold(vmid, _holding(vm))
    expected = row["expected"]["status_parsed"]
    floating = sum(vm["cpus"] for vm in guests if not vm.get("cpuset"))
    assert count(ledger.free) - floating == expected["free_cpus"]
    assert ledger.used == parse_cpulist(expected["pinned"])
    assert ledger.free == parse_cpulist(expected["common_pool"])
    assert ledger.reserved == parse_cpulist(expected["reserved"])
    if machine(row).memory_mib:
        assert ledger.memory_total_free_mib == expected["free_memory_mib"]
    for node, free_mib in expected.get("numa_free_memory_mib", {}).items():
        assert (ledger.memory_free_mib() or {})[int(node)] == min(free_mib, expected["free_memory_mib"])
    before = ledger.free, ledger.memory_total_free_mib
    ledger.hold(999, Holding(1, 1, 0, {}, 1))
    ledger.release(999)
    assert (ledger.free, ledger.memory_total_free_mib) == before


@pytest.mark.parametrize("row", rows("policy.simple.Allocate", "policy.static.Allocate"))
def test_accounting_of_a_new_guest(row: Row) -> None:
    """The same request as a dedicated guest of a plan: what is free afterwards, or the refusal for the same reason."""
    host, reservation, request = machine(row), _reservation(row), row["request"]
    memory_mib = -(-request["memory_bytes"] // BYTES_PER_MIB)
    guest = {"vmid": 100, "node": host.name, "vcpus": request["cpus"], "memory_mib": memory_mib}
    simple = row["level"] == "policy.simple.Allocate"
    policy = {
        "rules": [{"memory": "none" if simple else "bind"}],
        "reserved": {"default": {"cpus": ",".join(map(str, row["topology"]["reserved_cpus"])), "memory_mib": reservation.memory_mib}},
    }
    plan = planner.place(Snapshot.from_dict({"hosts": {host.name: host.facts()}, "guests": [guest]}), Policy.from_dict(policy))
    expected = row["expected"]
    if expected["error"]:
        wanted = {"CPUs": "too_few_cpus", "memory": "too_little_memory"}[expected["error"].split()[2]]
        assert [entry["rule"] for entry in plan["refused"]] == [wanted]
        return
    assert plan["refused"] == []
    books = plan["summary"]["hosts"][host.name]
    assert books["free"] == expected["status_parsed"]["free_cpus"] == expected["available_cpus"]
    if expected["cpuset"]:
        available = host.cpus - cpus(expected["status_parsed"]["reserved"])
        taken = cpus(plan["placements"][0]["cpus"])
        assert rank(host, available, taken) <= rank(host, available, cpus(expected["cpuset"]))
        cells = {cell["hostnodes"]: cell["memory_mib"] for cell in plan["placements"][0]["numa_cells"]}
        assert cells == {node: cell["memory_mib"] for node, cell in expected["numa_nodes"].items()}


@pytest.mark.parametrize("row", rows("vm_config_generate"))
def test_config_of_a_placement(row: Row) -> None:
    request, expected = row["request"], row["expected"]["options"]
    cells = [
        cell_from_mapping({"cpus": cell["cpus"], "hostnodes": node, "memory_mib": cell["memory_mib"], "policy": cell["policy"]})
        for node, cell in sorted(request["numa_nodes"].items())
    ]
    guest = Guest(request["vmid"], "host", request["cpus"], request["memory_bytes"] // BYTES_PER_MIB)
    wanted = pinned_keys(sorted(cpus(request["cpuset"])), cells, guest, None)
    for key, value in expected.items():
        if key not in ("cores", "memory"):
            assert same_effect(key, wanted[key], str(value)), key
    assert set(wanted) <= set(expected)


@pytest.mark.parametrize("row", rows("vm_config_parse"))
def test_config_of_a_guest(row: Row) -> None:
    request, expected = row["request"], row["expected"]["resources"]
    entries = [{"cpu": cpu, "core": cpu, "socket": 0, "numa": cpu // 24, "l3": 0} for cpu in range(96)]
    guest = Guest.from_info({"vmid": 100, "node": "host", "vcpus": request["cpus"], "memory_mib": 0, "config": request["config"]})
    holding, warnings = stored_holding(guest, host_of(machine_of("host", entries)))
    assert warnings == []
    assert holding.cpus == parse_cpulist(expected["cpuset"])
    assert holding.memory == {int(node): cell["memory_mib"] for node, cell in expected["numa_nodes"].items()}


@pytest.mark.parametrize("row", rows("l3_alignment"))
def test_l3_alignment(row: Row) -> None:
    """Whether a set touches no more L3 domains than it has to: the vector's own part."""
    host = machine(row)
    _numa, _package, l3, *_rest = rank(host, host.cpus, cpus(row["request"]["cpus"]))
    assert (l3 == 0) == row["expected"]["l3_aligned"]


@pytest.mark.parametrize("row", rows("egandro.select"))
def test_selection_by_measured_latency(row: Row) -> None:
    entries = [{"cpu": cpu, "core": cpu // 2, "socket": 0, "numa": 0, "l3": 0} for cpu in range(8)]
    latency = Latency.from_mapping({"cpus": "0-7", "ns": [[abs(a - b) for a in range(8)] for b in range(8)]})
    demand = Demand(row["request"]["n"], latency=latency)
    host = host_of(machine_of("host", entries))
    if row["expected"].get("error_contains"):
        with pytest.raises(PlacementError, match=str(row["request"]["n"])):
            take_cpus(host, None, demand)
    else:
        assert len(take_cpus(host, None, demand)) == row["expected"]["count"]


@pytest.mark.parametrize("row", rows("document"))
def test_worked_example(row: Row) -> None:
    """Overlapping sets are merged: a CPU counts once however many guests hold it."""
    topology, expected = row["topology"], row["expected"]
    entries = [{"cpu": cpu, "core": cpu, "socket": 0, "numa": 0, "l3": 0} for cpu in range(topology["num_cpus"])]
    host = machine_of("host", entries, {"0": topology["memory_gib"] * 1024})
    guests = [
        {
            "vmid": vmid,
            "node": "host",
            "vcpus": len(cpus(vm["cpuset"])),
            "memory_mib": vm["memory_gib"] * 1024,
            "affinity": vm["cpuset"],
        }
        for vmid, vm in enumerate(row["existing_vms"], start=100)
    ]
    plan = planner.place(Snapshot.from_dict({"hosts": {"host": host.facts()}, "guests": guests}), Policy.from_dict({}))
    assert plan["summary"]["hosts"]["host"]["used"] == len(cpus(expected["used_cpus"]))
    assert plan["summary"]["hosts"]["host"]["free"] == expected["available_cpus"]
    ledger = Ledger(host_of(host), Reservation())
    for guest in guests:
        ledger.hold(guest["vmid"], Holding(guest["vcpus"], parse_cpulist(guest["affinity"]), 0, {}, guest["memory_mib"]))
    assert ledger.memory_total_free_mib == expected["available_memory_gib"] * 1024
