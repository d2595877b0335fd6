# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the integration tests: a controller, generated host trees, and the Pythons of this machine."""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

import pytest
from pve_lab import Cluster, Lab
from sysfs_trees import write_tree

from .cluster_world import World, description
from .harness import Controller

TreeWriter = t.Callable[[str], Path]


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    """Ansible with the collection of this checkout."""
    return Controller(tmp_path / "controller", Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> TreeWriter:
    """`tree(model)`: where a generated host of that model lies; the trees are read only, and each is written once."""
    trees: dict[str, Path] = {}

    def written(model: str) -> Path:
        if model not in trees:
            trees[model] = write_tree(model, tmp_path_factory.mktemp("tree") / model)
        return trees[model]

    return written


@pytest.fixture
def make_world(controller: Controller, tree: TreeWriter) -> t.Iterator[t.Callable[..., World]]:
    """`make_world(**changes)`: the cluster of cluster_world with changes of its description, running until the test ends."""
    with contextlib.ExitStack() as stack:

        def made(**changes: t.Any) -> World:
            described = description(**changes)
            lab = stack.enter_context(Lab(Cluster.from_dict(described)))
            return World(lab, controller, {"pve1": tree("epyc-9354-nps4"), "pve2": tree("ryzen-5950x")}, described)

        yield made


@pytest.fixture
def world(make_world: t.Callable[..., World]) -> World:
    """The cluster of cluster_world as it is."""
    return make_world()
