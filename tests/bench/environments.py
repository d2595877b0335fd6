# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments for peers whose requirements do not go together with ours, made on first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Unavailable(Exception):
    """A peer cannot be run here; the text says why."""


def python_with(peer: str, words: str) -> Path:
    """The Python of .venv-PEER, made anew when requirements/PEER.txt has changed; `words` say what that costs. Raises Unavailable."""
    folder, requirements = ROOT / f".venv-{peer}", ROOT / "requirements" / f"{peer}.txt"
    python, stamp = folder / "bin" / "python", folder / ".requirements"
    if stamp.is_file() and stamp.read_text() == requirements.read_text():
        return python
    print(f"Making {folder.name} {words} ...", flush=True)
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "-r", requirements]
    for command in ([sys.executable, "-m", "venv", "--clear", folder], pip):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise Unavailable(f"{folder.name} could not be made: {last[0]}")
    stamp.write_text(requirements.read_text())
    return python
