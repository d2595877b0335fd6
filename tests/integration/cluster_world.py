# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster to run the playbooks against: a simulated PVE, two hosts' trees, an inventory with a policy, logins."""

from __future__ import annotations

import copy
import json
import sys
import typing as t
from pathlib import Path

from pve_lab import Lab
from pve_lab.door import Door

from .harness import Controller, Run, local_host

ROOT = {"corepin_api_user": "root@pam", "corepin_api_password": "lab-root-password"}
CPU_TOKEN = {"corepin_api_user": "ops@pve", "corepin_api_token_id": "corepin", "corepin_api_token_secret": "11111111-cpu"}
BARE_TOKEN = {"corepin_api_user": "bare@pve", "corepin_api_token_id": "corepin", "corepin_api_token_secret": "22222222-bare"}

DESCRIPTION: dict[str, t.Any] = {
    "name": "lab",
    "users": [{"userid": "ops@pve"}, {"userid": "bare@pve"}],
    "tokens": [
        {"tokenid": f"{login['corepin_api_user']}!corepin", "secret": login["corepin_api_token_secret"], "privsep": False}
        for login in (CPU_TOKEN, BARE_TOKEN)
    ],
    "roles": {"CpuAdmin": "Sys.Audit VM.Audit VM.Config.CPU"},
    "acl": [{"path": "/", "ugid": "ops@pve", "roleid": "CpuAdmin"}],
    "nodes": [{"name": "pve1"}, {"name": "pve2"}],
    "guests": [
        {
            "vmid": 100,
            "node": "pve1",
            "status": "running",
            "config": {"name": "db", "tags": "pinned", "cores": 4, "memory": 8192, "affinity": "62-65"},
        },
        {"vmid": 101, "node": "pve1", "config": {"name": "app", "tags": "pinned", "cores": 2, "memory": 2048, "affinity": "0"}},
        {"vmid": 102, "node": "pve1", "config": {"name": "own-way", "cores": 2, "memory": 2048, "affinity": "40-41"}},
        {"vmid": 200, "node": "pve2", "config": {"name": "ci", "tags": "pinned", "cores": 4, "memory": 4096}},
    ],
}
# The same with sets that the plan keeps, so that only guest NUMA nodes are missing.
RIGHT_SETS = {100: "0,32,1,33", 101: "2,34", 200: "0,16,1,17"}
_plans: dict[str, str] = {}  # plan files by what they are made of


def _about_planning(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The variables that are not about how the cluster is reached."""
    return {name: value for name, value in variables.items() if not name.startswith(("corepin_api_", "corepin_ca_path"))}


class World:
    """One simulated cluster, and a controller whose inventory holds its hosts."""

    def __init__(
        self, lab: Lab, controller: Controller, trees: t.Mapping[str, Path], described: t.Optional[t.Mapping[str, t.Any]] = None
    ) -> None:
        """`described`: what the cluster was made from; its hosts have the trees that belong to it."""
        self.lab = lab
        self._described = described
        self.controller = controller
        self.hosts: dict[str, t.Any] = {name: local_host(corepin_root=str(tree)) for name, tree in trees.items()}
        self.variables: dict[str, t.Any] = {
            "corepin_api_host": lab.host,
            "corepin_api_port": lab.port,
            "corepin_ca_path": lab.ca_path,
            "corepin_rules": [{"match": {"tags": ["pinned"]}, "class": "dedicated"}],
            **ROOT,
        }

    @property
    def plan_path(self) -> Path:
        """Where the plan lies when nothing else is said: where ansible-playbook was started."""
        return self.controller.folder / "corepin-plan.json"

    @property
    def saved_plan(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads(self.plan_path.read_text(encoding="utf-8")))

    def log_in(self, login: t.Mapping[str, str]) -> None:
        """From now on with these credentials and no others."""
        for name in (*ROOT, *CPU_TOKEN):
            self.variables.pop(name, None)
        self.variables.update(login)

    def work_on_the_hosts(self, door: Door) -> None:
        """From now on without the API: each inventory host has the programs and the /etc/pve of the host of that name."""
        self.variables = _about_planning(self.variables)
        for name, view in door.hosts.items():
            python = view.bin.parent / "python-of-the-host"
            python.write_text(
                f'#!/bin/sh\nPATH="{view.bin}:$PATH" COREPIN_ETC_PVE="{view.etc_pve}" exec "{sys.executable}" "$@"\n', encoding="utf-8"
            )
            python.chmod(0o755)
            self.hosts[name].update(ansible_python_interpreter=str(python), ansible_become=False)

    @property
    def inventory(self) -> dict[str, t.Any]:
        return {"proxmox_nodes": {"hosts": self.hosts, "vars": self.variables}}

    def run(self, playbook: str | Path, *arguments: str, env: t.Optional[t.Mapping[str, str]] = None, **variables: t.Any) -> Run:
        """Run one of the collection's playbooks by its short name, or another one by its path."""
        named = f"corepin.proxmox.{playbook}" if isinstance(playbook, str) else playbook
        return self.controller.playbook(named, self.inventory, *arguments, env=env, **variables)

    def planned(self) -> dict[str, t.Any]:
        """Plan, or save the plan that an equal world got before. For tests of something else, before they change anything of the world."""
        assert self._described, "only of worlds whose description is known"
        door = "api" if "corepin_api_host" in self.variables else "hosts"
        kind = json.dumps([door, self._described, _about_planning(self.variables), sorted(self.hosts)], sort_keys=True)
        if kind not in _plans:
            run = self.run("plan")
            assert run.ok, run.output
            _plans[kind] = self.plan_path.read_text(encoding="utf-8")
        else:
            self.plan_path.write_text(_plans[kind], encoding="utf-8")
        return self.saved_plan

    def config(self, vmid: int) -> dict[str, str]:
        """A guest's config as its next start finds it."""
        return self.lab.cluster.guests[vmid].load().effective()

    def texts(self) -> dict[int, str]:
        """The config files of all guests."""
        return {vmid: guest.text for vmid, guest in self.lab.cluster.guests.items()}


def description(affinities: t.Optional[t.Mapping[int, str]] = None, **changes: t.Any) -> dict[str, t.Any]:
    """The cluster with other affinities of guests, and some keys replaced."""
    described = {**copy.deepcopy(DESCRIPTION), **changes}
    for guest in described["guests"]:
        if affinities and guest["vmid"] in affinities:
            guest["config"]["affinity"] = affinities[guest["vmid"]]
    return described
