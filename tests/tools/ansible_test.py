# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test on this checkout, wherever it lies and without a container: `ansible_test.py sanity`, `... units`.

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

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".cache" / "ansible-test"
COPY = WORK / "ansible_collections" / "corepin" / "proxmox"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
GET_PIP = "import ensurepip\n\nensurepip.bootstrap(upgrade=True)\n"


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
    """Make `target` hold the checkout's files and no others, but for what ansible-test itself keeps in tests/output."""
    wanted = tracked_files()
    for name in wanted:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    keep = set(wanted)
    for folder, folders, files in os.walk(target, topdown=True):
        if Path(folder) == target / "tests":
            folders[:] = [name for name in folders if name != "output"]
        for name in files:
            path = Path(folder) / name
            if str(path.relative_to(target)) not in keep:
                path.unlink()


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


def provide_get_pip() -> None:
    """Put a file in the place of get-pip that bootstraps the pip which Python itself carries, unless one is there."""
    import ansible_test

    versions = set(re.findall(r"\bpip='([\d.]+)'", (Path(ansible_test.__file__).parent / "_internal" / "python_requirements.py").read_text()))
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


def run(arguments: list[str], pythons: dict[str, Path]) -> int:
    """ansible-test's exit code for `arguments`, in the copy of the checkout as it is now."""
    provide_get_pip()
    copy_checkout(COPY)
    command = [str(Path(sys.prefix) / "bin" / "ansible-test"), *arguments]
    return subprocess.run(command, cwd=COPY, env=environment(pythons), stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], find_pythons()))
