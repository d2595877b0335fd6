# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the host suite: `lab_host` is the common machine, `boot_host` boots others. See README.md."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from host_lab import instance, programs, requirements
from host_lab.emulator import Boot
from host_lab.image import build, image
from host_lab.machines import MACHINES

from ..integration.harness import Controller
from .host import LabHost

pytest.register_assert_rewrite(f"{__package__}.facts", f"{__package__}.governors")

Booting = t.Callable[..., t.ContextManager[LabHost]]
MACHINE = "host16"
# The files that take longest, which come first, so that two machines are done at about the same time.
LONGEST = ("test_guest_pinning.py", "test_amd_pstate.py", "test_whole_run.py", "test_irq_affinity.py", "test_cpu_governor.py")
_TIMES: t.List[str] = []


def pytest_collection_modifyitems(items: t.List[pytest.Item]) -> None:
    folder = Path(__file__).parent
    first = {folder / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(LONGEST)))


@pytest.fixture(scope="session")
def boot_host(tmp_path_factory: pytest.TempPathFactory) -> Booting:
    """`with boot_host("amd16", cpufreq="amd_pstate=active") as host:` boots a machine and stops it in the end."""
    reason = requirements.missing()
    if reason:
        pytest.skip(reason)

    @contextlib.contextmanager
    def booted(machine: str = MACHINE, **boot: t.Any) -> t.Iterator[LabHost]:
        controller = Controller(tmp_path_factory.mktemp("controller"), Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]))
        host = _start(f"{machine}-{os.getpid()}", machine, Boot(**boot))
        try:
            yield LabHost(host, controller)
        finally:
            host.stop()

    return booted


@pytest.fixture(scope="session")
def common_host(boot_host: Booting, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[LabHost]:
    """One machine for the run; COREPIN_LAB_HOST_KEEP=NAME uses the one of that name, boots it if need be, and leaves it running."""
    name = os.environ.get("COREPIN_LAB_HOST_KEEP")
    if not name:
        with boot_host() as host:
            yield host
        return
    controller = Controller(tmp_path_factory.mktemp("controller"), Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]))
    kept = instance.find(name)
    if kept:
        programs.install(kept.remote)  # as they are now
    yield LabHost(kept or _start(name, MACHINE, Boot()), controller)


@pytest.fixture
def lab_host(common_host: LabHost) -> t.Iterator[LabHost]:
    """The common machine; when the test is over its guests and virtual functions are gone."""
    yield common_host
    common_host.clear()


@pytest.fixture(autouse=True)
def _tell_times(tell: t.Callable[[str], None]) -> t.Iterator[None]:
    """Of what was built and booted for the test, or by it."""
    yield
    while _TIMES:
        tell(_TIMES.pop(0))


def _start(name: str, machine: str, boot: Boot) -> instance.Instance:
    if not image().complete:
        begin = time.monotonic()
        build()
        _TIMES.append(f"the image was built in {time.monotonic() - begin:.0f} s")
    begin = time.monotonic()
    host = instance.start(name, MACHINES[machine], boot)
    _TIMES.append(f"{machine} was up after {time.monotonic() - begin:.0f} s ({boot})")
    return host
