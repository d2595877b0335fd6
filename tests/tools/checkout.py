# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout's files, as git sees them, and a copy of them elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked_files(root: Path = ROOT) -> list[str]:
    """What git knows or would add, relative to the root; all but caches where there is no git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return sorted(_walk(root))
    return sorted(name for name in set(listing.split("\0")) if name and (root / name).is_file())


def _walk(root: Path) -> list[str]:
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in {".git", ".venv", ".ansible", ".cache", "dist", "__pycache__"}]
        names += [str((Path(folder) / name).relative_to(root)) for name in files]
    return names


def copy_checkout(target: Path) -> None:
    """Make `target` hold the checkout's files and no others, but for a git of its own and what ansible-test keeps in tests/output."""
    wanted = tracked_files()
    for name in wanted:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    keep = set(wanted)
    for folder, folders, files in os.walk(target, topdown=True):
        kept = {target: ".git", target / "tests": "output"}.get(Path(folder))
        folders[:] = [name for name in folders if name != kept]
        for name in files:
            path = Path(folder) / name
            if str(path.relative_to(target)) not in keep:
                path.unlink()
