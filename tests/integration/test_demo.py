# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo does what its output says, and leaves nothing behind that git would show."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from .harness import ROOT


def test_the_demo() -> None:
    """One test: the demo works in one folder, so that two at a time would disturb each other."""
    shown = _run_the_demo()
    _fits_on_a_page(shown)
    _shows_the_mess_and_what_became_of_it(shown)
    _applies_twice_and_says_what_to_do_next(shown)


def _run_the_demo() -> list[str]:
    before = _git_status()
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "lab" / "demo" / "run.py"],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=ROOT.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert [line for line in _git_status() if ".cache" in line] == [line for line in before if ".cache" in line] == []
    return done.stdout.splitlines()


def _git_status() -> list[str]:
    """Nothing where git is missing, or will not look into a checkout that belongs to somebody else."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        return []
    done = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _fits_on_a_page(shown: list[str]) -> None:
    assert len(shown) <= 60
    assert max(map(len, shown)) <= 140


def _shows_the_mess_and_what_became_of_it(shown: list[str]) -> None:
    rows = {line.split()[0]: line for line in shown if line[:3].isdigit()}
    assert len(rows) == 20
    plan = json.loads((ROOT / ".cache" / "demo" / "corepin-plan.json").read_text(encoding="utf-8"))
    placed = {placement["vmid"]: placement for placement in plan["placements"]}
    changed = {change["vmid"] for change in plan["changes"]}
    assert len(changed) >= 8
    for vmid, placement in placed.items():
        assert placement["class"] in rows[str(vmid)]
        assert ("right already" in rows[str(vmid)]) == (vmid not in changed)
    pinned = [set(_cpus(p["cpus"])) for p in plan["placements"] if p["class"] in ("dedicated", "isolated") and p["node"] == "pve1"]
    assert sum(map(len, pinned)) == len(set().union(*pinned))
    assert "refused" in rows["203"]
    assert "not managed" in rows["108"]
    assert "locked" in rows["109"]
    assert "template" in rows["9000"]
    assert "6-9*" in rows["102"]
    assert "*" not in rows["102"].partition("6-9*")[2]


def _cpus(cpulist: str) -> list[int]:
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_ordered

    return parse_ordered(cpulist)


def _applies_twice_and_says_what_to_do_next(shown: list[str]) -> None:
    text = "\n".join(shown)
    assert "Applied again: nothing changed, nothing sent." in text
    assert ".cache/demo/corepin-plan.json" in text
    assert "corepin.proxmox.plan" in text
    assert "this machine" in text
