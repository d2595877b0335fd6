# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: options, results, diff, and errors without a traceback."""

from __future__ import annotations

from ansible_collections.corepin.proxmox.plugins.modules import cpu_governor

BUSY = [{"cpus": "0-3", "governor": "performance"}]


def test_check_run_again_and_absent(tree, run_module):
    root = str(tree("xeon-6338-2s").root)
    checked = run_module(cpu_governor, root=root, busy=BUSY, check_mode=True, diff=True)
    done = run_module(cpu_governor, root=root, busy=BUSY, diff=True)
    again = run_module(cpu_governor, root=root, busy=BUSY, diff=True)
    assert checked == done
    assert done["changed"]
    assert done["diff"]["before"]["policies"]["0-3"]["governor"] == "powersave"
    assert done["diff"]["after"]["policies"]["0-3"]["governor"] == "performance"
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert run_module(cpu_governor, root=root, state="absent")["changed"]


def test_errors_and_skips(tree, run_module):
    root = str(tree("odd-no-cpufreq").root)
    assert run_module(cpu_governor, root=root, busy=BUSY)["skipped"] is True
    failed = run_module(cpu_governor, root=root, busy=[{"cpus": "900", "governor": "performance"}])
    assert failed["failed"]
    assert failed["msg"] == "CPUs 900 of busy[0] do not exist here; this host has 0-15."
