# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian this machine runs, and what its apt offers: the image is made of the same release."""

from __future__ import annotations

import platform
import subprocess


def codename() -> str:
    """As in "bookworm"."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def archive() -> str:
    """The address of the Debian archive that apt uses."""
    lines = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {codename()}", "Component: main").splitlines()
    if not lines:
        raise RuntimeError(
            f"apt knows no archive of {codename() or 'this system'}: add it to /etc/apt/sources.list.d and run apt-get update."
        )
    return lines[0].rstrip("/")


def kernel_package() -> str:
    """The package of the newest kernel for amd64, backports first."""
    for release in (f"/{codename()}-backports", ""):
        for line in _output("apt-cache", "depends", f"linux-image-amd64{release}").splitlines():
            kind, _colon, name = line.strip().partition(": ")
            if kind == "Depends" and name.startswith("linux-image-"):
                return name
    raise RuntimeError("apt knows no linux-image-amd64: run apt-get update.")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
