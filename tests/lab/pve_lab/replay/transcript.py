# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a transcript: lines `METHOD PATH {parameters} -> STATUS 'reason' BODY`, and notes between them."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import typing as t

_EXCHANGE = re.compile(r"(GET|PUT|POST|DELETE) (\S+) (\{.*?\}) -> (\d{3}) ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\") ?(.*)")
_LOGIN = re.compile(r"LOGIN (\S+) (\d{3}) (.*?) (\{.*\})")


@dataclasses.dataclass
class Exchange:
    """One call and its answer. body: the text, perhaps cut short; number: position in the file, from 1."""

    number: int
    method: str
    path: str
    params: dict[str, t.Any]
    status: int
    reason: str
    body: str


@dataclasses.dataclass
class Note:
    """A line that is no exchange: a heading, what a task ended with, what was stored, a host's view."""

    text: str


Item = t.Union[Exchange, Note]


def read_transcript(path: pathlib.Path) -> list[Item]:
    """Everything in the file, in order. A JSON document on lines of its own is the answer to one more GET config."""
    items: list[Item] = []
    number = 0
    lines = iter(path.read_text(encoding="utf-8").split("\n"))
    for line in lines:
        found, login = _EXCHANGE.fullmatch(line), _LOGIN.fullmatch(line)
        if found:
            number += 1
            method, called, params, status, reason, body = found.groups()
            items.append(Exchange(number, method, called, ast.literal_eval(params), int(status), ast.literal_eval(reason), body))
        elif login:
            number += 1
            user, status, reason, body = login.groups()
            items.append(Exchange(number, "POST", "/access/ticket", {"username": user, "password": "wrong"}, int(status), reason, body))
        elif line == "{":
            number += 1
            block = [line]
            while block[-1] != "}":
                block.append(next(lines))
            called = next(item.path for item in reversed(items) if isinstance(item, Exchange))
            items.append(Exchange(number, "GET", called, {}, 200, "OK", "".join(block)))
        else:
            items.append(Note(line))
    return items
