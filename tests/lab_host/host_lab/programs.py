# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that run on a lab host: what lies in inside/, copied there when it has come up."""

from __future__ import annotations

from pathlib import Path

from .remote import Remote

FOLDER = "/usr/local/lib/lab-host"
GUEST = f"python3 {FOLDER}/lab_guest.py"
VECTORS = f"python3 {FOLDER}/vfio_vectors.py"


def install(remote: Remote) -> None:
    remote.copy(FOLDER, {path.name: path for path in sorted((Path(__file__).parent / "inside").glob("*.py"))})
