# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The captures in the test suites of hwloc and util-linux, from Debian's source packages.

Answers: what the installed hwloc-ls and lscpu say, and the expected outputs that the suites ship. Without network (and
nothing in the cache) this is skipped.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from comparison import Row, compare, unpacked
from debian_sources import Unavailable, debian_sources, fetch
from levels import Levels
from oracles import INSTALLED_LSCPU, INSTALLED_LSTOPO, from_lscpu, from_lstopo, run_lscpu, run_lstopo

# Shipped outputs that answer another question than ours.
OTHER_QUESTION = {
    "16amd64-8n2c-cpusets": "shows only the CPUs and NUMA nodes that the cpuset of the capturing process allows",
    "16em64t-4s2ca2c-cpusetreorder": "shows only the CPUs that the cpuset of the capturing process allows",
    "32amd64-4s2n4c-cgroup2": "shows only the CPUs and NUMA nodes that the cgroup of the capturing process allows",
    "4fake-4gr1nu1pu": "shows only the CPUs and NUMA nodes that the cpuset of the capturing process allows",
}


def archive_of(package: str) -> Path:
    try:
        return fetch(package)
    except Unavailable as e:
        pytest.skip(str(e))


def host_root(top: Path) -> Path:
    """The folder in an unpacked capture that has sys/ in it."""
    return next(path for path in (top, top / "fsroot") if (path / "sys").is_dir())


def installed_readers(root: Path) -> t.Dict[str, t.Optional[Levels]]:
    """What the programs on this machine say, whatever their version."""
    return {INSTALLED_LSTOPO: run_lstopo(root), INSTALLED_LSCPU: run_lscpu(root)}


def assert_explained(rows: t.Sequence[Row]) -> None:
    """A reason that is not needed here is no fault: packages and programs of another release may need it."""
    assert [line for row in rows for line in row.unexplained] == []


def test_captures_of_hwloc(rows: t.List[Row]) -> None:
    mine = []
    with unpacked(archive_of("hwloc"), ("tests/hwloc/linux/", "tests/hwloc/x86+linux/")) as top:
        for archive in sorted(top.glob("tests/hwloc/*linux/*.tar.bz2")):
            name = archive.name[: -len(".tar.bz2")]
            with unpacked(archive) as capture:
                root = host_root(capture)
                answers = {**installed_readers(root), "hwloc-suite": shipped_lstopo(archive.parent, name)}
                mine.append(compare(f"debian-hwloc-{name}", root, answers))
    rows.extend(mine)
    assert len(mine) >= 40
    assert_explained(mine)


def shipped_lstopo(folder: Path, name: str) -> t.Optional[Levels]:
    """The suite's expected output, where it was made without options or settings that change what is shown."""
    if name in OTHER_QUESTION or (folder / f"{name}.env").exists() or (folder / f"{name}.options").exists():
        return None
    outputs = [path for path in (folder / f"{name}.output", folder / f"{name}.xml.output") if path.exists()]
    return from_lstopo(outputs[0].read_text("utf-8")) if outputs else None


def test_captures_of_util_linux(rows: t.List[Row]) -> None:
    mine = []
    with unpacked(archive_of("util-linux"), ("tests/ts/lscpu/", "tests/expected/lscpu/")) as top:
        for archive in sorted(top.glob("tests/ts/lscpu/dumps/*.tar.gz")):
            name = archive.name[: -len(".tar.gz")]
            expected = top / "tests" / "expected" / "lscpu" / f"lscpu-{name}"
            shipped = from_lscpu(expected.read_text("utf-8")) if expected.exists() else None
            with unpacked(archive) as capture:
                root = host_root(capture)
                answers = {**installed_readers(root), "util-linux-suite": shipped}
                mine.append(compare(f"debian-util-linux-{name}", root, answers))
    rows.extend(mine)
    assert len(mine) >= 10
    assert_explained(mine)


def test_only_the_releases_own_mirrors_are_asked(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "debian.sources").write_text(
        "# a comment\nTypes: deb\nURIs: http://deb.example.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/a.gpg\n\nTypes: deb\nURIs: http://deb.example.org/security\n"
        "Suites: bookworm-security\nComponents: main\n"
    )
    (parts / "other.list").write_text("deb [arch=amd64 signed-by=/k.gpg] https://tools.example.com/apt tools-bookworm main\n")
    (tmp_path / "sources.list").write_text("deb http://mirror.example.net/debian bookworm main contrib\n")
    assert debian_sources(tmp_path, "bookworm") == [
        {
            "Types": "deb-src",
            "URIs": "http://deb.example.org/debian",
            "Suites": "bookworm",
            "Components": "main",
            "Signed-By": "/usr/share/keyrings/a.gpg",
        },
        {"Types": "deb-src", "URIs": "http://mirror.example.net/debian", "Suites": "bookworm", "Components": "main"},
    ]


def test_the_cache_lies_outside_the_repository() -> None:
    from debian_sources import cache_directory

    repository = Path(__file__).resolve().parents[2]
    assert repository not in cache_directory().resolve().parents
    assert os.path.isabs(cache_directory())
