# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart one guest through PVE, so that its next process has what is stored, and see that it has.

A guest is asked to shut down and never stopped by force. High availability has a way of its own: what the API calls a
shutdown of a managed guest is a request to the resource manager, which stops by force after a time-out (shutdown in
pve-ha-manager's src/PVE/HA/Resources/PVEVM.pm passes forceStop). A reboot through the API goes past it, has no force in
it, and ends with a cold start too (vm_reboot in qemu-server's src/PVE/QemuServer.pm).

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from .errors import PveError, UncertainError
from .reading import Door, GuestRef
from .steps import Step, make_step

POLL_S = 1.0


@dataclass(frozen=True)
class Patience:
    """Seconds that a guest has for its shutdown, and PVE for its start."""

    shutdown_s: float = 180
    start_s: float = 300


class RestartError(PveError):
    """A restart that did not end as it should; the message says what became of the guest."""


def restart(door: Door, step: Step, managed: bool, patience: Patience) -> None:
    """Shut down, start, and see that the guest runs with the planned config. Raises RestartError.

    managed: whether high availability looks after the guest.
    """
    try:
        _restart(door, step, managed, patience)
    except RestartError:
        raise
    except PveError as e:
        raise RestartError(f"its restart was begun, and how it ended is not known ({str(e).rstrip('.')}); look after this guest") from e


def _restart(door: Door, step: Step, managed: bool, patience: Patience) -> None:
    guest = step.change.ref
    trouble = _attempt(door, guest, "reboot" if managed else "shutdown", patience.shutdown_s)
    if managed:
        left_running = trouble is not None and _is_running(door, guest) and _problem(door, step) is not None
    else:
        left_running = _is_running(door, guest)
    if left_running:
        raise RestartError(
            f"it did not shut down within {patience.shutdown_s:g} s ({trouble or 'it runs'}) and was left running with its old placement; "
            "it may still follow the request, so look after it"
        )
    if not managed:
        trouble = _attempt(door, guest, "start", patience.start_s)
    _verify(door, step, 0 if trouble else patience.start_s, trouble)


def _attempt(door: Door, guest: GuestRef, action: str, seconds: float) -> t.Optional[str]:
    """What PVE complains about, or None. The guest itself shows whether it worked, for an answer may be lost as well."""
    try:
        door.power(guest, action, seconds)
    except UncertainError as e:
        deadline = time.monotonic() + seconds
        while _is_running(door, guest) is not (action == "start") and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return str(e).rstrip(".")
    except PveError as e:
        return e.words.rstrip(".")
    return None


def _verify(door: Door, step: Step, seconds: float, trouble: t.Optional[str]) -> None:
    """Look until all is well, for at most so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        problem = _problem(door, step)
        if problem is None:
            return
        if time.monotonic() >= deadline:
            raise RestartError(f"after its restart {problem}" + (f" (PVE: {trouble})" if trouble else ""))
        time.sleep(POLL_S)


def _is_running(door: Door, guest: GuestRef) -> bool:
    return door.running([guest])[guest.vmid]


def _problem(door: Door, step: Step) -> t.Optional[str]:
    """What is not as it should be after the restart, or None."""
    guest = step.change.ref
    if not _is_running(door, guest):
        return "it does not run; start it, or undo the plan for it first (playbook rollback)"
    present = make_step(step.change, door.read_guests([guest])[guest.vmid])
    if present.skipped:
        return f"it cannot be looked at, because {present.skipped}"
    if present.to_do:
        return "its config is not as planned any more"
    return "it runs, but PVE still holds its placement as pending" if present.waits else None
