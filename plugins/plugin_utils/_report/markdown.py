# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as Markdown with tables, for tickets, chats and job logs.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import plural, sentence

from .figures import dotted, gib, ids, moment, processor, where_stored
from .view import sorted_cpulist

Document = t.Mapping[str, t.Any]

_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")
_STATES = ("isolated", "dedicated", "conflict", "unmanaged", "reserved", "local", "free", "stranded", "offline")


def markdown(model: Document) -> str:
    """Headings, tables and lists of GitHub's Markdown."""
    cluster = f" of cluster {plain(model['cluster'])}" if model["cluster"] else ""
    plan = f", plan {model['plan_id'][:12]}" if model["plan_id"] else ""
    blocks = [
        f"# Placement report{cluster}",
        f"Snapshot {plain(moment(model['gathered_at']))}{plan}",
        f"**{plain(' '.join(model['headline']))}**",
        "\n".join(f"- {plain(figure['label'])}: **{plain(figure['value'])}** {plain(figure['unit'])}" for figure in model["figures"]),
        "## Hosts",
        _hosts(model),
        *_unread(model),
        *_warnings(model),
        *_requests(model),
    ]
    for host in model["hosts"]:
        blocks += _host(host, [guest for guest in model["guests"] if guest["host"] == host["name"] and guest["now"]])
    return "\n\n".join(block for block in blocks if block) + "\n"


def plain(text: t.Any) -> str:
    """`text` so that Markdown shows it as it is: nothing in it is markup, and it stays on one line."""
    one_line = " ".join(str(text).split())
    return _SPECIAL.sub(r"\\\1", one_line.replace("&", "&amp;")).replace("<", "&lt;").replace(">", "&gt;")


def table(headings: t.Sequence[str], rows: t.Iterable[t.Sequence[str]], right: t.Collection[int] = ()) -> str:
    """A table; the columns in `right` hold numbers."""
    rule = ["---:" if column in right else "---" for column in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))


def _hosts(model: Document) -> str:
    headings = ["Host", "CPUs", *_STATES, "largest place", "GiB free", "findings"]
    rows = [
        [
            plain(host["name"]),
            str(host["counts"]["cpus"]),
            *(dotted(host["now"]["cpus"][state]) for state in _STATES),
            str(host["now"]["largest"]["numa_node"]),
            gib(host["now"]["memory"]["free_mib"]),
            dotted(len(host["findings"])),
        ]
        for host in model["hosts"]
    ]
    if len(rows) > 1:
        totals = model["totals"]
        largest = max(host["now"]["largest"]["numa_node"] for host in model["hosts"])
        numbers = [str(sum(totals["cpus"].values())), *(dotted(totals["cpus"][state]) for state in _STATES), str(largest)]
        rows.append(["**Cluster**", *numbers, gib(totals["memory"]["free_mib"]), dotted(totals["findings"])])
    return table(headings, rows, right=range(1, len(headings)))


def _unread(model: Document) -> t.List[str]:
    lines = [f"- {plain(host['name'])} {plain(host['reason'])}: {plural(host['guests'], 'guest')} left out" for host in model["unread"]]
    return ["### Not read", "\n".join(lines)] if lines else []


def _warnings(model: Document) -> t.List[str]:
    lines = [f"- {plain(warning)}" for warning in (model["plan"] or {}).get("warnings", [])]
    return ["### The plan warns", "\n".join(lines)] if lines else []


def _requests(model: Document) -> t.List[str]:
    requests = (model["plan"] or {}).get("requests") or []
    rows = [
        [f"{plain(r['name'])} {r['number']}", plain(r["class"]), plain(r["node"] or "none"), plain(r["cpus"]), plain(r["reason"])]
        for r in requests
    ]
    return ["### Guests to be created", table(["Guest", "Class", "Host", "CPUs", "Reason"], rows)] if rows else []


def _host(host: Document, guests: t.Sequence[Document]) -> t.List[str]:
    counts = host["counts"]
    about = ", ".join(
        part
        for part in (
            plain(processor(host["model"], counts["packages"])),
            plural(counts["packages"], "package"),
            plural(counts["numa_nodes"], "NUMA node"),
            plural(counts["l3_domains"], "L3 domain"),
            plural(counts["cores"], "core"),
            plural(counts["cpus"], "CPU"),
        )
        if part
    )
    findings = [f"{f['number']}. **{plain(f['title'])}**: {plain(f['text'])}" for f in host["findings"]]
    return [
        f"## {plain(host['name'])}",
        about,
        _numa_nodes(host),
        *(["### Findings", "\n".join(findings)] if findings else []),
        *(["### Plan", _changes([g for g in guests if g["state"] == "changes"])] if host["planned"] else []),
        "### Guests",
        _guests(guests, bool(host["planned"])) if guests else "No guest.",
    ]


def _numa_nodes(host: Document) -> str:
    rows = [
        [
            str(numa_node["id"]),
            str(sum(numa_node["cpus"].values())),
            *(dotted(numa_node["cpus"].get(state, 0)) for state in _STATES[:-1]),
            str(numa_node["free_cores"]),
            f"{gib(numa_node['free_mib'])} of {gib(numa_node['memory_mib'])}",
        ]
        for numa_node in host["now"]["numa_nodes"]
    ]
    headings = ["NUMA node", "CPUs", *_STATES[:-1], "whole free cores", "GiB free"]
    return table(headings, rows, right=range(len(headings)))


def _changes(guests: t.Sequence[Document]) -> str:
    if not guests:
        return "Nothing changes."
    rows = [
        [
            f"{guest['vmid']} {plain(guest['name'])}",
            where_stored(guest["now"], sorted_cpulist),
            where_stored(guest["planned"], sorted_cpulist),
            plain(sentence(guest["text"])),
            plain(guest["reason"]),
        ]
        for guest in guests
    ]
    return table(["Guest", "From", "To", "What", "Reason"], rows)


def _guests(guests: t.Sequence[Document], planned: bool) -> str:
    headings = [
        "vmid",
        "Guest",
        "Class",
        "vCPUs",
        "GiB",
        "Stored CPUs",
        *(["Planned CPUs"] if planned else []),
        "NUMA node",
        "Status",
        "Findings",
    ]
    rows = [
        [
            str(guest["vmid"]),
            plain(guest["name"]),
            plain(guest["class"]),
            str(guest["vcpus"]),
            gib(guest["memory_mib"]),
            where_stored(guest["now"], sorted_cpulist),
            *([where_stored(guest["planned"], sorted_cpulist)] if planned else []),
            _numa_node_ids(guest["planned"] or guest["now"]),
            plain(guest["text"]),
            ids(guest["findings"]),
        ]
        for guest in guests
    ]
    return table(headings, rows, right=(0, 3, 4))


def _numa_node_ids(place: Document) -> str:
    return "any" if place["roams"] or place["in_pool"] else ids(place["numa_nodes"])
