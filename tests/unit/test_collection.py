# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository says about itself in several places has to agree."""

from __future__ import annotations

from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")


def _load(root: Path, name: str) -> dict:
    return yaml.safe_load((root / name).read_text(encoding="utf-8"))


def test_the_action_group_holds_exactly_the_modules_that_take_credentials(root: Path) -> None:
    entries = _load(root, "meta/runtime.yml")["action_groups"]["proxmox"]
    named = {entry for entry in entries if isinstance(entry, str)}
    taking = {
        path.stem
        for path in (root / "plugins/modules").glob("*.py")
        if "corepin.proxmox._connection" in path.read_text(encoding="utf-8") or "api_host" in path.read_text(encoding="utf-8")
    }
    assert taking <= named


def test_the_execution_environment_names_files_that_exist(root: Path) -> None:
    for name in _load(root, "meta/execution-environment.yml")["dependencies"].values():
        assert (root / name).is_file()


def test_each_requirement_is_pinned(root: Path) -> None:
    for path in sorted((root / "requirements").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            requirement = line.split("#")[0].strip()
            assert not requirement or requirement.startswith("-r ") or "==" in requirement, f"{path.name}: {line}"
