# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running irqbalance is told what to leave alone, and what others told it stays."""

from __future__ import annotations

import errno
import re
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import SettingError
from ansible_collections.corepin.proxmox.plugins.module_utils._host import irq_affinity, irq_apply
from ansible_collections.corepin.proxmox.plugins.module_utils._host.irq_affinity import set_interrupts
from ansible_collections.corepin.proxmox.plugins.module_utils._host.irq_result import diff_of, warnings_of
from sysfs_trees import MODELS, write_tree
from sysfs_trees.irq_rules import IrqTree
from sysfs_trees.irqbalance import Irqbalance
from sysfs_trees.model import PciDevice

VF = "0000:41:00.2"
TOLD = ["settings ban irqs 24 140 141", "settings cpus 0,4-7"]
MEMORY = "var/lib/corepin/irq-affinity.json"
CGROUP = "sys/fs/cgroup/system.slice/irqbalance.service/cgroup.procs"


class Host:
    """A generated host of 16 CPUs with a virtual function that a guest has."""

    def __init__(self, root: str) -> None:
        self.tree = IrqTree(root, range(16))
        self.root = root
        self.tree.give(VF, [140, 141])

    def set(self, check: bool = False, **options: t.Any) -> t.Dict[str, t.Any]:
        defaults = {"devices": None, "keep_off": None, "protected": [], "allow_protected": None, "wait_seconds": 0, "state": "present"}
        return set_interrupts(self.tree, {**defaults, **options}, check)


@pytest.fixture
def host(tmp_path, request):
    device = PciDevice(VF, "0x020000", "0x15b3", "0x101e", "vfio-pci", 0)
    model = MODELS["odd-no-cpufreq"]
    return Host(str(write_tree(type(model)(**{**vars(model), "pci_devices": (device,)}), tmp_path / "host")))


def to(cpus: str, **more: t.Any) -> t.Dict[str, t.Any]:
    return {"devices": [{"pci": VF, "cpus": cpus}], **more}


def test_it_is_told_and_untold(host):
    with Irqbalance(host.root, irqs=[24], cpus="0") as balance:
        checked = host.set(check=True, **to("4-5", keep_off="4-7"))
        assert balance.settings() == []
        done = host.set(**to("4-5", keep_off="4-7"))
        assert done == checked
        assert done["irqbalance"] == {
            "before": {"irqs": [24], "cpus": "0"},
            "after": {"irqs": [24, 140, 141], "cpus": "0,4-7"},
            "told": True,
            "settings": [],
        }
        assert diff_of(done)["after"]["irqbalance"] == {"irqs": [24, 140, 141], "cpus": "0,4-7"}
        assert balance.settings() == TOLD

        # It shows banned CPUs only with its next round, and is not told again meanwhile.
        for _round in range(2):
            again = host.set(**to("4-5", keep_off="4-7"))
            assert not again["changed"]
            assert diff_of(again)["after"]["irqbalance"] == {}
            assert balance.settings() == []
            balance.next_round()

        assert host.set(state="absent")["changed"]
        assert balance.settings() == ["settings ban irqs 24", "settings cpus 0"]
        assert not host.set(state="absent")["changed"]
        assert not host.tree.exists(MEMORY)


def test_new_numbers_replace_the_old_ones(host):
    with Irqbalance(host.root) as balance:
        host.set(**to("4-5"))
        host.tree.take(VF)
        host.tree.give(VF, [150, 151])
        balance.settings()
        host.set(**to("4-5"))
        assert balance.settings() == ["settings ban irqs 150 151"]
        host.set(state="absent")
        assert balance.settings() == ["settings ban irqs NONE"]


def test_what_others_banned_already_stays_banned(host):
    with Irqbalance(host.root, irqs=[140], cpus="4-7") as balance:
        host.set(**to("4-5", keep_off="6-7"))
        assert balance.settings() == ["settings ban irqs 140 141"]
        host.set(state="absent")
        assert balance.settings() == ["settings ban irqs 140"]


def test_one_that_was_restarted_is_told_anew(host):
    with Irqbalance(host.root, pid=1):
        host.set(**to("4-5", keep_off="4-7"))
    with Irqbalance(host.root, pid=2) as balance:
        assert host.set(**to("4-5", keep_off="4-7"))["changed"]
        assert balance.settings() == ["settings ban irqs 140 141", "settings cpus 4-7"]
        host.set(state="absent")
        assert balance.settings() == ["settings ban irqs NONE", "settings cpus NULL"]


def test_without_a_socket_it_is_named_with_the_settings(host):
    host.tree._put(CGROUP, "922")
    done = host.set(**to("4-5", keep_off="4-7"))
    assert done["changed"]
    assert done["irqbalance"]["settings"] == ["IRQBALANCE_BANNED_CPULIST=4-7", 'IRQBALANCE_ARGS="--banmod=vfio_pci"']
    assert any(text.startswith("irqbalance runs here, moves interrupts every 10 seconds and cannot be told") for text in warnings_of(done))
    assert not host.set(**to("4-5", keep_off="4-7"))["changed"]


def test_more_interrupts_than_fit_a_message_are_settings_too(host):
    host.tree.give(VF, range(1000, 1120))
    with Irqbalance(host.root) as balance:
        done = host.set(**to("4-5"))
        assert balance.settings() == []
        assert done["irqbalance"]["settings"] == ['IRQBALANCE_ARGS="--banmod=vfio_pci"']


def test_a_socket_left_behind_is_no_irqbalance(host):
    with Irqbalance(host.root) as balance:
        path = balance.socket
    path.touch()
    assert host.set(**to("4-5"))["irqbalance"] is None


@pytest.mark.parametrize("check_first", [False, True])
def test_where_the_kernel_refuses_it_is_told_the_earlier_bans_and_later_all_again(host, check_first):
    wish = to("4-5", keep_off="4-7")
    with Irqbalance(host.root, irqs=[24], cpus="0") as balance:
        host.tree.refuse[141] = errno.ENOSPC
        with pytest.raises(SettingError, match=re.escape("Everything was put back.")):
            host.set(**wish)
        assert balance.settings() == [*TOLD, "settings ban irqs 24", "settings cpus 0"]
        host.tree.refuse.clear()
        if check_first:  # a round of irqbalance later, which makes no difference
            balance.next_round()
            assert host.set(check=True, **wish)["changed"]
        assert host.set(**wish)["changed"]
        assert balance.settings() == TOLD
        assert not host.set(**wish)["changed"]
        assert host.set(state="absent")["changed"]
        assert (balance.irqs, balance.asked_cpus) == ([24], "0")


@pytest.mark.parametrize("wish", [to("4-5", keep_off="4-7"), {"state": "absent"}], ids=["told", "untold"])
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_killed_while_it_is_told_the_next_run_tells_it(host, monkeypatch, wish, taken):
    with Irqbalance(host.root, irqs=[24], cpus="0") as balance:
        if "state" in wish:
            host.set(**to("4-5", keep_off="4-7"))
        kill_after(monkeypatch, balance, taken)
        with pytest.raises(KeyboardInterrupt):
            host.set(**wish)
        monkeypatch.undo()
        host.set(**wish)
        assert (sorted(balance.irqs), balance.asked_cpus) == (([24], "0") if "state" in wish else ([24, 140, 141], "0,4-7"))
        assert not host.set(**wish)["changed"]
        host.set(state="absent")
        assert (balance.irqs, balance.asked_cpus) == ([24], "0")
        assert not host.tree.exists(MEMORY)


def kill_after(monkeypatch: pytest.MonkeyPatch, balance: Irqbalance, taken: int) -> None:
    """The next run is killed when irqbalance has taken so many messages that change something."""
    honest, before = irq_apply.tell, len(balance.messages)

    def tell(tree: IrqTree, name: str, message: str) -> str:
        if sum(message != "setup" for message in balance.messages[before:]) == taken:
            raise KeyboardInterrupt
        return honest(tree, name, message)

    monkeypatch.setattr(irq_apply, "tell", tell)
    monkeypatch.setattr(irq_apply, "_move", _killed)
    monkeypatch.setattr(irq_affinity, "_forget", _killed)


def _killed(*_arguments: t.Any) -> t.NoReturn:
    raise KeyboardInterrupt


def test_one_that_stops_answering_gets_no_half_of_the_messages(host, monkeypatch):
    honest, answers = irq_apply.tell, iter([True, False, True, True])

    def tell(tree: IrqTree, name: str, message: str) -> str:
        if not next(answers):
            raise TimeoutError("timed out")
        return honest(tree, name, message)

    with Irqbalance(host.root, irqs=[24], cpus="0") as balance:
        monkeypatch.setattr(irq_apply, "tell", tell)
        with pytest.raises(SettingError, match=r"did not take 'settings cpus 0,4-7' \(timed out\), .* Everything was put back\.$"):
            host.set(**to("4-5", keep_off="4-7"))
        assert (balance.irqs, balance.asked_cpus) == ([24], "0")
        monkeypatch.undo()
        assert host.tree.writes == []
        host.set(**to("4-5", keep_off="4-7"))
        assert (balance.irqs, balance.asked_cpus) == ([24, 140, 141], "0,4-7")


def test_absent_says_where_it_cannot_be_told(host):
    with Irqbalance(host.root):
        host.set(**to("4-5"))
    host.tree._put(CGROUP, "922")
    for _again in range(2):
        result = host.set(state="absent")
        assert (result["irqbalance"]["told"], result["irqbalance"]["settings"]) == (False, [])
        assert [text.partition(",")[0] for text in warnings_of(result)] == ["irqbalance runs here"]
        assert "run this again" in warnings_of(result)[0]
    with Irqbalance(host.root, irqs=[140, 141]) as balance:
        assert warnings_of(host.set(state="absent")) == []
        assert balance.irqs == []
