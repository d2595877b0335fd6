# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: options, results, diff, and errors without a traceback."""

from __future__ import annotations

from ansible_collections.corepin.proxmox.plugins.modules import irq_affinity

DEVICES = [{"pci": "0000:41:00.2", "cpus": "8-9", "vmid": 100}]


def test_check_run_again_and_absent(tree, run_module):
    root = str(tree("epyc-9354-nps4").root)
    checked = run_module(irq_affinity, root=root, devices=DEVICES, check_mode=True, diff=True)
    done = run_module(irq_affinity, root=root, devices=DEVICES, diff=True)
    assert checked == done
    assert done["changed"]
    assert done["diff"]["before"]["interrupts"] == {"0000:41:00.2/0": "0-63", "0000:41:00.2/1": "0-63"}
    assert done["diff"]["after"]["interrupts"] == {"0000:41:00.2/0": "8", "0000:41:00.2/1": "9"}
    again = run_module(irq_affinity, root=root, devices=DEVICES)
    assert not again["changed"]
    assert run_module(irq_affinity, root=root, state="absent")["changed"]


def test_errors_and_skips(tree, run_module):
    root = str(tree("odd-no-cpufreq").root)
    assert run_module(irq_affinity, root=root, keep_off="3")["skipped"] is True
    failed = run_module(irq_affinity, root=root, keep_off="900")
    assert failed["failed"]
    assert failed["msg"] == "CPUs 900 of keep_off do not exist here; this host has 0-15."
    both = run_module(irq_affinity, root=root, devices=[{"pci": "0000:41:00.2", "nic": "eth0", "cpus": "3"}])
    assert both["msg"] == "parameters are mutually exclusive: pci|nic found in devices"
