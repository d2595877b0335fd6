# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the test suites one after the other, count them, and say in the end what was not tested here and why.

Without a word: the unit tests, the group that pytest-ansible drives, the integration tests, the cases of other
programs' tests, and the unit tests of plugins again under ansible-test on the oldest and newest Python that the machine has, with
COREPIN_LONG=1 on each. With words: those suites alone, of the same and of captures and host.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import run_ansible_test
from pythons import find_pythons

sys.path.append(str(Path(__file__).resolve().parents[1] / "lab_host"))

from host_lab import requirements

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".cache" / "results"
# Without pytest.ini's switch; left to itself the plugin writes a folder collections/ of links into the checkout.
PYTEST_ANSIBLE_ON = ("-o", "addopts=--import-mode=importlib -ra", "--ansible-unit-inject-only")


@dataclasses.dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


# None: there is no such suite in this checkout.
Suite = t.Callable[[], t.Optional[Count]]


def count(report: Path) -> Count:
    """What a report in JUnit's form says; one failure where there is no report, for then the suite broke down."""
    try:
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return Count(failed=1)
    total, failed, skipped = (sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "skipped"))
    failed += sum(int(suite.get("errors", 0)) for suite in suites)
    return Count(total - failed - skipped, failed, skipped)


def pytest(name: str, *arguments: str) -> Count:
    """Run pytest in this environment."""
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *arguments]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    counted = count(report)
    return counted if code == 0 or counted.failed else counted + Count(failed=1)


def units() -> Count:
    return pytest("units", "-n", "2", "--dist", "worksteal", "--durations", "10", "tests/unit")


def integration() -> Count:
    return pytest("integration", "-n", "2", "--dist", "worksteal", "tests/integration")


def pytest_ansible() -> Count:
    return pytest("pytest_ansible", *PYTEST_ANSIBLE_ON, "tests/pytest_ansible")


def pythons() -> Count:
    """The unit tests of plugins under ansible-test: modules and their utilities on other Pythons than the one that ran them already,
    filters where Ansible runs."""
    found = find_pythons()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    others = [version for version in found if version != own] or [own]
    if os.environ.get("COREPIN_LONG") != "1":
        others = others[:1] + others[1:][-1:]
    print(f"Pythons found: {', '.join(found)}; here run {', '.join(others)}", flush=True)
    junit = run_ansible_test.COPY / "tests" / "output" / "junit"
    shutil.rmtree(junit, ignore_errors=True)
    counted = Count()
    for version in others:
        command = ["units", "--venv", "--python", version, "--num-workers", "2", "tests/unit/plugins/"]
        for _attempt in range(2):  # once more where there is no report at all: pip may not have got what the venv takes
            code = run_ansible_test.run(command, found)
            reports = sorted(junit.glob(f"python{version}-*.xml"))
            if reports:
                break
        this = sum(map(count, reports), Count())
        counted += this if reports and (code == 0) == (this.failed == 0) else this + Count(failed=1)
    return counted


def optional(folder: str, *arguments: str) -> Suite:
    def run() -> t.Optional[Count]:
        if not list((ROOT / "tests" / folder).glob("**/test_*.py")):
            print(f"tests/{folder} holds no suite: skipped.")
            return None
        return pytest(folder, *arguments, f"tests/{folder}")

    return run


def host() -> t.Optional[Count]:
    """The suite on a lab host, which takes root and some Debian packages."""
    reason = requirements.missing()
    if reason:
        print(f"tests/lab_host is skipped: {reason}.")
        return None
    # Two machines side by side, as each takes one CPU; a machine that is kept is one.
    workers = () if os.environ.get("COREPIN_LAB_HOST_KEEP") else ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    return pytest("lab_host", *workers, "--durations", "10", "tests/lab_host")


DAILY: dict[str, Suite] = {
    "units": units,
    "pytest-ansible": pytest_ansible,
    "integration": integration,
    "cases": optional("cases"),
    "bench": optional("bench"),
    "pythons": pythons,
}
SUITES = {**DAILY, "captures": optional("captures", "-s"), "host": host}


def missing_packages() -> list[str]:
    """The optional Debian packages of tests/apt-packages.txt whose program is not there."""
    lines = (line.split("#")[0].split() for line in (ROOT / "tests" / "apt-packages.txt").read_text().splitlines())
    return [line[0] for line in lines if line and not shutil.which(line[1])]


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        sys.exit(f"No suite is called {unknown[0]}: there are {', '.join(SUITES)}.")
    RESULTS.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("ANSIBLE_NOCOLOR", "1")
    counts = [counted for counted in map(run, names or DAILY) if counted]
    if not counts:
        return 0
    total = sum(counts, Count())
    missing = missing_packages()
    print(f"\n{total.skipped} tests skipped; optional Debian packages missing here: {len(missing)} ({', '.join(missing) or 'none'})")
    print(total)
    return 1 if total.failed else 0


def run(name: str) -> t.Optional[Count]:
    print(f"\n=== {name}", flush=True)
    begin, begin_cpu = time.monotonic(), _cpu_seconds()
    counted = SUITES[name]()
    seconds, cpu_seconds = time.monotonic() - begin, _cpu_seconds() - begin_cpu
    print(f"--- {name}: {counted or 'not run'} in {seconds:.0f} s ({cpu_seconds:.0f} s of CPU time)", flush=True)
    return counted


def _cpu_seconds() -> float:
    """What all programs that were run so far have taken."""
    spent = os.times()
    return spent.children_user + spent.children_system


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
