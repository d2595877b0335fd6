# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One suite through both doors: over the API, and as root on a host; and the results of both side by side."""

from __future__ import annotations

import typing as t

import pytest
from pve_lab import Cluster, Lab, Request

from .conftest import described, plan_for, warnings_of
from .ways import ApiWay, Way, open_way

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

CELL = "cpus=0-3,hostnodes=1,memory=8192,policy=bind"
PINNED = {"affinity": "8-9,40-41", "numa": "1", "numa0": CELL}
Prepare = t.Callable[[Lab], None]


@pytest.fixture(params=["api", "host"])
def way(request: pytest.FixtureRequest, lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Way]:
    yield from open_way(request.param, lab, run_module, monkeypatch)


def edit(way: Way, vmid: int, text: str) -> None:
    """Add lines to a guest's config file behind everybody's back."""
    way.lab.cluster.guest(vmid).text += text
    way.settle()


def puts(way: Way) -> list[str]:
    return [request.path for request in way.lab.writes]


# --- reading -----------------------------------------------------------------------------------------------------------


def nothing(_lab: Lab) -> None:
    """The cluster as it is described."""


def an_offline_host(lab: Lab) -> None:
    lab.cluster.node("pve3").online = False


def pending_changes(lab: Lab) -> None:
    lab.cluster.guest(100).text += "\n[PENDING]\naffinity: 8-11\ncores: 2\ndelete: numa0,tags\n\n[before]\naffinity: 5\ncores: 1\n"


def bad_values(lab: Lab) -> None:
    lab.cluster.guest(101).text += "numa: 1\nnuma0: cpus=1-0,memory=2048\naffinity: 0, 1\nlock: backup\n"


def odd_but_valid_files(lab: Lab) -> None:
    lab.cluster.guest(
        101
    ).text = "#a%20note\n#second line\ncores: 02\nnuma: on\nonboot: yes\nmemory: current=1024\ncpulimit: 1.5\naffinity: 0\n"


def no_quorum(lab: Lab) -> None:
    lab.cluster.quorate = False


CLUSTERS: dict[str, dict[str, t.Any]] = {
    "PVE 9": {},
    "PVE 8 with groups": {
        "version": "8.4.1",
        "ha": {
            "resources": {"vm:100": {"type": "vm", "state": "started", "group": "big"}},
            "groups": {"big": {"type": "group", "nodes": "pve1:1,pve2", "restricted": 1}},
        },
    },
    "no HA, no options": {"ha": {}, "options": {}, "mappings": {"pci": []}, "pools": []},
}


def both(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch, use: t.Callable[[Way], t.Any]) -> list[t.Any]:
    """What `use` gives through each of the doors of one lab."""
    results = []
    for name in ("api", "host"):
        for way in open_way(name, lab, run_module, monkeypatch):
            way.settle()
            results.append(use(way))
    return results


@pytest.mark.parametrize("prepare", [nothing, an_offline_host, pending_changes, bad_values, odd_but_valid_files, no_quorum])
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_reading_gives_the_same(cluster: str, prepare: Prepare, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab(Cluster.from_dict(described(**CLUSTERS[cluster]))) as lab:
        prepare(lab)
        api, host = both(lab, run_module, monkeypatch, lambda way: way.info())
        assert "failed" not in api, api
        assert host["guests"] == api["guests"]
        assert host["cluster"] == api["cluster"]
        assert host["unread"] == api["unread"]
        assert lab.writes == []


def test_reading_a_host_in_no_cluster(run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab(Cluster.from_dict({"nodes": [{"name": "pve1"}], "guests": [{"vmid": 100}]})) as lab:
        api, host = both(lab, run_module, monkeypatch, lambda way: way.info())
    assert (host["guests"], host["cluster"]) == (api["guests"], api["cluster"])
    assert host["cluster"]["name"] == "pve1"


def test_invalid_lines_show_in_no_config(way: Way) -> None:
    edit(way, 101, "affinity: 3-1\nfoo: bar\nnuma1: cpu=1\n")
    result = way.info()
    guest = next(guest for guest in result["guests"] if guest["vmid"] == 101)
    assert sorted(guest["config"]) == ["cores", "memory", "name", "sockets"]
    if not isinstance(way, ApiWay):  # only the file shows what the next write will lose
        named = [text for text in warnings_of(result) if text.startswith("Guest 101 (web) on pve1: ")]
        assert len(named) == 3


# --- writing -----------------------------------------------------------------------------------------------------------


def test_check_then_run_then_run_again(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED, 101: {"affinity": "0-0", "numa": "0"}})
    checked = way.place(plan, check_mode=True, diff=True)
    assert puts(way) == []
    real = way.place(plan, diff=True)
    assert "failed" not in real, real
    checked.pop("invocation")
    real.pop("invocation")
    assert checked == real
    assert real["changed"] is True
    assert [(guest["vmid"], guest["changed"], guest["effect"]) for guest in real["guests"]] == [(100, True, "pending"), (101, True, "now")]
    assert puts(way) == ["/nodes/pve1/qemu/100/config", "/nodes/pve1/qemu/101/config"]
    assert way.lab.cluster.guest(100).load().pending == {"affinity": "8-9,40-41", "numa0": CELL}
    assert way.lab.cluster.guest(101).load().main["affinity"] == "0-0"
    again = way.place(plan, diff=True)
    assert (again["changed"], again["diff"]) == (False, {"before": "", "after": ""})
    assert [guest["effect"] for guest in again["guests"]] == ["pending", "now"]
    assert len(puts(way)) == 2


def test_what_is_sent_is_the_same(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {100: {"affinity": None, "numa": "0", "numa0": None, "numa1": None}, 101: {"affinity": "0,32,1,33", "numa": "1"}}
    sent = []
    results = []
    for name in ("api", "host"):
        with Lab(Cluster.from_dict(described())) as fresh:
            for way in open_way(name, fresh, run_module, monkeypatch):
                result = way.place(plan_for(fresh.cluster, wanted), diff=True)
                result.pop("invocation")
                results.append(result)
            sent.append([(request.path, request.params) for request in fresh.writes])
    assert results[0] == results[1]
    for api, host in zip(*sent):
        assert api[0] == host[0]
        assert {key: str(value) for key, value in api[1].items()} == {key: str(value) for key, value in host[1].items()}


@pytest.mark.parametrize(
    ("stored", "wanted", "sent"),
    [("0", "0-0", True), ("0", None, False), ("0-3", "3,2,1,0", False), ("0,1,", "0-1", True), ("0, 1", "0-1", True), (None, "7", True)],
)
def test_affinity_is_compared_by_effect(way: Way, stored: t.Optional[str], wanted: t.Optional[str], sent: bool) -> None:
    if stored is not None:
        edit(way, 101, f"affinity: {stored}\n")
    result = way.place(plan_for(way.lab.cluster, {101: {"affinity": wanted}}))
    assert "failed" not in result, result
    assert (result["changed"], bool(puts(way))) == (sent, sent)


def test_pending_values_count(way: Way) -> None:
    edit(way, 100, "\n[PENDING]\naffinity: 8-9,40-41\ndelete: numa0\n")
    assert way.place(plan_for(way.lab.cluster, {100: {"affinity": "8-9,40-41", "numa0": None}}))["changed"] is False
    result = way.place(plan_for(way.lab.cluster, {100: {"affinity": "0-3"}}))
    assert (result["changed"], result["guests"][0]["effect"]) == (True, "now")
    assert way.lab.cluster.guest(100).load().pending == {}


def test_a_guest_that_was_changed_after_planning(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    edit(way, 100, "onboot: 1\n")
    result = way.place(plan)
    assert "guest 100: its config was changed after the plan was made" in result["msg"]
    assert puts(way) == []
    skipping = way.place(plan, on_conflict="skip")
    assert [(guest["changed"], guest["skipped"]) for guest in skipping["guests"]] == [(False, True), (True, False)]


def test_a_guest_that_moved(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    way.lab.cluster.guest(101).node = "pve2"
    way.settle()
    assert "guest 101: it is not on pve1 any more" in way.place(plan)["msg"]
    assert puts(way) == []


def test_a_locked_guest_is_skipped(way: Way) -> None:
    edit(way, 100, "lock: backup\n")
    result = way.place(plan_for(way.lab.cluster, {100: PINNED, 101: {"numa": "1"}}))
    assert [(guest["skipped"], guest["reason"]) for guest in result["guests"]] == [(True, "its config is locked (backup)"), (False, None)]
    assert puts(way) == ["/nodes/pve1/qemu/101/config"]


def test_a_lock_file_that_is_held(way: Way) -> None:
    way.lab.cluster.lock_timeout = 0.2
    plan = plan_for(way.lab.cluster, {101: {"numa": "1"}})
    with way.lab.cluster.held_lock(101):
        result = way.place(plan)
    assert "could not get the lock" in result["msg"]
    assert result["not_applied"] == [101]
    assert way.place(plan)["changed"] is True


def test_without_quorum_nothing_is_tried(way: Way) -> None:
    way.lab.cluster.quorate = False
    result = way.place(plan_for(way.lab.cluster, {100: PINNED}))
    assert "no quorum" in result["msg"]
    assert puts(way) == []


def test_a_quorum_that_is_lost_on_the_way(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED, 101: {"numa": "1"}})
    original = way.lab.log.end

    def lose(entry: Request, status: int, reason: str) -> None:
        original(entry, status, reason)
        way.lab.cluster.quorate = way.lab.cluster.quorate and entry.method != "PUT"

    monkeypatch.setattr(way.lab.log, "end", lose)
    result = way.place(plan)
    assert "has no quorum" in result["msg"]
    assert ([guest["vmid"] for guest in result["guests"]], result["not_applied"]) == ([100], [101])


def test_an_edited_plan_asks_nobody(way: Way) -> None:
    plan = plan_for(way.lab.cluster, {100: PINNED})
    plan["changes"][0]["after"]["affinity"] = "0-63"
    assert "was edited" in way.place(plan)["msg"]
    assert way.lab.requests == []


def test_a_plan_for_another_cluster(way: Way) -> None:
    assert "made for the cluster elsewhere" in way.place(plan_for(way.lab.cluster, {100: PINNED}, cluster="elsewhere"))["msg"]


def test_a_host_refuses_a_plan_for_others(lab: Lab, run_module: ModuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.corepin.proxmox.plugins.modules import guest_placement

    for _way in open_way("host", lab, run_module, monkeypatch):
        plan = plan_for(lab.cluster, {100: PINNED, 102: {"affinity": "4-5"}})
        result = run_module(guest_placement, plan=plan)
        assert "changes for pve2, but this is pve1" in result["msg"]
        assert lab.writes == []
