# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib
import json

import pytest
from ansible.errors import AnsibleFilterError
from sample_hosts import epyc_9354, guest, snapshot

FILTERS = ("cpulist", "cpus", "place", "policy", "snapshot", "take_cpus")


def filter_named(name):
    module = importlib.import_module(f"ansible_collections.corepin.proxmox.plugins.filter.{name}")
    return module.FilterModule().filters()[name]


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_is_a_plain_callable_under_its_name(name):
    assert callable(filter_named(name))


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, [0, 32, 1, 33]),
        ({"available": "1-31,33-63"}, [1, 33, 2, 34]),
        ({"available": "0-1,8-15,40-47"}, [8, 40, 9, 41]),
        ({"siblings": "spread"}, [0, 1, 2, 3]),
        ({"cpu_class": "isolated"}, [0, 1, 2, 3]),
        ({"near": "24"}, [24, 56, 25, 57]),
        ({"numa": "spread"}, [0, 8, 16, 24]),
    ],
)
def test_take_cpus_gives_cpus_in_vcpu_order(options, taken):
    assert filter_named("take_cpus")(epyc_9354(), 4, **options) == taken


def test_a_whole_numa_node_written_as_a_cpulist():
    assert filter_named("cpulist")(filter_named("take_cpus")(epyc_9354(), 16)) == "0-7,32-39"
    assert filter_named("cpus")("0,32,1-2") == [0, 32, 1, 2]


def test_place_plans_a_snapshot():
    plan = filter_named("place")(snapshot([epyc_9354()], [guest(100, 4, 4096)]), {"rules": [{"match": {}}]})
    assert plan["placements"][0]["cpus"] == "0,32,1,33"
    assert plan["changes"][0]["after"]["numa0"] == "cpus=0-3,hostnodes=0,memory=4096,policy=bind"
    assert json.loads(json.dumps(plan)) == plan


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("take_cpus", (epyc_9354(), 4, ""), "has 0 free"),
        ("take_cpus", (epyc_9354(), "four"), "'four'; ask for a whole number"),
        ("take_cpus", (epyc_9354(), 4, "7-0"), "write 0-7"),
        ("take_cpus", (epyc_9354(), 4, None, "packed"), "'packed'; allowed are pack, spread, require"),
        ("take_cpus", (epyc_9354(), 4, None, "pack", "shared"), "'shared'; allowed are dedicated, isolated"),
        ("take_cpus", ({"cpus": {}}, 4), "topology facts"),
        ("cpulist", ("0-3",), "not a list of CPU numbers"),
        ("cpulist", ([0, -1],), "-1 is not a CPU number"),
        ("cpus", ("0-",), "not a cpulist"),
        ("place", ({},), "no hosts and guests"),
        ("place", (snapshot([epyc_9354()], []), {"rule": []}), "did you mean rules"),
        ("policy", ({"pve1": {"corepin_rulez": []}},), "corepin_rulez of host pve1 is not known; did you mean corepin_rules"),
        ("snapshot", ({}, {"changed": False}), "has no guests"),
    ],
)
def test_an_error_is_one_sentence_that_names_the_value(name, arguments, words):
    with pytest.raises(AnsibleFilterError) as error:
        filter_named(name)(*arguments)
    text = str(error.value)
    assert words in text
    assert text.startswith(f"corepin.proxmox.{name}: ")
    assert "\n" not in text
