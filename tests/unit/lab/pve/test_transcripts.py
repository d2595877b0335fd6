# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab against recordings of a real PVE 9.2: every exchange is sent anew and its answer compared.

The recordings are looked for in the directory that COREPIN_TRANSCRIPTS names, else beside the checkout; without them
the tests are skipped. `python -m pve_lab.replay DIRECTORY` prints the same as a table.
"""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

pytest.importorskip("cryptography", reason="the lab's server needs the package cryptography")

from pve_lab.replay.explained import EXPLAINED
from pve_lab.replay.recordings import RECORDED, Recording
from pve_lab.replay.starts import StartCase, play_start, read_start_cases

CHECKOUT = pathlib.Path(__file__).resolve().parents[4]
RECORDINGS = pathlib.Path(os.environ.get("COREPIN_TRANSCRIPTS") or CHECKOUT.parent / "shared" / "pve-transcripts")
STARTS = RECORDINGS / "start-errors.txt"

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings of a real PVE: COREPIN_TRANSCRIPTS names none")


@pytest.mark.parametrize("recording", RECORDED, ids=lambda recording: recording.name)
def test_replay(recording: Recording, record_property: t.Callable[[str, t.Any], None]) -> None:
    player = recording.play(RECORDINGS)
    found = [(difference.place, difference.what) for difference in player.differences]
    unexplained = [f"{place}: {what}" for place, what in found if not any(what.startswith(start) for start in EXPLAINED.get(place, {}))]
    stale = [
        f"{place}: {start}"
        for place, starts in EXPLAINED.items()
        for start in starts
        if place.startswith(recording.name + ":") and not any(where == place and what.startswith(start) for where, what in found)
    ]
    print(f"{recording.name}: {player.exchanges} exchanges, {player.equal} equal, {player.notes} notes checked")
    record_property("exchanges", player.exchanges)
    record_property("equal", player.equal)
    assert not unexplained, "\n".join(unexplained)
    assert not stale, "explained, but no longer different: " + "\n".join(stale)


@pytest.mark.parametrize("case", read_start_cases(STARTS) if STARTS.is_file() else [], ids=lambda case: repr(case.config))
def test_replay_of_starts(case: StartCase) -> None:
    assert play_start(case) == []
