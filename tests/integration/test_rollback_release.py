# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback on the hosts releases what runs, also where the config cannot be undone, and names hosts that it does not reach."""

from __future__ import annotations

import tempfile

import pytest
from pve_lab.door import Door

from .cluster_world import World


@pytest.mark.long
def test_what_runs_is_released_although_the_config_cannot_be_undone(world: World) -> None:
    with tempfile.TemporaryDirectory(prefix="door-") as folder, Door(world.lab, folder) as door:
        world.work_on_the_hosts(door)
        assert world.run("plan").ok
        assert world.run("apply").ok
        world.lab.cluster.quorate = False
        world.hosts["pve2"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
        refused = world.run("rollback")
        assert not refused.ok
        assert "The cluster has no quorum" in refused.output
        released = refused.task("Make the running guests agree with the plan").result
        assert (released["changed"], released["guests"]) == (False, [])
        assert refused.task("Name the hosts that were not reached").result["msg"].endswith("could not be reached: pve2.")
