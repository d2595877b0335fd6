# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start rules against the simulated PVE, which was written independently: what a start there ends with is found before.

The recording of real starts is looked for in the directory that COREPIN_TRANSCRIPTS names, else beside the checkout.
"""

from __future__ import annotations

import os
import pathlib
import re
import typing as t

import pytest

pytest.importorskip("cryptography", reason="the lab's server needs the package cryptography")

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.start_check import start_errors
from hypothesis import given, settings
from hypothesis import strategies as st
from pve_lab import Cluster
from pve_lab.replay.starts import StartCase, read_start_cases
from pve_lab.routes import answer

Config = t.Dict[str, t.Any]

BASE = {"cores": 2, "memory": 512, "numa": 1}
CHECKOUT = pathlib.Path(__file__).resolve().parents[5]
STARTS = pathlib.Path(os.environ.get("COREPIN_TRANSCRIPTS") or CHECKOUT.parent / "shared" / "pve-transcripts") / "start-errors.txt"
QEMU_FAILED = "start failed: QEMU exited with code 1"


def facts(cpus: int, numa_nodes: int) -> Config:
    """What the lab's host would report; the lab counts CPUs and NUMA nodes without saying which belong together."""
    return {
        "node": "pve1",
        "cpus": {"online": f"0-{cpus - 1}"},
        "numa_nodes": [{"id": n, "cpus": f"0-{cpus - 1}" if n == 0 else "", "memory_mib": 8192} for n in range(numa_nodes)],
    }


def predicted(config: Config, cpus: int, numa_nodes: int) -> t.Optional[str]:
    """The message with which the start ends; None where the guest starts."""
    texts = {key: str(value) for key, value in config.items()}
    fatal = [
        finding for finding in start_errors({"vmid": 100, "node": "pve1", "config": texts}, facts(cpus, numa_nodes)) if finding["fatal"]
    ]
    return fatal[0]["message"] if fatal else None


def started(config: Config, cpus: int = 8, numa_nodes: int = 2) -> t.Optional[str]:
    cluster = Cluster.from_dict(
        {
            "nodes": [{"name": "pve1", "cpus": cpus, "numa_nodes": numa_nodes}],
            "guests": [{"vmid": 100, "node": "pve1", "config": config}],
        }
    )
    with cluster.mutex:
        upid = answer(cluster, "POST", "/nodes/pve1/qemu/100/status/start", {}, "root@pam")
    task = cluster.tasks.all[upid]
    return said(str(task.exitstatus), task.log)


def said(status: str, log: t.Sequence[str]) -> t.Optional[str]:
    """The message without process numbers and lines of PVE's source; None for a start that went well."""
    if status == "OK":
        return None
    text = log[0] if status == QEMU_FAILED else status
    return re.sub(r" at \S+/Memory\.pm line \d+\.$", "", re.sub(r"pid \d+", "pid N", text))


BAD = [
    {"affinity": "0, 1"},
    {"affinity": "0,1,"},
    {"affinity": "200"},
    {"affinity": "8-15"},
    {"cores": 9},
    {"sockets": 3, "cores": 3},
    {"vcpus": 3},
    {"kvm": 0, "cpu": "host"},
    {"numa0": "cpus=0-1"},
    {"numa0": "cpus=0-1,memory=0"},
    {"numa0": "cpus=0-1,memory=256"},
    {"numa0": "cpus=0-1,memory=512.5"},
    {"numa0": "cpus=0-1,memory=-512"},
    {"numa0": "cpus=1-0,memory=512"},
    {"numa0": "cpus=0-1,hostnodes=0,memory=512"},
    {"numa0": "cpus=0-1,hostnodes=0-1,memory=512"},
    {"numa0": "cpus=0-1,hostnodes=2,memory=512,policy=bind"},
    {"numa0": "cpus=0-1,hostnodes=1-3,memory=512,policy=bind"},
    {"numa0": "cpus=0-1,hostnodes=1-3,memory=512"},
    {"numa0": "cpus=0-2,memory=512"},
    {"numa0": "cpus=0,memory=256", "numa1": "cpus=0;1,memory=256"},
    {"numa1": "cpus=0-1,memory=512"},
    {"numa0": "cpus=0,memory=256", "numa2": "cpus=1,memory=256"},
    {"hotplug": "memory", "numa": 0},
    {"hotplug": "memory"},
    {"hotplug": "memory", "memory": 1024, "hugepages": "1024", "sockets": 2},
    {"hotplug": "memory", "memory": 2048, "numa0": "cpus=0-1,memory=2048"},
    {"hugepages": "2", "numa": 0},
    {"hugepages": "any", "numa0": "cpus=0-1,memory=512"},
    {"hugepages": "1024"},
    {"hugepages": "any", "memory": 511},
    {"hugepages": "2", "sockets": 3, "memory": 768},
    {"hugepages": "2", "numa0": "cpus=0-1,hostnodes=0-1,memory=512,policy=bind"},
    {"hugepages": "1024", "numa0": "cpus=0-1,hostnodes=0,memory=512,policy=bind"},
    {"affinity": "200", "vcpus": 99, "numa0": "cpus=0-9,memory=5"},
    {"affinity": "200", "vcpus": 99, "numa0": "cpus=0-9,memory=512"},
    {"template": 1},
]


@pytest.mark.parametrize("config", BAD, ids=repr)
def test_bad_configs_end_as_predicted(config):
    config = {**BASE, **config}
    message = started(config)
    assert message is not None
    assert predicted(config, 8, 2) == message


@pytest.mark.skipif(not STARTS.is_file(), reason="no recording of real starts: COREPIN_TRANSCRIPTS names none")
@pytest.mark.parametrize("case", read_start_cases(STARTS) if STARTS.is_file() else [], ids=lambda case: repr(case.config))
def test_real_starts_end_as_predicted(case: StartCase):
    """The host of the recording had 2 CPUs in one NUMA node and no virtualisation."""
    kvm = {"kvm": 0, "cpu": "host"} if "requires KVM" in "".join(case.log) else {"kvm": 0}
    accepted = {} if case.refused else case.config
    assert predicted({**BASE, **kvm, **accepted}, 2, 1) == said(case.status, case.log)


cells = st.builds(
    ",".join,
    st.tuples(
        st.sampled_from(["cpus=0", "cpus=1", "cpus=0-1", "cpus=2-3", "cpus=2;3", "cpus=0-3"]),
        st.sampled_from(["memory=1024", "memory=2048", "memory=1023", "memory=512.5", "memory=0", "policy=bind"]),
    ).flatmap(
        lambda parts: st.sampled_from([[], ["hostnodes=0"], ["hostnodes=1"], ["hostnodes=0-1"], ["hostnodes=0;3"]]).map(
            lambda hostnodes: [*parts, *hostnodes, *([] if "policy=bind" in parts or not hostnodes else ["policy=preferred"])]
        )
    ),
)
configs = st.fixed_dictionaries(
    {"cores": st.sampled_from([1, 2, 4, 5]), "memory": st.sampled_from([1023, 1024, 2048, 3072]), "numa": st.sampled_from([0, 1, 1])},
    optional={
        "sockets": st.integers(1, 3),
        "vcpus": st.sampled_from([1, 4, 99]),
        "affinity": st.sampled_from(["0", "0-3", "7-9", "8-9", "0, 1", "1,", "00"]),
        "hotplug": st.sampled_from(["0", "1", "memory", "disk,memory"]),
        "hugepages": st.sampled_from(["any", "2", "1024"]),
        "numa0": cells,
        "numa1": cells,
        "numa2": cells,
    },
)


@settings(max_examples=400)
@given(configs)
def test_any_config_ends_as_predicted(config):
    assert predicted(config, 8, 2) == started(config)
