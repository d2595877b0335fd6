# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something goes wrong while the playbook apply runs: what is left is what plan says is left, and another run converges."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import same_effect
from pve_lab.door import Door

from .cluster_world import CPU_TOKEN, RIGHT_SETS, World

Keys = t.Mapping[str, t.Optional[str]]
SCHEDULES = [  # incident, at the write of which guest, by which door
    ("killed", 101, "api"),
    ("no quorum", 101, "hosts"),
    ("lost", 101, "api"),
    ("conflict", 200, "api"),
    ("lock file", 101, "api"),
    ("offline", 101, "api"),
    ("revoked", 100, "api"),
    ("killed", 100, "hosts"),
    ("conflict", 101, "hosts"),
    ("lock file", 200, "hosts"),
]
IN_EACH_RUN = 1


@pytest.mark.parametrize(
    ("incident", "vmid", "door"),
    [pytest.param(*schedule, marks=[] if number < IN_EACH_RUN else pytest.mark.long) for number, schedule in enumerate(SCHEDULES)],
)
def test_what_is_left_is_known_and_another_run_converges(make_world: t.Callable[..., World], incident: str, vmid: int, door: str) -> None:
    by_token = incident == "revoked"
    world = make_world(affinities=RIGHT_SETS if by_token else None)
    if by_token:
        world.log_in(CPU_TOKEN)
    with contextlib.ExitStack() as stack:
        if door == "hosts":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="door-"))
            world.work_on_the_hosts(stack.enter_context(Door(world.lab, folder)))
        changes: dict[int, tuple[Keys, Keys]] = {
            change["vmid"]: (change["before"], change["after"]) for change in world.planned()["changes"]
        }
        killed = incident == "killed"
        message = kill(world, vmid, changes[vmid][1]) if killed else apply_with(world, incident, vmid)
        done = {number for number, (_before, after) in changes.items() if has(world, number, after)}
        left = set(changes) - done
        assert all(has(world, number, changes[number][0]) for number in left), "a guest is half done"
        if left and not killed:
            assert all(str(number) in message for number in left), message
        assert bool(left) is (incident not in ("lost", "lock file"))

        heal(world)
        again = world.run("plan")
        assert again.ok, again.output
        assert {change["vmid"] for change in world.saved_plan["changes"]} == left
        rest = world.run("apply")
        assert rest.ok, rest.output
        assert all(has(world, number, after) for number, (_before, after) in changes.items())


def has(world: World, vmid: int, keys: Keys) -> bool:
    config = world.config(vmid)
    return all(same_effect(key, config.get(key), value) for key, value in keys.items())


def apply_with(world: World, incident: str, vmid: int) -> str:
    """Let it happen at the write of that guest; what the run says in the end."""
    cluster, faults = world.lab.cluster, world.lab.faults
    at: dict[str, t.Any] = {"method": "PUT", "path": f"/{vmid}/", "times": 1}
    if incident == "no quorum":
        faults.add(**at, after_acceptance=True, act=lambda: setattr(cluster, "quorate", False))
    elif incident == "lost":
        faults.add(**at, after_acceptance=True, drop=True)
    elif incident == "conflict":
        faults.add(**at, act=lambda: edit(world, vmid))
    elif incident == "lock file":
        cluster.lock_timeout = 0.05
        held = cluster.held_lock(vmid)
        faults.add(**at, act=held.__enter__)
        faults.add(**at, act=lambda: held.__exit__(None, None, None))  # before PVE is asked again
    elif incident == "offline":
        faults.add(**at, after_acceptance=True, act=lambda: setattr(cluster.node("pve2"), "online", False))
    elif incident == "revoked":
        faults.add(**at, after_acceptance=True, act=cluster.access.tokens.clear)
    run = world.run("apply", corepin_api_timeout=5)
    assert run.ok is (incident in ("lost", "lock file")), run.output
    return run.output if run.ok else f"{run.message} {run.output}"


def edit(world: World, vmid: int) -> None:
    guest = world.lab.cluster.guests[vmid]
    config = guest.load()
    config.main["onboot"] = "1"
    world.lab.cluster.store(guest, config)


def kill(world: World, vmid: int, after: Keys) -> str:
    """The run and all that it has started are gone while PVE has not answered the write of that guest yet, which it carries out."""
    arrived, gone = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        gone.wait()

    world.lab.faults.add(method="PUT", path=f"/{vmid}/", times=1, act=wait)
    process = world.controller.begin("corepin.proxmox.apply", world.inventory)
    try:
        assert arrived.wait(600), "apply has not come to that guest"
    finally:
        world.controller.kill(process)
        gone.set()
    with world.lab.cluster.mutex:
        assert world.lab.cluster.mutex.wait_for(lambda: has(world, vmid, after), timeout=60)
    return ""


def heal(world: World) -> None:
    world.lab.faults.clear()
    world.lab.cluster.quorate = True
    world.lab.cluster.node("pve2").online = True
    if not world.lab.cluster.access.tokens:
        world.log_in({"corepin_api_user": "root@pam", "corepin_api_password": "lab-root-password"})
