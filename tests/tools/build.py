# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's tarball from what git knows, so that nothing that lies about gets in: `build.py FOLDER`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from checkout import copy_checkout

GALAXY = Path(sys.prefix) / "bin" / "ansible-galaxy"


def build(folder: Path) -> int:
    """ansible-galaxy's exit code; the tarball is in `folder` where it is 0."""
    with tempfile.TemporaryDirectory() as temporary:
        checkout = Path(temporary) / "checkout"
        copy_checkout(checkout)
        command = [GALAXY, "collection", "build", "--force", "--output-path", folder.resolve(), checkout]
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
