# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the changes of a plan to canonical values, or one sentence why not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PlanError
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.changes import changes_of


def change(after: t.Mapping[str, t.Any], **other: t.Any) -> t.Dict[str, t.Any]:
    return {"vmid": 100, "node": "pve1", "digest": "d", "before": dict.fromkeys(after), "after": after, "effect": "now", **other}


@pytest.mark.parametrize(
    ("key", "value", "canonical"),
    [
        ("affinity", "0-3", "0-3"),
        ("affinity", "0, 1", "0-1"),
        ("affinity", "0-0", "0-0"),
        ("affinity", "0,32,1,33", "0,32,1,33"),
        ("affinity", "0", "0"),
        ("affinity", None, None),
        ("numa", "1", "1"),
        ("numa", 1, "1"),
        ("numa", True, "1"),
        ("numa", "off", "0"),
        ("keephugepages", "yes", "1"),
        ("hugepages", 1024, "1024"),
        ("numa0", "cpus=0-3,memory=512", "cpus=0-3,memory=512"),
    ],
)
def test_canonical_values(key: str, value: t.Any, canonical: t.Optional[str]) -> None:
    assert changes_of({"changes": [change({key: value})]})[0].after == {key: canonical}


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (change({"delete": "affinity"}), "'delete'"),
        (change({"skiplock": "1"}), "'skiplock'"),
        (change({"net0": None}), "'net0'"),
        (change({"affinity": ""}), "null removes"),
        (change({"affinity": "3-1"}), "'3-1'"),
        (change({"affinity": "all"}), "'all'"),
        (change({"numa0": "cpus=0,policy=tight"}), "'tight'"),
        (change({"numa": "1"}, vmid="1/../2"), "1/../2"),
        (change({"numa": "1"}, vmid=True), "True"),
        (change({"numa": "1"}, node="../pve2"), "../pve2"),
    ],
)
def test_refused(entry: t.Mapping[str, t.Any], named: str) -> None:
    with pytest.raises(PlanError) as caught:
        changes_of({"changes": [entry]})
    assert named in str(caught.value)


def test_a_guest_twice_is_refused() -> None:
    with pytest.raises(PlanError, match="guest 100 twice"):
        changes_of({"changes": [change({"numa": "1"}), change({"numa": "0"})]})


def test_only_the_named_hosts_in_the_order_of_the_plan() -> None:
    plan = {"changes": [change({"numa": "1"}, vmid=n, node=f"pve{n % 2 + 1}") for n in (105, 102, 101)]}
    assert [c.vmid for c in changes_of(plan)] == [105, 102, 101]
    assert [c.vmid for c in changes_of(plan, ["pve2"])] == [105, 101]
    assert changes_of(plan, []) == []
