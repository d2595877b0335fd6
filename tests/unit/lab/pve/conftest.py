# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the simulated PVE share: a small cluster, and a way to ask it without a network."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from pve_lab import Cluster
from pve_lab.errors import ApiError
from pve_lab.routes import answer

ROOT = "root@pam"


@dataclasses.dataclass
class Answer:
    """What came back: status 200 with data, or an error with PVE's message and errors per parameter."""

    status: int
    data: t.Any = None
    message: str = ""
    errors: t.Optional[dict[str, str]] = None


class Asker:
    """Calls on one cluster, as root@pam unless told otherwise."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def __call__(self, method: str, path: str, params: t.Optional[dict[str, t.Any]] = None, user: str = ROOT) -> Answer:
        try:
            with self.cluster.mutex:
                return Answer(200, answer(self.cluster, method, path, params or {}, user))
        except ApiError as error:
            return Answer(error.status, None, error.message, error.errors)

    def config(self, vmid: int, user: str = ROOT, **params: t.Any) -> Answer:
        """PUT the guest's config."""
        guest = self.cluster.guest(vmid)
        return self("PUT", f"/nodes/{guest.node}/{guest.type}/{vmid}/config", params, user)

    def shown(self, vmid: int, what: str = "config", **params: t.Any) -> t.Any:
        """GET the guest's config or pending."""
        guest = self.cluster.guest(vmid)
        got = self("GET", f"/nodes/{guest.node}/{guest.type}/{vmid}/{what}", params)
        assert got.status == 200, got
        return got.data

    def pending(self, vmid: int) -> dict[str, dict[str, t.Any]]:
        """GET pending as key -> entry, only where something is pending."""
        return {entry["key"]: entry for entry in self.shown(vmid, "pending") if "pending" in entry or "delete" in entry}

    def task(self, vmid: int, what: str, **params: t.Any) -> tuple[str, list[str]]:
        """POST status/WHAT (or migrate); the task's exit status and log."""
        guest = self.cluster.guest(vmid)
        path = f"/nodes/{guest.node}/{guest.type}/{vmid}/" + (what if what in ("migrate", "snapshot") or "/" in what else f"status/{what}")
        got = self("POST", path, params)
        assert got.status == 200, got
        task = self.cluster.tasks.all[got.data]
        return str(task.exitstatus), task.log


@pytest.fixture
def make() -> t.Callable[..., Asker]:
    """make(config, **guest_keys, cluster={...}): a one-guest cluster (VM 100 on pve1) to ask."""

    def build(config: t.Optional[dict[str, t.Any]] = None, cluster: t.Optional[dict[str, t.Any]] = None, **guest: t.Any) -> Asker:
        described = {"nodes": [{"name": "pve1", "cpus": 8, "numa_nodes": 2}], **(cluster or {})}
        described["guests"] = [{"vmid": 100, "node": "pve1", "config": config or {}, **guest}, *described.get("guests", [])]
        return Asker(Cluster.from_dict(described))

    return build
