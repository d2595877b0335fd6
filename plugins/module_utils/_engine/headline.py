# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first thing that a reader of the report sees: what is wrong, what it costs, and four numbers.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .cpuset import count, parse_cpulist
from .wording import plural, sentence, spelled

Document = t.Mapping[str, t.Any]


def headline(hosts: t.Sequence[Document], guests: t.Sequence[Document], plan: t.Optional[Document]) -> t.List[str]:
    """One or two sentences: the worst that is found, and what the plan does or what stands idle."""
    if not hosts:
        return ["No host was read."]
    return [_worst(hosts), _cost(hosts, guests, plan)]


def _worst(hosts: t.Sequence[Document]) -> str:
    contested, reserved = _marked(hosts, "overlap"), _marked(hosts, "reserved")
    if contested or reserved:
        kinds = [kind for kind, number in (("overlap", contested), ("reserved", reserved)) if number]
        owners = f"{spelled(contested, 'CPU')} {'has' if contested == 1 else 'have'} more than one owner"
        given = f"{spelled(reserved, 'reserved CPU')} {'is' if reserved == 1 else 'are'} given to guests"
        texts = [text for text, number in ((owners, contested), (given, reserved)) if number]
        return sentence(" and ".join(texts)) + (_on_hosts(hosts, kinds[0]) if len(kinds) == 1 else "") + "."
    for kind, one, many in (
        ("sibling", "One isolated guest does not have its cores alone", "isolated guests do not have their cores alone"),
        ("refused", "One guest gets no place", "guests get no place"),
        ("roaming", "One unmanaged guest may run on CPUs of others", "unmanaged guests may run on CPUs of others"),
        ("intruder", "One guest may run on CPUs of others", "guests may run on CPUs of others"),
        ("unplaced", "One guest has no CPUs yet", "guests have no CPUs yet"),
        ("spans", "One guest spans more NUMA nodes than needed", "guests span more NUMA nodes than needed"),
        ("memory", "One guest is bound to more memory than there is", "guests are bound to more memory than there is"),
        ("config", "One guest does not get what its config says", "guests do not get what their configs say"),
    ):
        vmids = {vmid for host in hosts for finding in host["findings"] if finding["kind"] == kind for vmid in finding["vmids"]}
        number = len(vmids) if kind != "sibling" else sum(1 for host in hosts for finding in host["findings"] if finding["kind"] == kind)
        if number:
            return f"{one}." if number == 1 else f"{sentence(spelled(number))} {many}."
    return "No CPU has two owners."


def _marked(hosts: t.Iterable[Document], kind: str) -> int:
    """How many CPUs the findings of that kind mark."""
    return sum(count(parse_cpulist(finding["cpus"])) for host in hosts for finding in host["findings"] if finding["kind"] == kind)


def _on_hosts(hosts: t.Sequence[Document], kind: str) -> str:
    """` on two hosts`, or ` on pve1` where it is one of several, or nothing where there is one host only."""
    affected = [str(host["name"]) for host in hosts if any(finding["kind"] == kind for finding in host["findings"])]
    if len(affected) == 1:
        return f" on {affected[0]}" if len(hosts) > 1 else ""
    return f" on {spelled(len(affected), 'host')}"


def _cost(hosts: t.Sequence[Document], guests: t.Sequence[Document], plan: t.Optional[Document]) -> str:
    if plan is None:
        stranded = _sum(hosts, "stranded")
        if stranded:
            return f"{sentence(spelled(stranded, 'CPU'))} {'is' if stranded == 1 else 'are'} stranded{_on_hosts(hosts, 'stranded')}."
        return f"{sentence(spelled(_free(hosts), 'CPU'))} {'is' if _free(hosts) == 1 else 'are'} free."
    changed = [guest for guest in guests if guest["state"] == "changes"]
    if not changed:
        return "The plan changes nothing."
    waiting = sum(1 for guest in changed if guest["effect"] == "pending")
    text = f"The plan changes {spelled(len(changed), 'guest')}"
    if not waiting:
        return f"{text}; none of them needs a restart."
    if waiting == len(changed):
        return f"{text}; {'it needs' if waiting == 1 else 'both need' if waiting == 2 else 'all need'} a restart."
    return f"{text}; {spelled(waiting)} of them {'needs' if waiting == 1 else 'need'} a restart."


def figures(hosts: t.Sequence[Document], guests: t.Sequence[Document], plan: t.Optional[Document]) -> t.List[t.Dict[str, str]]:
    """Four numbers, each with what it counts (`label`) and what it stands beside (`unit`)."""
    total = sum(host["counts"]["cpus"] for host in hosts)
    largest = max(hosts, key=lambda host: host["now"]["largest"]["numa_node"], default=None)
    stranded_on = sum(1 for host in hosts if host["now"]["cpus"]["stranded"])
    stranded = _sum(hosts, "stranded")
    return [
        _agreement(hosts, guests) if plan is not None else _conflicts(hosts),
        {
            "label": "largest place in one NUMA node",
            "value": str(largest["now"]["largest"]["numa_node"] if largest else 0),
            "unit": f"vCPUs, {largest['name']}" if largest else "vCPUs",
        },
        {"label": "CPUs free", "value": str(_free(hosts)), "unit": f"of {total}"},
        {
            "label": "CPUs stranded",
            "value": str(stranded),
            "unit": f"on {plural(stranded_on, 'host')}" if stranded else f"of {total}",
        },
    ]


def _agreement(hosts: t.Sequence[Document], guests: t.Sequence[Document]) -> t.Dict[str, str]:
    managed = [guest for guest in guests if guest["state"] in ("as_planned", "changes", "refused")]
    agreed = sum(1 for guest in managed if guest["state"] == "as_planned")
    return {"label": "guests where the plan wants them", "value": str(agreed), "unit": f"of {len(managed)}"}


def _conflicts(hosts: t.Sequence[Document]) -> t.Dict[str, str]:
    total = sum(host["counts"]["cpus"] for host in hosts)
    return {"label": "CPUs in conflict", "value": str(_sum(hosts, "conflict")), "unit": f"of {total}"}


def _free(hosts: t.Iterable[Document]) -> int:
    return sum(host["now"]["cpus"][state] for host in hosts for state in ("free", "local"))


def _sum(hosts: t.Iterable[Document], state: str) -> int:
    return sum(host["now"]["cpus"][state] for host in hosts)
