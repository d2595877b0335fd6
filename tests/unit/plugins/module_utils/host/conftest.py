# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated host trees for the tests of the host reader."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from sysfs_trees import write_tree


class HostTree:
    """A generated tree that a test may change before it is read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, content: t.Union[str, bytes]) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def link(self, path: str, target: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def read(self, node: t.Optional[str] = None) -> t.Dict[str, t.Any]:
        return read_host(str(self.root), node)


@pytest.fixture
def tree(tmp_path: Path) -> t.Callable[[t.Any], HostTree]:
    """Make the tree of a model."""
    return lambda model: HostTree(write_tree(model, tmp_path / "host"))


@pytest.fixture
def read(tree: t.Callable[[t.Any], HostTree]) -> t.Callable[[t.Any], t.Dict[str, t.Any]]:
    """Make the tree of a model and read it."""
    return lambda model: tree(model).read()
