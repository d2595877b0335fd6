# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on a host with a kernel of its own; a simulated API has its guests: plan, apply, tune, audit, rollback."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import format_cpulist, parse_cpulist, parse_ordered
from pve_lab import Cluster, Lab

from ..integration.cluster_world import World
from ..integration.harness import Run
from .governors import UNIT
from .host import LabHost

LONG = os.environ.get("COREPIN_LONG") == "1"
CONFIG = {"cores": 2, "memory": 64}
KEPT = [f"/etc/systemd/system/{UNIT}", "/var/lib/corepin/cpu-governor.json", "/var/lib/corepin/irq-affinity.json"]
POLICY = {
    "corepin_hosts": "pve_hosts",
    "corepin_mode": "both",
    "corepin_reserved": {"default": {"cores_per_numa_node": 1}},
    "corepin_rules": [{"match": {"tags": ["pinned"]}, "class": "dedicated", "governor": "performance", "irq": "follow"}],
}


@pytest.fixture
def pci(lab_host: LabHost) -> str:
    """A virtual function's address."""
    return lab_host.sriov.create(1)[0]


@pytest.fixture
def world(lab_host: LabHost, pci: str) -> t.Iterator[World]:
    """Guest 100, which gets CPUs of its own and has the virtual function, and guest 101, which gets none; both run."""
    guests = [
        {"vmid": 100, "node": "pve1", "status": "running", "config": {**CONFIG, "name": "db", "tags": "pinned", "hostpci0": pci}},
        {"vmid": 101, "node": "pve1", "status": "running", "config": {**CONFIG, "name": "web"}},
    ]
    for guest in guests:
        lab_host.start_guest(guest["vmid"], **CONFIG)
    with Lab(Cluster.from_dict({"name": "lab", "nodes": [{"name": "pve1"}], "guests": guests})) as lab:
        world = World(lab, lab_host.controller, {})
        world.hosts = lab_host.inventory["all"]["children"]["pve_hosts"]["hosts"]
        world.variables.update(POLICY)
        yield world
    lab_host.ansible("corepin.proxmox.guest_pinning", node="pve1", state="absent")
    if _kept(lab_host):
        for module in ("cpu_governor", "irq_affinity"):
            lab_host.ansible(f"corepin.proxmox.{module}", state="absent")


def audit(world: World) -> t.Tuple[Run, t.Dict[str, t.Any]]:
    run = world.run("audit")
    assert run.ok, run.output
    return run, json.loads((world.controller.folder / "corepin-audit.json").read_text(encoding="utf-8"))


def drift(world: World) -> t.Set[t.Tuple[int, str, str]]:
    _run, found = audit(world)
    assert found["live"] == ["pve1"]
    return {(row["vmid"], row["what"], row["kind"]) for row in found["drift"]}


def test_plan_apply_tune_audit_and_rollback(lab_host: LabHost, world: World, pci: str) -> None:
    with lab_host.sriov.vectors(pci, 2) as vectors:
        _do_all(lab_host, world, vectors)


def _do_all(lab_host: LabHost, world: World, vectors: t.Mapping[int, int]) -> None:
    before, governor = world.texts(), "/sys/devices/system/cpu/cpufreq/policy{}/scaling_governor"
    assert world.run("plan").ok
    [placement] = [entry for entry in world.saved_plan["placements"] if entry["vmid"] == 100]
    cpus = [str(cpu) for cpu in parse_ordered(placement["cpus"])]
    lab_host.sriov.send_elsewhere(vectors, format_cpulist(parse_cpulist("1-15") & ~parse_cpulist(",".join(cpus))))
    allowed = _allowed(lab_host, vectors)
    usual = lab_host.read(governor.format(cpus[0]))
    for playbook in ("apply", "tune"):
        run = world.run(playbook)
        assert run.ok, run.output
    assert [vcpu.cpus for vcpu in lab_host.guest(100).vcpus] == cpus
    assert _places(lab_host, vectors) == set(cpus)
    assert _kept(lab_host) == KEPT
    # What was written waits for the next start; all that runs is as planned.
    assert {kind for _vmid, _what, kind in drift(world)} == {"pending"}
    for playbook in ("apply", "tune") if LONG else ():
        again = world.run(playbook)
        assert again.ok, again.output
        assert again.changed == 0

    guest = lab_host.guest(100)
    lab_host.run(f"taskset -cp {cpus[0]} {guest.vcpus[1].tid}")
    lab_host.run(f"echo 0 >/proc/irq/{vectors[0]}/smp_affinity_list")
    lab_host.run(f"echo schedutil >{governor.format(cpus[0])}")
    lab_host.run("systemctl set-property --runtime 100.scope AllowedCPUs=0-15")  # lets all threads out that nobody has set by hand
    strayed = [what for _vmid, what, kind in sorted(drift(world)) if kind == "live"]
    assert strayed == ["emulator", "governor", "irq", "scope", "vcpu 1"]

    run = world.run("rollback")
    assert run.ok, run.output
    assert world.texts() == before
    assert len({thread.cpus for thread in lab_host.guest(100).threads}) == 1
    assert cpus[0] != lab_host.guest(100).vcpus[0].cpus
    assert lab_host.read(governor.format(cpus[0])) == usual
    assert _allowed(lab_host, vectors) == allowed
    assert _kept(lab_host) == []


def _kept(lab_host: LabHost) -> t.List[str]:
    """What tune writes for the next boot, and what it remembers, as far as it is there."""
    return lab_host.run(f"ls {' '.join(KEPT)}", check=False).stdout.split()


def _allowed(lab_host: LabHost, vectors: t.Mapping[int, int]) -> t.List[str]:
    """The CPUs that interrupts may go to, in the order of their indexes."""
    return [lab_host.read(f"/proc/irq/{number}/smp_affinity_list") for _index, number in sorted(vectors.items())]


def _places(lab_host: LabHost, vectors: t.Mapping[int, int]) -> t.Set[str]:
    """The CPUs that interrupts go to."""
    return {lab_host.read(f"/proc/irq/{number}/effective_affinity_list") for number in vectors.values()}
