# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users get: the tarball is built, installed into an empty directory, and its playbooks run from there by name."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
from pve_lab import Cluster, Lab

from .conftest import TreeWriter
from .harness import ROOT, Controller, local_host

SHIPPED = {"changelogs", "docs", "meta", "playbooks", "plugins", "roles", "tests"}
FILES = {"CHANGELOG.md", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"}
PASSWORD = "lab-password"


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    guests = [
        {"vmid": 100, "node": "pve1", "config": {"name": "db", "cores": 4, "memory": 8192, "tags": "pinned"}},
        {"vmid": 101, "node": "pve1", "config": {"name": "web", "cores": 2, "memory": 2048}},
    ]
    description = {
        "name": "lab",
        "nodes": [{"name": "pve1", "cpus": 64, "numa_nodes": 4}],
        "users": [{"userid": "root@pam", "password": PASSWORD}],
        "guests": guests,
    }
    with Lab(Cluster.from_dict(description)) as running:
        yield running


def test_the_tarball_holds_what_it_should_and_works_where_nothing_else_is(lab: Lab, tree: TreeWriter, tmp_path: Path) -> None:
    """One test, for the tarball is built and installed once."""
    tarball = _build(tmp_path / "dist")
    _holds_the_collection_and_nothing_of_the_workshop(tarball)
    installed = _install(tarball, tmp_path / "user")
    _finds_the_documentation(installed)
    _plan_and_apply_run_by_name(installed, lab, tree)


def _build(folder: Path) -> Path:
    folder.mkdir()
    subprocess.run([sys.executable, ROOT / "tests" / "tools" / "build.py", folder], check=True, capture_output=True)
    (path,) = folder.glob("corepin-proxmox-*.tar.gz")
    return path


def _holds_the_collection_and_nothing_of_the_workshop(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    assert {name.split("/")[0] for name in names} <= SHIPPED | FILES
    assert [name for name in names if name.startswith("tests/")] == ["tests/config.yml"]
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tar.gz"))]
    assert {"README.md", "LICENSE", "meta/runtime.yml", "playbooks/plan.yml", "plugins/modules/guest_info.py"} <= set(names)


def _install(tarball: Path, folder: Path) -> Controller:
    """A controller that has nothing of this collection but what the tarball brings."""
    controller = Controller(folder, folder / "collections")
    done = controller.program("ansible-galaxy", "collection", "install", "--offline", "-p", str(controller.collections), str(tarball))
    assert done.returncode == 0, done.stdout + done.stderr
    return controller


def _finds_the_documentation(installed: Controller) -> None:
    done = installed.program("ansible-doc", "-t", "filter", "corepin.proxmox.place")
    assert done.returncode == 0, done.stderr
    assert "corepin.proxmox.place" in done.stdout


def _plan_and_apply_run_by_name(installed: Controller, lab: Lab, tree: TreeWriter) -> None:
    variables = {
        "corepin_api_host": lab.host,
        "corepin_api_port": lab.port,
        "corepin_api_user": "root@pam",
        "corepin_api_password": PASSWORD,
        "corepin_ca_path": str(lab.ca_path),
        "corepin_rules": [{"match": {"tags": ["pinned"]}}],
    }
    hosts = {"pve1": local_host(corepin_root=str(tree("epyc-9354-nps4")))}
    inventory = {"proxmox_nodes": {"hosts": hosts, "vars": variables}}

    plan = installed.playbook("corepin.proxmox.plan", inventory)
    assert plan.ok, plan.output
    assert (installed.folder / "corepin-plan.json").is_file()
    assert not [request for request in lab.requests if request.method == "PUT"]

    first = installed.playbook("corepin.proxmox.apply", inventory)
    assert first.ok, first.output
    stored = lab.cluster.guests[100].load().effective()
    assert stored["affinity"] == "0,32,1,33"
    assert stored["numa0"] == "cpus=0-3,hostnodes=0,memory=8192,policy=bind"
    assert "affinity" not in lab.cluster.guests[101].load().effective()
