# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated cluster with a bit of everything, plans for it, and ways to call the modules on it."""

from __future__ import annotations

import copy
import typing as t

import pytest
from pve_lab import Cluster, Lab

ROOT_PASSWORD = "lab-root-password"
AUDITOR = {"api_user": "auditor@pve", "api_token_id": "corepin", "api_token_secret": "11111111-aaaa"}
CPU_ADMIN = {"api_user": "ops@pve", "api_token_id": "corepin", "api_token_secret": "22222222-bbbb"}
ROOT_TOKEN = {"api_user": "root@pam", "api_token_id": "t1", "api_token_secret": "33333333-cccc"}
NO_RIGHTS = {"api_user": "root@pam", "api_token_id": "t2", "api_token_secret": "44444444-dddd"}
BY_PASSWORD = {"api_user": "root@pam", "api_password": ROOT_PASSWORD}

DESCRIPTION: dict[str, t.Any] = {
    "name": "lab",
    "version": "9.2.6",
    "nodes": [{"name": name, "cpus": 64, "numa_nodes": 4} for name in ("pve1", "pve2", "pve3")],
    "users": [{"userid": "auditor@pve"}, {"userid": "ops@pve"}, {"userid": "half@pve", "password": "half-password"}],
    "tokens": [
        {"tokenid": f"{login['api_user']}!{login['api_token_id']}", "secret": login["api_token_secret"], "privsep": login is NO_RIGHTS}
        for login in (AUDITOR, CPU_ADMIN, ROOT_TOKEN, NO_RIGHTS)
    ],
    "roles": {"CpuAdmin": "VM.Audit VM.Config.CPU Sys.Audit", "SysOnly": "Sys.Audit"},
    "acl": [
        {"path": "/", "ugid": "auditor@pve", "roleid": "PVEAuditor"},
        {"path": "/", "ugid": "ops@pve", "roleid": "CpuAdmin"},
        {"path": "/", "ugid": "half@pve", "roleid": "SysOnly"},
    ],
    "pools": [{"poolid": "databases", "vmids": [100]}],
    "options": {"crs": "ha=static,ha-rebalance-on-start=1"},
    "mappings": {"pci": [{"id": "gpu", "map": ["id=10de:2204,iommugroup=1,node=pve1,path=0000:41:00.0"]}]},
    "ha": {
        "resources": {"vm:100": {"type": "vm", "state": "started"}},
        "rules": {"near": {"type": "node-affinity", "resources": "vm:100", "nodes": "pve1,pve2:2", "strict": 1}},
    },
    "guests": [
        {
            "vmid": 100,
            "node": "pve1",
            "status": "running",
            "config": {
                "name": "db",
                "cores": 4,
                "memory": 8192,
                "numa": 1,
                "numa0": "cpus=0-3,hostnodes=0,memory=8192,policy=bind",
                "affinity": "0-3",
                "tags": "db;prod",
                "hostpci0": "mapping=gpu",
            },
        },
        {"vmid": 101, "node": "pve1", "config": {"name": "web", "cores": 2, "sockets": 2, "memory": 2048}},
        {"vmid": 102, "node": "pve2", "config": {"name": "build", "cores": 8, "memory": 4096, "affinity": "0"}},
        {"vmid": 103, "node": "pve2", "config": {"name": "golden", "cores": 2, "memory": 1024, "template": 1}},
        {"vmid": 200, "node": "pve3", "config": {"name": "far", "cores": 2, "memory": 1024}},
        {
            "vmid": 300,
            "node": "pve1",
            "type": "lxc",
            "config": {"hostname": "ct", "cores": 2, "memory": 512},
            "lxc": [["lxc.cgroup2.cpuset.cpus", "8-9"]],
        },
    ],
}


def described(**changes: t.Any) -> dict[str, t.Any]:
    """The description of the cluster with some of its keys replaced."""
    return {**copy.deepcopy(DESCRIPTION), **changes}


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    with Lab(Cluster.from_dict(described())) as running:
        yield running


@pytest.fixture(autouse=True)
def needed_libraries() -> None:
    """`ansible-test units` brings its own environment, which lacks what the lab and the API door need."""
    for library in ("cryptography", "proxmoxer", "requests"):
        pytest.importorskip(library)


@pytest.fixture(autouse=True)
def forget_warnings() -> None:
    """Ansible keeps a module's warnings in a global, and here one process runs many modules."""
    from ansible.module_utils.common import warnings

    warnings._global_warnings.clear()


def hurry(session: t.Any) -> None:
    """Make a session give up an answer after a second; connecting may take as long as it likes."""
    session._backend.auth.timeout = (60.0, 1.0)


@pytest.fixture
def hasty_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is all that sessions wait for the answer to a PUT, and login and reads have the time that they always have."""
    from ansible_collections.corepin.proxmox.plugins.module_utils._pve.api import Session

    put = Session.put

    def hasty_put(session: Session, call: str, data: t.Mapping[str, t.Any]) -> t.Any:
        auth = session._backend.auth
        patience = auth.timeout
        hurry(session)
        try:
            return put(session, call, data)
        finally:
            auth.timeout = patience

    monkeypatch.setattr(Session, "put", hasty_put)


def warnings_of(result: t.Mapping[str, t.Any]) -> list[str]:
    """The texts of a module's warnings; from ansible-core 2.19 on they come wrapped."""
    return [item if isinstance(item, str) else item["event"]["msg"] for item in result.get("warnings", [])]


def connection(lab: Lab, **login: t.Any) -> dict[str, t.Any]:
    """The options that reach the lab, as root with a password unless another login is given."""
    return {"api_host": lab.host, "api_port": lab.port, "ca_path": lab.ca_path, **(login or BY_PASSWORD)}


def plan_for(simulated: Cluster, wanted: t.Mapping[int, t.Mapping[str, t.Optional[str]]], /, **other: t.Any) -> dict[str, t.Any]:
    """A plan that gives guests (by vmid) the wanted values, made for the configs that the cluster has now."""
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed

    changes = []
    for vmid, after in wanted.items():
        guest = simulated.guests[vmid]
        present = guest.load().effective()
        changes.append(
            {
                "vmid": vmid,
                "node": guest.node,
                "digest": guest.digest,
                "before": {key: present.get(key) for key in after},
                "after": dict(after),
                "effect": "pending" if guest.live else "now",
                "reason": "test",
            }
        )
    document = {
        "schema": 1,
        "created_at": None,
        "cluster": simulated.name,
        "hosts": {},
        "placements": [],
        "changes": changes,
        "refused": [],
        "moves": [],
        "warnings": [],
        "summary": {},
        "score": {},
    }
    return sealed({**document, **other})


def reads_of_guests(lab: Lab) -> list[str]:
    """The paths of all reads of single guests, sorted."""
    return sorted(request.path for request in lab.requests if request.method == "GET" and request.path.count("/") >= 4)


def logins(lab: Lab) -> int:
    return sum(1 for request in lab.requests if request.path == "/access/ticket")
