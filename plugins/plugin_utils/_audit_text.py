# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit as lines for the screen, as the text of its JSON file, and as Markdown.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PolicyError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import listed, plural, sentence

from ._report.markdown import plain, table

Document = t.Mapping[str, t.Any]

FORMATS = ("lines", "json", "markdown", "verdict")
_OF_THE_MOMENT = "gathered_at"
_READ_AT = "Read at "  # how the one line of the Markdown begins that only the time changes


def render(audit: Document, form: str, earlier: str = "") -> t.Union[str, t.List[str]]:
    """The audit in one of FORMATS. A file text `earlier` that says the same at another time is given back as it is.

    Raises PolicyError for another format.
    """
    if form == "lines":
        return lines(audit)
    if form == "verdict":
        return verdict(audit)
    if form not in FORMATS:
        raise PolicyError(f"{form!r} is not a format of an audit; known are {', '.join(FORMATS)}.")
    text, same = (as_json(audit), _same_json) if form == "json" else (markdown(audit), _same_markdown)
    return earlier if earlier and same(text, earlier) else text


def verdict(audit: Document) -> str:
    """Why a pipeline stops: how many differences, and of which guests and hosts."""
    guests = [str(vmid) for vmid in audit["summary"]["drifted"]]
    hosts = sorted({row["node"] for row in audit["drift"] if row["vmid"] is None})
    named = [f"{noun}{'' if len(names) == 1 else 's'} {listed(names, 12)}" for noun, names in (("guest", guests), ("host", hosts)) if names]
    return f"{plural(audit['summary']['drift'], 'difference')} found, of {' and '.join(named)}"


def lines(audit: Document) -> t.List[str]:
    """Drift, findings and starts, one line each, and one that sums up. What only a move by hand could bring is counted."""
    told = [f"Not read: {text}." for text in _unread(audit)]
    told += [f"Drift ({row['kind']}): {row['text']}" for row in audit["drift"]]
    told += [f"{sentence(finding['severity'])} {finding['id']}: {finding['text']} {finding['fix']}" for finding in audit["findings"]]
    shown = [start for start in audit["starts"] if start["severity"] != "note"]
    told += [f"{sentence(start['severity'])} {start['rule']}: {start['text']} {start['fix']}" for start in shown]
    hidden = len(audit["starts"]) - len(shown)
    if hidden:
        told.append(
            f"Also, {plural(hidden, 'start')} would fail or run differently after a migration by hand, or without the pending changes."
        )
    return [*told, _sum(audit)]


def _unread(audit: Document) -> t.List[str]:
    texts = [f"host {host['name']} {host['reason']}" for host in audit["unread"]]
    if audit["unread_guests"]:
        texts.append(f"the config of {listed([str(vmid) for vmid in audit['unread_guests']], 12)}")
    return texts


def _sum(audit: Document) -> str:
    summary = audit["summary"]
    against = f"plan {audit['plan_id'][:12]}, stored, pending" if audit["plan_id"] else "stored, pending"
    live = f" and live on {listed(audit['live'])}" if audit["live"] else ""
    return (
        f"Audit of {plural(summary['guests'], 'guest')} ({against}{live}): {plural(summary['drift'], 'difference')} of "
        f"{plural(len(summary['drifted']), 'guest')}, {plural(summary['conflicts'], 'conflict')}, "
        f"{plural(summary['warnings'], 'warning')}, {plural(summary['notes'], 'note')}; "
        f"{plural(summary['starts']['conflict'], 'guest start')} would fail."
    )


def as_json(audit: Document) -> str:
    """The text of the audit's file: for programs, and for people who look at it."""
    return json.dumps(audit, sort_keys=True, indent=1) + "\n"


def _same_json(text: str, earlier: str) -> bool:
    try:
        new, old = json.loads(text), json.loads(earlier)
    except ValueError:
        return False
    return isinstance(old, dict) and {**old, _OF_THE_MOMENT: None} == {**new, _OF_THE_MOMENT: None}


def markdown(audit: Document) -> str:
    """Headings and tables of GitHub's Markdown, for tickets and job logs."""
    cluster = f" of cluster {plain(audit['cluster'])}" if audit["cluster"] else ""
    blocks = [f"# Placement audit{cluster}", f"{_READ_AT}{plain(audit[_OF_THE_MOMENT] or 'an unknown time')}", f"**{plain(_sum(audit))}**"]
    unread = _unread(audit)
    if unread:
        blocks.append("\n".join(f"- Not read: {plain(text)}" for text in unread))
    if audit["drift"]:
        headings = ["Guest", "Host", "What", "Plan", "Stored", "Pending", "Live", ""]
        blocks += ["## Drift", table(headings, [_drift_cells(row) for row in audit["drift"]], right=(0,))]
    if audit["findings"]:
        headings = ["Severity", "Check", "Host", "What is wrong", "What to do"]
        blocks += ["## Findings", table(headings, [_finding_cells(finding) for finding in audit["findings"]])]
    if audit["starts"]:
        headings = ["Severity", "Rule", "What would happen", "What to do"]
        rows = [[plain(start[key]) for key in ("severity", "rule", "text", "fix")] for start in audit["starts"]]
        blocks += ["## Starts", table(headings, rows)]
    return "\n\n".join(blocks) + "\n"


def _drift_cells(row: Document) -> t.List[str]:
    columns = ["deleted" if key == "pending" and row[key] == "" else row[key] or "" for key in ("planned", "stored", "pending", "live")]
    return [plain(cell) for cell in (row["vmid"] or "", row["node"], row["what"], *columns, row["kind"])]


def _finding_cells(finding: Document) -> t.List[str]:
    return [plain(cell) for cell in (finding["severity"], finding["id"], finding["node"] or "", finding["text"], finding["fix"])]


def _same_markdown(text: str, earlier: str) -> bool:
    return _without_time(text) == _without_time(earlier)


def _without_time(text: str) -> t.List[str]:
    return [line for line in text.splitlines() if not line.startswith(_READ_AT)]
