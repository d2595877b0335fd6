# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's configuration file: text in, sections out, text again.

The lab keeps every guest as the text that PVE would have in /etc/pve, and reads it as leniently as PVE does: a line
that is not understood, or whose value is not of its type, gives a warning, is not there for any reader, and is gone
after the next write by anybody. The digest is the SHA-1 of the whole text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t
import urllib.parse

from .schema import NOT_DEFINED, FormatError, Prop, check_value, parse_property_string

_SECTION = re.compile(r"\[([A-Za-z][A-Za-z0-9_\-:]+)\]\s*", re.ASCII)
_LINE = re.compile(r"([a-z][a-z_\-]*\d*):\s*(.+?)\s*", re.ASCII)
_LXC_LINE = re.compile(r"(lxc\.[a-z0-9_\-.]+)(?::|\s*=)\s*(.*?)\s*", re.ASCII)
_TRUE, _FALSE = re.compile(r"1|on|yes|true", re.IGNORECASE), re.compile(r"0|off|no|false", re.IGNORECASE)

Section = dict[str, str]


@dataclasses.dataclass
class ConfigFile:
    """The sections of one file.

    main: key -> text, without lxc keys; lxc: raw container keys in file order; pending: key -> text;
    pending_deletes: key -> whether forced; snapshots: name -> key -> text; special: other sections, untouched;
    warnings: what PVE prints about lines that it dropped. A description stands under its key with real newlines.
    """

    main: Section = dataclasses.field(default_factory=dict)
    lxc: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    pending: Section = dataclasses.field(default_factory=dict)
    pending_deletes: dict[str, bool] = dataclasses.field(default_factory=dict)
    snapshots: dict[str, Section] = dataclasses.field(default_factory=dict)
    snapshot_lxc: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    special: dict[str, Section] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def effective(self) -> Section:
        """The main section with the pending changes applied, as GET config shows it.

        PVE's quirk is kept: a pending delete of a value that is "0" does not hide it.
        """
        merged = {**self.main, **self.pending}
        for key in self.pending_deletes:
            if merged.get(key) not in (None, "0"):
                del merged[key]
        return merged


def digest_of(text: str) -> str:
    """The digest that a client can send back to say which state it has seen."""
    return hashlib.sha1(text.encode()).hexdigest()


def parse_config(text: str, keys: t.Mapping[str, Prop], vmid: int, raw_lxc: bool = False) -> ConfigFile:
    """Read a file; `keys` are the known keys, `raw_lxc` allows `lxc.*` lines. Never fails."""
    config = ConfigFile()
    section, name = config.main, ""
    comments: list[str] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        header = _SECTION.fullmatch(line)
        if header:
            _end_comments(section, comments)
            name = header.group(1)
            section = _open_section(config, name)
        elif line.startswith("#"):
            comments.append(urllib.parse.unquote(line[1:]))
        elif raw_lxc and _LXC_LINE.fullmatch(line):
            _add_raw_line(config, name, line)
        elif name.upper() == "PENDING" and line.startswith("delete:"):
            for part in re.split(r"[,;\s]+", line[len("delete:") :].strip()):
                if part:
                    config.pending_deletes[part.lstrip("!")] = part.startswith("!")
        else:
            _add_line(config, section, line, keys, vmid)
    _end_comments(section, comments)
    return config


def _open_section(config: ConfigFile, name: str) -> Section:
    if name.upper() == "PENDING":
        return config.pending
    if name.startswith("special:"):
        return config.special.setdefault(name, {})
    return config.snapshots.setdefault(name, {})


def _end_comments(section: Section, comments: list[str]) -> None:
    if comments:
        section["description"] = "\n".join(comments)
        comments.clear()


def _add_raw_line(config: ConfigFile, name: str, line: str) -> None:
    found = _LXC_LINE.fullmatch(line)
    assert found
    target = config.lxc if not name else config.snapshot_lxc.setdefault(name, [])
    target.append((found.group(1), found.group(2)))


def _add_line(config: ConfigFile, section: Section, line: str, keys: t.Mapping[str, Prop], vmid: int) -> None:
    found = _LINE.fullmatch(line)
    if not found:
        config.warnings.append(f"vm {vmid} - unable to parse config: {line}")
        return
    key, text = found.groups()
    try:
        section[key] = _clean_value(keys, key, text)
    except FormatError as error:
        config.warnings.append(f"vm {vmid} - unable to parse value of '{key}' - {error}")


def _clean_value(keys: t.Mapping[str, Prop], key: str, text: str) -> str:
    """The value as PVE keeps it after reading; FormatError where it throws the line away."""
    prop = keys.get(key)
    if prop is None:
        raise FormatError(f"unknown setting '{key}'")
    if key == "description":
        return urllib.parse.unquote(text)
    if prop.type == "boolean":
        if _TRUE.fullmatch(text):
            return "1"
        if _FALSE.fullmatch(text):
            return "0"
        raise FormatError("type check ('boolean') failed - got '" + text + "'")
    if isinstance(prop.format, dict):
        parse_property_string(prop.format, text)
    elif prop.format is not None:
        prop.format(text)
    else:
        errors: dict[str, str] = {}
        check_value(dataclasses.replace(prop, minimum=None, maximum=None, enum=(), max_length=None), text, key, errors)
        if errors:
            raise FormatError(errors[key])
    return str(int(text)) if prop.type == "integer" else text


def render_config(config: ConfigFile) -> str:
    """The text that PVE writes: description first, keys sorted, then pending, special sections and snapshots."""
    parts = [_render_section(config.main, config.lxc)]
    if config.pending or config.pending_deletes:
        pending = dict(config.pending)
        if config.pending_deletes:
            pending["delete"] = ",".join(("!" if config.pending_deletes[key] else "") + key for key in sorted(config.pending_deletes))
        parts.append("\n[PENDING]\n" + _render_section(pending))
    for name in sorted(config.special):
        parts.append(f"\n[{name}]\n" + _render_section(config.special[name]))
    for name in sorted(config.snapshots):
        parts.append(f"\n[{name}]\n" + _render_section(config.snapshots[name], config.snapshot_lxc.get(name, ())))
    return "".join(parts)


def _render_section(section: Section, lxc: t.Sequence[tuple[str, str]] = ()) -> str:
    lines = [f"#{_encode(line)}" for line in section["description"].split("\n")] if section.get("description") else []
    lines += [f"{key}: {section[key]}" for key in sorted(section) if key != "description"]
    lines += [f"{key}: {value}" for key, value in lxc]
    return "".join(line + "\n" for line in lines)


def _encode(line: str) -> str:
    """PVE's encode_text: control characters, the percent sign, the colon and everything outside ASCII as %XX."""
    return "".join(char if " " <= char <= "~" and char not in "%:" else "".join(f"%{byte:02X}" for byte in char.encode()) for char in line)


def json_value(prop: t.Optional[Prop], text: str) -> t.Union[str, int]:
    """The value as PVE's JSON shows it: booleans and integers as numbers, everything else as text."""
    if prop is not None and prop.type in ("boolean", "integer"):
        return int(text)
    return text


__all__ = ["NOT_DEFINED", "ConfigFile", "Section", "digest_of", "json_value", "parse_config", "render_config"]
