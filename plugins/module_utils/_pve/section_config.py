# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PVE's section files (ha/*.cfg, mapping/pci.cfg): a header, indented properties below it, an empty line after them.

Source: src/PVE/SectionConfig.pm in pve-common.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

Section = t.Dict[str, t.Any]

_TYPED_HEADER = re.compile(r"^([A-Za-z0-9_\-]+):\s*(\S+)\s*$")
_BARE_HEADER = re.compile(r"^(\S+)\s*$")
_PROPERTY = re.compile(r"^\s+(\S+)(?:\s+(.*\S))?\s*$")


def parse_sections(text: str, repeated: t.Collection[str] = (), typed: bool = True) -> t.List[Section]:
    """[{type, id, property: text}] in the order of the file; a property without a value is `1`.

    Properties named in `repeated` become lists. The headers are `type: id`, or `id` alone where not `typed`.
    What does not follow the grammar is skipped, as PVE does.
    """
    sections: t.List[Section] = []
    current: t.Optional[Section] = None
    for line in text.splitlines():
        if not line.strip():
            current = None
            continue
        header = (_TYPED_HEADER if typed else _BARE_HEADER).match(line)
        prop = _PROPERTY.match(line)
        if header and not line.startswith("#"):
            current = {"type": header.group(1), "id": header.group(2)} if typed else {"id": header.group(1)}
            sections.append(current)
        elif prop and current is not None:
            _add_property(current, prop.group(1), prop.group(2) or "1", repeated)
    return sections


def _add_property(section: Section, key: str, value: str, repeated: t.Collection[str]) -> None:
    if key in repeated:
        section.setdefault(key, []).append(value)
    else:
        section[key] = value
