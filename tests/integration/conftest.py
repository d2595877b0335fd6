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
# The longest first: a long test that begins last has one worker work while the other has nothing left.
LONGEST = (
    "test_root_plans_looks_applies_and_finds_nothing_left",
    "test_tune_looks_sets_finds_nothing_left_and_restores",
    "test_the_same_on_the_hosts_without_any_login",
    "test_what_is_left_is_known_and_another_run_converges",
    "test_the_demo",
    "test_drift_is_found_thread_by_thread_and_gives_an_exit_code",
    "test_a_plan_that_is_too_old_or_for_other_hosts_is_refused_and_an_applied_one_undone",
    "test_check_mode_agrees_and_a_second_run_changes_nothing",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder in another order; those of other folders stay where they are."""
    folder = Path(__file__).parent
    places = [place for place, item in enumerate(items) if folder in item.path.parents]
    for place, item in zip(places, _long_ones_first([items[place] for place in places]), strict=True):
        items[place] = item


def _long_ones_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """In each half of the list, for pytest-xdist gives a half to each of two workers, which take from each other's end later."""
    long = sorted((item for item in items if _name(item) in LONGEST), key=lambda item: LONGEST.index(_name(item)))
    rest = [item for item in items if item not in long]
    half = len(items) // 2 - len(long[::2])
    return [*long[::2], *rest[:half], *long[1::2], *rest[half:]]


def _name(item: pytest.Item) -> str:
    """A test's name without its parameters."""
    return str(getattr(item, "originalname", item.name))


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
