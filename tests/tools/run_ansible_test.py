# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test on this checkout, wherever it lies and without a container: `run_ansible_test.py sanity`, `... units`.

ansible-test wants to stand in a real folder ansible_collections/corepin/proxmox (it asks the kernel for its working
directory, so that a link does not help), real interpreters named pythonX.Y on PATH (the shims of pyenv answer to
every name and then fail), and a copy of get-pip, which it would fetch from a host that closed networks do not reach.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ansible_test
from checkout import ROOT, copy_checkout
from pythons import find_pythons

COPY = ROOT / ".cache" / "ansible-test" / "ansible_collections" / "corepin" / "proxmox"
GET_PIP = "import ensurepip\n\nensurepip.bootstrap(upgrade=True)\n"


def provide_get_pip() -> None:
    """Put a file in the place of get-pip that bootstraps the pip which Python itself carries, unless one is there."""
    source = Path(ansible_test.__file__).parent / "_internal" / "python_requirements.py"
    versions = set(re.findall(r"\bpip='([\d.]+)'", source.read_text()))
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in versions:
        path = cache / f"get_pip_{version.replace('.', '_')}.py"
        if not path.exists():
            path.write_text(GET_PIP)


def environment(pythons: dict[str, Path]) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    folders = [str(Path(sys.prefix) / "bin"), *(str(python.parent) for python in pythons.values()), env.get("PATH", os.defpath)]
    env["PATH"] = os.pathsep.join(dict.fromkeys(folders))
    env["LC_ALL"] = "C.UTF-8"
    return env


def _make_repository(folder: Path) -> None:
    """Give the copy a git of its own: ansible-test would ask the checkout's, which ignores the folder of the copy."""
    if not (folder / ".git").exists() and shutil.which("git"):
        subprocess.run(["git", "init", "--quiet", folder], check=True)


def run(arguments: list[str], pythons: dict[str, Path]) -> int:
    """ansible-test's exit code for `arguments`, in the copy of the checkout as it is now."""
    provide_get_pip()
    copy_checkout(COPY)
    _make_repository(COPY)
    command = [str(Path(sys.prefix) / "bin" / "ansible-test"), *arguments]
    return subprocess.run(command, cwd=COPY, env=environment(pythons), stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], find_pythons()))
