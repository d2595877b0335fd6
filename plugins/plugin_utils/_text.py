# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks print: one sentence per guest, and one that sums up.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

Document = t.Mapping[str, t.Any]

_SHOWN = 10  # guests that are named where many are skipped for one reason
_WHEN = {"now": "at once", "pending": "from its next start on", "restart": "by a restart", "live": "at once, also for the running guest"}


def plan_lines(plan: Document, guests: t.Sequence[Document] = ()) -> t.List[str]:
    """Changes, moves, tuning, requests, refusals, skipped guests, warnings and the sum of a plan.

    `guests` are those of guest_info, for their names.
    """
    names = {int(guest["vmid"]): str(guest.get("name") or "") for guest in guests}
    placements = {placement["vmid"]: placement for placement in plan["placements"]}
    lines = [
        f"{_guest(change, names)}: {_planned(change, placements.get(change['vmid']))}, {_WHEN[change['effect']]}. {change['reason']}"
        for change in plan["changes"]
    ]
    lines += [f"Move on {move['node']}: {move['reason']} It costs the guest {move['cost']}." for move in plan["moves"]]
    lines += [line for node, tuning in plan.get("tuning", {}).items() for line in _tuned(node, tuning)]
    lines += [_requested(entry) for entry in plan.get("requests", ())]
    lines += [f"Refused: {entry['message']}" for entry in plan["refused"]]
    lines += _skipped(plan.get("skipped", ()), names)
    lines += [f"Warning: {warning}" for warning in plan["warnings"]]
    return [*lines, _plan_sum(plan)]


def _skipped(entries: t.Sequence[Document], names: t.Mapping[int, str]) -> t.List[str]:
    """A line for each guest; for those that no rule matches and those on hosts that were not read one line per reason."""
    together: t.Dict[str, t.List[str]] = {}
    lines = []
    for entry in entries:
        if entry.get("rule") in ("no_rule", "unread_host"):
            together.setdefault(str(entry["reason"]), []).append(_label(entry["vmid"], names))
        else:
            lines.append(f"Skipped: guest {_label(entry['vmid'], names)} {entry['reason']}.")
    for reason, labels in together.items():
        shown = ", ".join(labels[:_SHOWN]) + (f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else "")
        lines.append(f"Skipped, because each {reason}: guest{'' if len(labels) == 1 else 's'} {shown}.")
    return lines


def _tuned(node: str, tuning: Document) -> t.Iterator[str]:
    """What the playbook tune will set on a host: `Tuning of pve1: CPUs 0-1,8-9 get governor performance for guest 101.`"""
    for entry in tuning["busy"]:
        who = ", ".join(map(str, entry["vmids"]))
        yield f"Tuning of {node}: CPUs {entry['cpus']} get {_frequency(entry)} for guest{'' if len(entry['vmids']) == 1 else 's'} {who}."
    if tuning["free"]:
        yield f"Tuning of {node}: {'the other' if tuning['busy'] else 'all'} CPUs get {_frequency(tuning['free'])}."
    for entry in tuning["interrupts"]:
        yield f"Tuning of {node}: the interrupts of {entry['pci']} go to CPUs {entry['cpus']} of guest {entry['vmid']}."


def _frequency(entry: Document) -> str:
    words = {"governor": "governor", "epp": "energy preference"}
    return " and ".join(f"{word} {entry[key]}" for key, word in words.items() if entry[key])


def _requested(entry: Document) -> str:
    """Where a guest that is still to be created would go: `Requested: db 1 on pve2, CPUs 0,32. The reason.`"""
    what = f"Requested: {entry['name']} {entry['number']}"
    if not entry["node"]:
        return f"{what} has no room: {entry['reason']}"
    return f"{what} on {entry['node']}{', CPUs ' + entry['cpus'] if entry['cpus'] else ''}. {entry['reason']}"


def result_lines(results: t.Sequence[Document], check_mode: bool = False) -> t.List[str]:
    """What guest_placement did, one line per guest that it changed or skipped, and the sum of it."""
    changed = [result for result in results if result["changed"]]
    skipped = [result for result in results if result["skipped"]]
    lines = [f"{_guest(result, {})}: {_written(result)}, {_WHEN[result['effect']]}." for result in changed]
    lines += [f"Skipped: guest {result['vmid']} on {result['node']}, because {result['reason']}." for result in skipped]
    done = "would change" if check_mode else "changed"
    agree = len(results) - len(changed) - len(skipped)
    sums = f"{done.capitalize()}: {_guests(len(changed))}. As planned already: {_guests(agree)}. Skipped: {_guests(len(skipped))}."
    waiting = [str(result["vmid"]) for result in results if result["effect"] == "pending"]
    restarted = [str(result["vmid"]) for result in results if result["effect"] == "restart"]
    sums += f" {'Would restart' if check_mode else 'Restarted'}: {', '.join(restarted)}." if restarted else ""
    pending = f"Pending until their next start (stop and start): {', '.join(waiting)}." if waiting else "None waits for a start."
    return [*lines, sums, pending]


def _plan_sum(plan: Document) -> str:
    counts = plan["summary"]
    return (
        f"Plan {plan['plan_id'][:12]} for {_guests(counts['guests'])}: {counts['placed']} placed ({counts['kept']} of them stay), "
        f"{counts['changed']} to be changed ({counts['pending']} of them from their next start on), {counts['refused']} refused, "
        f"{counts['skipped']} skipped, {counts['unmanaged']} not managed."
    )


def _guest(entry: Document, names: t.Mapping[int, str]) -> str:
    return f"Guest {_label(entry['vmid'], names)} on {entry['node']}"


def _label(vmid: int, names: t.Mapping[int, str]) -> str:
    return f"{vmid} ({names[vmid]})" if names.get(vmid) else str(vmid)


def _planned(change: Document, placement: t.Optional[Document]) -> str:
    """A change in words: `CPUs 8-11 -> 0,32,1,33, memory on NUMA node 0`."""
    before, after = change["before"], change["after"]
    parts = [f"CPUs {before['affinity'] or 'any'} -> {after['affinity'] or 'any'}"] if "affinity" in after else []
    if any(key.startswith("numa") for key in after):
        parts.append(_memory(placement["numa_cells"] if placement else ()))
    others = [key for key in sorted(after) if key != "affinity" and not key.startswith("numa")]
    return ", ".join(parts + _keys(before, after, others))


def _written(result: Document) -> str:
    """The keys that were written: `affinity 8-11 -> 0,32,1,33, numa absent -> 1`."""
    before, after = result["before"], result["after"]
    return ", ".join(_keys(before, after, [key for key in sorted(after) if before[key] != after[key]])) or "config as it was"


def _keys(before: Document, after: Document, keys: t.Iterable[str]) -> t.List[str]:
    return [f"{key} {_value(before[key])} -> {_value(after[key])}" for key in keys]


def _value(value: t.Optional[str]) -> str:
    return "absent" if value is None else str(value)


def _memory(cells: t.Sequence[Document]) -> str:
    bound = [str(cell["hostnodes"]) for cell in cells if cell["hostnodes"] not in (None, "")]
    return f"memory on NUMA node{'s' if len(bound) > 1 else ''} {' and '.join(bound)}" if bound else "memory not bound to a NUMA node"


def _guests(number: int) -> str:
    return f"{number} guest{'' if number == 1 else 's'}"
