# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report models to draw."""

from __future__ import annotations

import typing as t

import pytest
import report_cluster
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.planner import place
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.report_model import report_model
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot
from ansible_collections.corepin.proxmox.plugins.plugin_utils._report.render import render

Model = t.Dict[str, t.Any]


def model_of(snapshot: Model, policy: Model, planned: bool = True) -> Model:
    read = Policy.from_dict(policy)
    return report_model(snapshot, read, place(Snapshot.from_dict(snapshot), read) if planned else None)


@pytest.fixture(scope="session")
def messy() -> Model:
    """Three hosts on which everything happens that a report shows, with a plan."""
    return model_of(report_cluster.messy_snapshot(), report_cluster.POLICY)


@pytest.fixture(scope="session")
def page(messy: Model) -> str:
    return render(messy, "html")
