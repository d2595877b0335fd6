# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a lab host can be built and booted here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

from .emulator import QEMU

PACKAGES = Path(__file__).resolve().parents[1] / "apt-packages.txt"
OLDEST_QEMU = 8  # the first with the SR-IOV NIC igb


def missing() -> t.Optional[str]:
    """Why it cannot, in one line; None where it can."""
    if os.geteuid() != 0:
        return "the lab host is built by root"
    lines = (line.split("#")[0].split() for line in PACKAGES.read_text(encoding="utf-8").splitlines())
    absent = [line[0] for line in lines if line and not shutil.which(line[1])]
    if absent:
        return f"Debian packages are missing for the lab host: {', '.join(absent)}"
    version = _qemu_version()
    if version < OLDEST_QEMU:
        return f"the lab host needs QEMU {OLDEST_QEMU} or newer, and this is {version}"
    return None


def _qemu_version() -> int:
    """The major version."""
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)", said)
    return int(found.group(1)) if found else 0
