# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how the lab compares with a directory of recordings: python -m pve_lab.replay DIRECTORY"""

from __future__ import annotations

import pathlib
import sys
import typing as t

from .explained import EXPLAINED
from .recordings import RECORDED
from .starts import play_start, read_start_cases


def main(arguments: t.Sequence[str]) -> int:
    """A line per recording, a line per difference; 1 if any of them is unexplained."""
    directory = pathlib.Path(arguments[0])
    exchanges = equal = unexplained = 0
    for recording in RECORDED:
        player = recording.play(directory)
        exchanges, equal = exchanges + player.exchanges, equal + player.equal
        print(f"{recording.name:30} {player.exchanges:4} exchanges, {player.equal:4} equal, {player.notes:3} notes checked")
        for difference in player.differences:
            reason = next((why for start, why in EXPLAINED.get(difference.place, {}).items() if difference.what.startswith(start)), None)
            unexplained += reason is None
            print(f"    {difference.place}: {difference.what}\n        {reason or 'NOT EXPLAINED'}")
    cases = read_start_cases(directory / "start-errors.txt")
    wrong = [(case, found) for case in cases for found in play_start(case)]
    print(f"{'start-errors':30} {len(cases):4} starts,    {len(cases) - len({id(case) for case, _found in wrong}):4} equal")
    for case, found in wrong:
        print(f"    {case.config}: {found}")
    print(f"{'all':30} {exchanges:4} exchanges, {equal:4} equal, {unexplained + len(wrong)} differences unexplained")
    return 1 if unexplained or wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
