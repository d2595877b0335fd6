# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the quality gates, all of them even where one fails: `lint.py`, or `lint.py ruff mypy` for some."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import run_ansible_test
from pythons import find_pythons

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix) / "bin"
COLLECTIONS = ROOT / ".ansible" / "collections"


def tool(name: str, *arguments: str, **environment: str) -> t.Callable[[], bool]:
    """A gate that is one program of the environment."""

    def passes() -> bool:
        env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}", **environment}
        done = subprocess.run([BIN / name, *arguments], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    return passes


def sanity() -> bool:
    """ansible-test's sanity tests without an ignore file, on each Python that is found here."""
    ignored = sorted((ROOT / "tests" / "sanity").glob("ignore-*.txt"))
    if ignored:
        print(f"{ignored[0].name}: sanity runs without an ignore file here; mend what it hides.")
        return False
    return run_ansible_test.run(["sanity", "--local", "--color", "no"], find_pythons()) == 0


GATES: dict[str, t.Callable[[], bool]] = {
    "ruff": tool("ruff", "check", "--quiet"),
    "format": tool("ruff", "format", "--check", "--quiet"),
    "yamllint": tool("yamllint", "--strict", "."),
    "vermin": tool("vermin", "--no-tips", "--violations", "--quiet", "-t=3.9-", "plugins/module_utils", "plugins/modules"),
    "mypy": tool("mypy"),
    "imports": tool("lint-imports", "--no-logo", "--cache-dir", ".cache/import-linter", PYTHONPATH=str(COLLECTIONS)),
    "changelog": tool("antsibull-changelog", "lint"),
    "ansible-lint": tool("ansible-lint", "--offline", "--nocolor", "-q", ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS)),
    "docs": tool("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "."),
    "sanity": sanity,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in GATES]
    if unknown:
        sys.exit(f"No gate is called {unknown[0]}: there are {', '.join(GATES)}.")
    failed = []
    for name in names or GATES:
        print(f"=== {name}", flush=True)
        begin = time.monotonic()
        passed = GATES[name]()
        print(f"--- {name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - begin:.0f} s", flush=True)
        failed += [] if passed else [name]
    print(f"\n{len(names or GATES) - len(failed)} gates passed, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
