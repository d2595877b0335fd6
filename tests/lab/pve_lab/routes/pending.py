# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two views of a guest's configuration that VMs and containers share."""

from __future__ import annotations

import typing as t

from ..errors import died, parameter_error
from ..guest import Guest
from .registry import Call


def config_view(call: Call, guest: Guest) -> dict[str, t.Any]:
    """GET config: with pending changes applied; `current`: without; `snapshot`: of that snapshot."""
    config = guest.load()
    raw = config.lxc
    if "snapshot" in call.params:
        if call.flag("current"):
            raise parameter_error({"snapshot": "cannot use 'snapshot' parameter with 'current'"})
        name = call.text("snapshot")
        if name not in config.snapshots:
            raise died(f"snapshot '{name}' does not exist")
        section, raw = config.snapshots[name], config.snapshot_lxc.get(name, [])
    else:
        section = config.main if call.flag("current") else config.effective()
    shown = guest.json_section(section)
    shown["digest"] = guest.digest
    if raw:
        shown["lxc"] = [list(pair) for pair in raw]
    return shown


def pending_view(guest: Guest) -> list[dict[str, t.Any]]:
    """GET pending: one entry per key, with its present value, its pending value, or delete (2: forced)."""
    config = guest.load()
    main, pending = guest.json_section(config.main), guest.json_section(config.pending)
    entries: list[dict[str, t.Any]] = []
    for key in [*main, *(key for key in pending if key not in main)]:
        entry: dict[str, t.Any] = {"key": key}
        if key in main:
            entry["value"] = main[key]
        if key in pending:
            entry["pending"] = pending[key]
        if key in config.pending_deletes:
            entry["delete"] = 2 if config.pending_deletes[key] else 1
        entries.append(entry)
    entries.append({"key": "digest", "value": guest.digest})
    return entries
