# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file that needs nothing else: style, script and drawings are in it.

The template is Jinja2 with everything escaped; what it prints as markup was drawn, and escaped, by the modules beside
this one. All that it loops over is made here and in host_page, so that the template only places things.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import functools
import pkgutil
import typing as t
from dataclasses import dataclass

import jinja2
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.wording import plural
from markupsafe import Markup

from .figures import breakable, dotted, gib, moment, processor
from .host_page import HostPage, host_page
from .small import mini_map
from .view import CSS, HostView, host_views

Document = t.Mapping[str, t.Any]

# Above so many CPUs the place of a CPU is said once, by its L3 domain; above so many hosts those without findings are folded.
MANY_CPUS = 2000
MANY_HOSTS = 6


@dataclass(frozen=True)
class Number:
    """A cell of the table of hosts: its heading, its text, and the classes that hide it on narrow pages."""

    label: str
    text: str
    css: str = ""
    strong: bool = False


@dataclass(frozen=True)
class ClusterRow:
    """One host in the table of hosts."""

    anchor: str
    name: str
    about: str
    picture: Markup
    numbers: t.Tuple[Number, ...]
    memory: Memory
    findings: int


@dataclass(frozen=True)
class Memory:
    """`free` and `total` in GiB as text; `used_percent` for the bar, None where it is unknown."""

    free: str
    total: str
    used_percent: t.Optional[int]


def page(model: Document) -> str:
    """The whole file."""
    cpus = sum(host["counts"]["cpus"] for host in model["hosts"])
    views = host_views(model, short=cpus > MANY_CPUS)
    guests: t.Dict[str, t.List[Document]] = {}
    for guest in model["guests"]:
        guests.setdefault(guest["host"], []).append(guest)
    fold = len(views) > MANY_HOSTS
    hosts = [host_page(view, guests.get(view.name, []), f"host-{n}", fold) for n, view in enumerate(views, start=1)]
    largest = max((host["now"]["largest"]["numa_node"] for host in model["hosts"]), default=0)
    return _template().render(
        model=model,
        title=f"Placement report of cluster {model['cluster']}" if model["cluster"] else "Placement report",
        taken_at=moment(model["gathered_at"]),
        headline=" ".join(model["headline"]),
        style=Markup(_style()),
        script=Markup(_asset("page.js")),
        cluster=[_cluster_row(view, host) for view, host in zip(views, hosts)],
        totals=_numbers(model["totals"]["cpus"], largest),
        memory=_memory(model["totals"]["memory"]),
        hosts=hosts,
        in_menu=[host for host in hosts if not fold or host.findings][:MANY_HOSTS],
        fold=fold,
        unread_guests=[guest for guest in model["guests"] if guest["state"] == "unread"],
        plural=plural,
        gib=gib,
        breakable=breakable,
    )


def _cluster_row(view: HostView, host: HostPage) -> ClusterRow:
    now = view.document["now"]
    named = ", ".join(f"{now['cpus'][state]} {state}" for state in CSS if now["cpus"][state])
    offline = f", {now['cpus']['offline']} offline" if now["cpus"]["offline"] else ""
    return ClusterRow(
        anchor=host.anchor,
        name=view.name,
        about=f"{processor(view.document['model'], view.document['counts']['packages'])}{offline}".strip(", "),
        picture=Markup(mini_map(view, f"{view.name}: {plural(view.document['counts']['cpus'], 'CPU')}: {named}")),
        numbers=_numbers(now["cpus"], now["largest"]["numa_node"]),
        memory=_memory(now["memory"]),
        findings=len(host.findings),
    )


def _numbers(cpus: t.Mapping[str, int], largest: int) -> t.Tuple[Number, ...]:
    """The numbers of a host or of all of them; those from `dedicated` to `stranded`, and what is offline, make up `CPUs`."""
    return (
        Number("CPUs", str(sum(cpus.values())), "seldom"),
        Number("dedicated", dotted(cpus["dedicated"] + cpus["isolated"]), "seldom"),
        Number("unmanaged", dotted(cpus["unmanaged"]), "maybe"),
        Number("conflict", dotted(cpus["conflict"]), "seldom", strong=cpus["conflict"] > 0),
        Number("reserved", dotted(cpus["reserved"]), "maybe"),
        Number("free", str(cpus["free"] + cpus["local"]), strong=True),
        Number("stranded", dotted(cpus["stranded"]), "maybe"),
        Number("largest place", str(largest), strong=True),
    )


def _memory(memory: Document) -> Memory:
    total, free = memory["total_mib"], memory["free_mib"]
    used = None if not total or free is None else min(100, max(0, round(100 * (total - free) / total)))
    return Memory(gib(free if free is None else max(0, free)), gib(total), used)


@functools.lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_asset("page.html.j2"))


@functools.lru_cache(maxsize=1)
def _style() -> str:
    """The style sheet. Dark values stand in it twice: for systems that prefer them, and for readers who choose them."""
    return _asset("page.css").replace("DARK", _asset("page_dark.css").strip())


def _asset(name: str) -> str:
    """A file beside this module, read by the loader that loaded it: from a checkout as from an installed collection."""
    return (pkgutil.get_data(__package__, name) or b"").decode("utf-8")
