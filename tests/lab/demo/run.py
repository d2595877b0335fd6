# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: plan and apply with the real playbooks on a simulated cluster, and a table of what that changed.

cluster.yml holds the hosts and guests, inventory.yml the inventory and policy. What is made stays in .cache/demo.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FOLDER = ROOT / ".cache" / "demo"
COLLECTIONS = ROOT / ".ansible" / "collections"
sys.path[:0] = [str(HERE.parent), str(COLLECTIONS)]

import table  # noqa: E402
from pve_lab import Cluster, Lab  # noqa: E402
from pve_lab.cluster import DEFAULT_PASSWORD  # noqa: E402
from sysfs_trees import write_tree  # noqa: E402

PLAN = FOLDER / "corepin-plan.json"

NEXT_STEPS = """
For a real cluster, write an inventory.yml like this. The first command reads the hosts as root over ssh, and writes a plan file here;
the second shows what apply would write.

    proxmox_nodes:
      hosts:
        pve1: {ansible_host: 192.0.2.11}
        pve2: {ansible_host: 192.0.2.12}
      vars:
        ansible_user: root
        corepin_rules: [{match: {tags: [database]}, class: dedicated, siblings: spread}]
        corepin_reserved: {default: {cores_per_numa_node: 1}}

    .venv/bin/ansible-playbook -i inventory.yml corepin.proxmox.plan
    .venv/bin/ansible-playbook -i inventory.yml corepin.proxmox.apply --check --diff"""


class DemoError(Exception):
    """A step that did not do what the demo says it does."""


def make_cluster() -> Cluster:
    """The cluster of cluster.yml; the tree of each of its hosts is written to .cache/demo/hosts."""
    description = yaml.safe_load((HERE / "cluster.yml").read_text(encoding="utf-8"))
    nodes = [{"name": name, "root": str(write_tree(model, FOLDER / "hosts" / name))} for name, model in description["hosts"].items()]
    return Cluster.from_dict({"name": "demo", "nodes": nodes, "guests": description["guests"]})


def environment(lab: Lab) -> dict[str, str]:
    """What Ansible is started with: this checkout's collection, the lab's login in the variables that PVE's clients share, no proxy."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PROXMOX_"))}
    return {
        **inherited,
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "no_proxy": lab.host,
        "NO_PROXY": lab.host,
        "PROXMOX_HOST": lab.host,
        "PROXMOX_PORT": str(lab.port),
        "PROXMOX_PASSWORD": DEFAULT_PASSWORD,
        "PROXMOX_CA_PATH": lab.ca_path,
    }


def ansible(env: t.Mapping[str, str], log: str, program: str, *arguments: str) -> str:
    """Run a program of Ansible's; its output is returned, and kept in .cache/demo/LOG.log."""
    command = [str(Path(sys.prefix) / "bin" / program), *arguments]
    done = subprocess.run(command, cwd=FOLDER, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    (FOLDER / f"{log}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise DemoError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def playbook(env: t.Mapping[str, str], name: str, log: str) -> int:
    """Run a playbook of the collection and return how many tasks changed something."""
    output = ansible(env, log, "ansible-playbook", "-i", str(HERE / "inventory.yml"), f"corepin.proxmox.{name}")
    return sum(map(int, re.findall(r"\bchanged=(\d+)", output)))


def this_machine(env: t.Mapping[str, str]) -> str:
    """The machine that the demo runs on, read by the module itself."""
    output = ansible(env, "this-machine", "ansible", "localhost", "-m", "corepin.proxmox.host_topology_facts")
    host = json.loads(output.partition("=>")[2])["ansible_facts"]["corepin_host"]
    return table.host_line("this machine", host)


def stored(cluster: Cluster) -> table.Configs:
    """The config of each guest as its next start finds it."""
    return {vmid: guest.load().effective() for vmid, guest in cluster.guests.items()}


def run() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    cluster = make_cluster()
    with Lab(cluster) as lab:
        env = environment(lab)
        hosts = {name: table.read_host(FOLDER / "hosts" / name, name) for name in cluster.nodes}
        print("The machine that this runs on, read for real, and the three hosts of a simulated cluster:")
        print(this_machine(env))
        print("\n".join(table.host_line(name, host) for name, host in hosts.items()))

        before = stored(cluster)
        playbook(env, "plan", "plan")
        plan = json.loads(PLAN.read_text(encoding="utf-8"))
        changed = playbook(env, "apply", "apply")
        written = len(lab.writes)
        print("\n" + "\n".join(table.rows(hosts, plan, cluster.guests.values(), before, stored(cluster))) + "\n")
        print("\n".join(table.notes(plan)))

        again = playbook(env, "apply", "apply-again")
        if not changed or again or len(lab.writes) != written:
            more = len(lab.writes) - written
            raise DemoError(f"The first apply changed {changed} tasks, the second {again}, and PVE got {more} more requests.")
        pending = sum(change["effect"] == "pending" for change in plan["changes"])
        print(f"Applied: {written} guests changed, {pending} of them wait for their next start; no guest was started or stopped.")
        print("Applied again: nothing changed, nothing sent.")
    print(f"The plan: {PLAN.relative_to(ROOT)}. What Ansible printed: {FOLDER.relative_to(ROOT)}/*.log.")
    print(NEXT_STEPS)


if __name__ == "__main__":
    try:
        run()
    except DemoError as error:
        sys.exit(f"demo: {error}")
