# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test relies on: the collection importable by its full name, the lab on the path, hypothesis' profiles.

It serves plain pytest from a checkout that lies anywhere, and `ansible-test units`, which runs a copy of the checkout
under ansible_collections with a loader of its own (on Pythons down to 3.9 too, so that this file keeps to that).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / "tests" / "lab"
LONG = os.environ.get("COREPIN_LONG") == "1"
FIGURE = "figure"


def _collections_folder() -> Path:
    """The folder whose ansible_collections/corepin/proxmox is this checkout; a link in .ansible where it is not."""
    if ROOT.parts[-3:] == ("ansible_collections", "corepin", "proxmox"):
        return ROOT.parents[2]
    folder = ROOT / ".ansible" / "collections"
    link = folder / "ansible_collections" / "corepin" / "proxmox"
    link.parent.mkdir(parents=True, exist_ok=True)
    # It exists where `make setup` made it, or another worker of pytest-xdist at this very moment.
    with contextlib.suppress(FileExistsError):
        link.symlink_to(Path("..", "..", "..", ".."), target_is_directory=True)
    return folder


def _under_ansible_test() -> bool:
    return "ansible_forked" in os.environ.get("PYTEST_PLUGINS", "")


def _make_importable() -> None:
    collections = str(_collections_folder())
    if not _under_ansible_test():
        sys.path.insert(0, collections)
        os.environ["ANSIBLE_COLLECTIONS_PATH"] = collections
    sys.path.insert(0, str(LAB))


def _reach_the_lab_without_proxy() -> None:
    """Proxies of the environment know neither labs on this machine nor names that do not exist; programs that tests start inherit this."""
    direct = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1", ".invalid"]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, direct))


def _set_hypothesis_profile() -> None:
    """`default`: few examples, the same in each run. `long`: many, new ones each time. `brief`: once more per Python."""
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:
        return
    common = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("default", max_examples=60, derandomize=True, **common)
    settings.register_profile("long", max_examples=1000, print_blob=True, **common)
    settings.register_profile("brief", max_examples=10, derandomize=True, **common)
    settings.load_profile("long" if LONG else "brief" if _under_ansible_test() else "default")


_make_importable()
_reach_the_lab_without_proxy()
_set_hypothesis_profile()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes long; runs only with COREPIN_LONG=1, as `make test-long` sets it")
    if "TMPDIR" not in os.environ and _memory_serves():
        _use_memory(config)


def _memory_serves(folder: str = "/dev/shm") -> bool:
    """Whether temporary files may lie in memory: generated hosts are tens of thousands of small files."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return False
    runs_programs = not status.f_flag & os.ST_NOEXEC
    return runs_programs and os.access(folder, os.W_OK) and status.f_bavail * status.f_frsize > 4 << 30


def _use_memory(config: pytest.Config) -> None:
    """Until the end of the run; the workers of pytest-xdist inherit it. Set TMPDIR to keep what tests leave."""
    folder = tempfile.mkdtemp(prefix="corepin-tests-", dir="/dev/shm")
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = folder

    def clean_up() -> None:
        os.environ.pop("TMPDIR", None)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(clean_up)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if LONG:
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes long: make test-long"))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> t.Callable[[str], None]:
    """`tell("...")` has a measured figure said at the end of the run, whichever process runs the test."""
    return lambda figure: request.node.user_properties.append((FIGURE, figure))


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind if getattr(report, "when", None) == "teardown"]
    figures = [figure for report in reports for name, figure in report.user_properties if name == FIGURE]
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        terminalreporter.write_line(figure)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT
