# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of all guests of a host: one after the other, and those that lack room again after the others.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from .files import Tree
from .hands import Hands
from .memory_move import Moved
from .memory_progress import Progress
from .memory_work import MemoryWork, carry_out_memory
from .runtime import Running


def carry_out_all(
    tree: Tree, hands: Hands, jobs: t.Sequence[t.Tuple[Running, MemoryWork]], deadline: float, progress: Progress
) -> t.Dict[int, t.Optional[Moved]]:
    """What became of each guest, by vmid, as carry_out_memory says.

    A guest that lacks room is tried again after the others, whose memory may have made room on its way, for as long as that helps.
    """
    done: t.Dict[int, t.Optional[Moved]] = {}
    todo = list(jobs)
    while todo:
        before = _moved_mib(done)
        for guest, work in todo:
            earlier, now = done.get(guest.vmid), carry_out_memory(tree, hands, guest, work, deadline, progress)
            done[guest.vmid] = earlier.then(now) if earlier and now else now
        todo = [(guest, _rest(work, moved)) for guest, work in todo for moved in [done[guest.vmid]] if moved and _can_go_on(moved)]
        if _moved_mib(done) == before or time.monotonic() > deadline:
            break
    return done


def _moved_mib(done: t.Mapping[int, t.Optional[Moved]]) -> int:
    return sum(moved.moved_mib for moved in done.values() if moved)


def _can_go_on(moved: Moved) -> bool:
    return moved.lacks_room and moved.finished and not moved.failure


def _rest(work: MemoryWork, moved: Moved) -> MemoryWork:
    """What is still to be done after a part of it."""
    return replace(work, has=moved.held, narrow=None if work.narrow == moved.held else work.narrow)
