# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interrupts on generated hosts whose files follow the kernel's rules."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import time
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.irq_affinity import set_interrupts
from ansible_collections.corepin.proxmox.plugins.module_utils._host.irq_result import diff_of, warnings_of
from sysfs_trees import MODELS, Nic, Oddities, write_tree
from sysfs_trees.irq_rules import IrqTree

ONLINE = range(64)
# Without what has nothing to do with interrupts, so that it is written fast.
MODEL = dataclasses.replace(MODELS["epyc-9354-nps4"], cpufreq=(), oddities=Oddities(cache=False, topology=False))
NIC, SECOND, VF, EMPTY_VF, NVME = "0000:41:00.0", "0000:41:00.1", "0000:41:00.2", "0000:41:00.3", "0000:01:00.0"
OPTIONS = {
    "devices": None,
    "keep_off": None,
    "protected": [],
    "allow_protected": None,
    "wait_seconds": 0,
    "state": "present",
}
MEMORY = "var/lib/corepin/irq-affinity.json"


class Host:
    """A generated host (a NIC with two ports, one virtual function with vectors and one without) and the module's options."""

    def __init__(self, root: str, **rules: t.Any) -> None:
        self.tree = IrqTree(root, ONLINE, **rules)

    def set(self, check: bool = False, pause: t.Callable[[float], None] = lambda seconds: None, **options: t.Any) -> t.Dict[str, t.Any]:
        self.tree.writes.clear()
        self.tree.refused.clear()
        self.tree.reads.clear()
        return set_interrupts(self.tree, {**OPTIONS, **options}, check, pause)

    def effective(self, device: str) -> t.List[t.Optional[str]]:
        numbers = self.tree.numbered(f"sys/bus/pci/devices/{device}/msi_irqs", "") or []
        masks = self.tree.masks()
        return [masks[number][1] for number in numbers]

    def bind(self, device: str, driver: str) -> None:
        link = self.tree.full(f"sys/bus/pci/devices/{device}/driver")
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(f"../../drivers/{driver}", link)

    def remembers(self) -> t.Dict[str, t.Any]:
        """What is on the disk between two runs."""
        return json.loads(self.tree.text(MEMORY) or "{}")


@pytest.fixture
def host(tmp_path):
    return Host(str(write_tree(MODEL, tmp_path / "host")))


def to(device: str, cpus: str, **more: t.Any) -> t.Dict[str, t.Any]:
    return {"devices": [{"pci": device, "cpus": cpus, **more}]}


def test_vectors_go_round_robin_in_the_order_of_the_cpus(host):
    host.tree.give(EMPTY_VF, range(150, 155))
    result = host.set(**to(EMPTY_VF, "9,41,8"))
    assert result["changed"]
    assert host.effective(EMPTY_VF) == ["9", "41", "8", "9", "41"]
    assert [(entry["device"], entry["index"], entry["irq"], entry["after"]) for entry in result["interrupts"][:2]] == [
        (EMPTY_VF, 0, 150, "9"),
        (EMPTY_VF, 1, 151, "41"),
    ]
    again = host.set(**to(EMPTY_VF, "9,41,8"))
    assert not again["changed"]
    assert host.tree.writes == []


def test_only_what_differs_is_written_and_check_mode_says_so_before(host):
    before = host.tree.masks()
    checked = host.set(check=True, **to(VF, "10-13"))
    assert host.tree.masks() == before
    assert not host.tree.exists(MEMORY)
    # Vector 0 goes to CPU 12 by itself, and 10 is asked for.
    assert host.set(**to(VF, "10-13")) == checked
    assert host.tree.writes == [(140, "10"), (141, "11")]
    assert diff_of(checked) == {
        "before": {"interrupts": {f"{VF}/0": "0-63", f"{VF}/1": "0-63"}, "irqbalance": {}},
        "after": {"interrupts": {f"{VF}/0": "10", f"{VF}/1": "11"}, "irqbalance": {}},
    }


def test_an_interrupt_that_is_there_already_is_left_alone(host):
    host.set(**to(VF, "12-13"))
    assert host.tree.writes == []
    assert host.tree.masks()[140] == ("0-63", "12")


def test_vectors_come_back_under_other_numbers(host):
    host.set(**to(VF, "20-21"))
    host.tree.take(VF)
    gone = host.set(**to(VF, "20-21"))
    assert not gone["changed"]
    assert gone["without_interrupts"] == [VF]
    host.tree.give(EMPTY_VF, [140])
    host.tree.give(VF, [151, 170])
    assert host.set(**to(VF, "20-21"))["changed"]
    assert host.effective(VF) == ["20", "21"]
    assert host.effective(EMPTY_VF) == ["12"]
    host.set(state="absent")
    assert [host.tree.masks()[number][0] for number in (140, 151, 170)] == ["0-63"] * 3


def test_absent_restores_masks_and_forgets(host):
    host.tree.add(140, cpus="0-7")
    before = host.tree.masks()
    host.set(**to(VF, "20-21"), keep_off="0-15")
    assert host.tree.exists(MEMORY)
    result = host.set(state="absent")
    assert result["changed"]
    assert {number: mask for number, (mask, effective) in host.tree.masks().items()} == {
        number: mask for number, (mask, effective) in before.items()
    }
    assert not host.tree.exists(MEMORY)
    assert not host.set(state="absent")["changed"]


def test_a_device_that_leaves_the_list_gets_back_what_it_had(host):
    host.set(**to(VF, "20-21"))
    result = host.set(**to(NVME, "30"))
    assert {entry["device"]: entry["reason"] for entry in result["interrupts"]} == {NVME: "device", VF: "restore"}
    assert host.tree.masks()[140][0] == "0-63"
    assert not host.set(**to(NVME, "30"))["changed"]


@pytest.mark.parametrize(("driver", "numbers"), [("mlx5_core", [140, 141]), ("vfio-pci", [150, 151])])
def test_what_another_driver_or_another_start_asked_for_is_not_overwritten(host, driver, numbers):
    host.set(**to(VF, "20-21"))
    host.tree.take(VF)
    host.bind(VF, driver)
    for number, cpus in zip(numbers, ("20", "21")):
        host.tree.give(VF, [number], cpus=cpus)
    assert not host.set()["changed"]
    assert not host.tree.exists(MEMORY)
    assert [host.tree.masks()[number][0] for number in numbers] == ["20", "21"]


def test_after_a_reboot_earlier_masks_are_void(host):
    host.tree._put("proc/sys/kernel/random/boot_id", "one")
    host.tree.add(140, cpus="0-7")
    host.set(**to(VF, "20-21"))
    host.tree._put("proc/sys/kernel/random/boot_id", "two")
    host.tree.add(140)
    host.tree.add(141)
    assert not host.set(state="absent")["changed"]
    assert host.tree.masks()[140][0] == "0-63"


def test_all_functions_and_virtual_functions(host):
    host.tree.give(EMPTY_VF, [150])
    alone = host.set(check=True, **to("0000:41:00", "8-15"))
    assert {entry["device"] for entry in alone["interrupts"]} == {NIC, SECOND}
    all_of_them = host.set(check=True, **to("0000:41:00", "8-15", virtual_functions=True))
    assert {entry["device"] for entry in all_of_them["interrupts"]} == {NIC, SECOND, VF, EMPTY_VF}
    one = host.set(check=True, **to("41:00.1", "8-15"))
    assert {entry["device"] for entry in one["interrupts"]} == {SECOND}


def test_nics_by_name_also_below_a_bridge(host):
    result = host.set(check=True, devices=[{"nic": "vmbr0", "cpus": "8-15"}])
    assert {entry["device"] for entry in result["interrupts"]} == {NIC}


def test_interrupts_are_moved_off_dedicated_cpus(host):
    host.tree.add(9, "acpi")
    host.tree.add(10, used=False)
    host.tree.give(EMPTY_VF, [150], cpus="8-11")
    result = host.set(**to(VF, "9"), keep_off="0-31")
    assert result["changed"]
    for number, (_mask, effective) in host.tree.masks().items():
        if effective and number not in (140, 141):
            assert int(effective) >= 32, number
    assert host.effective(VF) == ["9", "9"]
    assert host.tree.masks()[150][0] == "40-47"  # all its CPUs are dedicated, so that those near the device take it
    moved = {entry["irq"]: entry["after"] for entry in result["interrupts"] if entry["reason"] == "keep_off"}
    assert moved[9] == "32-63"
    assert 10 not in moved
    again = host.set(**to(VF, "9"), keep_off="0-31")
    assert not again["changed"]
    assert host.tree.writes == []
    assert host.set(**to(VF, "9"))["changed"]
    assert host.tree.masks()[9][0] == "0-63"


@pytest.mark.parametrize("managed_error", [errno.EPERM, errno.EIO])
def test_what_the_kernel_manages_is_reported(tmp_path, managed_error):
    host = Host(str(write_tree(MODEL, tmp_path / "host")), managed_error=managed_error)
    host.tree.give(EMPTY_VF, [150, 151], cpus="8-9", managed=True)
    checked = host.set(check=True, **to(EMPTY_VF, "20-21"), keep_off="8-9")
    done = host.set(**to(EMPTY_VF, "20-21"), keep_off="8-9")
    assert done == checked
    assert not done["changed"]
    assert [entry["state"] for entry in done["interrupts"]] == ["kernel-managed"] * 2
    # Where only a write tells, it is tried once, and again where a driver took the interrupts anew.
    tried = [(150, "x"), (151, "x")] if managed_error == errno.EIO else []
    assert host.tree.refused == tried
    assert sorted(host.remembers().get("managed", {})) == [f"{EMPTY_VF}/{index}" for index in range(len(tried))]
    assert host.set(**to(EMPTY_VF, "20-21"), keep_off="8-9") == done
    assert host.tree.refused == []
    host.bind(EMPTY_VF, "mlx5_core")
    assert host.set(**to(EMPTY_VF, "20-21"), keep_off="8-9") == done
    assert host.tree.refused == tried
    host.set(state="absent")
    assert not host.tree.exists(MEMORY)
    assert warnings_of(done) == [f"Interrupts 150 of {EMPTY_VF} and 151 of {EMPTY_VF} are managed by the kernel and stay where they are."]


def test_a_host_without_remapping_moves_them_when_they_fire(tmp_path):
    host = Host(str(write_tree(MODEL, tmp_path / "host")), remapping=False)
    assert host.set(**to(VF, "20-21"))["changed"]
    again = host.set(**to(VF, "20-21"), keep_off="12")
    assert not again["changed"]
    assert [entry["effective"] for entry in again["interrupts"]] == ["12", "13"]
    host.tree.fire(140)
    assert host.effective(VF) == ["20", "13"]
    assert host.tree.writes == []


def test_lines_are_placed_unless_others_share_them(host):
    gpu = "0000:81:00.0"
    host.tree._put(f"sys/bus/pci/devices/{gpu}/irq", "16")
    host.tree.add(16)
    assert host.set(**to(gpu, "40"))["without_interrupts"] == [gpu]
    host.tree.add(16, "vfio-intx(0000:81:00.0)")
    assert host.set(**to(gpu, "40"))["changed"]
    assert host.tree.masks()[16] == ("40", "40")
    host.set(state="absent")
    assert host.tree.masks()[16][0] == "0-63"
    assert host.set(**to(gpu, "41"))["changed"]
    host.tree.add(16, "vfio-intx(0000:81:00.0)", "ehci_hcd:usb1", cpus="41")
    stuck = host.set(state="absent")
    assert (stuck["changed"], stuck["not_restored"]) == (False, [f"{gpu}/line"])
    assert len(warnings_of(stuck)) == 1
    assert warnings_of(stuck)[0].startswith(f"Interrupts {gpu}/line could not get back what they had before, ")
    os.rmdir(host.tree.full("proc/irq/16/ehci_hcd:usb1"))
    assert host.set(state="absent")["changed"]
    assert host.tree.masks()[16][0] == "0-63"
    host.tree.add(16, "vfio-intx(0000:81:00.0)", "ehci_hcd:usb1")
    shared = host.set(**to(gpu, "40"))
    assert not shared["changed"]
    assert warnings_of(shared) == [f"Interrupts 16 of {gpu} are lines shared with other devices and stay where they are."]


def test_vectors_of_a_guest_that_starts_are_waited_for(host):
    waits = []

    def guest(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            host.tree.give(EMPTY_VF, [150])
        if len(waits) == 4:
            host.tree.give(EMPTY_VF, [150, 151])

    host.set(pause=guest, wait_seconds=60, **to(EMPTY_VF, "20-21"))
    assert len(waits) == 7
    assert host.effective(EMPTY_VF) == ["20", "21"]
    host.set(pause=guest, wait_seconds=60, **to(EMPTY_VF, "20-21"))
    assert len(waits) == 7
    assert max(count for path, count in host.tree.reads.items() if "proc/irq" in path) == 1


def test_vectors_that_appear_one_by_one_are_waited_for_from_the_first_look_on(host):
    waits = []

    def guest(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) in (2, 4):
            host.tree.give(EMPTY_VF, [150 + len(waits)])

    host.tree.give(EMPTY_VF, [150])
    host.set(pause=guest, wait_seconds=60, **to(EMPTY_VF, "20-22"))
    assert len(waits) == 7
    assert host.effective(EMPTY_VF) == ["20", "21", "22"]
    # A driver of the host takes all at once, and without a wait nobody waits.
    host.set(pause=guest, wait_seconds=60, **to(NVME, "30"))
    host.set(pause=guest, **to(EMPTY_VF, "23"))
    assert len(waits) == 7


@pytest.mark.parametrize("driver", ["vfio-pci", "mlx5_vfio_pci"])
def test_the_index_of_a_guest_s_vector_is_in_its_name(host, driver):
    host.bind(EMPTY_VF, driver)
    host.tree.give(EMPTY_VF, [150, 151, 152])
    for number, index in ((150, 0), (151, 3), (152, 1)):
        host.tree.add(number, f"vfio-msix[{index}]({EMPTY_VF})")
    result = host.set(**to(EMPTY_VF, "20-23"))
    assert [(entry["index"], entry["irq"]) for entry in result["interrupts"]] == [(0, 150), (1, 152), (3, 151)]
    assert host.effective(EMPTY_VF) == ["20", "23", "21"]
    again = host.set(**to(EMPTY_VF, "20-23"), keep_off="20-23")
    assert not [entry for entry in again["interrupts"] if entry["changed"] and entry["device"] == EMPTY_VF]


def test_the_wait_is_bounded(host):
    result = host.set(wait_seconds=0.02, **to(EMPTY_VF, "20-21"))
    assert not result["changed"]
    assert result["without_interrupts"] == [EMPTY_VF]
    assert "0000:41:00.3 has no interrupts after" in warnings_of(result, 0.02)[0]
    assert warnings_of({"without_interrupts": [EMPTY_VF, VF]}, 60) == [
        f"PCI devices {EMPTY_VF} and {VF} have no interrupts after 60 s; their guests may be off, or without drivers."
    ]


PROTECTED = {"protected": ["enp65s0f0np0"]}


def test_protected_nics_are_refused_with_their_neighbours(host):
    before = host.tree.masks()
    for entry in ({"pci": "0000:41:00"}, {"pci": NIC}, {"nic": "enp65s0f0np0"}, {"nic": "vmbr0"}):
        with pytest.raises(SettingError, match=r"carries the protected NIC enp65s0f0np0; .* name enp65s0f0np0, .* in allow_protected\.$"):
            host.set(devices=[{**entry, "cpus": "8"}], **PROTECTED)
    with pytest.raises(SettingError, match=r"same card as the protected NIC enp65s0f0np0; .* name enp65s0f1np1, .* in allow_protected\.$"):
        host.set(**to(SECOND, "8"), **PROTECTED)
    assert host.tree.masks() == before
    assert host.set(check=True, **to(VF, "8-9"), **PROTECTED)["changed"]
    assert host.set(check=True, **to(NIC, "8-9"), **PROTECTED, allow_protected=["enp65s0f0np0"])["changed"]
    neighbour = {**PROTECTED, "allow_protected": ["enp65s0f1np1"]}
    assert host.set(check=True, **to(SECOND, "8-9"), **neighbour)["changed"]
    with pytest.raises(SettingError, match="carries the protected NIC enp65s0f0np0"):
        host.set(**to(NIC, "8"), **neighbour)


def test_protected_devices_that_need_not_be_placed_are_left_out(host):
    before = host.tree.masks()
    devices = [{"pci": "0000:41:00", "cpus": "8", "required": False}, {"pci": VF, "cpus": "20"}]
    result = host.set(devices=devices, **PROTECTED)
    assert result["refused"] == ["0000:41:00"]
    assert {entry["device"] for entry in result["interrupts"]} == {VF}
    assert [host.tree.masks()[number] for number in range(130, 136)] == [before[number] for number in range(130, 136)]
    [warning] = warnings_of(result)
    assert warning.startswith("Devices that carry protected NICs or are on the same card were left out: 0000:41:00; ")


def test_a_neighbour_without_an_interface_may_be_placed_once_a_guest_has_it(tmp_path):
    nics = tuple(nic for nic in MODEL.nics if nic.pci != SECOND)
    host = Host(str(write_tree(dataclasses.replace(MODEL, nics=nics), tmp_path / "host")))
    host.bind(SECOND, "pci-stub")
    with pytest.raises(
        SettingError, match=r"same card as the protected NIC enp65s0f0np0; leave it out, or bind it to vfio-pci, as a start"
    ):
        host.set(**to(SECOND, "8"), **PROTECTED)
    host.bind(SECOND, "virtio_vfio_pci")
    assert host.set(**to(SECOND, "8"), **PROTECTED)["changed"]


def test_the_card_of_a_protected_virtual_function_is_not_to_be_given_away(tmp_path):
    nics = (Nic("eno1v0", VF, addresses=("192.0.2.11/24",)),)
    host = Host(str(write_tree(dataclasses.replace(MODEL, nics=nics), tmp_path / "host")))
    with pytest.raises(SettingError, match=r"0000:41:00\.0 of .* is on the same card as the protected NIC eno1v0; leave it out\.$"):
        host.set(**to(NIC, "8"), protected=["eno1v0"])


def test_unless_told_every_nic_by_which_the_host_talks_is_protected(host):
    for nic in ("vmbr0", "enp65s0f0np0", "enp65s0f1np1"):
        with pytest.raises(SettingError, match="protected NIC"):
            host.set(devices=[{"nic": nic, "cpus": "8"}], protected=None)
    # Both ports are in use, so that naming one of them leaves the other one alone.
    result = host.set(devices=[{"nic": "enp65s0f1np1", "cpus": "8"}], protected=None, allow_protected=["enp65s0f1np1"])
    assert {entry["device"] for entry in result["interrupts"]} == {SECOND}


NO_CARD_BENEATH = {
    "open vswitch": (Nic("vmbr0", addresses=("192.0.2.11/24",)),),
    "own address in no network": (Nic("dummy0", addresses=("192.0.2.11/32",)),),
}


@pytest.mark.parametrize("name", NO_CARD_BENEATH)
def test_an_address_with_no_card_beneath_protects_all_cards_but_virtual_functions(tmp_path, name):
    ports = (Nic("eno1", NIC, master="ovs-system"), Nic("eno2", SECOND, master="vmbr1"), Nic("eno1v0", VF))
    bridges = (Nic("ovs-system", lower=("eno1",)), Nic("vmbr1", lower=("eno2",)))
    host = Host(str(write_tree(dataclasses.replace(MODEL, nics=ports + bridges + NO_CARD_BENEATH[name]), tmp_path / "host")))
    if "/32" in str(NO_CARD_BENEATH[name]):
        host.tree._put("proc/net/route", "Iface")  # the kernel has no route for an address that is a network of its own
    for nic in ("eno1", "eno2"):
        with pytest.raises(SettingError, match="protected NIC"):
            host.set(devices=[{"nic": nic, "cpus": "8"}], protected=None)
    assert host.set(check=True, devices=[{"nic": "eno1v0", "cpus": "8"}], protected=None)["changed"]


def test_protected_nics_stay_on_dedicated_cpus(host):
    before = host.tree.masks()
    result = host.set(keep_off="0-31", **PROTECTED)
    after = host.tree.masks()
    for number in (130, 131, 132, 133, 134, 135):
        assert after[number] == before[number]
    assert {entry["irq"] for entry in result["interrupts"] if entry["state"] == "protected"} == {130, 131, 132, 133, 134, 135}
    assert any("belong to protected NICs" in text for text in warnings_of(result))


def test_the_line_of_a_protected_nic_stays_on_dedicated_cpus(host):
    host.tree.take(NIC)
    host.tree._put(f"sys/bus/pci/devices/{NIC}/irq", "16")
    host.tree._put(f"sys/bus/pci/devices/{SECOND}/irq", "17")  # what a function with MSI has there is no interrupt that it uses
    host.tree.add(16, "enp65s0f0np0", cpus="0-7")
    host.tree.add(17, "i801_smbus", cpus="0-7")
    result = host.set(keep_off="0-31", **PROTECTED)
    states = {entry["irq"]: entry["state"] for entry in result["interrupts"]}
    assert (states[16], states[17]) == ("protected", "set")
    assert host.tree.masks()[16] == ("0-7", "0")
    assert host.set(keep_off="0-31")["changed"]
    assert host.tree.masks()[16][0] == "32-63"


def test_a_refused_mask_puts_everything_back(host):
    before = {number: mask for number, (mask, effective) in host.tree.masks().items()}
    host.tree.refuse[141] = errno.ENOSPC
    with pytest.raises(SettingError, match=r"/proc/irq/141/smp_affinity_list \(0000:41:00.2/1\) refused CPUs 21 \(No space .*put back\.$"):
        host.set(**to(VF, "20-21"))
    assert {number: mask for number, (mask, effective) in host.tree.masks().items()} == before
    assert not host.tree.exists(MEMORY)
    host.tree.refuse.clear()
    host.set(**to(VF, "22-23"))
    host.tree.refuse[141] = errno.ENOSPC
    with pytest.raises(SettingError):
        host.set(**to(VF, "24-25"))
    # What they had before the run that worked is still known.
    assert host.effective(VF) == ["22", "23"]
    assert sorted(host.remembers()["previous"]) == [f"{VF}/0", f"{VF}/1"]
    host.tree.refuse.clear()
    host.set(state="absent")
    assert {number: mask for number, (mask, effective) in host.tree.masks().items()} == before


def test_what_an_admin_sets_after_a_refused_run_is_not_overwritten(host):
    host.tree.refuse[141] = errno.ENOSPC
    with pytest.raises(SettingError):
        host.set(**to(VF, "20-21"))
    host.tree.write("proc/irq/140/smp_affinity_list", "5")
    assert not host.set(**to(EMPTY_VF, "30"))["changed"]
    assert host.tree.masks()[140] == ("5", "5")


@pytest.mark.parametrize("mendable", [True, False])
def test_a_mask_that_reads_back_otherwise_is_put_back(host, monkeypatch, mendable):
    honest = host.tree.write

    def write(path: str, text: str) -> None:
        honest(path, "6" if path == "proc/irq/141/smp_affinity_list" and (text == "21" or not mendable) else text)

    before = {number: mask for number, (mask, effective) in host.tree.masks().items()}
    monkeypatch.setattr(host.tree, "write", write)
    put_back = "Everything was" if mendable else f"Everything but {VF}/1 was"
    with pytest.raises(SettingError, match=rf"took CPUs 21 and has 6 again; .* {put_back} put back\.$"):
        host.set(**to(VF, "20-21"))
    monkeypatch.undo()
    assert host.tree.masks()[141][0] == ("0-63" if mendable else "6")
    host.set(state="absent")
    assert {number: mask for number, (mask, effective) in host.tree.masks().items()} == before


@pytest.mark.parametrize("killed_at", range(5))
def test_killed_at_any_write_the_next_run_puts_it_right(host, monkeypatch, killed_at):
    before = {number: mask for number, (mask, effective) in host.tree.masks().items()}
    options = {"devices": [{"pci": VF, "cpus": "20-21"}, {"pci": NVME, "cpus": "30-33"}]}
    honest = host.tree.write

    def write(path: str, text: str) -> None:
        if len(host.tree.writes) == killed_at:
            raise KeyboardInterrupt
        honest(path, text)

    monkeypatch.setattr(host.tree, "write", write)
    with pytest.raises(KeyboardInterrupt):
        host.set(**options)
    monkeypatch.undo()
    host.set(**options)
    assert host.effective(VF) + host.effective(NVME) == ["20", "21", "30", "31", "32", "33"]
    host.set(state="absent")
    assert {number: mask for number, (mask, effective) in host.tree.masks().items()} == before


def test_an_interrupt_that_goes_meanwhile_is_no_failure_and_its_number_is_not_touched(host, monkeypatch):
    honest = host.tree.write

    def write(path: str, text: str) -> None:
        honest(path, text)
        if host.tree.writes == [(140, "20")]:
            host.tree.take(VF)
            host.tree.give(EMPTY_VF, [141])

    monkeypatch.setattr(host.tree, "write", write)
    result = host.set(**to(VF, "20-21"))
    assert [entry["state"] for entry in result["interrupts"]] == ["set", "gone"]
    assert host.tree.masks()[141][0] == "0-63"


BAD = {
    "beyond": (to(VF, "62-65"), "CPUs 64-65 of devices[0] do not exist here; this host has 0-63."),
    "empty": (to(VF, ""), "cpus of devices[0] is empty; name CPUs such as 0-7,32-39, or leave the set out."),
    "grammar": (to(VF, "3-"), "cpus of devices[0]: "),
    "no device": (to("0000:42:00.0", "3"), "PCI device 0000:42:00.0 of devices[0] does not exist on this host; see lspci -D."),
    "no function": (to("0000:42:00", "3"), "PCI device 0000:42:00 of devices[0] does not exist on this host; see lspci -D."),
    "address": (to("eth0", "3"), "'eth0' of devices[0] is no PCI address; write 0000:41:00.0, or 0000:41:00 for all functions "),
    "nic": ({"devices": [{"nic": "eth7", "cpus": "3"}]}, "NIC 'eth7' of devices[0] does not exist on this host, or has neither "),
    "neither": ({"devices": [{"cpus": "3"}]}, "devices[0] names no device; give it pci or nic."),
    "twice": (
        {"devices": [{"pci": "0000:41:00", "cpus": "3"}, {"pci": NIC, "cpus": "4"}]},
        "PCI device 0000:41:00.0 is in devices[0] and in devices[1]; name each device in one entry.",
    ),
    "protected": ({"protected": ["eth7"]}, "NIC 'eth7' of protected does not exist on this host, or has neither "),
    "keep off": ({"keep_off": "0-70"}, "CPUs 64-70 of keep_off do not exist here; this host has 0-63."),
    "keep off all": ({"keep_off": "0-63"}, "keep_off 0-63 leaves no online CPU for the host's interrupts; leave out some of 0-63."),
    "keep off grammar": ({"keep_off": "a"}, "keep_off: 'a' is not a cpulist"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_wishes_are_one_sentence_and_write_nothing(host, name):
    options, message = BAD[name]
    with pytest.raises(SettingError) as caught:
        host.set(**options)
    assert str(caught.value).startswith(message)
    assert host.tree.writes == []
    assert not host.tree.exists(MEMORY)


def test_devices_that_are_missing_and_need_not_be_there_are_left_out(host):
    absent = [{"pci": "0000:42:00", "cpus": "3", "required": False}, {"nic": "eth7", "cpus": "3", "required": False}]
    result = host.set(devices=[*absent, {"pci": VF, "cpus": "20"}])
    assert result["missing"] == ["0000:42:00", "eth7"]
    assert {entry["device"] for entry in result["interrupts"]} == {VF}
    assert warnings_of(result) == ["Devices that do not exist on this host were left out: 0000:42:00 and eth7; see lspci -D and ip link."]
    assert host.set(state="absent")["missing"] == []


def test_offline_cpus(tmp_path):
    host = Host(str(write_tree("odd-offline-sibling", tmp_path / "host")))
    host.tree.online = (0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15)
    host.tree.add(9, "acpi", cpus="4-5")
    with pytest.raises(SettingError, match=r"PCI device 0000:41:00\.0 of devices"):
        host.set(**to(NIC, "4"))
    with pytest.raises(SettingError, match=r"^CPUs 5 of devices\[0\] are offline; online are 0-4,6-8,10-12,14-15\.$"):
        host.set(**to(NIC, "4-5"))
    assert host.tree.writes == []
    assert not host.tree.exists(MEMORY)
    host.set(keep_off="4-5,13")
    assert host.tree.writes == [(9, "0-3,6-8,10-12,14-15")]
    # A mask may name offline CPUs, as it did before.
    host.set()
    assert host.tree.writes == [(9, "4-5")]
    assert not host.tree.exists(MEMORY)
    assert not host.set(state="absent")["changed"]


def test_what_had_only_cpus_that_are_offline_now_is_restored_when_they_are_back(tmp_path):
    host = Host(str(write_tree("odd-no-cpufreq", tmp_path / "host")))
    host.tree.online = tuple(range(16))
    host.tree.add(9, "acpi", cpus="4-5")
    host.set(keep_off="4-7")
    host.tree.online = (0, 1, 2, 3, *range(6, 16))
    host.tree._put("sys/devices/system/cpu/online", "0-3,6-15")
    for changed in (True, False):
        stuck = host.set(state="absent")
        assert (stuck["changed"], stuck["not_restored"]) == (changed, ["acpi"])
        assert len(warnings_of(stuck)) == 1
        assert host.tree.masks()[9][0] == "0-3,6-15"
    host.tree.online = tuple(range(16))
    host.tree._put("sys/devices/system/cpu/online", "0-15")
    restored = host.set(state="absent")
    assert (restored["changed"], restored["not_restored"]) == (True, [])
    assert host.tree.masks()[9][0] == "4-5"
    assert not host.tree.exists(MEMORY)


def test_nothing_to_do_reads_next_to_nothing(host):
    empty = {key: [] for key in ("interrupts", "not_restored", "without_interrupts", "missing", "refused")}
    assert host.set() == {"changed": False, **empty, "irqbalance": None}
    assert not [path for path in host.tree.reads if "proc/irq" in path]
    assert host.set(state="absent")["changed"] is False


@pytest.mark.parametrize("managed_error", [errno.EPERM, errno.EIO])
def test_1874_interrupts_are_read_once_and_not_written(tmp_path, tell, managed_error):
    host = Host(str(write_tree(MODEL, tmp_path / "host")), managed_error=managed_error)
    numbers = iter(range(1000, 2874))
    for device in (NVME, NIC, SECOND, EMPTY_VF):
        host.tree.take(device)
        host.tree.give(device, [next(numbers) for _vector in range(400)], managed=device == NVME)
    for number in numbers:
        host.tree.add(number, f"line{number}")
    options = {**to(EMPTY_VF, "40-47"), "keep_off": "32-63", "protected": ["enp65s0f1np1"], "allow_protected": ["enp65s0f0np0"]}
    assert len([entry for entry in host.set(**options)["interrupts"] if entry["state"] == "kernel-managed"]) >= 200
    before = time.process_time()
    again = host.set(**options)
    spent = time.process_time() - before
    assert not again["changed"]
    assert host.tree.writes + host.tree.refused == []
    assert len([path for path in host.tree.reads if path.endswith("effective_affinity_list")]) >= 1874
    assert max(host.tree.reads.values()) == 1
    tell(f"1,874 interrupts, converged: {spent * 1000:.0f} ms of CPU time")
