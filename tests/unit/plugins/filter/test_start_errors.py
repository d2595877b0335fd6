# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.corepin.proxmox.plugins.filter.start_errors import FilterModule
from sample_hosts import epyc_9354, guest

start_errors = FilterModule().filters()["start_errors"]


def test_each_finding_has_the_same_keys():
    info = guest(100, 4, 4096, config={"cores": "4", "memory": "4096", "affinity": "62-65", "numa": "1", "numa0": "cpus=0-3,memory=4000"})
    fatal, quiet = start_errors(info, epyc_9354())
    assert fatal == {
        "rule": "memory_sum",
        "message": "total memory for NUMA nodes must be equal to vm static memory",
        "fix": "Make the memory of the numaN keys, now 4000, add up to 4096 MiB.",
        "fatal": True,
    }
    assert (quiet["rule"], quiet["fatal"]) == ("affinity_narrowed", False)


def test_nothing_is_found_where_nothing_is_wrong():
    assert start_errors(guest(100, 4, 4096), epyc_9354()) == []


@pytest.mark.parametrize(
    ("info", "facts", "words"),
    [
        ({"vmid": 100, "vcpus": "many", "memory_mib": 1}, epyc_9354(), "Guest 100"),
        (None, epyc_9354(), "None is no dictionary"),
        (guest(100, 4), {"node": "pve1"}, "host pve1"),
        (guest(100, 4), None, "The host None is no dictionary"),
        (guest(100, 4, config={"memory": "much"}, pending={"memory": "more"}), epyc_9354(), "'more' is not a number of MiB"),
    ],
)
def test_bad_input_is_said_in_one_sentence(info, facts, words):
    with pytest.raises(AnsibleFilterError, match=words) as caught:
        start_errors(info, facts)
    assert str(caught.value).startswith("corepin.proxmox.start_errors: ")
