# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random faults while a plan is carried out or undone: no guest is half done, what is reported is what happened, another run converges."""

from __future__ import annotations

import os
import random
import threading
import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import same_effect
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import api, api_door, placement, restart
from ansible_collections.corepin.proxmox.plugins.modules import guest_placement
from pve_lab import Cluster, Lab

from .conftest import connection, described, plan_for, warnings_of

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

SCHEDULES = 200 if os.environ.get("COREPIN_LONG") == "1" else 40
Keys = t.Mapping[str, t.Optional[str]]
WANTED: dict[int, Keys] = {
    100: {"affinity": "8-9,40-41", "numa0": "cpus=0-3,hostnodes=1,memory=8192,policy=bind"},
    101: {"affinity": "0-0", "numa": "1"},
    102: {"affinity": None, "numa": "1"},
    103: {"affinity": "5"},
    200: {"affinity": "16-17", "numa": "1", "numa0": "cpus=0-1,hostnodes=0,memory=1024,policy=bind"},
}
HOSTS = {100: "pve1", 101: "pve1", 102: "pve2", 103: "pve2", 200: "pve3"}
# What PVE may answer to a single request; None: the connection breaks. `accepted`: the request was carried out before.
ANSWERS: list[tuple[t.Optional[int], str]] = [
    (500, "VM is locked (backup)"),
    (500, "checksum mismatch (file change by other user?)"),
    (500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"),
    (500, "unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.1' - Permission denied"),
    (595, "No route to host"),
    (401, "Authentication failed!"),
    (596, "Broken pipe"),
    (None, ""),
]
INCIDENTS = ("answer", "lost", "killed", "conflict", "lock file", "no quorum", "offline", "revoked", "ceph", "deaf")


class Killed(BaseException):
    """The process is gone at this very moment."""


class World:
    """A cluster on which one schedule happens. `uncertain`: the guest whose fate the run itself may not know."""

    def __init__(self, lab: Lab, chance: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.cluster = lab.cluster
        self.chance = chance
        self.monkeypatch = monkeypatch
        self.foreign: set[int] = set()

    def happen(self, incident: str) -> None:
        """Put one incident in force, at a random place of the run."""
        getattr(self, "_" + incident.replace(" ", "_"))(self.chance.choice(sorted(WANTED)))

    def _after(self, vmid: int, act: t.Callable[[], None]) -> None:
        self.lab.faults.add(method="PUT", path=f"/{vmid}/", times=1, act=act, after_acceptance=True)

    def _answer(self, vmid: int) -> None:
        status, reason = self.chance.choice(ANSWERS)
        where = {"method": self.chance.choice(["PUT", "PUT", "POST", "GET"]), "path": f"/{vmid}/", "times": self.chance.randint(1, 3)}
        self.lab.faults.add(**where, status=status, reason=reason, drop=status is None)

    def _lost(self, vmid: int) -> None:
        self.lab.faults.add(method=self.chance.choice(["PUT", "POST"]), path=f"/{vmid}/", times=1, drop=True, after_acceptance=True)

    def _killed(self, vmid: int) -> None:
        real, sent = api_door.ApiDoor.write, self.chance.random() < 0.5

        def write(door: t.Any, guest: t.Any, *data: t.Any) -> None:
            if guest.vmid == vmid and not sent:
                raise Killed
            real(door, guest, *data)
            if guest.vmid == vmid:
                raise Killed

        self.monkeypatch.setattr(api_door.ApiDoor, "write", write)

    def _conflict(self, vmid: int) -> None:
        def edit() -> None:
            guest = self.cluster.guest(vmid)
            config = guest.load()
            config.main["onboot"] = "1"
            guest.store(config)
            self.foreign.add(vmid)

        self.lab.faults.add(method="PUT", path=f"/{vmid}/", times=1, act=edit)

    def _lock_file(self, vmid: int) -> None:
        """Held for 1.2 times as long as PVE waits."""

        def hold() -> None:
            held = self.cluster.held_lock(vmid)
            held.__enter__()
            threading.Timer(0.12, held.__exit__, (None, None, None)).start()

        self.lab.faults.add(method="PUT", path=f"/{vmid}/", times=1, act=hold)

    def _no_quorum(self, vmid: int) -> None:
        self._after(vmid, lambda: setattr(self.cluster, "quorate", False))

    def _offline(self, vmid: int) -> None:
        self._after(self.chance.choice(sorted(WANTED)), lambda: setattr(self.cluster.node(HOSTS[vmid]), "online", False))

    def _revoked(self, vmid: int) -> None:
        self._after(vmid, lambda: self.lab.faults.add(status=401, reason="Authentication failed!") and None)

    def _ceph(self, vmid: int) -> None:
        self._after(vmid, lambda: setattr(self.cluster, "ceph", "HEALTH_ERR"))

    def _deaf(self, vmid: int) -> None:
        self.cluster.guest(100).deaf = True

    def heal(self) -> None:
        self.monkeypatch.undo()
        be_quick(self.monkeypatch)
        self.lab.faults.clear()
        self.cluster.quorate, self.cluster.ceph = True, "HEALTH_OK"
        self.cluster.guest(100).deaf = False
        for node in self.cluster.nodes.values():
            node.online = True
        with self.cluster.mutex:
            assert self.cluster.mutex.wait_for(lambda: all(not guest.lock_holders for guest in self.cluster.guests.values()), timeout=60)

    def has(self, vmid: int, keys: Keys) -> bool:
        config = self.cluster.guest(vmid).load().effective()
        return all(same_effect(key, config.get(key), value) for key, value in keys.items())


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "READ_BACK_S", 0.2)
    monkeypatch.setattr(placement, "READ_BACK_PAUSE_S", 0.02)
    monkeypatch.setattr(api, "RETRY_DELAYS_S", (0.0, 0.0))
    monkeypatch.setattr(api_door, "TASK_POLL_S", 0.01)
    monkeypatch.setattr(restart, "POLL_S", 0.01)


def plan_with_a_restart(cluster: Cluster, wanted: t.Optional[t.Mapping[int, Keys]] = None) -> dict[str, t.Any]:
    plan = plan_for(cluster, WANTED if wanted is None else wanted)
    return sealed({**plan, "changes": [{**change, "effect": "restart" if change["vmid"] == 100 else "now"} for change in plan["changes"]]})


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_what_is_reported_is_what_happened(run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    be_quick(monkeypatch)
    chance = random.Random(seed)
    with Lab(Cluster.from_dict(described(ha={}, ceph="HEALTH_OK"))) as lab:
        world = World(lab, chance, monkeypatch)
        world.cluster.lock_timeout = 0.1
        options: dict[str, t.Any] = {"plan": plan_with_a_restart(lab.cluster), "rolling": chance.random() < 0.7, **connection(lab)}
        options.update(shutdown_timeout=1, start_timeout=1)
        before: dict[int, Keys] = {change["vmid"]: change["before"] for change in options["plan"]["changes"]}
        target, source = WANTED, before
        if chance.random() < 0.4:
            assert "failed" not in run_module(guest_placement, **options)
            options["rollback"] = True
            target, source = before, WANTED
        if chance.random() < 0.3:
            options.update(canary=chance.choice(sorted(WANTED)))
        for incident in chance.sample(INCIDENTS, 2):
            world.happen(incident)
        ran_before = lab.cluster.guest(100).live

        result = attempt(run_module, options)
        check_report(world, result, target, source)
        if result.get("not_restarted") is None and "failed" not in result and result:
            assert (lab.cluster.guest(100).live is not ran_before) == (effect_of(result, 100) == "restart")

        world.heal()
        left = {vmid for vmid in WANTED if not world.has(vmid, target[vmid])}
        if left & world.foreign and not options.get("rollback"):  # somebody else's change: refused, and planned anew
            assert "nothing was written" in run_module(guest_placement, **options)["msg"]
            options["plan"] = plan_with_a_restart(lab.cluster)
        look = run_module(guest_placement, check_mode=True, **options)
        assert {guest["vmid"] for guest in look["guests"] if guest["changed"] and guest["before"] != guest["after"]} == left
        again = run_module(guest_placement, **options)
        assert "failed" not in again, again
        assert again["guests"] == look["guests"]
        assert all(world.has(vmid, target[vmid]) for vmid in WANTED)
        assert all(lab.cluster.guest(vmid).load().main.get("onboot") == "1" for vmid in world.foreign)
        last = run_module(guest_placement, **options)
        assert last["changed"] is False
        if not lab.cluster.guest(100).running:  # nobody could start it: then it was said, and is said each time
            assert "Guest 100" in result["msg"]
            assert 100 in [*result.get("not_restarted", []), *result.get("not_applied", [])]
            assert any("Guest 100 on pve1 ran when" in warning for warning in warnings_of(last))


def attempt(run_module: ModuleRunner, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The result; nothing at all where the process was killed."""
    try:
        return run_module(guest_placement, **options)
    except Killed:
        return {}


def effect_of(result: t.Mapping[str, t.Any], vmid: int) -> t.Any:
    return next(guest["effect"] for guest in result["guests"] if guest["vmid"] == vmid)


def check_report(world: World, result: t.Mapping[str, t.Any], target: t.Mapping[int, Keys], source: t.Mapping[int, Keys]) -> None:
    """No guest is half done, and the report is true; it leaves out only what it says that it does not know."""
    for vmid in WANTED:
        assert world.has(vmid, target[vmid]) or world.has(vmid, source[vmid]), (vmid, result)
    if not result:
        return
    if "guests" not in result:  # refused as a whole
        assert not any(world.has(vmid, target[vmid]) for vmid in WANTED), result
        return
    reported = {guest["vmid"]: guest for guest in result["guests"]}
    unknown = result["not_applied"][0] if result.get("not_applied") and "audit this guest" in result["msg"] else None
    assert sorted([*reported, *result.get("not_applied", [])]) == sorted(WANTED)
    for vmid in WANTED:
        if vmid != unknown:
            changed = vmid in reported and reported[vmid]["before"] != reported[vmid]["after"]
            assert changed == world.has(vmid, target[vmid]), (vmid, result)
    assert result["changed"] == any(guest["changed"] for guest in reported.values())
    if result.get("failed"):
        named = {*result.get("not_applied", []), *result.get("not_restarted", [])}
        assert named, result
        assert all(str(vmid) in result["msg"] for vmid in named), result
