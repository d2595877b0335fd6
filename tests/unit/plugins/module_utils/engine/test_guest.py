# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError, GrammarError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import (
    Cell,
    Guest,
    affinity_effect,
    apply_pending,
    cell_from_mapping,
    cell_to_mapping,
    config_memory_mib,
    config_vcpus,
    format_affinity,
    format_cell,
    normalise_pci_address,
    parse_cell,
    same_effect,
    split_tags,
)


@pytest.mark.parametrize(
    ("text", "effect"),
    [(None, None), ("", None), ("0", None), ("0-0", 1), ("00", 1), ("0,1", 3), ("0,0,0-1", 3), ("00-01", 3), ("1,200", 2 | 1 << 200)],
)
def test_what_an_affinity_does_at_the_next_start(text, effect):
    assert affinity_effect(text) == effect


@pytest.mark.parametrize("text", ["0, 1", "0 ,1", "0,1,", "a", "1-0", "0-7:2", ",0"])
def test_an_affinity_that_fails_is_an_error(text):
    with pytest.raises(GrammarError):
        affinity_effect(text)


def test_cpu_0_alone_is_written_so_that_pve_applies_it():
    assert format_affinity([0]) == "0-0"
    assert format_affinity([0, 32, 1, 33]) == "0,32,1,33"


def test_a_cell_is_read_in_any_order_and_written_in_one():
    cell = parse_cell("policy=bind,memory=512,cpus=0-3;8,hostnodes=0-1")
    assert cell == Cell(0b100001111, 512, 0b11, "bind")
    assert format_cell(cell) == "cpus=0-3;8,hostnodes=0-1,memory=512,policy=bind"
    assert cell_from_mapping(cell_to_mapping(cell)) == cell


@pytest.mark.parametrize(
    "text",
    [
        "0-1,hostnodes=0",
        "memory=512",
        "cpus=0-1,policy=strict",
        "cpus=0-1,foo=1",
        "cpus=0,cpus=1",
        "cpus=1-0",
        "cpus=0-1 ",
        "cpus=0,memory=1.5",
    ],
)
def test_a_cell_that_pve_refuses_is_an_error(text):
    with pytest.raises(GrammarError):
        parse_cell(text)


@pytest.mark.parametrize(
    ("key", "left", "right", "same"),
    [
        ("affinity", "0-1", "1,0", True),
        ("affinity", "0", None, True),
        ("affinity", "0", "0-0", False),
        ("affinity", "0, 1", "0, 1", False),
        ("numa", "1", "on", True),
        ("numa", None, "0", True),
        ("numa", "1", None, False),
        ("numa0", "cpus=0-1,memory=512", "memory=512.0,cpus=0;1", True),
        ("numa0", "cpus=0-1,memory=512", None, False),
        ("numa0", "broken", "broken", True),
        ("cores", "2", "2", True),
    ],
)
def test_values_are_compared_by_their_effect(key, left, right, same):
    for one, other in ((left, right), (right, left)):
        assert same_effect(key, one, other) is same


def test_pending_changes_are_what_the_next_start_uses():
    assert apply_pending({"affinity": "0-1", "cores": "2"}, {"affinity": None, "cores": "4"}) == {"cores": "4"}


def test_numbers_of_a_config_arrive_as_strings():
    assert config_vcpus({"cores": "4", "sockets": "2"}) == 8
    assert config_vcpus({}) == 1
    assert [config_memory_mib({"memory": m}) for m in ("2048", "current=1024")] == [2048, 1024]
    assert config_memory_mib({}) == 512
    with pytest.raises(GrammarError, match="'512M'"):
        config_memory_mib({"memory": "512M"})


def test_tags_and_pci_addresses():
    assert split_tags("b;a, c") == ["b", "a", "c"]
    assert normalise_pci_address("01:00.1") == "0000:01:00.1"
    assert normalise_pci_address("01:00") == "0000:01:00"
    assert normalise_pci_address("0001:0A:00.0") == "0001:0a:00.0"
    assert normalise_pci_address("mapping=gpu") is None


def test_a_guest_needs_four_fields_only():
    guest = Guest.from_info({"vmid": "100", "node": "pve1", "vcpus": 4, "memory_mib": 2048})
    assert (guest.vmid, guest.vcpus, guest.memory_mib, guest.running, guest.config) == (100, 4, 2048, False, {})


def test_a_guest_without_config_brings_its_affinity_and_cells():
    cell = {"cpus": "0-3", "hostnodes": "0", "memory_mib": 2048, "policy": "bind"}
    guest = Guest.from_info({"vmid": 1, "node": "a", "vcpus": 4, "memory_mib": 2048, "affinity": "0-3", "numa_cells": [cell]})
    assert guest.next_config == {"affinity": "0-3", "numa": "1", "numa0": "cpus=0-3,hostnodes=0,memory=2048,policy=bind"}


def test_a_guest_of_the_wrong_shape_is_one_sentence():
    with pytest.raises(FactsError, match=r"Guest 7 of the snapshot .* gather the guests again"):
        Guest.from_info({"vmid": 7, "node": "a"})
