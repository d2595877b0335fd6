# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before and after: what a plan changes on a host, NUMA node by NUMA node, now and planned at the same scale.

What stays is faded, what a guest leaves has a dashed frame, where it arrives a solid one. A picture for wide pages has
both side by side, with a line from old to new while the moves are few; one for narrow pages has them below each other.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from itertools import groupby

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import count, format_cpulist, mask_of
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import plural

from .svg import box_path, escaped, first_that_fits, number, rect, text_at, text_width
from .view import Cell, HostView, Side

_LINE_CELLS = 32
_MAX_CELL = 30.0
_CELL_HEIGHT, _LABEL_HEIGHT, _LANE_HEIGHT = 22.0, 15.0, 13.0
_THREAD_GAP, _CORE_GAP, _ZONE_GAP = 1.0, 3.0, 7.0
_LABEL_SIZE = 10.5
_MAX_LEADERS = 6

Box = t.Tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True)
class Format:
    """Where things stand in a picture of this width: the two strips, and whether they share a line."""

    css: str
    width: float
    strip_width: float
    now_x: float
    planned_x: float
    side_by_side: bool

    def has_leaders(self, moves: t.Sequence[Move]) -> bool:
        return self.side_by_side and len(moves) <= _MAX_LEADERS


WIDE = Format("wide", 1216, 506, 104, 710, True)
NARROW = Format("slim", 420, 420, 0, 0, False)


@dataclass(frozen=True)
class Move:
    """One guest and the CPUs that it leaves and gets."""

    vmid: int
    leaves: int
    gets: int


@dataclass(frozen=True)
class _Spot:
    """One CPU in a strip: its line and its left edge."""

    cpu: int
    line: int
    x: float


@dataclass(frozen=True)
class _Strip:
    spots: t.Tuple[_Spot, ...]
    cell: float
    lines: int


@dataclass(frozen=True)
class _Drawing:
    """What both strips of a picture share: the CPUs that change by vmid, and whether labels say where a guest goes."""

    host: HostView
    strip: _Strip
    changing: t.Mapping[int, int]
    kind: str  # leave (now) or arrive (planned)
    says_goal: bool


@dataclass
class _Ends:
    """Where leader lines begin and end, by vmid: x and y of the lower edge of the first run."""

    leave: t.Dict[int, t.Tuple[float, float]]
    arrive: t.Dict[int, t.Tuple[float, float]]


def moves_of(host: HostView) -> t.List[Move]:
    """The guests whose CPUs of their own differ between now and planned."""
    if host.planned is None:
        return []
    now, planned = host.now.claims, host.planned.claims
    return [
        Move(vmid, now.get(vmid, 0) & ~planned.get(vmid, 0), planned.get(vmid, 0) & ~now.get(vmid, 0))
        for vmid in sorted({*now, *planned})
        if now.get(vmid, 0) != planned.get(vmid, 0)
    ]


def unchanged_numa_nodes(host: HostView) -> t.List[int]:
    """The NUMA nodes with CPUs on which nothing changes."""
    moves = moves_of(host)
    touched = 0
    for move in moves:
        touched |= move.leaves | move.gets
    ids = dict.fromkeys(zone.numa_node for zone in host.zones)
    return [n for n in ids if not any(touched >> cpu & 1 for zone in host.numa_zones(n) for cpu in zone.cpus)]


def plan_picture(host: HostView, form: Format) -> str:
    """The picture as SVG, or '' where no guest changes its CPUs."""
    moves = moves_of(host)
    if not moves or host.planned is None:
        return ""
    folded = set(unchanged_numa_nodes(host))
    numa_nodes = [n for n in dict.fromkeys(zone.numa_node for zone in host.zones) if n not in folded]
    cell = min(_cell_width(host, n, form) for n in numa_nodes)
    ends = _Ends({}, {})
    parts: t.List[str] = []
    y = 18.0 if form.side_by_side else 0.0
    if form.side_by_side:
        parts += [text_at(form.now_x, 12, "Now", "head"), text_at(form.planned_x, 12, "Planned", "head")]
    for numa_node in numa_nodes:
        strip = _strip(host, numa_node, cell, form.strip_width)
        drawn, height = _numa_node(host, host.planned, numa_node, strip, form, moves, ends, y)
        parts += drawn
        y += height
    if form.has_leaders(moves):
        parts += _leaders(form, ends)
    what = f"{plural(len(moves), 'guest')} of {host.name} {'changes' if len(moves) == 1 else 'change'} CPUs"
    return (
        f'<svg class="plan {form.css}" viewBox="0 0 {number(form.width)} {number(y)}" role="img" aria-label="{escaped(what)}">'
        f"<title>{escaped(what)}</title>{''.join(parts)}</svg>"
    )


def _cell_width(host: HostView, numa_node: int, form: Format) -> float:
    gaps = cells = 0.0
    for line in _lines(host, numa_node):
        cells = max(cells, len(line))
        gaps = max(gaps, sum(gap for _cpu, gap in line))
    return min(_MAX_CELL, (form.strip_width - gaps) / max(1.0, cells))


def _lines(host: HostView, numa_node: int) -> t.List[t.List[t.Tuple[int, float]]]:
    """The CPUs of a NUMA node with the gap before each, in lines of at most 32 that break between cores."""
    lines: t.List[t.List[t.Tuple[int, float]]] = [[]]
    for zone in host.numa_zones(numa_node):
        first_of_zone = True
        for core in zone.cores:
            if lines[-1] and len(lines[-1]) + len(core) > _LINE_CELLS:
                lines.append([])
            for position, cpu in enumerate(core):
                gap = _THREAD_GAP if position else _ZONE_GAP if first_of_zone else _CORE_GAP
                lines[-1].append((cpu, gap if lines[-1] else 0.0))
                first_of_zone = False
    return lines


def _strip(host: HostView, numa_node: int, cell: float, width: float) -> _Strip:
    spots = []
    lines = _lines(host, numa_node)
    for number_, line in enumerate(lines):
        x = 0.0
        for cpu, gap in line:
            x += gap
            spots.append(_Spot(cpu, number_, x))
            x += cell
    return _Strip(tuple(spots), cell, len(lines))


def _numa_node(
    host: HostView, after: Side, numa_node: int, strip: _Strip, form: Format, moves: t.Sequence[Move], ends: _Ends, y: float
) -> t.Tuple[t.List[str], float]:
    """The drawing of one NUMA node and its height."""
    line = _LABEL_HEIGHT + _CELL_HEIGHT
    height = strip.lines * line + (_LANE_HEIGHT if form.side_by_side else 6)
    says_goal = not form.has_leaders(moves)
    leaving = _Drawing(host, strip, {move.vmid: move.leaves for move in moves}, "leave", says_goal)
    arriving = _Drawing(host, strip, {move.vmid: move.gets for move in moves}, "arrive", False)
    name = f"NUMA node {numa_node}"
    if form.side_by_side:
        label = text_at(0, y + _LABEL_HEIGHT + 15, name, "node")
        now = _side(leaving, host.now, after, form.now_x, y, ends.leave)
        planned = _side(arriving, after, host.now, form.planned_x, y, ends.arrive)
        return [label, now, planned], height
    second = y + height + 20
    now = _side(leaving, host.now, after, 0, y + 12, ends.leave)
    planned = _side(arriving, after, host.now, 0, second + 12, ends.arrive)
    heads = [text_at(0, y + 10, f"{name}, now", "node"), text_at(0, second + 10, f"{name}, planned", "node")]
    return [*heads, now, planned], 2 * height + 52


def _side(drawing: _Drawing, side: Side, other: Side, left: float, top: float, ends: t.Dict[int, t.Tuple[float, float]]) -> str:
    """One strip with its frames and labels; notes in `ends` where the first run of each guest that changes lies."""
    solid: t.Dict[str, t.List[Box]] = {}
    faded: t.Dict[str, t.List[Box]] = {}
    labels: t.List[str] = []
    strip = drawing.strip
    for line, spots in groupby(strip.spots, key=lambda spot: spot.line):
        y = top + line * (_LABEL_HEIGHT + _CELL_HEIGHT) + _LABEL_HEIGHT
        free_from = left
        named: t.Set[t.Tuple[int, ...]] = set()
        cells = [(spot, side.cell(spot.cpu, None)) for spot in spots]
        for (movers, solved, owners), group in groupby(cells, key=lambda pair: _run_key(pair[1], other, drawing.changing)):
            run = list(group)
            x, right = left + run[0][0].x, left + run[-1][0].x + strip.cell
            for spot, cell in run:
                boxes = solid if movers or solved else faded
                boxes.setdefault(cell.css, []).append((left + spot.x, y, strip.cell, _CELL_HEIGHT))
            if movers:
                labels.append(_frame(drawing.kind, movers, x, y, right))
                if movers not in named:  # a guest in pieces is named at its first one
                    named.add(movers)
                    text = _mover_label(drawing, movers, other, left + _width(strip) - free_from)
                    start = max(free_from, min(x, left + _width(strip) - text_width(text, _LABEL_SIZE)))
                    labels.append(text_at(start, y - 4.5, text, "mover"))
                    free_from = start + text_width(text, _LABEL_SIZE) + 4
                for vmid in movers:
                    ends.setdefault(vmid, ((x + right) / 2, y + _CELL_HEIGHT + 1.5))
            elif len(owners) == 1 and not solved:
                text = first_that_fits([str(owners[0])], right - x, 9.6)
                labels.append(text_at((x + right) / 2, y + 14.6, text, "stay") if text else "")
            if solved:
                labels += [text_at(left + spot.x + strip.cell / 2, y + 15.5, "!", "bang") for spot, _cell in run]
    return _paths(faded, "faded") + _paths(solid, "") + "".join(labels)


def _frame(kind: str, movers: t.Sequence[int], x: float, y: float, right: float) -> str:
    vmids = " ".join(map(str, movers))
    return rect(x - 1.5, y - 1.5, right - x + 3, _CELL_HEIGHT + 3, 3, class_=kind, data_g=vmids)


def _width(strip: _Strip) -> float:
    return max(spot.x for spot in strip.spots) + strip.cell


def _run_key(cell: Cell, other: Side, changing: t.Mapping[int, int]) -> t.Tuple[t.Tuple[int, ...], bool, t.Tuple[int, ...]]:
    """(guests that change here, whether a conflict is gone on the other side, owners): CPUs of one run agree in it."""
    movers = tuple(vmid for vmid in cell.owners if changing.get(vmid, 0) >> cell.cpu & 1)
    solved = cell.state == "conflict" and other.state_of.get(cell.cpu) != "conflict"
    return movers, solved, cell.owners


def _mover_label(drawing: _Drawing, movers: t.Sequence[int], other: Side, room: float) -> str:
    host = drawing.host
    if len(movers) > 1:
        texts = [" + ".join(map(str, movers)), f"{len(movers)} guests"]
    else:
        guest = host.guest(movers[0])
        goal = _goal(host, movers[0], other) if drawing.says_goal else ""
        texts = [f"{guest.full} {goal}", f"{guest.vmid} {goal}"] if goal else []
        texts += [guest.full, str(guest.vmid)]
    return first_that_fits(texts, room, _LABEL_SIZE) or texts[-1]


def _goal(host: HostView, vmid: int, planned: Side) -> str:
    """Where a guest goes, as the end of its label; '' where it stays on its NUMA nodes."""
    before, after = _numa_nodes(host, host.now.claims.get(vmid, 0)), _numa_nodes(host, planned.claims.get(vmid, 0))
    if not after:
        return "to the pool"
    return "" if after == before else f"to NUMA node{'' if count(after) == 1 else 's'} {format_cpulist(after)}"


def _numa_nodes(host: HostView, cpus: int) -> int:
    return mask_of(zone.numa_node for zone in host.zones if any(cpus >> cpu & 1 for cpu in zone.cpus))


def _paths(boxes: t.Mapping[str, t.List[Box]], css: str) -> str:
    drawn = "".join(f'<path class="m {name}" d="{box_path(boxes[name])}"/>' for name in sorted(boxes))
    return f'<g class="{css}">{drawn}</g>' if css and drawn else drawn


def _leaders(form: Format, ends: _Ends) -> t.List[str]:
    """One line per moved guest from its old to its new place, through lanes of its own."""
    both = [vmid for vmid in ends.leave if vmid in ends.arrive]
    lanes = form.planned_x - (form.now_x + form.strip_width) - 40
    drawn = []
    for position, vmid in enumerate(both):
        (x1, y1), (x2, y2) = ends.leave[vmid], ends.arrive[vmid]
        lane = form.now_x + form.strip_width + 20 + lanes * (position + 0.5) / len(both)
        drop = 3 + 8.0 * (position + 0.5) / len(both)
        path = f"M{number(x1)} {number(y1)}V{number(y1 + drop)}H{number(lane)}V{number(y2 + drop)}H{number(x2)}V{number(y2 + 1)}"
        tip = f"M{number(x2 - 3.2)} {number(y2 + 5)}L{number(x2)} {number(y2)}L{number(x2 + 3.2)} {number(y2 + 5)}z"
        drawn.append(f'<g class="leader" data-g="{vmid}"><path d="{path}"/><path class="tip" d="{tip}"/></g>')
    return drawn


def cpus_changing(moves: t.Iterable[Move]) -> int:
    """How many CPUs get another owner: those that guests arrive on."""
    gets = 0
    for move in moves:
        gets |= move.gets
    return count(gets)
