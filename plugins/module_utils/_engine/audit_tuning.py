# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift of what hosts do for their guests: governors and energy preferences of CPUs, and where interrupts go.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .audit_drift import Drift
from .audit_finding import AuditFinding
from .cpuset import format_cpulist, parse_cpulist, union
from .frequency import Setting, fastest, reads_back_otherwise
from .guest import Guest, has_function
from .snapshot import Snapshot
from .wording import plural, sentence

Document = t.Mapping[str, t.Any]

_Wishes = t.Sequence[t.Tuple[int, Setting]]  # CPUs (mask) and what they shall have

_SETTINGS = {"governor": "governor", "epp": "energy preference"}
_FIX = "run the playbook tune"

# Devices whose interrupts tune leaves alone, by the key of the snapshot: the finding's id, text and fix. A neighbour that a guest
# holds is not protected any more (see irq_affinity), so that starting the guest helps.
_LEFT_OUT = {
    "devices_missing": (
        "device-missing",
        "Host {node} does not have {devices}.",
        "Create the virtual functions, or correct hostpci of the guest, and make a new plan.",
    ),
    "devices_protected": (
        "device-protected",
        (
            "The playbook tune leaves the interrupts of {devices}, as they are, because on {node} it carries the cluster's traffic or is "
            "part of a card that does."
        ),
        (
            "If it carries the traffic, give the guest another device, for the cluster loses this one when the guest starts. If it is only "
            "on the same card, start the guest, which takes it from the host, and run the playbook tune, or name its own network interface "
            "in corepin_allow_protected_nics."
        ),
    ),
}


def tuning_drift(document: Document, snapshot: Snapshot, plan: Document) -> t.Iterator[Drift]:
    """One row per guest and setting that its CPUs do not all have, the same for the free CPUs of a host, and one per guest and device
    whose interrupts go elsewhere.

    Frequencies are those of the host facts in `document`; where interrupts go is known where its key `interrupts` says so: {host:
    the list `interrupts` that irq_affinity returned in check mode for what the plan wants}. Hosts that were not read are left out.
    """
    placed = {int(entry["vmid"]): entry for entry in plan["placements"]}
    guests = {guest.vmid: guest for guest in snapshot.guests if guest.vmid in placed}
    for node, tuning in plan.get("tuning", {}).items():
        if node not in snapshot.hosts or node in snapshot.unread_hosts:
            continue
        policies = document["hosts"][node].get("cpufreq") or []
        busy, free = _wishes(tuning, snapshot.hosts[node].online, policies)
        for entry in tuning["busy"]:
            for vmid in sorted(guests.keys() & set(entry["vmids"])):
                own, guest = parse_cpulist(str(placed[vmid]["cpus"])), guests[vmid]
                for text, columns in _frequency(sentence(guest.label), own, busy, policies):
                    yield Drift(vmid, guest.name, node, kind="live", text=text, **columns)
        for text, columns in _frequency(f"Free CPUs of host {node}", snapshot.hosts[node].online, free, policies):
            yield Drift(None, "", node, kind="live", text=text, **columns)
        found = (document.get("interrupts") or {}).get(node, ())
        for entry in tuning["interrupts"]:
            if entry["vmid"] in guests:
                yield from _interrupts(guests[entry["vmid"]], node, entry, found)


def _wishes(tuning: Document, online: int, policies: t.Sequence[Document]) -> t.Tuple[_Wishes, _Wishes]:
    """What holds for busy CPUs and for free ones, as the hosts settle it: CPUs of one policy follow the faster wish."""
    busy = [(parse_cpulist(str(entry["cpus"])), Setting(entry["governor"], entry["epp"])) for entry in tuning["busy"]]
    rest = online & ~union(cpus for cpus, _setting in busy)
    free = [(rest, Setting(tuning["free"]["governor"], tuning["free"]["epp"]))] if tuning["free"] else []
    shared = [parse_cpulist(str(cpus)) for policy in policies for cpus in policy.get("shared", ())]
    return _settled(busy, [*busy, *free], shared), _settled(free, [*busy, *free], shared)


def _settled(wishes: _Wishes, everyone: _Wishes, shared: t.Sequence[int]) -> _Wishes:
    mine = union(cpus for cpus, _setting in wishes)
    disputed = [(cpus, [setting for wished, setting in everyone if wished & cpus]) for cpus in shared if cpus & mine]
    disputed = [(cpus, settings) for cpus, settings in disputed if len(settings) > 1]
    alone = ~union(cpus for cpus, _settings in disputed)
    return [*((cpus & alone, setting) for cpus, setting in wishes), *((cpus & mine, fastest(settings)) for cpus, settings in disputed)]


def unseen_interrupts(document: Document, snapshot: Snapshot, plan: Document) -> t.Iterator[AuditFinding]:
    """Up to three findings per host with interrupts that the plan places: they could not be looked at, devices of guests are not
    there, or protect the cluster's traffic (with_interrupts of audit_live.py)."""
    placed = {node: plan["tuning"][node]["interrupts"] for node in plan.get("tuning", {}) if node not in snapshot.unread_hosts}
    for node, entries in sorted(placed.items()):
        reason = (document.get("interrupts_unseen") or {}).get(node)
        if entries and reason:
            yield AuditFinding(
                "interrupts-unseen",
                "note",
                node,
                tuple(sorted({entry["vmid"] for entry in entries})),
                f"Where the interrupts of guests' devices on {node} go could not be looked at: {reason.rstrip('.')}.",
                "Mend what it says, or make a new plan, and audit again.",
            )
        for key, (check, text, fix) in _LEFT_OUT.items():
            devices = (document.get(key) or {}).get(node, ())
            owners = tuple(sorted({entry["vmid"] for entry in entries if entry["pci"] in devices}))
            if owners:
                yield AuditFinding(check, "warning", node, owners, text.format(node=node, devices=_named(devices, owners)), fix)


def _named(devices: t.Collection[str], owners: t.Sequence[int]) -> str:
    guests = f"guest{'s' * (len(owners) > 1)} {', '.join(map(str, owners))}"
    return f"PCI device {', '.join(sorted(set(devices)))}, which the plan counts among those of {guests}"


def _frequency(who: str, own: int, wishes: _Wishes, policies: t.Sequence[Document]) -> t.Iterator[t.Tuple[str, t.Dict[str, t.Any]]]:
    """A sentence and the columns what, planned and live per setting and value that CPUs among `own` should have and do not.

    A preference that may read back as something else is not compared.
    """
    for key, word in _SETTINGS.items():
        wrong: t.Dict[str, t.Dict[str, int]] = {}
        for cpus, setting in wishes:
            asked = getattr(setting, key)
            if asked is None or (key == "epp" and reads_back_otherwise(asked)):
                continue
            for policy in policies:
                value, touched = policy.get(key), parse_cpulist(policy["cpus"]) & cpus & own
                if touched and value not in (None, asked):
                    values = wrong.setdefault(asked, {})
                    values[value] = values.get(value, 0) | touched
        for asked, values in wrong.items():
            live = " or ".join(sorted(values))
            where = format_cpulist(union(values.values()))
            yield (
                f"{who}: CPUs {where} have the {word} {live} instead of {asked}; {_FIX}.",
                {"what": key, "planned": asked, "live": live},
            )


def _interrupts(guest: Guest, node: str, wanted: Document, found: t.Sequence[Document]) -> t.Iterator[Drift]:
    device = str(wanted["pci"])
    own = [entry for entry in found if entry["reason"] == "device" and has_function(device, str(entry["device"]))]
    astray = [entry for entry in own if entry["changed"]]
    if astray:
        live = format_cpulist(union(parse_cpulist(str(entry["effective"] or entry["before"])) for entry in astray))
        text = f"{sentence(guest.label)}: {plural(len(astray), 'interrupt')} of {device} may go to CPUs {live}; {_FIX}."
        yield Drift(guest.vmid, guest.name, node, "irq", "live", text, planned=str(wanted["cpus"]), live=live)
