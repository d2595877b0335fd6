# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module irq_affinity on a real kernel: virtual functions that vfio holds, interrupts that refuse to move, irqbalance."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.plugin_utils._cluster_nics import cluster_nics
from host_lab.machines import MANAGEMENT_NIC, NVME
from host_lab.programs import VECTORS

from .host import LabHost
from .waiting import wait_for

MODULE = "corepin.proxmox.irq_affinity"
IRQBALANCE_ROUND_S = 3
# What irqbalance(1) calls `setup`: its round in seconds, the interrupts and the CPUs that it leaves alone.
ASK_IRQBALANCE = """
import glob, os, socket, struct
client = socket.socket(socket.AF_UNIX)
client.settimeout(300)
client.connect(glob.glob("/run/irqbalance/*.sock")[0])
client.sendmsg([b"setup"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", os.getpid(), 0, 0))])
print(b"".join(iter(lambda: client.recv(4096), b"")).decode())
"""
Masks = t.Dict[int, t.Tuple[str, str]]


def masks(lab_host: LabHost) -> Masks:
    """Every interrupt of the machine: CPUs that it may go to, CPUs that it goes to."""
    script = (
        "cd /proc/irq; for irq in [0-9]*; do echo $irq,$(cat $irq/smp_affinity_list | tr , +),$(cat $irq/effective_affinity_list); done"
    )
    fields = [line.split(",") for line in lab_host.run(script).stdout.split()]
    return {int(irq): (allowed.replace("+", ","), effective) for irq, allowed, effective in fields}


def msi(lab_host: LabHost, address: str) -> t.List[int]:
    return sorted(int(number) for number in lab_host.run(f"ls /sys/bus/pci/devices/{address}/msi_irqs").stdout.split())


def changed(lab_host: LabHost, *, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
    done = lab_host.ansible(MODULE, check=check, **options)
    assert done.outcome == "ok", done.result
    return done.result


@pytest.fixture(autouse=True)
def restored(lab_host: LabHost) -> t.Iterator[None]:
    """Also where a test failed half way."""
    yield
    if lab_host.run("test -e /var/lib/corepin/irq-affinity.json", check=False).returncode == 0:
        changed(lab_host, state="absent")


def test_vectors_come_are_placed_go_and_come_back_under_other_numbers(lab_host: LabHost) -> None:
    first, second = lab_host.sriov.create(2)
    before = masks(lab_host)
    options = {"devices": [{"pci": first, "cpus": "9"}]}  # one for all: the kernel spreads them, so that it cannot have put them there

    # The guest's driver starts while the module waits.
    lab_host.run(f"systemd-run --quiet --collect --on-active=5 --unit=late --timer-property=AccuracySec=1s {VECTORS} {first} 3 600")
    try:
        placed = changed(lab_host, wait_seconds=60, **options)
        held = lab_host.sriov.interrupts(first)
        assert placed["changed"]
        assert [(entry["index"], entry["irq"]) for entry in placed["interrupts"]] == sorted(held.items())
        assert [masks(lab_host)[held[index]][1] for index in range(3)] == ["9", "9", "9"]
    finally:
        lab_host.run("systemctl stop late.timer late.service", check=False)

    gone = changed(lab_host, **options)
    assert (gone["changed"], gone["without_interrupts"]) == (False, [first])
    assert masks(lab_host) == before

    options = {"devices": [{"pci": first, "cpus": "9,8"}]}
    with lab_host.sriov.vectors(second, 1) as between, lab_host.sriov.vectors(first, 3) as again:
        assert again != held
        lab_host.sriov.send_elsewhere(again, "10-15")
        others = masks(lab_host)
        checked = changed(lab_host, check=True, **options)
        assert masks(lab_host) == others
        done = changed(lab_host, **options)
        assert done["changed"]
        assert done["interrupts"] == checked["interrupts"]
        now = masks(lab_host)
        assert [now[again[index]][1] for index in range(3)] == ["9", "8", "9"]
        assert not changed(lab_host, **options)["changed"]
        # Nothing else has moved: not the other function's interrupt, not the management NIC's.
        assert {irq: mask for irq, mask in now.items() if irq not in again.values()} == {
            irq: mask for irq, mask in others.items() if irq not in again.values()
        }
        assert between[0] in now

        assert changed(lab_host, state="absent")["changed"]
        assert {irq: mask[0] for irq, mask in masks(lab_host).items()} == {irq: mask[0] for irq, mask in others.items()}
    assert masks(lab_host) == before


@contextlib.contextmanager
def moved(lab_host: LabHost, irq: int, cpu: int) -> t.Iterator[None]:
    """Somebody has sent the interrupt to a CPU."""
    allowed, effective = masks(lab_host)[irq]
    file = f"/proc/irq/{irq}/smp_affinity_list"
    lab_host.run(f"echo {cpu} >{file}")
    try:
        yield
    finally:
        lab_host.run(f"echo {effective} >{file}; echo {allowed} >{file}")


def test_dedicated_cpus_are_left_to_their_guest(lab_host: LabHost) -> None:
    management = msi(lab_host, MANAGEMENT_NIC.address)
    [first] = lab_host.sriov.create(1)
    receiving = management[1]  # the first one is for changes of its configuration
    with moved(lab_host, receiving, 9), lab_host.sriov.vectors(first, 2) as held:
        before = {irq: mask for irq, mask in masks(lab_host).items() if irq not in held.values()}
        assert before[receiving] == ("9", "9")
        options = {"devices": [{"pci": first, "cpus": "12-13"}], "keep_off": "8-15"}
        done = changed(lab_host, **options)
        assert done["changed"]
        stayed = {entry["irq"]: entry["state"] for entry in done["interrupts"] if entry["state"] != "set"}
        now = masks(lab_host)
        for irq, (_allowed, effective) in now.items():
            if effective and int(effective) >= 8 and irq not in held.values():
                assert stayed[irq] == ("protected" if irq in management else "kernel-managed")
        assert {now[irq][1] for irq in held.values()} == {"12", "13"}
        assert stayed[receiving] == "protected"
        # The queues of the disk that are at home there; the first vector is no queue.
        assert set(stayed) & set(msi(lab_host, NVME.address)[1:])
        assert [now[irq] for irq in management] == [before[irq] for irq in management]
        assert not changed(lab_host, **options)["changed"]
        assert changed(lab_host, state="absent")["changed"]
        after = masks(lab_host)
        assert {irq: after[irq][0] for irq in before} == {irq: mask[0] for irq, mask in before.items()}
        assert [after[irq] for irq in management] == [before[irq] for irq in management]


def test_the_management_nic_is_refused(lab_host: LabHost) -> None:
    before = masks(lab_host)
    facts = lab_host.ansible("corepin.proxmox.host_topology_facts").result["ansible_facts"]["corepin_host"]
    assert facts["cluster_networks"] == []
    [nic] = cluster_nics(facts, ["10.0.2.16"])
    for device, protection in (({"pci": MANAGEMENT_NIC.address}, {}), ({"nic": "vmbr0"}, {"protected": [nic]})):
        failed = lab_host.ansible(MODULE, devices=[{**device, "cpus": "3"}], **protection)
        assert failed.outcome == "failed"
        assert "allow_protected" in failed.result["msg"]
    assert masks(lab_host) == before


@contextlib.contextmanager
def irqbalance(lab_host: LabHost) -> t.Iterator[None]:
    """It runs, with rounds that are shorter than its own 10 s."""
    drop_in = "/run/systemd/system/irqbalance.service.d"
    lab_host.write(f"{drop_in}/rounds.conf", f"[Service]\nEnvironment=IRQBALANCE_ARGS=--interval={IRQBALANCE_ROUND_S}\n")
    try:
        lab_host.run("systemctl unmask irqbalance && systemctl daemon-reload && systemctl start irqbalance")
        lab_host.run("until ls /run/irqbalance/*.sock; do sleep 0.5; done", timeout=300)
        yield
    finally:
        lab_host.run(f"systemctl stop irqbalance; rm -r {drop_in}; systemctl mask irqbalance; systemctl daemon-reload")


def left_alone(lab_host: LabHost) -> t.Tuple[t.Set[int], int]:
    """What irqbalance itself says that it leaves alone: interrupts, and CPUs as a mask."""
    words = lab_host.run("python3 -", text=ASK_IRQBALANCE).stdout.split()
    assert words[:2] == ["SLEEP", str(IRQBALANCE_ROUND_S)]
    banned = {int(number) for word, number in zip(words, words[1:]) if word == "IRQ"}
    return banned, int(words[words.index("BANNED") + 1].replace(",", ""), 16)


def _on_dedicated(lab_host: LabHost, irqs: t.Sequence[int]) -> t.List[int]:
    """Those of the interrupts that go to the dedicated CPUs, 8 to 15."""
    now = masks(lab_host)
    return [irq for irq in irqs if int(now[irq][1]) >= 8]


def test_a_running_irqbalance_leaves_them_where_they_are(lab_host: LabHost) -> None:
    [first] = lab_host.sriov.create(1)
    with irqbalance(lab_host), lab_host.sriov.vectors(first, 2) as held:
        process = lab_host.run("systemctl show -P MainPID irqbalance").stdout
        lab_host.run(f"sleep {4 * IRQBALANCE_ROUND_S}")  # it sees the vectors in one round, and places them in the next
        options = {"devices": [{"pci": first, "cpus": "12-13"}], "keep_off": "8-15", "protected": []}
        told = changed(lab_host, **options)["irqbalance"]
        assert (told["before"], told["told"], told["settings"]) == ({"irqs": [], "cpus": ""}, True, [])
        assert told["after"] == {"irqs": sorted(held.values()), "cpus": "8-15"}
        # It shows the CPUs once it has looked at the machine anew.
        wait_for(lambda: left_alone(lab_host), lambda seen: seen == (set(held.values()), 0xFF00))
        lab_host.run(f"sleep {2 * IRQBALANCE_ROUND_S}")
        now = masks(lab_host)
        assert [now[held[index]] for index in range(2)] == [("12", "12"), ("13", "13")]
        management = msi(lab_host, MANAGEMENT_NIC.address)
        wait_for(lambda: _on_dedicated(lab_host, management), lambda seen: not seen)
        again = changed(lab_host, **options)
        assert not again["changed"]
        assert again["irqbalance"]["before"] == told["after"]
        assert changed(lab_host, state="absent")["irqbalance"]["after"] == {"irqs": [], "cpus": ""}
        assert lab_host.run("systemctl show -P MainPID irqbalance").stdout == process
