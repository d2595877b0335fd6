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
from dataclasses import dataclass, replace

from .._engine.guest_config import GuestConfig
from .errors import PveError, UncertainError
from .reading import Door, GuestRef
from .steps import Step, make_step

POLL_S = 1.0
START_TRIES = 2


@dataclass(frozen=True)
class Patience:
    """Seconds that a guest has for its shutdown, and PVE for its start."""

    shutdown_s: float = 180
    start_s: float = 300


class RestartError(PveError):
    """A restart that did not end as it should; the message says what became of the guest. undone: it has its old config back."""

    undone = False


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
        trouble = _start(door, guest, patience)
        if trouble and step.to_do and not _is_running(door, guest):
            _put_back(door, step, patience, trouble)
    _verify(door, step, 0 if trouble else patience.start_s, trouble)


def _start(door: Door, guest: GuestRef, patience: Patience) -> t.Optional[str]:
    """What PVE complains about in the end, or None."""
    trouble: t.Optional[str] = None
    for _try in range(START_TRIES):
        trouble = _attempt(door, guest, "start", patience.start_s)
        if trouble is None or _is_running(door, guest):
            return None
    return trouble


def _put_back(door: Door, step: Step, patience: Patience, trouble: str) -> None:
    """A guest that was running and does not start with what was written gets back what it had. Raises RestartError, always."""
    guest = step.change.ref
    read = door.read_guests([guest])[guest.vmid]
    undo = make_step(replace(step.change, after=step.before), read)
    if not isinstance(read, GuestConfig) or undo.skipped:
        raise RestartError(f"it does not start again ({trouble}), and its config cannot be put back; look after this guest")
    if undo.to_do:
        door.write(guest, undo.send, undo.delete, undo.digest)
    still = _start(door, guest, patience)
    error = RestartError(
        f"it does not start with what was planned ({trouble}), and has its previous config back, "
        + (f"with which it does not start either ({still}); look after this guest" if still else "with which it runs again")
    )
    error.undone = True
    raise error


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
