# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of a host: packages, in them NUMA nodes, in them L3 domains, in them rows of eight CPUs, each row one SVG.

A row is the unit because a page can then lay rows side by side or below each other without scaling the text in them.
In a row cores stand apart and the threads of a core close together. What a guest holds is a comb: its CPUs are the
teeth, and one band joins them and carries its name.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from itertools import groupby

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_cpulist
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import plural

from .svg import escaped, first_that_fits, number, rect, text_at, text_width
from .view import Cell, HostView, Zone

ROW_CELLS = 8
ROW_WIDTH = 226.0
_CELLS_LEFT, _CELLS_WIDTH = 15.0, 208.0
_CELL_WIDTH, _THREAD_GAP, _CORE_GAP = 23.6, 1.0, 5.0
_TOP, _TOOTH, _FULL = 5.0, 15.0, 27.0  # a tooth reaches down to the band, a cell without band to the band's lower edge
_BAND_TOP, _BAND_HEIGHT = 17.0, 15.0
_BASE_HEIGHT, _RAIL_STEP, _RAIL_HEIGHT = 36.0, 14.0, 11.0
_LABEL_SIZE, _NUMBER_SIZE = 9.6, 8.8

JOINED = ("isolated", "dedicated", "conflict", "unmanaged", "reserved")

Mark = t.Tuple[int, int]  # (number of the finding, CPU at which it stands)


@dataclass(frozen=True)
class Rail:
    """Guests that float over the same CPUs of an L3 domain."""

    vmids: t.Tuple[int, ...]
    cpus: int
    labels: t.Tuple[str, ...]  # longest first


@dataclass(frozen=True)
class Placed:
    """A cell with the position of its left edge and its width."""

    cell: Cell
    x: float
    width: float


def rows_of(zone: Zone) -> t.List[t.List[t.Tuple[int, ...]]]:
    """The cores of a zone in rows of at most eight CPUs; a core that has more takes rows of its own."""
    rows: t.List[t.List[t.Tuple[int, ...]]] = []
    for core in zone.cores:
        parts = [core[start : start + ROW_CELLS] for start in range(0, len(core), ROW_CELLS)]
        for part in parts:
            if rows and sum(map(len, rows[-1])) + len(part) <= ROW_CELLS:
                rows[-1].append(part)
            else:
                rows.append([part])
    return rows


def local_rails(host: HostView) -> t.List[Rail]:
    """The rails of the local guests; those that float over the same CPUs share one."""
    by_cpus: t.Dict[str, t.List[int]] = {}
    for entry in host.document["now"]["floats"]:
        if host.guest(entry["vmid"]).cpu_class == "local" and not entry["roams"]:
            by_cpus.setdefault(entry["cpus"], []).append(entry["vmid"])
    rails = []
    for cpus, vmids in by_cpus.items():
        vcpus = plural(sum(host.guest(vmid).vcpus for vmid in vmids), "vCPU")
        names = host.names(vmids, 3)
        several = plural(len(vmids), "local guest")
        labels = (f"{names}, {vcpus} float", f"{several}, {vcpus} float", names, ", ".join(map(str, vmids)), several)
        rails.append(Rail(tuple(vmids), parse_cpulist(cpus), tuple(sorted(labels, key=len, reverse=True))))
    return rails


def zone_rows(host: HostView, zone: Zone, rails: t.Sequence[Rail], marks: t.Sequence[Mark]) -> t.List[str]:
    """The rows of one L3 domain as SVG."""
    drawn = []
    for position, cores in enumerate(rows_of(zone)):
        placed = place_cells(host, zone, cores)
        label = f"L3 {zone.l3}" if zone.l3 is not None and position == 0 else ""
        drawn.append(_row(host, placed, rails, marks, label))
    return drawn


def offline_rows(host: HostView) -> t.List[str]:
    """The CPUs that are present but offline; Linux does not tell where they sit."""
    rows = [host.offline[start : start + ROW_CELLS] for start in range(0, len(host.offline), ROW_CELLS)]
    return [_row(host, place_cells(host, None, [(cpu,) for cpu in row]), (), (), "") for row in rows]


def place_cells(host: HostView, zone: t.Optional[Zone], cores: t.Sequence[t.Tuple[int, ...]]) -> t.List[Placed]:
    cells = sum(map(len, cores))
    inside = sum(len(core) - 1 for core in cores) * _THREAD_GAP
    gap = min(_CORE_GAP, (_CELLS_WIDTH - cells * _CELL_WIDTH - inside) / max(1, len(cores) - 1))
    placed = []
    x = _CELLS_LEFT
    for core in cores:
        for cpu in core:
            placed.append(Placed(host.now.cell(cpu, zone), x, _CELL_WIDTH))
            x += _CELL_WIDTH + _THREAD_GAP
        x += gap - _THREAD_GAP
    return placed


def _row(host: HostView, placed: t.Sequence[Placed], rails: t.Sequence[Rail], marks: t.Sequence[Mark], l3_label: str) -> str:
    here = [rail for rail in rails if any(rail.cpus >> p.cell.cpu & 1 for p in placed)]
    height = _BASE_HEIGHT + _RAIL_STEP * len(here)
    bands = list(_bands(host, placed))
    parts = [f'<svg class="row" viewBox="0 0 {number(ROW_WIDTH)} {number(height)}" role="presentation">']
    if l3_label:
        parts.append(f'<text class="l3" transform="translate(8.5 {number(_TOP + _FULL / 2)}) rotate(-90)">{escaped(l3_label)}</text>')
    parts += [band.shape for band in bands]
    parts += [cell_shape(p) for p in placed]
    parts += [band.label for band in bands]
    parts += [_rail(rail, placed, _BASE_HEIGHT + _RAIL_STEP * level) for level, rail in enumerate(here)]
    parts += _marks(placed, marks)
    parts.append("</svg>")
    return "".join(parts)


def cell_shape(placed: Placed) -> str:
    """One CPU: a list item that says the same to the eye's pointer and to a screen reader."""
    cell = placed.cell
    sentence = escaped(cell.sentence)
    owners = " ".join(map(str, cell.owners))
    return (
        f'<g class="c {cell.css}" role="listitem" data-g="{owners}" aria-label="{sentence}"><title>{sentence}</title>'
        f"{cell_drawing(placed)}</g>"
    )


def cell_drawing(placed: Placed) -> str:
    """A tooth above a band, a shorter one with an outline for an idle CPU, or a whole cell, with the CPU's number."""
    cell, x = placed.cell, placed.x
    joined = cell.state in JOINED
    inset = 0.5 if not joined or cell.idle else 0.0  # room for the outline
    height = _TOOTH - 2.5 if cell.idle else _TOOTH if joined else _FULL
    shape = rect(x + inset, _TOP + inset, placed.width - 2 * inset, height - 2 * inset, 2)
    return shape + text_at(x + placed.width / 2, _TOP + 9.4, cell.cpu)


@dataclass(frozen=True)
class _Band:
    shape: str
    label: str


def _bands(host: HostView, placed: t.Sequence[Placed]) -> t.Iterator[_Band]:
    for (state, owners), group in groupby(placed, key=lambda p: (p.cell.state, p.cell.owners)):
        run = list(group)
        if state in JOINED:
            yield _band(host, run, state, owners)


def _band(host: HostView, run: t.Sequence[Placed], state: str, owners: t.Tuple[int, ...]) -> _Band:
    x, right = run[0].x, run[-1].x + run[-1].width
    css = next((p.cell.css for p in run if not p.cell.idle), "iso a")
    guests = " ".join(map(str, owners))
    shape = rect(x, _TOP + _BAND_TOP - 5, right - x, _BAND_HEIGHT, 2, class_=f"band {css}", data_g=guests)
    if state == "conflict":
        frame = rect(x - 2, _TOP - 2, right - x + 4, _FULL + 4, 3.5, class_="frame", data_g=guests)
        shape += frame
    text = first_that_fits(_band_texts(host, state, owners), right - x - 3, _LABEL_SIZE)
    label = text_at((x + right) / 2, _TOP + _BAND_TOP + 5.8, text, f"lab {css}") if text else ""
    return _Band(shape, label)


def _band_texts(host: HostView, state: str, owners: t.Sequence[int]) -> t.List[str]:
    if state == "reserved":
        return ["host"]
    if state == "conflict":
        vmids = "+".join(map(str, owners)) if len(owners) > 1 else f"host+{owners[0]}"
        return [vmids, f"{len(owners)} guests" if len(owners) > 1 else vmids, "!"]
    if len(owners) > 1:
        return ["+".join(map(str, owners)), f"{len(owners)} guests", f"{len(owners)}\N{MULTIPLICATION SIGN}"]
    return [host.guest(owners[0]).full, str(owners[0])]


def _rail(rail: Rail, placed: t.Sequence[Placed], y: float) -> str:
    """A bar below the CPUs that a guest floats over; a thin line joins parts that stand apart."""
    guests = " ".join(map(str, rail.vmids))
    runs = [list(group) for over, group in groupby(placed, key=lambda p: bool(rail.cpus >> p.cell.cpu & 1)) if over]
    spans = [(run[0].x, run[-1].x + run[-1].width) for run in runs]
    shapes = [rect(left, y, right - left, _RAIL_HEIGHT, _RAIL_HEIGHT / 2) for left, right in spans]
    if len(spans) > 1:
        shapes.insert(0, rect(spans[0][0], y + _RAIL_HEIGHT / 2 - 1, spans[-1][1] - spans[0][0], 2))
    left, right = max(spans, key=lambda span: span[1] - span[0])
    text = first_that_fits(rail.labels, right - left - 8, 9)
    label = text_at((left + right) / 2, y + 8.4, text) if text else ""
    return f'<g class="rail" data-g="{guests}">{"".join(shapes)}{label}</g>'


def _marks(placed: t.Sequence[Placed], marks: t.Sequence[Mark]) -> t.List[str]:
    """The numbers of findings at the corner of the CPU where they begin; several at one CPU stand side by side."""
    x_of = {p.cell.cpu: p.x for p in placed}
    drawn = []
    taken: t.Dict[int, float] = {}
    for finding, cpu in marks:
        if cpu in x_of:
            offset = taken.get(cpu, 0.0)
            width = max(10.6, text_width(str(finding), _NUMBER_SIZE) + 5)
            taken[cpu] = offset + width + 1
            x = x_of[cpu] - 4 + offset
            shape = rect(x, -4.6, width, 10.6, 5.3)
            drawn.append(f'<g class="mark" aria-hidden="true">{shape}{text_at(x + width / 2, 3.8, finding)}</g>')
    return drawn


def marks_of(host: HostView, zone: Zone) -> t.List[Mark]:
    """Where the findings of the host are marked in this zone: at the first CPU of each run that belongs together."""
    marks = []
    for finding in host.document["findings"]:
        cpus = parse_cpulist(finding["cpus"])
        for cores in rows_of(zone):
            row = [cpu for core in cores for cpu in core]
            for (inside, _owners), group in groupby(row, key=lambda cpu: (bool(cpus >> cpu & 1), host.now.owners(cpu))):
                if inside:
                    marks.append((finding["number"], next(group)))
    return marks
