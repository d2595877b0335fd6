# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in a few lines, for the output of a job.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

Document = t.Mapping[str, t.Any]

_MANY_LINES = 40


def text(model: Document) -> str:
    """The headline, the four numbers, and one line for each finding; beyond 40 of them only their number on each host."""
    findings = [f"{host['name']}: {finding['title']}." for host in model["hosts"] for finding in host["findings"]]
    if len(findings) > _MANY_LINES:
        findings = [f"{host['name']}: {len(host['findings'])} findings." for host in model["hosts"] if host["findings"]]
    numbers = "; ".join(f"{figure['label']}: {figure['value']} {figure['unit']}" for figure in model["figures"])
    unread = [f"Host {host['name']} {host['reason']}." for host in model["unread"]]
    return "\n".join([" ".join(model["headline"]), numbers, *findings, *unread]) + "\n"
