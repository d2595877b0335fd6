# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guides show has to work: every policy in them is read, and every file that they point to exists."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import POLICY_KEYS, RULE_KEYS
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy_variables import OTHER_VARIABLES, fold

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", ROOT / "roles" / "corepin" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SPECIFICATION = ROOT / "roles" / "corepin" / "meta" / "argument_specs.yml"


def blocks(guide: Path) -> t.Iterator[t.Any]:
    for block in re.findall(r"^```yaml\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield yaml.safe_load(block)


def variables_in(document: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Every mapping with corepin_* keys, wherever it stands."""
    if isinstance(document, dict):
        found = {key: value for key, value in document.items() if isinstance(key, str) and key.startswith("corepin_")}
        if found:
            yield found
        for value in document.values():
            yield from variables_in(value)
    if isinstance(document, list):
        for item in document:
            yield from variables_in(item)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_each_variable_in_a_guide_is_known_and_valid(guide: Path) -> None:
    for document in blocks(guide):
        for variables in variables_in(document):
            fold({"pve1": variables})


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_each_link_leads_to_a_file(guide: Path) -> None:
    text = re.sub(r"`[^`\n]+`", "", guide.read_text(encoding="utf-8"))  # code holds no links
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (guide.parent / target).exists(), f"{guide.name} points to {target}"


def test_the_policy_guide_names_every_variable_and_rule_key() -> None:
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    assert [key for key in POLICY_KEYS if f"corepin_{key}" not in text] == []
    assert [key for key in RULE_KEYS if f"`{key}`" not in text and f"### {key}" not in text] == []


def test_the_role_documents_every_variable_of_the_policy_and_no_unknown_one() -> None:
    entries = yaml.safe_load(SPECIFICATION.read_text(encoding="utf-8"))["argument_specs"]
    documented = {name for entry in entries.values() for name in entry["options"]}
    known = {f"corepin_{key}" for key in (*POLICY_KEYS, *OTHER_VARIABLES)}
    assert {f"corepin_{key}" for key in POLICY_KEYS} <= set(entries["plan"]["options"])
    assert documented <= known
