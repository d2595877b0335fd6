# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the lab as an inventory, for the fixtures of pytest-ansible: generated trees, all read on this machine."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest
from pve_lab import Cluster, Lab
from sysfs_trees import write_tree

HOSTS = {"pve1": "epyc-9354-nps4", "pve2": "xeon-5118-2s-interleaved", "pve3": "altra-q80-30"}
PASSWORD = "lab-password"
LOGIN = {"api_user": "root@pam", "api_password": PASSWORD}
GUESTS = [
    {"vmid": 100, "node": "pve1", "status": "running", "config": {"name": "db", "cores": 4, "memory": 8192, "tags": "db;prod"}},
    {"vmid": 101, "node": "pve2", "config": {"name": "web", "cores": 2, "memory": 2048, "affinity": "0-3"}},
]


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Host -> the root of its tree."""
    folder = tmp_path_factory.mktemp("trees")
    return {name: str(write_tree(model, folder / name)) for name, model in HOSTS.items()}


@pytest.fixture
def hosts(ansible_adhoc: t.Callable[..., t.Any], trees: dict[str, str], tmp_path: Path) -> t.Any:
    """pytest-ansible's manager of the hosts of the lab; `hosts.pve1` and `hosts.all` run modules there."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"proxmox_nodes": {"hosts": {name: {**local, "corepin_root": root} for name, root in trees.items()}}}
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps(inventory), encoding="utf-8")
    return ansible_adhoc(inventory=str(path), host_pattern="all")


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    """A simulated cluster of the same hosts, with two guests."""
    description = {
        "name": "lab",
        "nodes": [{"name": name} for name in HOSTS],
        "users": [{"userid": "root@pam", "password": PASSWORD}],
        "guests": GUESTS,
    }
    with Lab(Cluster.from_dict(description)) as running:
        yield running


@pytest.fixture
def connection(lab: Lab) -> dict[str, t.Any]:
    """The options with which a module reaches the lab as root."""
    return {"api_host": lab.host, "api_port": lab.port, "ca_path": str(lab.ca_path), **LOGIN}
