# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a captured tree, compare it with every answer there is for it, and keep the outcome for the table."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host
from explained import EXPLAINED
from levels import LEVELS, Levels, differences, from_facts

AGREES, EXPLAINED_MARK, DIFFERS, NOT_TOLD = "=", "~", "!", "."


@dataclass
class Row:
    """One capture. `marks` is level -> worst outcome over all readers.

    `unexplained` are differences that nobody has given a reason for, `stale` reasons for differences that are gone.
    """

    capture: str
    cpus: int
    readers: t.List[str]
    marks: t.Dict[str, str] = field(default_factory=dict)
    unexplained: t.List[str] = field(default_factory=list)
    stale: t.List[str] = field(default_factory=list)


@contextlib.contextmanager
def unpacked(archive: Path, folders: t.Tuple[str, ...] = ("",)) -> t.Iterator[Path]:
    """The one top folder of a tar archive, while the context lasts; of its members those that begin with one of `folders`.

    Many captures together are some hundred thousand files: none is kept longer than needed.
    """
    with tempfile.TemporaryDirectory(prefix="corepin-capture-") as directory:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.split("/", 1)[-1].startswith(folders)]
            options: t.Dict[str, t.Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
            tar.extractall(directory, members, **options)
        (top,) = Path(directory).iterdir()
        yield top


def compare(capture: str, root: Path, answers: t.Mapping[str, t.Optional[Levels]]) -> Row:
    """Read the tree below `root` and hold it against each reader's answer (None: this reader has none)."""
    ours = from_facts(read_host(str(root)))
    told = {reader: answer for reader, answer in answers.items() if answer is not None}
    row = Row(capture, len(ours.cpus or ()), sorted(told))
    for reader, answer in sorted(told.items()):
        found = differences(ours, answer)
        for level, difference in found.items():
            reason = EXPLAINED.get((capture, level, reader))
            mark = AGREES if difference is None else EXPLAINED_MARK if reason else DIFFERS
            row.marks[level] = max(row.marks.get(level, AGREES), mark, key=(AGREES, EXPLAINED_MARK, DIFFERS).index)
            if mark == DIFFERS:
                row.unexplained.append(f"{capture}: {level} by {reader}: {difference}")
            if difference is None and reason:
                row.stale.append(f"{capture}: {level} by {reader} agrees, but is still explained: {reason}")
    return row


def table(rows: t.Sequence[Row]) -> t.List[str]:
    """Lines of text: a head, a line for each capture, the sums."""
    width = max(len(row.capture) for row in rows)
    lines = [
        f"{AGREES} agrees   {EXPLAINED_MARK} differs for a known reason   {DIFFERS} differs   {NOT_TOLD} nothing to compare with",
        f"{'capture':{width}}  CPUs  {'  '.join(f'{level:8}' for level in LEVELS)}  readers",
    ]
    for row in sorted(rows, key=lambda row: row.capture):
        marks = "  ".join(f"{row.marks.get(level, NOT_TOLD):8}" for level in LEVELS)
        lines.append(f"{row.capture:{width}}  {row.cpus:>4}  {marks}  {' '.join(row.readers)}")
    for mark, words in ((AGREES, "agree"), (EXPLAINED_MARK, "differ for a known reason"), (DIFFERS, "differ")):
        counts = (sum(row.marks.get(level) == mark for row in rows) for level in LEVELS)
        lines.append(f"{words:{width}}        {'  '.join(f'{count:<8}' for count in counts)}")
    return [line.rstrip() for line in lines]
