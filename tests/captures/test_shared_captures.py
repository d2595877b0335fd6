# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Captured hosts in ../shared/captures or in the directory COREPIN_CAPTURES, each with answers of other readers.

A capture NAME.tar.xz holds NAME/root (sys/ and proc/) and NAME/oracle/expected.json.
"""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from comparison import Row, compare, unpacked
from oracles import from_expected_json

CAPTURES = Path(os.environ.get("COREPIN_CAPTURES") or Path(__file__).resolve().parents[2] / ".." / "shared" / "captures")
NAMES = sorted(path.name[: -len(".tar.xz")] for path in CAPTURES.glob("*.tar.xz"))


@pytest.mark.skipif(not NAMES, reason=f"no captures in {CAPTURES}; name their directory in COREPIN_CAPTURES")
@pytest.mark.parametrize("capture", NAMES)
def test_capture(capture: str, rows: t.List[Row]) -> None:
    with unpacked(CAPTURES / f"{capture}.tar.xz") as top:
        answers = from_expected_json(json.loads((top / "oracle" / "expected.json").read_text("utf-8")))
        row = compare(capture, top / "root", answers)
    rows.append(row)
    assert row.unexplained == []
    assert row.stale == []
