# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Showing a guest which of its vCPUs are siblings, and where that is refused."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_cpulist, parse_ordered
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PolicyError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.start_check import start_errors
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.topology import Host
from hypothesis import given
from sample_hosts import epyc_9354, examples, guest, snapshot

FOUR = "-smp 4,sockets=1,cores=2,threads=2,maxcpus=4"


def configured(vcpus=4, **config):
    return guest(100, vcpus, 4096, config={"cores": str(vcpus), "memory": "4096", **config})


def plan(*guests, facts=None, **rule):
    policy = {"rules": [{"match": {"vmids": 100}, "expose_threads": True, **rule}, {"match": {}}], "mode": "both"}
    return place(Snapshot.from_dict(snapshot([facts or epyc_9354()], guests)), Policy.from_dict(policy))


def args_of(document):
    [change] = [change for change in document["changes"] if change["vmid"] == 100]
    return change["before"].get("args"), change["after"].get("args")


@pytest.mark.parametrize(
    ("present", "written"),
    [
        (None, FOUR),
        ("-no-reboot", f"-no-reboot {FOUR}"),
        ("-device 'a b' -smp 8,sockets=1,cores=4,threads=2,maxcpus=8 -x", f"-device 'a b' {FOUR} -x"),
    ],
)
def test_args_are_merged_with_those_that_are_there(present, written):
    document = plan(configured(**({} if present is None else {"args": present})))
    assert args_of(document) == (present, written)
    assert document["placements"][0]["cpus"] == "0,32,1,33"
    assert document["warnings"] == []


def test_sockets_stay_as_they_are():
    info = guest(100, 8, 4096, config={"cores": "4", "sockets": "2", "memory": "4096"})
    assert args_of(plan(info))[1] == "-smp 8,sockets=2,cores=2,threads=2,maxcpus=8"


def test_once_applied_nothing_is_left_to_do():
    before = configured(args="-no-reboot")
    after = plan(before)["changes"][0]["after"]
    assert plan({**before, "config": {**before["config"], **after}})["changes"] == []


def test_a_pending_change_of_the_vcpus_counts():
    info = {**configured(args=FOUR), "pending": {"cores": "8"}, "status": "running"}
    assert args_of(plan(info)) == (FOUR, "-smp 8,sockets=1,cores=4,threads=2,maxcpus=8")


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (configured(3), "its 3 vCPUs are no pairs"),
        (guest(100, 6, 4096, config={"cores": "3", "sockets": "2", "memory": "4096"}), "its 3 cores in each of 2 sockets are no pairs"),
        (configured(hotplug="cpu,disk"), "its hotplug has cpu"),
        (guest(100, 4, 4096, config={"cores": "4", "memory": "4096", "vcpus": "2"}), "its vcpus is 2, less than the 4"),
        (configured(args="-smp 4,cores=2,threads=2"), "its args have a topology of their own (-smp 4,cores=2,threads=2)"),
        (configured(args="--smp threads=2,cores=2"), "its args have a topology of their own"),
        (configured(args=f"{FOUR} -machine smp.cores=2"), "its args have a topology of their own"),
        (configured(args=f"{FOUR} {FOUR}"), "its args have -smp twice"),
    ],
)
def test_what_does_not_go_with_threads_is_refused_in_one_sentence(info, words):
    document = plan(info, guest(101, 4))
    [refusal] = document["refused"]
    assert refusal["rule"] == "expose_threads"
    assert refusal["message"].startswith("Guest 100 gets no placement: expose_threads does not go with it: ")
    assert words in refusal["message"]
    assert refusal["message"].endswith("change that, or take expose_threads from its rule.")
    assert [change["vmid"] for change in document["changes"]] == [101]


def test_a_host_without_siblings_refuses():
    facts = {**epyc_9354(), "cores": [str(cpu) for cpu in range(64)]}
    [refusal] = plan(configured(), facts=facts)["refused"]
    assert "its vCPUs are not in pairs on siblings of one core" in refusal["message"]


def test_whole_cores_are_given_though_the_rule_says_pack():
    """Packed, the guest would take the two half cores first."""
    halves = guest(101, 2, affinity="0-1")
    policy = {"rules": [{"match": {"vmids": 100}, "expose_threads": True}], "mode": "both"}
    document = place(Snapshot.from_dict(snapshot([epyc_9354()], [configured(), halves])), Policy.from_dict(policy))
    assert document["placements"][0]["cpus"] == "2,34,3,35"


@pytest.mark.parametrize(
    ("affinity", "cells", "stays"),
    [("9-10,41-42", {}, True), ("8-11", {}, False), ("9-10,41-42", {"numa0": (0, 2), "numa1": (3, 3)}, False)],
)
def test_a_placement_stays_only_where_its_pairs_are_siblings_in_one_cell(affinity, cells, stays):
    numa = {key: f"cpus={first}-{last},hostnodes=1,memory=2048,policy=bind" for key, (first, last) in cells.items()}
    document = plan(configured(affinity=affinity, **({"numa": "1", **numa} if numa else {})))
    assert (document["placements"][0]["cpus"] == "9,41,10,42") == stays
    assert args_of(document)[1] == FOUR


@pytest.mark.parametrize(
    ("rule", "present", "written"),
    [
        ({"expose_threads": False}, f"-no-reboot {FOUR} -x", "-no-reboot -x"),
        ({"expose_threads": False}, FOUR, None),
        ({"expose_threads": False, "class": "shared"}, FOUR, None),
        ({"expose_threads": False, "class": "local"}, FOUR, None),
        ({"expose_threads": False}, "-smp 4,cores=2,threads=2", "-smp 4,cores=2,threads=2"),
        ({"expose_threads": None}, FOUR, FOUR),
    ],
)
def test_what_was_shown_is_taken_away_where_that_is_asked_for(rule, present, written):
    document = plan(configured(args=present), **rule)
    after = {key: value for change in document["changes"] for key, value in change["after"].items()}
    assert after.get("args", present) == written
    assert ("args" in after) == (present != written)


@pytest.mark.parametrize("more", [{"class": "isolated"}, {"class": "shared"}, {"siblings": "spread"}, {"vcpu_pinning": False}])
def test_a_rule_that_contradicts_itself_is_an_error(more):
    with pytest.raises(PolicyError, match="expose_threads of rule 1 is for guests with whole cores"):
        plan(configured(), **more)


@pytest.mark.parametrize(
    ("vendor", "cpu", "warned"),
    [
        ("AuthenticAMD", "host", True),
        ("AuthenticAMD", None, True),
        ("AuthenticAMD", "EPYC-Milan", False),
        ("GenuineIntel", "host", False),
        (None, "host", False),
    ],
)
def test_models_to_which_qemu_shows_no_threads_are_named(vendor, cpu, warned):
    info = configured(**({} if cpu is None else {"cpu": cpu}))
    document = plan(info, facts={**epyc_9354(), "vendor": vendor})
    assert any("Guest 100 will not see threads" in warning for warning in document["warnings"]) == warned


def test_pairs_that_nobody_pins_are_named():
    policy = Policy.from_dict({"rules": [{"match": {}, "expose_threads": True}]})
    document = place(Snapshot.from_dict(snapshot([epyc_9354()], [configured()])), policy)
    assert any(warning.startswith("Guest 100 will see pairs of threads, but corepin_mode config") for warning in document["warnings"])


@pytest.mark.parametrize(
    ("args", "rule"),
    [
        (FOUR, None),
        ("-smp cores=2,threads=2", None),
        ("-smp threads=2", "smp_product"),
        ("-smp 8,sockets=1,cores=4,threads=2,maxcpus=8", "smp_count"),
        ("-smp 4,threads=2 -smp cores=2", None),
        ("-smp 4,books=2", None),
    ],
)
def test_a_topology_in_args_that_does_not_fit_the_vcpus_is_found(args, rule):
    found = start_errors(configured(args=args), epyc_9354())
    assert [finding["rule"] for finding in found] == ([] if rule is None else [rule])
    assert all(finding["fatal"] == (rule == "smp_product") for finding in found)


def test_a_guest_that_outgrew_its_args_does_not_start_in_qemus_words():
    [finding] = start_errors(configured(args="-smp threads=2"), epyc_9354())
    assert finding["message"] == (
        "kvm: Invalid CPU topology: product of the hierarchy must match maxcpus: "
        "sockets (1) * dies (1) * modules (1) * cores (4) * threads (2) != maxcpus (4)"
    )


@examples(100, 2000)
@given(sample_hosts.snapshots())
def test_exposed_guests_have_their_pairs_on_siblings_in_one_cell(case):
    document, policy = case
    rules = [{"match": {}, "expose_threads": True}]
    result = place(Snapshot.from_dict(document), Policy.from_dict({**policy, "rules": rules}))
    hosts = {name: Host.from_facts(facts, name) for name, facts in document["hosts"].items()}
    for placement in result["placements"]:
        cpus, cores = parse_ordered(placement["cpus"]), hosts[placement["node"]].core_of
        assert len(cpus) % 2 == 0
        for vcpu in range(0, len(cpus), 2):
            assert cores[cpus[vcpu]] == cores[cpus[vcpu + 1]]
            assert all(parse_cpulist(cell["cpus"]) >> vcpu & 3 in (0, 3) for cell in placement["numa_cells"])


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
def test_qemu_gives_each_pair_one_core_and_keeps_the_cells():
    """The options as PVE writes them, ours last: the later -smp wins key by key, and vCPUs keep their numbers."""
    info = guest(100, 24, 49152, config={"cores": "12", "sockets": "2", "memory": "49152"})
    after = plan(info)["changes"][0]["after"]
    command = ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-accel", "tcg", "-cpu", "Skylake-Client", "-qmp", "stdio"]
    command += ["-m", "256", "-smp", "24,sockets=2,cores=12,maxcpus=24"]
    for number, cell in enumerate([after["numa0"], after["numa1"]]):
        backend = f"memory-backend-ram,id=ram-node{number},size=128M"
        command += ["-object", backend, "-numa", f"node,nodeid={number},{cell.partition(',')[0]},memdev=ram-node{number}"]
    asked = "".join(json.dumps({"execute": name}) for name in ("qmp_capabilities", "query-cpus-fast", "quit"))
    done = subprocess.run([*command, *shlex.split(after["args"])], input=asked, capture_output=True, text=True, timeout=60, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    vcpus = next(answer["return"] for answer in answers if isinstance(answer.get("return"), list) and answer["return"])
    props = [vcpu["props"] for vcpu in sorted(vcpus, key=lambda vcpu: vcpu["cpu-index"])]
    assert [(p["socket-id"], p["core-id"], p["thread-id"]) for p in props] == [(n // 12, n // 2 % 6, n % 2) for n in range(24)]
    assert [p["node-id"] for p in props] == [n // 16 for n in range(24)]
