# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a page as a browser would: which elements there are, with which attributes and texts."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from html.parser import HTMLParser
from xml.etree import ElementTree

_VOID = {"meta", "input", "wbr", "br", "img", "link", "rect", "path", "circle"}


@dataclasses.dataclass
class Element:
    """One element; `text` is all text in it. `path` holds the elements around it, the outermost first."""

    tag: str
    attributes: dict[str, str]
    path: tuple[Element, ...]
    text: str = ""

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def inside(self, css_class: str) -> t.Optional[Element]:
        """The nearest element around this one with that class."""
        return next((element for element in reversed(self.path) if css_class in element.classes), None)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, t.Optional[str]]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(self._open))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, t.Optional[str]]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            self.problems.append(f"</{tag}> closes <{self._open[-1].tag if self._open else ''}>")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def finished(self) -> list[Element]:
        self.close()
        assert not self.problems, self.problems[:3]
        assert not self._open, [element.tag for element in self._open]
        return self.elements


def read_page(page: str) -> list[Element]:
    """All elements in the order of the page; an end tag that closes another element than the last is a failure."""
    reader = _Reader()
    reader.feed(page)
    return reader.finished()


def drawings(page: str) -> list[ElementTree.Element]:
    """Each SVG of the page, parsed as XML."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def cells(elements: t.Iterable[Element]) -> dict[str, list[Element]]:
    """The CPUs of each map, by the map's label."""
    found: dict[str, list[Element]] = {}
    for element in elements:
        if element.tag == "g" and element.attributes.get("role") == "listitem":
            around = element.inside("map")
            assert around is not None
            found.setdefault(around.attributes["aria-label"], []).append(element)
    return found
