# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python interpreters of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def find_pythons() -> dict[str, Path]:
    """Version -> an interpreter of that version that runs and can make virtual environments."""
    found: dict[str, Path] = {}
    for version in VERSIONS:
        for candidate in _candidates(version):
            if _works(candidate, version):
                found[version] = candidate
                break
    return found


def _candidates(version: str) -> list[Path]:
    name = f"python{version}"
    folders = [Path(sys.base_prefix) / "bin", *map(Path, os.environ.get("PATH", os.defpath).split(os.pathsep)), *_pyenv_folders(version)]
    return [folder / name for folder in folders if (folder / name).is_file() and not (folder.parent / "pyvenv.cfg").exists()]


def _pyenv_folders(version: str) -> list[Path]:
    """The bin folders of pyenv's interpreters of this version, newest first; none without pyenv."""
    try:
        answer = subprocess.run(["pyenv", "root"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    folders = Path(answer.strip()).glob(f"versions/{version}.*/bin")
    return sorted(folders, key=lambda folder: [int(number) for number in re.findall(r"\d+", folder.parent.name)], reverse=True)


def _works(python: Path, version: str) -> bool:
    program = "import ensurepip, venv, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == version
