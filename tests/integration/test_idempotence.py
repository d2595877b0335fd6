# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module three times in one real run: check mode, for real, and again.

Check mode says what the real run says, the second run changes nothing, and the diff shows before and after. A new module
is a row of ROWS; `test_every_module_has_a_row` asks for it.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from pve_lab import Cluster, Lab
from sysfs_trees import write_tree

from .cluster_world import description
from .harness import ROOT, Controller, Run, local_host

Result = t.Mapping[str, t.Any]
Claim = tuple[str, bool]  # what should be so, and whether it is

PASSES = ("look", "do", "repeat")
CONNECTION = {
    "api_host": "{{ lab_host }}",
    "api_port": "{{ lab_port }}",
    "api_password": "lab-root-password",
    "ca_path": "{{ lab_ca }}",
}
TREE = "{{ tree }}"
VF = "0000:41:00.2"  # a virtual function of that tree
# What needs a host with a kernel of its own: tests/lab_host asks the same of these modules.
ON_THE_LAB_HOST = {"guest_pinning"}
GOVERNOR = {"busy": [{"cpus": "0-3", "governor": "performance"}], "root": TREE}


@dataclass(frozen=True)
class Row:
    """A module with options. before, after: words of its diff, None for a module that changes nothing."""

    module: str
    options: t.Mapping[str, t.Any]
    before: t.Optional[str] = None
    after: t.Optional[str] = None
    no_log: bool = False
    volatile: t.Collection[str] = field(default_factory=tuple)

    @property
    def changes(self) -> bool:
        return self.before is not None

    def tasks(self, number: int) -> list[dict[str, t.Any]]:
        return [
            {
                "name": f"{number} {name}",
                f"corepin.proxmox.{self.module}": dict(self.options),
                "check_mode": name == "look",
                "diff": True,
                "no_log": self.no_log,
            }
            for name in PASSES
        ]


ROWS = (
    Row("host_topology_facts", {"root": TREE}, volatile=["gathered_at"]),
    Row("guest_runtime_info", {"root": TREE}),
    Row("cpu_governor", GOVERNOR, before='"governor": "powersave"', after='"governor": "performance"'),
    Row("cpu_governor", {"state": "absent", "root": TREE}, before='"governor": "performance"', after='"governor": "powersave"'),
    Row("irq_affinity", {"devices": [{"pci": VF, "cpus": "8-9"}], "root": TREE}, before=f'"{VF}/0": "0-63"', after=f'"{VF}/0": "8"'),
    Row("irq_affinity", {"state": "absent", "root": TREE}, before=f'"{VF}/0": "8"', after=f'"{VF}/0": "0-63"'),
    Row("api_session", CONNECTION, no_log=True),
    Row("guest_info", CONNECTION),
    Row("guest_placement", {**CONNECTION, "plan": "{{ plan }}"}, before="affinity: 62-65", after="affinity: 0,32,1,33"),
)


def plan_for(cluster: Cluster, affinities: t.Mapping[int, str]) -> dict[str, t.Any]:
    """A plan that gives guests these affinities and changes nothing else."""
    from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import sealed

    changes = [
        {
            "vmid": vmid,
            "node": cluster.guests[vmid].node,
            "digest": cluster.guests[vmid].digest,
            "before": {"affinity": cluster.guests[vmid].load().effective().get("affinity")},
            "after": {"affinity": affinity},
            "effect": "pending" if cluster.guests[vmid].live else "now",
            "reason": "test",
        }
        for vmid, affinity in affinities.items()
    ]
    lists = {key: [] for key in ("placements", "refused", "moves", "warnings")}
    dicts: dict[str, t.Any] = {key: {} for key in ("hosts", "summary", "score")}
    return sealed({"schema": 1, "created_at": None, "cluster": cluster.name, "changes": changes, **lists, **dicts})


def test_check_mode_agrees_and_a_second_run_changes_nothing(controller: Controller, tmp_path: Path) -> None:
    """One test, as all rows are one run."""
    run = run_all_rows(controller, tmp_path)
    wrong = {}
    for number, row in enumerate(ROWS):
        look, do, repeat = (_steady(run.task(f"{number} {name}").result, row.volatile) for name in PASSES)
        checks = (*_of_any_row(row, look, do, repeat), *(_of_a_change(row, do, repeat) if row.changes else ()))
        failed = [claim for claim, holds in checks if not holds]
        if failed:
            wrong[f"{number} {row.module}"] = {"not so": failed, "look": look, "do": do, "repeat": repeat}
    assert not wrong, json.dumps(wrong, indent=1)


def run_all_rows(controller: Controller, folder: Path) -> Run:
    with Lab(Cluster.from_dict(description())) as lab:
        variables = {
            "lab_host": lab.host,
            "lab_port": lab.port,
            "lab_ca": lab.ca_path,
            "tree": str(write_tree("epyc-9354-nps4", folder / "tree")),
            "plan": plan_for(lab.cluster, {100: "0,32,1,33", 200: "0,16,1,17"}),
        }
        tasks = [task for number, row in enumerate(ROWS) for task in row.tasks(number)]
        playbook = folder / "matrix.json"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
        run = controller.playbook(playbook, {"all": {"hosts": {"here": local_host(**variables)}}}, env={"ANSIBLE_PIPELINING": "1"})
        assert run.ok, run.output
        assert len(lab.writes) == 2
        return run


def _of_any_row(row: Row, look: Result, do: Result, repeat: Result) -> list[Claim]:
    return [
        ("check mode says what the real run says", look == do),
        (f"changed is {row.changes}", bool(do.get("changed")) is row.changes),
        ("the second run changes nothing", not repeat.get("changed")),
        ("the second run says the same", row.changes or repeat == do),
    ]


def _of_a_change(row: Row, do: Result, repeat: Result) -> list[Claim]:
    assert row.before
    assert row.after
    if "diff" not in do or "diff" not in repeat:
        return [("both runs have a diff", False)]
    before, after = (_text(do["diff"], side) for side in ("before", "after"))
    return [
        ("the diff begins with what was before, alone", row.before in before and row.after not in before),
        ("the diff ends with what is after, alone", row.after in after and row.before not in after),
        ("the diff of the second run is empty", _text(repeat["diff"], "before") == _text(repeat["diff"], "after")),
    ]


def test_every_module_has_a_row() -> None:
    assert {row.module for row in ROWS} | ON_THE_LAB_HOST == {path.stem for path in (ROOT / "plugins" / "modules").glob("[!_]*.py")}


def _steady(result: t.Any, volatile: t.Collection[str]) -> t.Any:
    """A result without what Ansible adds about the call, and without the keys that say when."""
    if isinstance(result, dict):
        return {key: _steady(value, volatile) for key, value in result.items() if key != "invocation" and key not in volatile}
    return [_steady(value, volatile) for value in result] if isinstance(result, list) else result


def _text(diff: t.Mapping[str, t.Any], side: str) -> str:
    return diff[side] if isinstance(diff[side], str) else json.dumps(diff[side], sort_keys=True)
