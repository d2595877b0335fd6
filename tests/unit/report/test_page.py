# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: every CPU drawn once with the right words, nothing loaded, nothing let in, readable by eye and by ear."""

from __future__ import annotations

import copy
import re
import time

import pytest
import report_cluster
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.cpuset import cpus_of, parse_cpulist
from ansible_collections.corepin.proxmox.plugins.plugin_utils._report.render import render
from hypothesis import given, settings
from sample_hosts import epyc_9354, guest, snapshot, snapshots

from .conftest import model_of
from .pages import cells, drawings, read_page

EVIL = "\"><script>alert('1')</script></style><img src=x onerror=alert(1)>{{ 1207 * 3 }}&amp;"


def cpus_of_state(host, state):
    return set(cpus_of(parse_cpulist(host["now"]["states"].get(state, ""))))


def shown_cpu(cell):
    """The number that is drawn in a cell: its text, without that of its <title>."""
    return int(cell.text.removeprefix(cell.attributes["aria-label"]))


def assert_every_cpu_is_drawn_once(model, page):
    maps = cells(read_page(page))
    for host in model["hosts"]:
        drawn = maps[f"Map of {host['name']}"]
        numbers = [shown_cpu(cell) for cell in drawn]
        assert len(numbers) == len(set(numbers)) == host["counts"]["cpus"]
        assert set(numbers) == {cpu for state in host["now"]["states"] for cpu in cpus_of_state(host, state)}
        owners = {}
        for claim in host["now"]["claims"]:
            for cpu in cpus_of(parse_cpulist(claim["cpus"])):
                owners.setdefault(cpu, []).append(str(claim["vmid"]))
        for cell in drawn:
            cpu = shown_cpu(cell)
            assert re.match(rf"CPU {cpu}(,|:)", cell.attributes["aria-label"])
            assert cell.text.startswith(cell.attributes["aria-label"])  # the <title>
            if cpu in owners:
                assert cell.attributes["data-g"].split() == owners[cpu]
                assert all(vmid in cell.attributes["aria-label"] for vmid in owners[cpu])
            else:
                assert "held by" not in cell.attributes["aria-label"] or "sibling" in cell.attributes["aria-label"]
        css = {
            "conflict": "clash",
            "reserved": "res",
            "free": "fre",
            "stranded": "str",
            "unmanaged": "unm",
            "offline": "off",
            "dedicated": "ded",
        }
        for state, name in css.items():
            assert {shown_cpu(cell) for cell in drawn if name in cell.classes} == cpus_of_state(host, state)


def test_every_cpu_of_the_messy_cluster_is_drawn_once(messy, page):
    assert_every_cpu_is_drawn_once(messy, page)


@settings(max_examples=25)
@given(snapshots())
def test_every_cpu_of_any_host_is_drawn_once(drawn):
    document, policy = drawn
    model = model_of(document, policy)
    page = render(model, "html")
    assert_every_cpu_is_drawn_once(model, page)
    assert drawings(page)


@pytest.mark.parametrize(
    "model_name", ["odd-offline-sibling", "odd-gaps", "odd-numa-without-cpus-or-memory", "odd-no-l3", "altra-q80-30", "xeon-snc2"]
)
def test_odd_hosts_are_drawn(model_name):
    model = model_of(snapshot([report_cluster.host_facts(model_name, "pve1")], [guest(101, 2, affinity="2-3")]), report_cluster.POLICY)
    page = render(model, "html")
    assert_every_cpu_is_drawn_once(model, page)
    assert drawings(page)


def test_a_row_holds_eight_cpus_and_a_core_with_more_takes_rows_of_its_own(page):
    rows = [e for e in read_page(page) if e.tag == "svg" and "row" in e.classes and e.inside("map")]
    assert sum(e.inside("map").attributes["aria-label"] == "Map of pve1" for e in rows) == 8
    facts = {"node": "pve1", "cpus": {"online": "0-19"}, "packages": [], "l3_domains": [], "numa_nodes": [], "cores": ["0-11", "12-13"]}
    model = model_of(snapshot([facts], []), {})
    wide = render(model, "html")
    assert_every_cpu_is_drawn_once(model, wide)
    assert sum(e.tag == "svg" and "row" in e.classes for e in read_page(wide)) == 3


def test_sentences_say_the_place_first_and_then_the_owner(page):
    labels = {cell.attributes["aria-label"] for cell in cells(read_page(page))["Map of pve1"]}
    assert "CPU 33, core 1, L3 domain 0, NUMA node 0: 101 db-main, dedicated, vCPU 1" in labels
    assert "CPU 36, core 4, L3 domain 1, NUMA node 0: kept idle for 104 rt-voice" in labels
    assert (
        "CPU 10, core 10, L3 domain 2, NUMA node 1: conflict: 110 fw-edge, dedicated, vCPU 2 and 115 mail-01, dedicated, vCPU 0" in labels
    )
    assert "CPU 51, core 19, L3 domain 4, NUMA node 2: stranded: free, but a sibling is held" in labels
    assert "CPU 0, core 0, L3 domain 0, NUMA node 0: reserved for the host" in labels
    hybrid = {cell.attributes["aria-label"] for cell in cells(read_page(page))["Map of pve3"]}
    assert "CPU 16, efficiency core 8, L3 domain 0, NUMA node 0: 302 camera, dedicated, vCPU 0" in hybrid


def test_a_band_names_the_guest_where_there_is_room_and_the_frame_marks_the_conflict(page):
    names = [element.text for element in read_page(page) if element.tag == "text" and "lab" in element.classes]
    assert "101 db-main" in names
    assert "110+115" in names
    assert sum("frame" in element.classes and element.inside("map") is not None for element in read_page(page)) == 2


def test_each_drawing_is_xml_and_has_a_name_or_is_decoration(page):
    svgs = drawings(page)
    assert len(svgs) > 50
    for svg in svgs:
        role = svg.get("role")
        named = role == "img" and svg.get("aria-label") and svg.find("title") is not None
        assert svg.get("aria-hidden") == "true" or role == "presentation" or named


def test_the_page_loads_nothing(page):
    elements = read_page(page)
    assert not {element.tag for element in elements} & {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    for element in elements:
        for name, value in element.attributes.items():
            assert name not in ("src", "srcset", "action", "background", "ping", "xlink:href", "style") or name == "style"
            assert name != "href" or value.startswith("#")
    assert not re.search(r"https?:|@import|//[a-z]+\.", page.replace("// ", ""))
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#hatch", "#dots", "#stripes"}


def test_links_and_labels_lead_somewhere_and_ids_are_unique(page):
    elements = read_page(page)
    ids = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in elements:
        target = element.attributes.get("href", "").removeprefix("#") or element.attributes.get("aria-labelledby")
        assert not target or target in ids


def test_hostile_names_stay_text():
    facts = {**epyc_9354(EVIL), "model": EVIL}
    names = {"name": EVIL, "tags": [EVIL, "database"], "pool": EVIL}
    document = snapshot([facts], [guest(101, 2, node=EVIL, affinity="0-1", **names), guest(102, 2, node=EVIL, affinity="1-2", **names)])
    document["cluster"] = {"name": EVIL, "nodes": [{"name": EVIL, "online": True}, {"name": EVIL + "2", "online": False}]}
    model = model_of(document, report_cluster.POLICY)
    page = render(model, "html")
    elements = read_page(page)
    tags = [element.tag for element in elements]
    assert tags.count("script") == tags.count("style") == 1
    assert "img" not in tags
    assert not any(name.startswith("on") for element in elements for name in element.attributes)
    assert "{{ 1207 * 3 }}" in page
    assert "3621" not in page
    assert any(element.text == EVIL for element in elements if element.tag == "h2")
    assert drawings(page)


def test_dark_values_stand_for_the_screen_alone(page):
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert style.count("#13161a;") == style.count("{ --paper: #13161a;") + style.count("--on-badge: #13161a;") == 4
    for rule in re.findall(r"@media[^{]*", style):
        assert "screen" in rule or "print" in rule
    assert "DARK" not in style


def test_text_on_its_ground_is_readable_in_both_themes(page):
    style = page.partition("<style>")[2].partition("</style>")[0]
    themes = [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in re.findall(r"\{([^{}]*--paper[^{}]*)\}", style)[:2]]
    pairs = [
        ("text", "paper"), ("text", "card"), ("text", "inset"), ("soft", "paper"), ("soft", "card"), ("text", "pool"), ("text", "loc"),
        ("on-iso", "iso-a"), ("on-iso", "iso-b"), ("on-ded", "ded-a"), ("on-ded", "ded-b"), ("on-loc", "loc-rail"),
        ("on-pool", "pool-rail"), ("on-unm", "unm"), ("on-res", "res"), ("on-clash", "clash-a"), ("on-badge", "badge"), ("link", "paper"),
    ]  # fmt: skip
    assert len(themes) == 2
    for theme in themes:
        for text, ground in pairs:
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground, contrast(theme[text], theme[ground]))
        for edge in ("edge", "pool-line", "str"):
            assert contrast(theme[edge], theme["inset"]) >= 3


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_headings_tables_and_controls_have_names(messy, page):
    elements = read_page(page)
    assert elements[0].attributes["lang"] == "en"
    headings = [int(element.tag[1]) for element in elements if re.fullmatch(r"h[1-6]", element.tag)]
    assert headings.count(1) == 1
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(headings, headings[1:]))
    assert next(element for element in elements if element.tag == "h1").text == " ".join(messy["headline"])
    for element in elements:
        if element.tag == "th":
            assert element.attributes.get("scope") in ("col", "row")
        if element.tag in ("button", "nav", "input"):
            assert (
                element.text.strip()
                or element.attributes.get("aria-label")
                or any(e.tag == "label" and e.text.strip() for e in element.path)
            )
    lists = [element for element in elements if element.attributes.get("role") == "list"]
    assert len(lists) >= 8
    assert all(element.attributes["aria-label"] for element in lists)


def test_without_a_plan_there_is_no_before_and_after():
    model = model_of(report_cluster.messy_snapshot(), report_cluster.POLICY, planned=False)
    page = render(model, "html")
    assert "Before and after" not in page
    assert "Planned CPUs" not in page
    assert_every_cpu_is_drawn_once(model, page)


def test_the_plan_is_drawn_beside_what_is(messy, page):
    wide = [e for e in read_page(page) if e.tag == "svg" and "wide" in e.classes]
    slim = [e for e in read_page(page) if e.tag == "svg" and "slim" in e.classes]
    assert [e.attributes["aria-label"] for e in wide] == [e.attributes["aria-label"] for e in slim]
    assert wide[0].attributes["aria-label"] == "2 guests of pve1 change CPUs"
    leaders = [e for e in read_page(page) if "leader" in e.classes]
    assert [e.attributes["data-g"] for e in leaders][:2] == ["115", "118"]
    assert all(e.inside("wide") for e in leaders)
    rows = [e for e in read_page(page) if e.tag == "tr" and e.inside("changes") and "data-g" in e.attributes]
    assert [row.attributes["data-g"] for row in rows] == [str(g["vmid"]) for g in messy["guests"] if g["state"] == "changes"]


def test_guests_to_be_created_are_listed_with_their_places():
    policy = {
        **report_cluster.POLICY,
        "requests": [{"name": "<new>", "vcpus": 4, "memory_mib": 4096}, {"name": "huge", "vcpus": 99, "memory_mib": 1}],
    }
    model = model_of(snapshot([epyc_9354()], []), policy)
    rows = [e.text for e in read_page(render(model, "html")) if e.tag == "tr" and e.inside("changes")]
    assert rows[1].startswith("<new> 1dedicatedpve1")
    assert rows[2].startswith("huge 1dedicatednone")
    assert "| &lt;new&gt; 1 | dedicated | pve1 | " in render(model, "markdown")


def test_findings_carry_one_number_on_the_map_in_the_list_and_in_the_table(page):
    elements = read_page(page)
    first = next(e for e in elements if e.tag == "li" and e.inside("findings"))
    assert first.text.startswith("1110 fw-edge and 115 mail-01 share 2 CPUs")
    left_of_cpu = {}
    for shape in (e for e in elements if e.tag == "rect" and e.inside("c") and e.inside("map")):
        cell = shape.inside("c")
        left_of_cpu.setdefault((shape.inside("map").attributes["aria-label"], shown_cpu(cell)), float(shape.attributes["x"]))
    marks = [e for e in elements if e.tag == "rect" and e.inside("mark") and e.inside("map").attributes["aria-label"] == "Map of pve1"]
    ends = {(e.inside("mark").text, float(e.attributes["x"]) + 4) for e in marks}
    assert ("1", left_of_cpu["Map of pve1", 10]) in ends
    assert ("3", left_of_cpu["Map of pve1", 20]) in ends
    row = next(e for e in elements if e.tag == "tr" and e.inside("guests") and e.attributes.get("data-g") == "110")
    assert row.text.endswith("1as planned")


def test_a_big_cluster_is_drawn_short_and_folded(tell):
    snapshot_of_five = report_cluster.big_snapshot(hosts=9)
    snapshot_of_five["guests"] = [g for g in snapshot_of_five["guests"] if g["node"] == "pve04"]
    began = time.process_time()
    model = model_of(snapshot_of_five, report_cluster.POLICY, planned=False)
    page = render(model, "html")
    tell(f"9 hosts of 256 CPUs: model and page in {time.process_time() - began:.2f} s, {len(page) / 1e6:.1f} MB")
    assert_every_cpu_is_drawn_once(model, page)
    folded = {e.attributes["id"]: "open" in e.attributes for e in read_page(page) if e.tag == "details"}
    assert [host for host, is_open in folded.items() if is_open] == ["host-4"]
    labels = [cell.attributes["aria-label"] for cell in cells(read_page(page))["Map of pve01"]]
    assert labels[0] == "CPU 0: reserved for the host"


def test_a_model_is_not_changed_by_drawing_it(messy):
    before = copy.deepcopy(messy)
    render(messy, "html")
    render(messy, "markdown")
    assert messy == before
