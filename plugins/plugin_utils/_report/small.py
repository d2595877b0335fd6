# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pictures: a whole host in the cluster's table, a guest's place in its row, the signs of the key.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import parse_cpulist

from .host_map import JOINED, ROW_CELLS, Placed, cell_drawing, rows_of
from .svg import box_path, escaped, number, rect, text_at
from .view import CSS, Cell, HostView

# One CPU has the same size on every host, so that a big host looks big.
_CPU_WIDTH, _CPU_HEIGHT, _THREAD_STEP, _CORE_STEP = 4.6, 7.6, 5.0, 5.8
_ROW_STEP, _BLOCK_GAP, _LINE_GAP, _MAX_WIDTH = 9.2, 6.0, 4.0, 400.0

_SPARK_LIMIT = 128  # CPUs; above that whole L3 domains are marked

Box = t.Tuple[float, float, float, float]


def mini_map(host: HostView, sentence: str) -> str:
    """All CPUs of a host, one path for each state and tone; NUMA nodes stand apart and wrap."""
    boxes: t.Dict[str, t.List[Box]] = {}
    left = top = width = bottom = 0.0
    for numa_node in dict.fromkeys(zone.numa_node for zone in host.zones):
        cells, block_width, block_height = _block(host, numa_node)
        if left and left + block_width > _MAX_WIDTH:
            left, top = 0.0, bottom + _LINE_GAP
        for css, x, y in cells:
            boxes.setdefault(css, []).append((left + x, top + y, _CPU_WIDTH, _CPU_HEIGHT))
        width, bottom = max(width, left + block_width), max(bottom, top + block_height)
        left += block_width + _BLOCK_GAP
    paths = "".join(f'<path class="m {css}" d="{box_path(boxes[css])}"/>' for css in sorted(boxes))
    text, right, low = escaped(sentence), number(width + 1), number(bottom + 1)
    return (
        f'<svg class="mini" width="{right}" height="{low}" viewBox="-.5 -.5 {right} {low}" role="img" aria-label="{text}">'
        f"<title>{text}</title>{paths}</svg>"
    )


def _block(host: HostView, numa_node: int) -> t.Tuple[t.List[t.Tuple[str, float, float]], float, float]:
    """The cells of a NUMA node (class, x, y), its width and its height; two columns of rows where there are many."""
    rows = [row for zone in host.numa_zones(numa_node) for row in rows_of(zone)]
    columns = 1 if len(rows) <= 4 else 2 if len(rows) <= 8 else 4
    lines = -(-len(rows) // columns)
    column_width = ROW_CELLS // 2 * (_THREAD_STEP + _CORE_STEP) + 2
    cells = []
    width = 0.0
    for position, row in enumerate(rows):
        x, y = position // lines * column_width, position % lines * _ROW_STEP
        for core in row:
            for cpu in core:
                cells.append((host.now.cell(cpu, None).css, x, y))
                width = max(width, x + _CPU_WIDTH)
                x += _THREAD_STEP
            x += _CORE_STEP - _THREAD_STEP if len(row) <= ROW_CELLS // 2 else 0.0
    return cells, width, lines * _ROW_STEP - (_ROW_STEP - _CPU_HEIGHT)


def spark(host: HostView, cpus: str, css: str) -> str:
    """Where on its host a guest is, as marks on a line of CPUs, or of L3 domains on a big host."""
    mask = parse_cpulist(cpus)
    whole_domains = host.document["counts"]["cpus"] > _SPARK_LIMIT
    step, width = (5.0, 4.2) if whole_domains else (2.0, 1.6)
    on: t.List[Box] = []
    off: t.List[Box] = []
    x = 0.0
    numa_node = None
    for zone in host.zones:
        x += 0.0 if numa_node is None else 4.0 if zone.numa_node != numa_node else 1.0
        numa_node = zone.numa_node
        marks = [zone.cpus] if whole_domains else [(cpu,) for cpu in zone.cpus]
        for mark in marks:
            hit = any(mask >> cpu & 1 for cpu in mark)
            (on if hit else off).append((x, 0 if hit else 5, width, 12 if hit else 2))
            x += step
    paths = "".join(f'<path class="{name}" d="{box_path(boxes)}"/>' for name, boxes in (("off", off), ("on", on)) if boxes)
    return f'<svg class="spark {css}" width="{number(x)}" height="12" viewBox="0 0 {number(x)} 12" aria-hidden="true">{paths}</svg>'


def swatch(cpu_class: str) -> str:
    """The sign of a class in a table."""
    css = {"isolated": "iso a", "dedicated": "ded a", "local": "loc", "shared": "fre", "unmanaged": "unm"}.get(cpu_class, "off")
    return f'<svg class="swatch" viewBox="0 0 16 11" aria-hidden="true"><g class="c {css}">{rect(0.5, 0.5, 15, 10, 2)}</g></svg>'


_KEY_LABELS = {"reserved": "host", "conflict": "2\N{MULTIPLICATION SIGN}", "isolated": "101", "dedicated": "102", "unmanaged": "103"}


def key_sign(state: str) -> str:
    """CPUs of that state as the map draws them, for the key: a core, or one thread where a state concerns single ones."""
    css = {"isolated": "iso a", "dedicated": "ded a"}.get(state, CSS[state])
    numbers = (0,) if state in ("stranded", "conflict", "offline") else (0, 1)
    cells = [Placed(_key_cell(state, css, cpu), cpu * 24.6, 23.6) for cpu in numbers]
    width = cells[-1].x + cells[-1].width
    band = rect(0, 17, width, 15, 2, class_=f"band {css}") if state in JOINED else ""
    frame = rect(-2, 3, width + 4, 31, 3.5, class_="frame") if state == "conflict" else ""
    label = text_at(width / 2, 27.8, _KEY_LABELS[state], f"lab {css}") if state in JOINED else ""
    shapes = "".join(f'<g class="c {cell.cell.css}">{cell_drawing(cell)}</g>' for cell in cells)
    box = f"-2.5 2 {number(width + 5)} 33"
    return (
        f'<svg class="sign" viewBox="{box}" width="{number(width + 5)}" height="33" aria-hidden="true">{band}{shapes}{frame}{label}</svg>'
    )


def _key_cell(state: str, css: str, cpu: int) -> Cell:
    idle = state == "isolated" and cpu == 1
    return Cell(cpu, state, (), idle, "idle" if idle else css, "")
