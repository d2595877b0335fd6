# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd and the kernel do with a cpuset takes a moment."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host import scope
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree

PATH = "qemu.slice/100.scope"


class Late(Tree):
    """A tree with a cpuset whose values change from look to look; the last ones stay."""

    def __init__(self, asked: t.List[int], effective: t.List[t.Optional[int]]) -> None:
        super().__init__()
        self.left = {"cpuset.cpus": asked, "cpuset.cpus.effective": effective}

    def cpulist(self, path: str) -> t.Optional[int]:
        values = t.cast("t.List[t.Optional[int]]", self.left[path.rpartition("/")[2]])
        return values.pop(0) if len(values) > 1 else values[0]


@pytest.mark.parametrize(
    ("asked", "effective", "in_the_end"),
    [
        ([0xF0], [0xF0], 0xF0),
        ([0, 0, 0xF0], [0xFF, 0xF0], 0xF0),
        ([0xF0], [0xFF, 0xFF, 0xF0], 0xF0),  # written, and not in force yet
        ([0xF0], [0x70], 0x70),  # somebody else has the rest
    ],
)
def test_a_scope_is_read_once_what_was_asked_for_is_in_force(monkeypatch, asked, effective, in_the_end):
    monkeypatch.setattr(scope, "_IN_FORCE_S", 0.2)
    found = scope.settled_scope(Late(asked, effective), PATH, 0xF0, lambda: True)
    assert found == scope.Scope(PATH, 0xF0, in_the_end)


def test_nothing_is_waited_for_once_it_is_not_worth_it():
    found = scope.settled_scope(Late([0], [0xFF]), PATH, 0xF0, lambda: False)
    assert found == scope.Scope(PATH, 0, 0xFF)
