# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report model in the formats that people ask for.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.report_model import SCHEMA

from .markdown import markdown
from .page import page
from .text import text

FORMATS: t.Mapping[str, t.Callable[[t.Mapping[str, t.Any]], str]] = {
    "html": page,
    "json": lambda model: json.dumps(model, indent=2, sort_keys=True) + "\n",
    "markdown": markdown,
    "text": text,
}


class ReportError(CorepinError):
    """A report that cannot be drawn: an unknown format, or something that is no report model."""


# What a report says about when it was made: nothing else in it depends on that.
_MOMENT = re.compile(r'<p class="origin">.*?</p>|^Snapshot .*$|^  "(?:gathered_at|created_at|plan_id)": .*$', re.MULTILINE)


def render(model: t.Any, output_format: str, earlier: str = "") -> str:
    """The text of the report; the same model gives the same text. Raises ReportError.

    `earlier` is the text of an earlier report: where the new one differs from it only in when it was made, the result
    is the earlier one, so that writing it changes nothing.
    """
    if output_format not in FORMATS:
        known = sorted(FORMATS)
        raise ReportError(f"The report format {output_format!r} is not known; write {', '.join(known[:-1])} or {known[-1]}.")
    if not isinstance(model, t.Mapping) or not {"schema", "hosts", "guests", "headline"} <= set(model):
        raise ReportError("What was handed over is no report model; make one with the filter corepin.proxmox.report_model.")
    if model["schema"] != SCHEMA:
        raise ReportError(f"The report model has schema {model['schema']!r}, but this version draws {SCHEMA}; make the model again.")
    report = FORMATS[output_format](model)
    return earlier if earlier and _undated(earlier) == _undated(report) else report


def _undated(text: str) -> str:
    return _MOMENT.sub("", text)
