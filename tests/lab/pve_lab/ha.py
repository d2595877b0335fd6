# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""High availability as far as placement goes: managed resources, rules (PVE 9) and groups (PVE 7 and 8)."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t


@dataclasses.dataclass
class HaState:
    """resources: sid ("vm:100") -> its options; rules: name -> options with "type"; groups: name -> options."""

    resources: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    rules: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    groups: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)

    def managed(self, vmid: int) -> t.Optional[dict[str, t.Any]]:
        """The resource of a guest, or None."""
        return self.resources.get(f"vm:{vmid}", self.resources.get(f"ct:{vmid}"))

    def resources_text(self) -> str:
        """resources.cfg"""
        return _sections((sid.split(":")[0], sid.split(":", 1)[1], options) for sid, options in sorted(self.resources.items()))

    def rules_text(self) -> str:
        """rules.cfg"""
        return _sections(
            (str(options["type"]), name, {key: value for key, value in options.items() if key != "type"})
            for name, options in self.rules.items()
        )

    def groups_text(self) -> str:
        """groups.cfg"""
        return _sections(("group", name, options) for name, options in sorted(self.groups.items()))


def text_digest(text: str) -> str:
    """The digest that goes with each entry of such a file."""
    return hashlib.sha1(text.encode()).hexdigest()


def canonical_sid(sid: str, kinds: t.Mapping[int, str]) -> str:
    """`100` or `vm:100` as PVE writes it; `kinds` is vmid -> qemu or lxc."""
    if sid.isdigit():
        return ("ct:" if kinds.get(int(sid)) == "lxc" else "vm:") + sid
    return sid


def canonical_nodes(text: str) -> str:
    """A node list with priorities, sorted by name."""
    return ",".join(sorted(part.strip() for part in text.split(",") if part.strip()))


def _sections(entries: t.Iterable[tuple[str, str, t.Mapping[str, t.Any]]]) -> str:
    blocks = []
    for kind, name, options in entries:
        lines = [f"{kind}: {name}"] + [f"\t{key} {value}" for key, value in sorted(options.items()) if value is not None]
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)
