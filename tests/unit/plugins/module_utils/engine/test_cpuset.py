# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import (
    count,
    cpus_of,
    format_cpulist,
    format_ordered,
    mask_of,
    parse_cpulist,
    parse_ordered,
)
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import GrammarError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", []),
        ("0", [0]),
        ("0-7,32-39", [*range(8), *range(32, 40)]),
        ("0,32,1,33", [0, 32, 1, 33]),
        ("3,1-4", [3, 1, 2, 4]),
        (" 0-1, 4 \n", [0, 1, 4]),
        ("0-3\0\0", [0, 1, 2, 3]),
        ("0-15:4/8", [0, 1, 2, 3, 8, 9, 10, 11]),
        ("00-01", [0, 1]),
    ],
)
def test_reads_the_kernels_syntax_in_order(text, cpus):
    assert parse_ordered(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-0", "0-", "-1", "0--1", "1;2", "0-99999", "0-7:0", "0-7:9/8", "1,,2", "+1", "٣"])
def test_refuses_anything_else_and_shows_it(text):
    with pytest.raises(GrammarError, match=r"cpulist|CPUs"):
        parse_cpulist(text)


def test_the_message_offers_the_right_way_round():
    with pytest.raises(GrammarError, match="the range 7-0 runs backwards; write 0-7"):
        parse_cpulist("7-0")


@given(st.sets(st.integers(0, 600)))
def test_a_mask_survives_being_written_and_read(cpus):
    mask = mask_of(cpus)
    assert list(cpus_of(mask)) == sorted(cpus)
    assert count(mask) == len(cpus)
    assert parse_cpulist(format_cpulist(mask)) == mask


@given(st.lists(st.integers(0, 600), unique=True))
def test_an_order_survives_being_written_and_read(cpus):
    assert parse_ordered(format_ordered(cpus)) == cpus
