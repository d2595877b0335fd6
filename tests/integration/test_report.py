# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook report: from a running cluster and from a saved snapshot, once and again, looked at and refused."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import report_cluster

from .cluster_world import World
from .harness import Controller, Run

FILES = {"report.html", "report.md"}


def folder_of(controller: Controller, name: str = "corepin-report") -> Path:
    return controller.folder / name


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def shown(run: Run) -> list[str]:
    return t.cast("list[str]", run.task("Show what the report says").result["msg"])


@pytest.fixture
def saved(controller: Controller) -> t.Callable[..., Run]:
    """`saved(*arguments, **variables)`: the playbook on a saved snapshot, with an inventory whose hosts do not exist."""
    path = controller.folder / "snapshot.json"
    path.write_text(json.dumps(report_cluster.messy_snapshot()), encoding="utf-8")
    policy = {f"corepin_{key}": value for key, value in report_cluster.POLICY.items()}
    inventory = {"proxmox_nodes": {"hosts": {"pve1": {"ansible_host": "192.0.2.1"}, "pve2": {"ansible_host": "192.0.2.2"}}, "vars": policy}}

    def run(*arguments: str, **variables: t.Any) -> Run:
        return controller.playbook(
            "corepin.proxmox.report", inventory, *arguments, **{"corepin_snapshot_file": "snapshot.json", **variables}
        )

    return run


def test_a_running_cluster_is_drawn_with_its_plan_and_left_alone(world: World) -> None:
    before = world.texts()
    first = world.run("report")
    assert first.ok, first.output
    written = texts(folder_of(world.controller))
    assert set(written) == FILES
    assert "Placement report" in written["report.html"]
    assert "| 100 | db | dedicated | 4 | 8 |" in written["report.md"]
    assert "Planned CPUs" in written["report.md"]
    assert any(line.startswith("pve1: ") for line in shown(first))
    assert shown(first)[-1] == f"Report: {folder_of(world.controller)}/report.html"
    assert first.task("Hand the numbers on to the next job").result["ansible_stats"]["data"]["corepin_report_stats"]["hosts"] == 2
    assert world.lab.writes == []
    assert world.texts() == before

    second = world.run("report")
    assert second.ok, second.output
    assert second.changed == 0
    assert texts(folder_of(world.controller)) == written

    guest = world.lab.cluster.guests[102]
    guest.text = guest.text.replace("own-way", "other-way")
    third = world.run("report")
    assert third.changed == 1
    assert "other-way" in texts(folder_of(world.controller))["report.md"]


@pytest.mark.long
def test_a_saved_snapshot_is_drawn_without_asking_any_host(saved: t.Callable[..., Run], controller: Controller) -> None:
    look = saved("--check")
    assert look.ok, look.output
    assert look.task("Write the pages").result["changed"]
    assert not folder_of(controller).exists()

    first = saved()
    assert first.ok, first.output
    assert {result.host for result in first.results} == {"localhost"}
    assert first.changed == 2
    written = texts(folder_of(controller))
    assert set(written) == FILES
    assert "snapshot 2026-01-31 06:00 UTC" in written["report.html"]

    second = saved()
    assert second.changed == 0
    assert saved("--check", "--diff").changed == 0
    assert texts(folder_of(controller)) == written
    assert not any("<svg" in line for line in second.output.splitlines())


def test_without_rules_there_is_no_plan(saved: t.Callable[..., Run], controller: Controller) -> None:
    run = saved(corepin_rules=[], corepin_report_dir="reports/today")
    assert run.ok, run.output
    text = texts(folder_of(controller, "reports/today"))["report.md"]
    assert "Planned CPUs" not in text
    assert ", plan " not in text


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"corepin_snapshot_file": "nowhere.json"}, "There is no snapshot file {folder}/nowhere.json; correct corepin_snapshot_file"),
        ({"corepin_snapshot_file": "broken.json"}, "{folder}/broken.json: The snapshot file is not JSON"),
    ],
)
def test_bad_input_ends_in_one_sentence_with_nothing_written(
    saved: t.Callable[..., Run], controller: Controller, variables: dict[str, t.Any], sentence: str
) -> None:
    (controller.folder / "broken.json").write_text("{", encoding="utf-8")
    run = saved(**variables)
    assert not run.ok
    assert sentence.format(folder=controller.folder) in run.message
    assert "Traceback" not in run.output
    assert not folder_of(controller).exists()
