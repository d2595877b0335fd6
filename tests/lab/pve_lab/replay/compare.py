# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparing an answer of the lab with a recorded one: keys, types, and the values that do not depend on the machine."""

from __future__ import annotations

import json
import re
import typing as t

# Values that the recorded machine, its clock or its load decided; only their presence and type are compared.
VOLATILE = frozenset(
    ("available", "avail", "cpu", "disk", "flags", "free", "idle", "kversion", "loadavg", "maxdisk", "mem", "memhost", "mode", "pid")
    + ("release", "ssl_fingerprint", "total", "uptime", "used", "version", "wait")
)
_IDENTITY = ("key", "id", "sid", "rule", "poolid", "vmid", "node", "name", "type", "t")
_CLOSERS = {"{": "}", "[": "]"}


def salvage(text: str) -> t.Optional[t.Any]:
    """What can be read of a JSON document that was cut short: whole elements only. None if nothing can."""
    for end in range(len(text), 0, -1):
        if end < len(text) and text[end] not in ",}]":
            continue
        document = _close(text[:end])
        if document is None:
            continue
        try:
            return json.loads(document)
        except ValueError:
            continue
    return None


def _close(text: str) -> t.Optional[str]:
    """Add the closing brackets that are missing; None when the text ends inside a string."""
    stack: list[str] = []
    inside = escaped = False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in _CLOSERS:
            stack.append(_CLOSERS[char])
        elif char in "}]":
            stack.pop()
    return None if inside else text + "".join(reversed(stack))


def compare_bodies(wanted: str, got: bytes) -> list[str]:
    """What is different, as sentences; empty when the bodies agree."""
    if not wanted:
        return [f"a body of {len(got)} bytes instead of none"] if got else []
    if not got:
        return ["no body at all"]
    try:
        expected, whole = json.loads(wanted), True
    except ValueError:
        expected, whole = salvage(wanted), False
    if expected is None:
        return []  # cut short before its first element was whole: status and reason must do
    return list(differences(expected, json.loads(got), "", whole))


def differences(expected: t.Any, actual: t.Any, where: str, whole: bool) -> t.Iterator[str]:
    """Walk two documents together; `whole` False: what is missing in the expected one was cut off."""
    key = re.sub(r"\[.*\]", "", where).rsplit(".", 1)[-1]
    if _kind(expected) != _kind(actual):
        yield f"{where}: {_kind(expected)} {expected!r} became {_kind(actual)} {actual!r}"
    elif isinstance(expected, dict):
        yield from _dict_differences(expected, actual, where, whole)
    elif isinstance(expected, list):
        yield from _list_differences(expected, actual, where, whole)
    elif expected != actual and key not in VOLATILE and _plain(key, expected) != _plain(key, actual):
        yield f"{where}: {expected!r} became {actual!r}"


def _dict_differences(expected: dict[str, t.Any], actual: dict[str, t.Any], where: str, whole: bool) -> t.Iterator[str]:
    for name in sorted(set(expected) | set(actual)):
        path = f"{where}.{name}" if where else name
        if name not in actual:
            yield f"{path} is missing"
        elif name in expected:
            yield from differences(expected[name], actual[name], path, whole)
        elif whole:
            yield f"{path} is too much"


def _list_differences(expected: list[t.Any], actual: list[t.Any], where: str, whole: bool) -> t.Iterator[str]:
    if whole and len(expected) != len(actual):
        yield f"{where}: {len(expected)} elements became {len(actual)}"
    if not all(isinstance(element, dict) for element in expected + actual):
        for number, (one, other) in enumerate(zip(expected, actual)):
            yield from differences(one, other, f"{where}[{number}]", whole)
        return
    by_identity = {_identity(element): element for element in actual}
    for element in expected:
        identity = _identity(element)
        if identity in by_identity:
            yield from differences(element, by_identity[identity], f"{where}[{identity}]", whole)
        elif whole:
            yield f"{where}[{identity}] is missing"


def _identity(element: dict[str, t.Any]) -> str:
    return str(next((element[name] for name in _IDENTITY if name in element), sorted(element)))


def _kind(value: t.Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {int: "number", float: "number", str: "text", dict: "object", list: "list", type(None): "null"}[type(value)]


def _plain(key: str, value: t.Any) -> t.Any:
    """Text without the parts that differ from run to run: task ids, process ids, UUIDs."""
    if not isinstance(value, str):
        return value
    return plain_text(value)


def plain_text(text: str) -> str:
    """The text with UPIDs, temporary file names and UUIDs made equal."""
    text = re.sub(r"(UPID:[^:]+):[0-9A-F]+:[0-9A-F]+:[0-9A-F]+:", r"\1:PID:START:TIME:", text)
    text = re.sub(r"\.tmp\.\d+", ".tmp.PID", text)
    text = re.sub(r"ctime=\d+", "ctime=TIME", text)
    return re.sub(r"UUID|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
