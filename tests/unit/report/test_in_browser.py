# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a real browser: its script works, nothing is wider than the window, labels fit into what they name."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--dump-dom",
]  # fmt: skip


@pytest.fixture
def look(page, tmp_path):
    """`look(script, width)`: what the script, the body of a function, returns in the page in a window of that width."""

    def looked(script, width=1280):
        probe = f"<script>addEventListener('load', () => {{ document.title = JSON.stringify((() => {{ {script} }})()) }})</script>"
        path = tmp_path / "page.html"
        path.write_text(page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
        command = [CHROMIUM, *OPTIONS, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
        printed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=True).stdout
        return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", printed, re.DOTALL).group(1)))

    return looked


def test_pointer_keyboard_search_sorting_and_theme(look):
    seen = look("""
        const all = (selector) => [...document.querySelectorAll(selector)];
        const cpus = all(".map .c[role=listitem]");
        const press = (key) => {
          document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
          return document.activeElement.getAttribute("aria-label");
        };
        const seen = {tabStops: all('.map .c[tabindex="0"]').length};
        cpus[2].dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
        seen.spoken = document.querySelector(".spoken").textContent;
        seen.opacity = [cpus[0], cpus[2]].map((cpu) => getComputedStyle(cpu).opacity);
        cpus[0].focus();
        seen.keys = ["ArrowRight", "ArrowDown", "Home"].map(press);
        const heading = all("table.guests")[0].querySelectorAll("thead th")[3];
        heading.querySelector("button").click();
        heading.querySelector("button").click();
        const name = (row) => row.querySelector("th .nb").textContent;
        seen.sorted = [heading.getAttribute("aria-sort"), name(all("table.guests tbody tr")[0])];
        const field = document.getElementById("find");
        field.value = "office proxy pve1";
        field.dispatchEvent(new Event("input"));
        seen.found = all("table.guests tbody tr").filter((row) => !row.hidden).map(name);
        document.getElementById("theme").click();
        document.getElementById("theme").click();
        seen.background = getComputedStyle(document.body).backgroundColor;
        return seen;
    """)
    assert seen == {
        "tabStops": 3,
        "spoken": "CPU 1, core 1, L3 domain 0, NUMA node 0: 101 db-main, dedicated, vCPU 0",
        "opacity": ["0.28", "1"],
        "keys": [
            "CPU 32, core 0, L3 domain 0, NUMA node 0: reserved for the host",
            "CPU 36, core 4, L3 domain 1, NUMA node 0: kept idle for 104 rt-voice",
            "CPU 0, core 0, L3 domain 0, NUMA node 0: reserved for the host",
        ],
        "sorted": ["descending", "analytics"],
        "found": ["proxy"],
        "background": "rgb(19, 22, 26)",
    }


@pytest.mark.parametrize("width", [1280, 900, 500])
def test_nothing_is_too_wide(look, width):
    seen = look(
        """
        const wider = (text, shape) => text.getComputedTextLength() > shape.getBBox().width;
        const labels = [...document.querySelectorAll(".map .lab")];
        const tooLong = labels.filter((label) => {
          const x = Number(label.getAttribute("x"));
          const bands = [...label.parentNode.querySelectorAll(".band")];
          const band = bands.find((one) => { const box = one.getBBox(); return box.x < x && x < box.x + box.width; });
          return !band || wider(label, band);
        });
        const cells = [...document.querySelectorAll(".map .c")]
          .filter((cell) => wider(cell.querySelector("text"), cell.querySelector("rect")));
        const rails = [...document.querySelectorAll(".map .rail")].filter((rail) => {
          const text = rail.querySelector("text");
          return text && Math.max(...[...rail.querySelectorAll("rect")].map((one) => one.getBBox().width)) < text.getComputedTextLength();
        });
        return {
          window: innerWidth, page: document.documentElement.scrollWidth, labels: labels.length,
          tooLong: tooLong.map((label) => label.textContent), cells: cells.length, rails: rails.length,
        };
        """,
        width,
    )
    assert seen["page"] <= seen["window"] == width
    assert seen["labels"] > 10
    assert (seen["tooLong"], seen["cells"], seen["rails"]) == ([], 0, 0)
