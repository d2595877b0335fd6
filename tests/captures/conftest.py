# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the capture tests share: their helper modules on the path, a table of all captures printed at the end."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from comparison import Row, table

_ROWS: t.List[Row] = []


@pytest.fixture(scope="session")
def rows() -> t.List[Row]:
    """Each compared capture appends its row."""
    return _ROWS


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    if _ROWS:
        terminalreporter.section("captured hosts")
        for line in table(_ROWS):
            terminalreporter.write_line(line)
