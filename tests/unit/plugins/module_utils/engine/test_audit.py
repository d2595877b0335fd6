# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: each kind of drift, each finding, and a cluster where nothing is wrong."""

from __future__ import annotations

import copy
import re
import typing as t

import pytest
import sample_hosts
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.audit import audit
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.audit_live import with_runtime
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import format_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError, PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.module_utils._host.pinning import host_plan
from ansible_collections.corepin.proxmox.plugins.module_utils._host.threads import Thread

Facts = t.Dict[str, t.Any]

RULES = {
    "rules": [
        {"match": {"tags": ["pinned"]}, "class": "dedicated"},
        {"match": {"tags": ["alone"]}, "class": "isolated"},
        {"match": {"tags": ["misc"]}, "class": "shared"},
    ]
}
BOUND = {"numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=4096,policy=bind"}


def vm(vmid: int, config: t.Optional[t.Mapping[str, str]] = None, **more: t.Any) -> Facts:
    """A pinned guest of 4 vCPUs and 4 GiB."""
    stored = {"cores": "4", "memory": "4096", **(config or {})}
    return {
        "vmid": vmid, "name": f"vm{vmid}", "node": "pve1", "type": "qemu", "status": "running", "tags": ["pinned"],
        "vcpus": 4, "memory_mib": 4096, "config": stored, "pending": {}, **more,
    }  # fmt: skip


def container(vmid: int, **config: str) -> Facts:
    return vm(vmid, {key.replace("_", "."): value for key, value in config.items()}, type="lxc", tags=[])


def cluster(guests: t.Sequence[Facts], pve2: t.Optional[Facts] = None, **more: t.Any) -> Facts:
    """Two equal hosts, where nobody says otherwise."""
    second = pve2 or sample_hosts.epyc_9354("pve2")
    hosts = [{"name": "pve1", "online": True}, {"name": "pve2", "online": True}]
    known = {"name": "lab", "nodes": hosts, "crs": {}, "ha_rules": [], **more}
    return sample_hosts.snapshot([sample_hosts.epyc_9354(), second], guests, cluster=known)


def small_host(node: str = "pve2") -> Facts:
    """4 CPUs, one NUMA node."""
    return {
        "node": node, "cpus": {"online": "0-3", "present": "0-3", "isolated": ""}, "packages": [{"id": 0, "cpus": "0-3"}],
        "cores": ["0-1", "2-3"], "l3_domains": [], "numa_nodes": [{"id": 0, "cpus": "0-3", "memory_mib": 16000}],
    }  # fmt: skip


def running(vmid: int, cpus: str = "0,32,1,33", pins: bool = False, helper: t.Optional[str] = None, **more: t.Any) -> Facts:
    """What runs of a VM with 4 vCPUs: an emulator thread, vCPUs, and a process beside it."""
    threads = [{"tid": 5000, "pid": 5000, "name": "kvm", "role": "emulator", "vcpu": None, "cpus": cpus}]
    for vcpu, cpu in enumerate(cpus.split(",") if pins else [cpus] * 4):
        threads.append({"tid": 5001 + vcpu, "pid": 5000, "name": f"CPU {vcpu}/KVM", "role": "vcpu", "vcpu": vcpu, "cpus": cpu})
    if helper:
        threads.append({"tid": 6000, "pid": 6000, "name": "swtpm", "role": "helper", "vcpu": None, "cpus": helper})
    return {"vmid": vmid, "type": "qemu", "pid": 5000, "scope_cpus": "0-63", "threads": threads, "memory_mib": {"0": 4096}, **more}


def run(snapshot: Facts, policy: t.Optional[Facts] = None, plan: t.Optional[Facts] = None, live: t.Sequence[Facts] = ()) -> Facts:
    document = with_runtime(snapshot, [{"node": "pve1", "runtime": list(live)}, {"unreachable": True}]) if live else snapshot
    return audit(document, Policy.from_dict(RULES if policy is None else policy), plan)


def rows(report: Facts) -> t.List[t.Tuple[t.Any, ...]]:
    return [tuple(row[key] for key in ("what", "kind", "planned", "stored", "pending", "live")) for row in report["drift"]]


def ids(report: Facts) -> t.List[str]:
    return [finding["id"] for finding in report["findings"]]


def planned(snapshot: Facts, policy: t.Optional[Facts] = None) -> Facts:
    return place(Snapshot.from_dict(snapshot), Policy.from_dict(policy or RULES))


def applied(snapshot: Facts, plan: Facts) -> Facts:
    """The snapshot once the plan is written and all guests have been started anew."""
    after = copy.deepcopy(snapshot)
    for guest in after["guests"]:
        for change in plan["changes"]:
            if change["vmid"] == guest["vmid"]:
                guest["config"].update({key: value for key, value in change["after"].items() if value is not None})
    return after


@pytest.fixture
def converged() -> t.Tuple[Facts, Facts]:
    """A cluster with one guest as it was planned: CPUs 0,32,1,33 and NUMA node 0."""
    snapshot = cluster([vm(101)])
    plan = planned(snapshot)
    assert plan["placements"][0]["cpus"] == "0,32,1,33"
    return applied(snapshot, plan), plan


def test_nothing_is_wrong_where_all_is_as_planned(converged):
    report = run(converged[0], plan=converged[1], live=[running(101, "0-1,32-33")])
    assert (report["drift"], report["findings"], report["starts"]) == ([], [], [])
    assert report["summary"] == {
        "guests": 1, "drift": 0, "drifted": [], "conflicts": 0, "warnings": 0, "notes": 0,
        "starts": {"conflict": 0, "warning": 0, "note": 0}, "ok": True,
    }  # fmt: skip
    assert (report["live"], report["plan_id"], report["unread"]) == (["pve1"], converged[1]["plan_id"], [])
    assert run(converged[0])["drift"] == []


def test_a_key_that_is_not_as_planned(converged):
    snapshot, plan = converged
    snapshot["guests"][0]["config"]["affinity"] = "8-11"
    report = run(snapshot, plan=plan, live=[running(101, "8-11")])
    assert rows(report) == [("affinity", "unapplied", "0,32,1,33", "8-11", None, "8-11")]
    assert report["drift"][0]["text"] == (
        "Guest 101 (vm101) has affinity 8-11 and the plan has affinity 0,32,1,33; apply the plan, or make a new one."
    )
    assert report["summary"]["drifted"] == [101]
    assert not report["summary"]["ok"]
    assert rows(run(snapshot, {**RULES, "mode": "runtime"}, plan))[:1] != rows(report)
    assert rows(run(snapshot)) == []


def test_a_key_that_the_plan_removes_or_adds(converged):
    snapshot, plan = converged
    config = snapshot["guests"][0]["config"]
    cell = config.pop("numa0")
    config["numa1"] = "cpus=0-3,memory=4096"
    assert rows(run(snapshot, plan=plan)) == [
        ("numa0", "unapplied", cell, None, None, None),
        ("numa1", "unapplied", None, "cpus=0-3,memory=4096", None, None),
    ]


def test_the_same_in_other_words_is_no_drift(converged):
    snapshot, plan = converged
    config = snapshot["guests"][0]["config"]
    config["affinity"] = "33,32,0-1"
    config["numa0"] = "policy=bind,memory=4096,hostnodes=0,cpus=0-3"
    assert rows(run(snapshot, plan=plan)) == []


def test_pending_changes_wait(converged):
    snapshot, plan = converged
    guest = snapshot["guests"][0]
    wanted = guest["config"].pop("affinity")
    guest["pending"] = {"affinity": wanted}
    expected = ("affinity", "pending", "0,32,1,33", None, "0,32,1,33", "0-63")
    report = run(snapshot, plan=plan, live=[running(101, "0-63")])
    assert rows(report) == [expected]
    assert report["drift"][0]["text"] == "Guest 101 (vm101) changes from no affinity to affinity 0,32,1,33 at its next stop and start."
    guest["config"]["affinity"] = wanted
    guest["pending"] = {"affinity": None}
    assert rows(run(snapshot))[0] == ("affinity", "pending", None, "0,32,1,33", "", None)
    guest["pending"] = {"affinity": "0-1,32-33"}
    assert rows(run(snapshot)) == []


def test_a_guest_that_moved_or_went(converged):
    snapshot, plan = converged
    snapshot["guests"][0]["node"] = "pve2"
    assert rows(run(snapshot, plan=plan)) == [("node", "unapplied", "pve1", "pve2", None, None)]
    snapshot["guests"] = []
    report = run(snapshot, plan=plan)
    assert rows(report) == [("guest", "unapplied", "pve1", None, None, None)]
    snapshot["cluster"]["nodes"][0]["online"] = False
    assert rows(run(snapshot, plan=plan)) == []
    assert run(snapshot, plan=plan)["unread"] == [{"name": "pve1", "reason": "is offline"}]


def test_a_guest_that_could_not_be_read_is_named_and_not_judged(converged):
    snapshot, plan = converged
    snapshot["guests"][0].update(config={}, digest=None)
    report = run(snapshot, plan=plan)
    assert (rows(report), report["unread_guests"]) == ([], [101])


def test_threads_that_stray_are_named(converged):
    snapshot, plan = converged
    live = running(101, "0-1,32-33")
    live["threads"][2]["cpus"] = "0-1,5"
    live["threads"] += [
        {"tid": 5010 + n, "pid": 5000, "name": "IO iothread-a", "role": "iothread", "vcpu": None, "cpus": "0-63"} for n in range(2)
    ]
    report = run(snapshot, plan=plan, live=[live])
    assert rows(report) == [
        ("vcpu 1", "live", "0-1,32-33", "0-1,32-33", None, "0-1,5"),
        ("iothread", "live", "0-1,32-33", "0-1,32-33", None, "0-63"),
    ]
    assert [row["tids"] for row in report["drift"]] == [[5002], [5010, 5011]]
    assert report["drift"][0]["text"] == "Vcpu 1 of guest 101 (vm101) (thread 5002) may run on CPUs 0-1,5 instead of CPUs 0-1,32-33."
    assert "2 iothread threads of guest 101 (vm101) may run" in report["drift"][1]["text"]


def test_a_narrower_mask_of_one_thread_is_no_drift_but_of_all_is(converged):
    snapshot, _plan = converged
    assert rows(run(snapshot, live=[running(101, "0,32,1,33", pins=True)])) == []
    assert rows(run(snapshot, live=[running(101, "0-1")])) == [("affinity", "live", None, "0-1,32-33", None, "0-1")]


def test_a_scope_that_keeps_a_guest_away(converged):
    snapshot, plan = converged
    report = run(snapshot, plan=plan, live=[running(101, "0-1", scope_cpus="0-1")])
    assert rows(report) == [("scope", "live", "0-1,32-33", "0-1,32-33", None, "0-1")]
    assert report["drift"][0]["text"] == "The scope of guest 101 (vm101) leaves it CPUs 0-1 and keeps it from CPUs 32-33 (AllowedCPUs)."


@pytest.mark.parametrize("mode", ["runtime", "both"])
def test_where_the_plan_is_for_running_guests_each_thread_has_just_its_cpus(converged, mode):
    snapshot, plan = converged
    policy = {**RULES, "mode": mode}
    pinned = running(101, "0,32,1,33", pins=True, helper="0-1", scope_cpus="0-1,32-33")
    assert rows(run(snapshot, policy, plan, [pinned])) == []
    loose = run(snapshot, policy, plan, [running(101, "0-1,32-33", helper="0-7")])
    assert [row[0] for row in rows(loose)] == ["scope", "vcpu 0", "vcpu 1", "vcpu 2", "vcpu 3", "helper"]
    assert loose["drift"][0]["text"] == "The scope of guest 101 (vm101) leaves it CPUs 0-63 instead of CPUs 0-1,32-33 (AllowedCPUs)."
    assert [row["planned"] for row in loose["drift"][1:]] == ["0", "32", "1", "33", "0-1,32-33"]
    pinned["threads"][0]["cpus"] = "0"
    assert [(row["what"], row["live"]) for row in run(snapshot, policy, plan, [pinned])["drift"]] == [("emulator", "0")]


def test_without_pinning_all_vcpus_have_all_of_the_guests_cpus():
    policy = {"rules": [{"match": {}, "vcpu_pinning": False}], "mode": "both"}
    snapshot = cluster([vm(101)])
    plan = planned(snapshot, policy)
    cpus = plan["placements"][0]["cpus"]
    assert rows(run(applied(snapshot, plan), policy, plan, [running(101, cpus, scope_cpus=cpus)])) == []


def test_emulator_threads_on_reserved_cpus():
    policy = {"rules": [{"match": {}, "emulator": "reserved"}], "reserved": {"default": {"cpus": "0,32"}}, "mode": "both"}
    snapshot = cluster([vm(101)])
    plan = planned(snapshot, policy)
    order = plan["placements"][0]["cpus"]
    live = running(101, order, pins=True, scope_cpus="0-2,32-34")
    live["threads"][0]["cpus"] = "0,32"
    assert rows(run(applied(snapshot, plan), policy, plan, [live])) == []
    live["threads"][0]["cpus"] = order
    assert [(row["what"], row["live"], row["planned"]) for row in run(applied(snapshot, plan), policy, plan, [live])["drift"]] == [
        ("emulator", "1-2,33-34", "0,32")
    ]


@pytest.mark.parametrize(
    "rule",
    [{}, {"class": "isolated"}, {"class": "local"}, {"class": "shared"}, {"vcpu_pinning": False}, {"emulator": "reserved"}],
    ids=lambda rule: " ".join(rule.values()) if "vcpu_pinning" not in rule else "unpinned",
)
def test_what_guest_pinning_would_set_is_no_drift(rule):
    policy = {"rules": [{"match": {}, **rule}], "reserved": {"default": {"cores_per_numa_node": 1}}, "mode": "both"}
    snapshot = cluster([vm(101)])
    plan = planned(snapshot, policy)
    target = host_plan(plan, "pve1").targets[101]
    live = running(101, "0-63", helper="0-63", scope_cpus=format_cpulist(target.scope))
    for thread in live["threads"]:
        thread["cpus"] = format_cpulist(target.of(Thread(thread["tid"], thread["pid"], "", thread["role"], 0, thread["vcpu"])))
    assert rows(run(applied(snapshot, plan), policy, plan, [live])) == []


def test_containers_are_kept_in_the_pool_where_the_plan_is_for_running_guests():
    policy = {**RULES, "mode": "both"}
    snapshot = cluster([vm(101), {**container(200), "tags": ["misc"]}])
    plan = planned(snapshot, policy)
    box = {"vmid": 200, "type": "lxc", "pid": 1, "processes": [{"cpus": "2-31,34-63", "count": 1}]}
    assert rows(run(applied(snapshot, plan), policy, plan, [box])) == []
    box["processes"] = [{"cpus": "0-63", "count": 1}]
    report = run(applied(snapshot, plan), policy, plan, [box])
    assert rows(report) == [("cpuset", "live", "2-31,34-63", None, None, "0-63")]
    assert ids(report) == ["live-on-dedicated"]


def test_memory_astray(converged):
    snapshot, plan = converged
    near = running(101, "0-1,32-33", memory_mib={"0": 3900, "1": 200})
    assert rows(run(snapshot, plan=plan, live=[near])) == []
    far = running(101, "0-1,32-33", memory_mib={"0": 3000, "1": 1096})
    report = run(snapshot, plan=plan, live=[far])
    assert rows(report) == [("memory", "live", "0:4096", "0:4096", None, "0:3000 1:1096")]
    assert report["drift"][0]["text"] == "Guest 101 (vm101) has 1096 MiB on NUMA node 1, and its cells are bound to NUMA node 0."


def test_containers_and_their_cpusets():
    fenced = container(200, lxc_cgroup2_cpuset_cpus="8-9")
    inside = {"vmid": 200, "type": "lxc", "pid": 1, "scope_cpus": "8-9", "processes": [{"cpus": "8-9", "count": 3}]}
    assert rows(run(cluster([fenced]), live=[inside])) == []
    outside = {**inside, "processes": [{"cpus": "8-9", "count": 3}, {"cpus": "4", "count": 1}]}
    assert rows(run(cluster([fenced]), live=[outside])) == [("cpuset", "live", None, "8-9", None, "4,8-9")]


def test_templates_and_karpenters_guest_are_left_out():
    dummy = vm(900, {"affinity": "999", "numa0": "x"}, name="node-capacity", tags=["karpenter"], pending={"affinity": "1"})
    template = vm(901, {"affinity": "999"}, template=True, pending={"affinity": "1"})
    report = run(cluster([dummy, template]))
    assert (report["drift"], report["findings"], report["starts"]) == ([], [], [])
    assert report["summary"]["guests"] == 1


PINNED = vm(101, {"affinity": "0-1,32-33", **BOUND}, ha={"state": "started", "rules": []})
STRICT = {"rule": "r", "type": "node-affinity", "strict": True, "enabled": True, "vmids": [101], "nodes": [{"name": "pve1", "priority": 0}]}
RUN_IRQBALANCE = {"irqbalance": {"running": True, "banned_cpus": ""}}


def with_facts(snapshot: Facts, **facts: t.Any) -> Facts:
    snapshot["hosts"]["pve1"].update(facts)
    return snapshot


def with_pages(total: int) -> t.List[Facts]:
    numa_nodes = copy.deepcopy(sample_hosts.epyc_9354()["numa_nodes"])
    for numa_node in numa_nodes:
        numa_node["hugepages"] = {"1048576": {"total": total, "free": total}, "2048": {"total": 0, "free": 0}}
    return t.cast("t.List[Facts]", numa_nodes)


# The finding, a cluster that has it alone, and what it says and advises in part.
FINDINGS: t.List[t.Tuple[str, str, Facts, str]] = [
    ("no-strict-node-affinity", "warning", cluster([PINNED]), "a recovery may start it on any host"),
    ("no-strict-node-affinity", "warning", cluster([PINNED], ha_rules=[{**STRICT, "strict": False}]), "Guest 101 (vm101)"),
    (
        "balancer-tags",
        "warning",
        cluster([vm(101, {"affinity": "0-3"}), vm(102, {"affinity": "8-11"}, tags=["plb_affinity_web"])]),
        "plb_affinity_web",
    ),
    ("numa-without-binding", "note", cluster([vm(101, {"numa": "1"})]), "numa is on, but no cell is bound"),
    (
        "hugepages-not-reserved",
        "warning",
        with_facts(cluster([vm(101, {**BOUND, "hugepages": "1024"})]), numa_nodes=with_pages(3)),
        "has 3 of 4",
    ),
    ("balloon-with-binding", "note", cluster([vm(101, {**BOUND, "balloon": "1024"})]), "the balloon may take away"),
    ("ksm-with-binding", "warning", with_facts(cluster([vm(101, BOUND)]), ksm={"run": 1, "merge_across_nodes": 1}), "KSM on pve1"),
    ("irqbalance-running", "warning", with_facts(cluster([vm(101, {"affinity": "4-7"})]), **RUN_IRQBALANCE), "dedicated CPUs 4-7"),
    ("placing-hookscript", "warning", cluster([vm(101, {"hookscript": "local:snippets/vm-pin.sh"})]), "places guests itself"),
    ("foreign-hookscript", "note", cluster([vm(101, {"affinity": "0-3", "hookscript": "local:snippets/x"})]), "of somebody else"),
    ("cpu-overlap", "conflict", cluster([vm(101, {"affinity": "0-3"}), vm(102, {"affinity": "3-6"})]), "CPU 3 is held by more than one"),
    (
        "isolated-core-shared",
        "conflict",
        cluster([vm(101, {"affinity": "0-3"}, tags=["alone"]), vm(102, {"affinity": "32,40-42"})]),
        "CPU 32",
    ),
    (
        "tenants-share-core",
        "warning",
        cluster([vm(101, {"affinity": "0-3"}, pool="a"), vm(102, {"affinity": "32-35"}, pool="b")]),
        "a and b",
    ),
    ("floats-on-dedicated", "warning", cluster([vm(101, {"affinity": "0-3"}), vm(102, {"affinity": "3-40"}, tags=["misc"])]), "CPU 3"),
    ("unmanaged-on-dedicated", "warning", cluster([vm(101, {"affinity": "0-3"}), vm(102, tags=[])]), "102 vm102"),
    ("shared-on-dedicated", "warning", cluster([vm(101, {"affinity": "0-3"}), vm(102, tags=["misc"])]), "102 vm102"),
    ("containers-on-dedicated", "warning", cluster([vm(101, {"affinity": "0-3"}), container(200)]), "Containers on pve1"),
    (
        "numa-node-overbooked",
        "warning",
        cluster([vm(101, {**BOUND, "numa0": "cpus=0-3,hostnodes=0,memory=129000,policy=bind"}, memory_mib=129000)]),
        "NUMA node 0",
    ),
]


@pytest.mark.parametrize(("check", "severity", "snapshot", "words"), FINDINGS, ids=[f"{n}-{row[0]}" for n, row in enumerate(FINDINGS)])
def test_each_finding_alone(check, severity, snapshot, words):
    report = run(snapshot)
    assert ids(report) == [check]
    finding = report["findings"][0]
    assert finding["severity"] == severity
    assert words in finding["text"]
    assert finding["vmids"]
    assert finding["text"].endswith(".")
    assert finding["fix"].endswith(".")
    assert finding["node"] == ("pve1" if check not in ("no-strict-node-affinity", "balancer-tags") else None)


@pytest.mark.parametrize(
    ("crs", "words"), [({"ha": "dynamic"}, "crs ha=dynamic in datacenter.cfg"), ({"ha-auto-rebalance": True}, "ha-auto-rebalance=1")]
)
def test_the_scheduler_moves_pinned_guests_unless_a_strict_rule_names_their_hosts(crs, words):
    report = run(cluster([PINNED], crs=crs))
    assert ids(report) == ["no-strict-node-affinity", "scheduler-moves-pinned"]
    finding = report["findings"][1]
    assert (finding["severity"], finding["node"], finding["vmids"]) == ("warning", None, [101])
    assert words in finding["text"]
    assert ids(run(cluster([PINNED], crs=crs, ha_rules=[STRICT]))) == []


def test_hotplug_with_cells_is_found_beside_the_start_that_fails():
    report = run(cluster([vm(101, {**BOUND, "hotplug": "disk,memory"})]))
    assert ids(report) == ["hotplug-with-cells"]
    assert {start["rule"] for start in report["starts"]} == {"hotplug_cells"}


def test_reserved_cpus_are_the_hosts():
    report = run(cluster([vm(101, {"affinity": "0-3"})]), {**RULES, "reserved": {"default": {"cpus": "0,32"}}})
    assert ids(report) == ["reserved-cpus"]
    assert report["findings"][0]["cpus"] == "0"


def test_a_changed_layout_is_a_conflict(converged):
    snapshot, plan = converged
    snapshot["hosts"]["pve1"]["fingerprint"] = "e" * 64
    report = run(snapshot, plan=plan)
    assert ids(report) == ["layout-changed"]
    assert "(ffffffffffff, now eeeeeeeeeeee)" in report["findings"][0]["text"]


CLEAN: t.List[t.Tuple[str, Facts]] = [
    ("a strict rule", cluster([PINNED], ha_rules=[STRICT])),
    ("left alone by HA", cluster([{**PINNED, "ha": {"state": "ignored"}}], crs={"ha": "dynamic"})),
    ("nothing pinned", cluster([vm(101, tags=[], ha={"state": "started"})], crs={"ha": "dynamic"})),
    ("tags for the balancer", cluster([vm(101, {"affinity": "0-3"}, tags=["pinned", "plb_ignore_101"])])),
    ("the balloon has all", cluster([vm(101, {**BOUND, "balloon": "4096"}), vm(102, {**BOUND, "balloon": "0"})])),
    ("KSM inside NUMA nodes", with_facts(cluster([vm(101, BOUND)]), ksm={"run": 1, "merge_across_nodes": 0})),
    ("no KSM for the guest", with_facts(cluster([vm(101, {**BOUND, "allow-ksm": "0"})]), ksm={"run": 1, "merge_across_nodes": 1})),
    ("irqbalance is banned", with_facts(cluster([vm(101, {"affinity": "4-7"})]), irqbalance={"running": True, "banned_cpus": "0-63"})),
    ("irqbalance is stopped", with_facts(cluster([vm(101, {"affinity": "4-7"})]), irqbalance={"running": False, "banned_cpus": ""})),
    ("our own hookscript", cluster([vm(101, {"affinity": "0-3", "hookscript": "local:snippets/corepin"})])),
    ("huge pages are there", with_facts(cluster([vm(101, {**BOUND, "hugepages": "1024"})]), numa_nodes=with_pages(4))),
    ("one tenant", cluster([vm(101, {"affinity": "0-3"}, pool="a"), vm(102, {"affinity": "32-35"}, pool="a")])),
    ("a fenced container", cluster([vm(101, {"affinity": "0-3"}), container(200, lxc_cgroup2_cpuset_cpus="8-9")])),
    ("another NUMA node's memory unknown", cluster([vm(101, {"affinity": "0-3"})])),
]


@pytest.mark.parametrize("snapshot", [row[1] for row in CLEAN], ids=[row[0] for row in CLEAN])
def test_no_finding_where_nothing_is_wrong(snapshot):
    assert ids(run(snapshot)) == []


def test_a_tag_names_the_tenant_before_the_pool():
    guests = [vm(101, {"affinity": "0-3"}, pool="a"), vm(102, {"affinity": "32-35"}, pool="a", tags=["pinned", "tenant-x"])]
    report = run(cluster(guests))
    assert ids(report) == ["tenants-share-core"]
    assert report["findings"][0]["text"].startswith("The tenants a and tenant-x share 4 cores (CPUs 0-3,32-35) of pve1:")
    guests[1]["pool"], guests[1]["tags"] = None, ["pinned"]
    assert ids(run(cluster(guests))) == []


def test_what_runs_says_more_than_what_is_stored():
    owner, other = vm(101, {"affinity": "0-1,32-33"}), vm(102, tags=["misc"])
    quiet = [running(101, "0-1,32-33"), {**running(102, "2-31,34-63"), "pid": 5000}]
    assert ids(run(cluster([owner, other]), live=quiet)) == []
    loud = run(cluster([owner, other]), live=[quiet[0], running(102, "0-63")])
    assert ids(loud) == ["live-on-dedicated"]
    assert loud["findings"][0]["severity"] == "conflict"
    assert loud["findings"][0]["vmids"] == [102, 101]
    box = {"vmid": 200, "type": "lxc", "pid": 1, "processes": [{"cpus": "1", "count": 1}]}
    caught = run(cluster([owner, container(200)]), live=[quiet[0], box])
    assert ids(caught) == ["live-on-dedicated"]
    assert caught["findings"][0]["text"] == (
        "Processes of container 200 vm200 on pve1 run, or may at any time, on CPU 1, which 101 vm101 is to have alone."
    )
    assert "lxc.cgroup2.cpuset.cpus" in caught["findings"][0]["fix"]
    helper = run(cluster([owner, vm(102, {"affinity": "8-11"})]), live=[quiet[0], running(102, "8-11", helper="0-63")])
    assert ids(helper) == ["helpers-on-dedicated"]


def test_starts_here_after_a_recovery_and_after_a_migration():
    high = {"affinity": "8-11"}
    moved_by_hand = run(cluster([vm(101, high)], pve2=small_host()))["starts"]
    assert [(x["way"], x["hosts"], x["severity"], x["rule"], x["config"]) for x in moved_by_hand] == [
        ("migration", ["pve2"], "note", "affinity_not_online", "next")
    ]
    under_ha = vm(101, high, ha={"state": "started", "rules": []})
    assert [(x["way"], x["hosts"], x["severity"]) for x in run(cluster([under_ha], pve2=small_host()))["starts"]] == [
        ("ha", ["pve2"], "warning")
    ]
    assert run(cluster([under_ha], pve2=small_host(), ha_rules=[STRICT]))["starts"] == []
    broken = vm(101, {"affinity": "8-11,"}, pending={"affinity": "200"})
    starts = [(x["way"], x["config"], x["severity"], x["fatal"]) for x in run(cluster([broken]))["starts"] if x["way"] == "here"]
    assert starts == [("here", "next", "conflict", True), ("here", "stored", "note", True)]
    narrow = run(cluster([vm(101, {"affinity": "60-65"})]))["starts"][0]
    assert (narrow["severity"], narrow["fatal"]) == ("warning", False)
    assert narrow["text"].startswith("Guest 101 (vm101) would not get what its config says on pve1: ")


def test_equal_start_findings_on_many_hosts_are_one():
    snapshot = cluster([vm(101, {"affinity": "99"})])
    starts = run(snapshot)["starts"]
    assert [(x["way"], x["hosts"]) for x in starts] == [("here", ["pve1"]), ("migration", ["pve2"])]


def test_a_saved_snapshot_may_hold_what_ran(converged):
    snapshot, plan = converged
    snapshot["runtime"] = {"pve1": [running(101, "0-63")], "pve9": []}
    report = run(snapshot, plan=plan)
    assert report["live"] == ["pve1"]
    assert {row["kind"] for row in report["drift"]} == {"live"}


@pytest.mark.parametrize("runtime", [[1], {"pve1": [{}]}, {"pve1": [{"vmid": 101, "threads": [{"cpus": "x"}]}]}, "no"])
def test_runtime_of_another_shape_is_refused(runtime):
    with pytest.raises(FactsError, match=r"gather it again with corepin\.proxmox\.guest_runtime_info"):
        audit({**cluster([vm(101)]), "runtime": runtime}, Policy.from_dict({}))


def test_a_plan_of_another_cluster_or_an_edited_one_is_refused(converged):
    snapshot, plan = converged
    with pytest.raises(PlanError, match="was made for the cluster other"):
        run(snapshot, plan=sealed({**{k: v for k, v in plan.items() if k != "plan_id"}, "cluster": "other"}))
    with pytest.raises(PlanError, match="was edited"):
        run(snapshot, plan={**plan, "cluster": "other"})


def test_the_guide_explains_every_finding(root):
    folder = root / "plugins" / "module_utils" / "_engine"
    sources = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in ("doctor", "audit_conflicts"))
    known = set(re.findall(r'(?:AuditFinding|found)\(\s*"([a-z-]+)"', sources)) | {check for check, *_rest in FINDINGS}
    assert len(known) >= 20
    guide = (root / "docs" / "audit.md").read_text(encoding="utf-8")
    assert [check for check in sorted(known) if f"`{check}`" not in guide] == []
