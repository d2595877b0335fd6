# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of guest_pinning: its rows, sentences, and before and after for `--diff`.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import errno
import typing as t

from .._engine.cpuset import format_cpulist, parse_cpulist
from .memory_move import Moved
from .memory_work import MemoryWork
from .pinning import Target

Row = t.Dict[str, t.Any]


def row_of(vmid: int, target: t.Optional[Target]) -> Row:
    """The row of a guest before anything is known of it."""
    return {
        "vmid": vmid,
        "type": None,
        "class": target.cpu_class if target else None,
        "changed": False,
        "skipped": False,
        "failed": False,
        "reason": None,
        "before": None,
        "after": None,
    }


def memory_row(memory: MemoryWork, moved: t.Optional[Moved]) -> Row:
    """Amounts in MiB by NUMA node, as texts; without `moved` what would be moved."""

    def texts(amounts: t.Mapping[int, int]) -> t.Dict[str, int]:
        return {str(numa_node): mib for numa_node, mib in sorted(amounts.items())}

    row: Row = {"numa_nodes": format_cpulist(memory.homes), "before": texts(memory.before_mib), "astray": texts(memory.astray_mib)}
    if moved is not None:
        row.update(after=texts(moved.after), moved_mib=moved.moved_mib, left=texts(moved.left_mib), refused=texts(moved.refused_mib))
        row.update(finished=moved.finished, steps=moved.steps, seconds=moved.seconds)
    return row


def left_over(vmid: int, moved: Moved) -> t.List[str]:
    """Warnings of memory that is still elsewhere."""
    warnings = []
    if moved.refused_mib:
        text = "has no room for" if moved.lacks_room else "is closed by a cgroup (cpuset.mems) to"
        numa_nodes = [numa_node for numa_node, code in sorted(moved.refused.items()) if (code == errno.ENOMEM) == moved.lacks_room]
        warnings.append(
            f"NUMA node {' and '.join(map(str, numa_nodes))} {text} memory of guest {vmid}, which still has {_amounts(moved.refused_mib)}; "
            f"{'free some of it' if moved.lacks_room else 'open it'} and run this again, or plan again."
        )
    if moved.stuck_mib and moved.finished:
        left = _amounts(moved.stuck_mib)
        warnings.append(f"Guest {vmid} still has {left}, which the kernel would not move, as a device may use it directly.")
    elif moved.stuck_mib:
        left = _amounts(moved.stuck_mib)
        warnings.append(f"Time was up for the memory of guest {vmid}, which still has {left}; run it again to go on.")
    return warnings


def _amounts(mib_by_node: t.Mapping[int, int]) -> str:
    return " and ".join(f"{mib} MiB on NUMA node {numa_node}" for numa_node, mib in mib_by_node.items())


def lines_of(rows: t.Sequence[Row], units: t.Sequence[Row], failed_units: t.Sequence[str]) -> t.List[str]:
    """Sentences for each guest that changes, fails or is skipped, and for each unit of the host's services."""
    lines = [sentence for row in rows for sentence in _sentences(row)]
    lines += [f"{unit['unit']}: CPUs {unit['before']} -> {unit['after']}." for unit in units]
    return lines + [f"Failed: {message}" for message in failed_units]


def _sentences(row: Row) -> t.Iterator[str]:
    if row["changed"]:
        before, after = row["before"], row["after"]
        parts = [_cpus(before, after), _key(before, after), _memory(row)]
        told = ", ".join(filter(None, parts)) or f"held to CPUs {after['scope']}"  # its scope asked for others, which are offline
        yield f"Guest {row['vmid']}: {told}."
    if row["failed"]:
        yield f"Failed: {row['reason']}"
    elif row["skipped"]:
        yield f"Guest {row['vmid']} is left alone, because {row['reason']}."


def _cpus(before: Row, after: Row) -> str:
    if (before["scope"], before["threads"]) == (after["scope"], after["threads"]):
        return ""
    vcpus = after["threads"].get("vcpu", [])
    pinned = f", one vCPU each on {','.join(vcpus)}" if len(set(vcpus)) > 1 else ""
    if before["scope"] == after["scope"]:
        return f"threads within CPUs {after['scope']}{pinned}"
    return f"CPUs {before['scope'] or 'unknown'} -> {after['scope']}{pinned}"


def _key(before: Row, after: Row) -> str:
    if before.get("stored") == after.get("stored"):
        return ""
    return f"cpuset of its next start {before['stored'] or 'unset'} -> {after['stored'] or 'unset'}"


def _memory(row: Row) -> str:
    memory = row.get("memory") or {}
    amount = memory.get("moved_mib", sum(memory.get("astray", {}).values()))
    moved = f"{amount} MiB to NUMA node {memory['numa_nodes']}" if amount else ""
    before, after = (row[side].get("memory_nodes", "") for side in ("before", "after"))
    if before == after:
        return moved
    if not parse_cpulist(before) & ~parse_cpulist(after):
        return f"{moved}, memory is open again".lstrip(", ")
    return moved or f"memory held to NUMA node {after}"


def diff_of(result: Row) -> t.Dict[str, t.Any]:
    """Guests and units that change, before and after."""
    changed = [row for row in result["guests"] if row["changed"]]
    return {
        side: {
            "guests": {str(row["vmid"]): {**row[side], **_astray(row.get("memory"), side)} for row in changed},
            "units": {unit["unit"]: unit[side] for unit in result["units"]},
        }
        for side in ("before", "after")
    }


def _astray(memory: t.Optional[Row], side: str) -> Row:
    """The memory that is not where the plan wants it; in check mode none is expected afterwards."""
    if not memory:
        return {}
    return {"memory_astray": memory["astray"] if side == "before" else memory.get("left", {})}
