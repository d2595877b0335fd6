# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift of what hosts do for their guests: governors and energy preferences of CPUs, and where interrupts go.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .audit_drift import Drift
from .cpuset import format_cpulist, parse_cpulist, union
from .guest import Guest, has_function
from .snapshot import Snapshot
from .wording import plural, sentence

Document = t.Mapping[str, t.Any]

_SETTINGS = {"governor": "governor", "epp": "energy preference"}
_FIX = "run the playbook tune"


def tuning_drift(document: Document, snapshot: Snapshot, plan: Document) -> t.Iterator[Drift]:
    """One row per guest and setting that its CPUs do not all have, and per guest and device whose interrupts go elsewhere.

    Frequencies are those of the host facts in `document`; where interrupts go is known where its key `interrupts` says so: {host:
    the list `interrupts` that irq_affinity returned in check mode for what the plan wants}. Hosts that were not read are left out.
    """
    placed = {int(entry["vmid"]): entry for entry in plan["placements"]}
    guests = {guest.vmid: guest for guest in snapshot.guests if guest.vmid in placed}
    for node, tuning in plan.get("tuning", {}).items():
        if node not in snapshot.hosts or node in snapshot.unread_hosts:
            continue
        policies = document["hosts"][node].get("cpufreq") or []
        for entry in tuning["busy"]:
            for vmid in sorted(guests.keys() & set(entry["vmids"])):
                yield from _frequency(guests[vmid], node, entry, parse_cpulist(str(placed[vmid]["cpus"])), policies)
        found = (document.get("interrupts") or {}).get(node, ())
        for entry in tuning["interrupts"]:
            if entry["vmid"] in guests:
                yield from _interrupts(guests[entry["vmid"]], node, entry, found)


def _frequency(guest: Guest, node: str, wanted: Document, cpus: int, policies: t.Sequence[Document]) -> t.Iterator[Drift]:
    """`default` and numbers as a preference read back as something else (see _host/governor_apply.py) and are not compared."""
    for key, word in _SETTINGS.items():
        asked = wanted.get(key)
        if asked is None or (key == "epp" and (asked == "default" or asked.isdigit())):
            continue
        wrong: t.Dict[str, int] = {}
        for policy in policies:
            value, shared = policy.get(key), parse_cpulist(policy["cpus"]) & cpus
            if shared and value not in (None, asked):
                wrong[value] = wrong.get(value, 0) | shared
        if wrong:
            values = " or ".join(sorted(wrong))
            where = format_cpulist(union(wrong.values()))
            text = f"{sentence(guest.label)}: CPUs {where} have the {word} {values} instead of {asked}; {_FIX}."
            yield Drift(guest.vmid, guest.name, node, key, "live", text, planned=asked, live=values)


def _interrupts(guest: Guest, node: str, wanted: Document, found: t.Sequence[Document]) -> t.Iterator[Drift]:
    device = str(wanted["pci"])
    own = [entry for entry in found if has_function(device, str(entry["device"]))]
    astray = [entry for entry in own if entry["changed"]]
    if astray:
        live = format_cpulist(union(parse_cpulist(str(entry["effective"] or entry["before"])) for entry in astray))
        text = f"{sentence(guest.label)}: {plural(len(astray), 'interrupt')} of {device} may go to CPUs {live}; {_FIX}."
        yield Drift(guest.vmid, guest.name, node, "irq", "live", text, planned=str(wanted["cpus"]), live=live)
