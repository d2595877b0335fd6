# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long applying takes, and what it asks of PVE: the playbooks beside a loop over community.proxmox.proxmox_kvm.

Both run with their own ansible-playbook against the same simulated cluster, which is a process of its own and waits 20 ms
before each answer. The loop gives a sample of the guests the same NUMA cells by `update: true`; it is measured on two
sizes of sample, so that what a run costs before its first guest is told from what each guest costs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from environments import Unavailable, python_with

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmark.md"
PASSWORD = "lab-root-password"
HOST_MODEL = "epyc-7742-2s-nps4"
ANSWER_DELAY_S = 0.02
GOAL_RATIO = 30

Facts = t.Dict[str, t.Any]


class Failed(Exception):
    """A run did not do what it is measured at; the text says which."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How many guests on how many hosts, and the two samples of the loop."""

    guests: int
    hosts: int
    samples: t.Tuple[int, int]


FULL = Size(guests=1000, hosts=16, samples=(5, 50))
QUICK = Size(guests=120, hosts=4, samples=(2, 10))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run of ansible-playbook took: wall time, and requests by kind."""

    seconds: float
    reads: int
    writes: int
    logins: int

    @property
    def requests(self) -> int:
        return self.reads + self.writes + self.logins


@dataclasses.dataclass(frozen=True)
class Comparison:
    """plan, first, converged: our playbooks; loop: the larger sample; for_all: seconds of the loop, scaled to all guests."""

    size: Size
    plan: Cost
    first: Cost
    converged: Cost
    loop: Cost
    for_all: float
    version: str

    @property
    def ratio(self) -> float:
        return self.for_all / self.converged.seconds


def run(quick: bool = False, write: bool = False) -> int:
    """Measure, print, and with `write` renew the section of the document; returns 1 where a run failed."""
    size = QUICK if quick else FULL
    print(f"\n== applying a plan: {size.guests} guests on {size.hosts} hosts, {ANSWER_DELAY_S * 1000:.0f} ms for each answer", flush=True)
    try:
        compared = compare(size)
    except Unavailable as e:
        print(f"Note: the comparison with community.proxmox is left out: {e}")
        return 0
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    lines = table(compared)
    for cells in lines:
        print("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, (58, 10, 10, 7, 7, 7))))
    print(f"  {verdict(compared)}")
    if write:
        _write(lines, verdict(compared))
    return 0


def table(compared: Comparison) -> t.List[t.List[str]]:
    """Rows of cells, the first one being the head."""
    size = compared.size
    rows = [
        (f"corepin: plan {size.guests} guests", compared.plan),
        ("corepin: apply it for the first time", compared.first),
        ("corepin: apply it again, with nothing left to do", compared.converged),
        (f"proxmox_kvm {compared.version} in a loop, {size.samples[1]} guests", compared.loop),
    ]
    head = ["Run of ansible-playbook", "Seconds", "Requests", "Reads", "Writes", "Logins"]
    cells = [[name, f"{cost.seconds:.1f}", *map(str, (cost.requests, cost.reads, cost.writes, cost.logins))] for name, cost in rows]
    return [head, *cells, [f"proxmox_kvm in a loop, scaled to {size.guests} guests", f"{compared.for_all:.0f}", "", "", "", ""]]


def verdict(compared: Comparison) -> str:
    reached = "reached" if compared.ratio >= GOAL_RATIO else "MISSED"
    return (
        f"The loop takes {compared.ratio:.0f} times as long as an apply with nothing left to do (goal: at least {GOAL_RATIO}; {reached})."
    )


def compare(size: Size) -> Comparison:
    """All runs, one after the other, against one cluster. Raises Unavailable and Failed."""
    python = python_with("kvm", "with community.proxmox (once, about a minute, 550 MB)")
    with tempfile.TemporaryDirectory(prefix="applybench-") as name:
        folder = Path(name)
        with _lab(folder, size) as lab:
            ours = Bench(folder, lab, Path(sys.executable).parent)
            inventory = _inventory(folder, size, lab)
            plan = ours.play(inventory, "corepin.proxmox.plan")
            first = ours.play(inventory, "corepin.proxmox.apply")
            converged = ours.play(inventory, "corepin.proxmox.apply")
            wanted = json.loads((folder / "corepin-plan.json").read_text())["changes"]
            if first.writes != size.guests or converged.writes:
                raise Failed(f"apply wrote {first.writes} and then {converged.writes} configs of {size.guests}")
            theirs = Bench(folder, lab, python.parent)
            few, many = (theirs.play(inventory, _loop(folder, lab, python, wanted[:number])) for number in size.samples)
    return Comparison(size, plan, first, converged, many, _scaled(size, few, many), _version(python))


def _scaled(size: Size, few: Cost, many: Cost) -> float:
    """Seconds of the loop over all guests: what the smaller sample took, and each further guest what the larger shows."""
    per_guest = (many.seconds - few.seconds) / (size.samples[1] - size.samples[0])
    return few.seconds + per_guest * (size.guests - size.samples[0])


class Bench:
    """Runs one environment's ansible-playbook against the lab."""

    def __init__(self, folder: Path, lab: Facts, programs: Path) -> None:
        self._folder = folder
        self._log = Path(lab["log"])
        self._ca_path = str(lab["ca_path"])
        self._program = programs / "ansible-playbook"

    def play(self, inventory: Path, playbook: str) -> Cost:
        """Run a playbook. Raises Failed."""
        seen = len(self._requests())
        begin = time.monotonic()
        done = subprocess.run(
            [str(self._program), "-i", str(inventory), playbook],
            cwd=self._folder,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3000,
            check=False,
        )
        seconds = time.monotonic() - begin
        print(f"  {Path(playbook).name}: {seconds:.1f} s", flush=True)
        if done.returncode:
            raise Failed(f"{playbook} ended with:\n{(done.stdout + done.stderr)[-2000:]}")
        return _cost(seconds, self._requests()[seen:])

    def _requests(self) -> t.List[Facts]:
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def _variables(self) -> t.Dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PROXMOX_", "COREPIN_"))}
        return {
            **kept,
            "HOME": str(self._folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "REQUESTS_CA_BUNDLE": self._ca_path,  # this version of proxmox_kvm has no option for it
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        }


def _cost(seconds: float, requests: t.Sequence[Facts]) -> Cost:
    logins = sum(request["path"] == "/access/ticket" for request in requests)
    reads = sum(request["method"] == "GET" for request in requests)
    return Cost(seconds, reads, len(requests) - reads - logins, logins)


@contextlib.contextmanager
def _lab(folder: Path, size: Size) -> t.Iterator[Facts]:
    """The simulated cluster as a process of its own: {host, port, ca_path, log}."""
    from sysfs_trees import write_tree

    write_tree(HOST_MODEL, folder / "host")
    description, ready, log = folder / "cluster.json", folder / "ready.json", folder / "requests.jsonl"
    description.write_text(json.dumps(_cluster(size)))
    command = [sys.executable, "-m", "pve_lab", str(description), "--delay", str(ANSWER_DELAY_S), "--ready-file", str(ready)]
    lab = subprocess.Popen([*command, "--log", str(log)], cwd=ROOT / "tests" / "lab", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            if lab.poll() is not None or time.monotonic() > deadline:
                raise Failed("the simulated cluster does not start")
            time.sleep(0.1)
        yield {**json.loads(ready.read_text()), "log": str(log)}
    finally:
        lab.terminate()
        lab.wait(timeout=30)


def _hosts(size: Size) -> t.List[str]:
    return [f"pve{number}" for number in range(1, size.hosts + 1)]


def _cluster(size: Size) -> Facts:
    """Stopped guests of 2 and 4 vCPUs, spread evenly, that have no placement yet."""
    names = _hosts(size)
    guests = [
        {
            "vmid": 1000 + number,
            "node": names[number % len(names)],
            "config": {"name": f"guest-{number}", "tags": "pinned", "cores": 2 + 2 * (number % 2), "memory": 2048},
        }
        for number in range(size.guests)
    ]
    return {"name": "bench", "nodes": [{"name": name, "cpus": 256, "numa_nodes": 8} for name in names], "guests": guests}


def _inventory(folder: Path, size: Size, lab: Facts) -> Path:
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "corepin_root": str(folder / "host")}
    variables = {
        "corepin_api_host": lab["host"],
        "corepin_api_port": lab["port"],
        "corepin_api_password": PASSWORD,
        "corepin_ca_path": lab["ca_path"],
        "corepin_rules": [{"match": {"tags": ["pinned"]}, "class": "dedicated"}],
    }
    path = folder / "inventory.json"
    path.write_text(json.dumps({"proxmox_nodes": {"hosts": dict.fromkeys(_hosts(size), host), "vars": variables}}))
    return path


def _loop(folder: Path, lab: Facts, python: Path, changes: t.Sequence[Facts]) -> str:
    """A playbook that gives each guest its NUMA cells with proxmox_kvm, which has no option for an affinity."""
    guests = [
        {
            "vmid": change["vmid"],
            "node": change["node"],
            "cells": {key: value for key, value in change["after"].items() if key.startswith("numa") and key != "numa" and value},
        }
        for change in changes
    ]
    task = {
        "name": "Update each guest",
        "community.proxmox.proxmox_kvm": {
            "api_host": lab["host"],
            "api_port": lab["port"],
            "api_user": "root@pam",
            "api_password": PASSWORD,
            "validate_certs": True,
            "vmid": "{{ item.vmid }}",
            "node": "{{ item.node }}",
            "numa_enabled": True,
            "numa": "{{ item.cells }}",
            "update": True,
        },
        "loop": guests,
        "loop_control": {"label": "{{ item.vmid }}"},
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": str(python)},
        "tasks": [task],
    }
    path = folder / "loop.json"
    path.write_text(json.dumps([play]))
    return str(path)


def _version(python: Path) -> str:
    (manifest,) = python.parents[1].glob("lib/python*/site-packages/ansible_collections/community/proxmox/MANIFEST.json")
    return str(json.loads(manifest.read_text())["collection_info"]["version"])


def _write(lines: t.Sequence[t.Sequence[str]], words: str) -> None:
    """Renew what stands between the marks of the document."""
    rows = ["| " + " | ".join(cells) + " |" for cells in lines]
    rows.insert(1, "| " + " | ".join("---" for _cell in lines[0]) + " |")
    begin, end = "<!-- apply -->", "<!-- end of apply -->"
    before, _begin, rest = DOCUMENT.read_text().partition(begin)
    _old, _end, after = rest.partition(end)
    DOCUMENT.write_text("\n".join([f"{before}{begin}", "", *rows, "", words, "", f"{end}{after}"]))
    print(f"Written: {DOCUMENT.relative_to(ROOT)}")
