# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other readers of the same trees: lscpu (util-linux), lstopo (hwloc), and the answers that captures come with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from levels import CpuSet, Levels, Partition, cpu_set, grouped, partition

SECONDS = 120
NO_NUMBER = -1  # of a package that the kernel does not number: what belongs together is not told then


INSTALLED_LSCPU, INSTALLED_LSTOPO = "lscpu", "hwloc-ls"  # the readers' names in tables and explanations


def run_lscpu(root: Path) -> t.Optional[Levels]:
    """What the installed lscpu reads; None where it is not installed or cannot read the tree."""
    text = _output([INSTALLED_LSCPU, "-p", "-s", str(root)])
    return from_lscpu(text) if text else None


def run_lstopo(root: Path) -> t.Optional[Levels]:
    """What the installed hwloc-ls reads; None where it is not installed or cannot read the tree."""
    text = _output([INSTALLED_LSTOPO, "--input", str(root), "--if", "fsroot", "--disallowed", "--of", "xml"])
    return from_lstopo_xml(text) if text else None


def _output(command: t.Sequence[str]) -> t.Optional[str]:
    if not shutil.which(command[0]):
        return None
    environment = {**os.environ, "LC_ALL": "C", "HWLOC_HIDE_ERRORS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False)
    return done.stdout if done.returncode == 0 else None


def from_lscpu(text: str) -> Levels:
    """The first table of `lscpu -p`: `# CPU,Core,Socket,Node,,L1d,L1i,L2,L3` and a row for each online CPU."""
    lines = text.split("# CPU,", 1)[1].splitlines()
    columns = [name.strip() for name in ("CPU," + lines[0]).replace(":", ",").split(",")]
    rows = []
    for line in lines[1:]:
        if not line or line.startswith("#"):
            break
        rows.append(dict(zip(columns, (value or None for value in line.replace(":", ",").split(",")))))
    by_cpu = {int(row["CPU"]): row for row in rows if row["CPU"]}
    if len(by_cpu) < len(rows):
        return Levels()  # lscpu 2.38 and before leaves all columns empty for trees without a socket number

    def column(name: str) -> t.Optional[Partition]:
        return grouped({cpu: row.get(name) for cpu, row in by_cpu.items()})

    return Levels(
        cpus=frozenset(by_cpu),
        cores=column("Core"),
        packages=column("Socket"),
        numa=column("Node"),
        l3=column("L3") or (frozenset() if "L1d" in columns else None),
    )


def from_lstopo(text: str) -> Levels:
    """What lstopo wrote, as XML or as the text of `lstopo -v`."""
    return from_lstopo_xml(text) if text.startswith("<?xml") else from_lstopo_text(text)


def from_lstopo_xml(text: str) -> Levels:
    """The XML of hwloc 2: objects with cpusets, NUMA nodes as memory children."""
    objects = list(ElementTree.fromstring(text).iter("object"))

    def sets(kind: str) -> t.List[CpuSet]:
        return [_hwloc_set(o.get("cpuset", "")) for o in objects if o.get("type") == kind]

    numa_nodes = {
        int(o.get("os_index", 0)): (_hwloc_set(o.get("cpuset", "")), int(o.get("local_memory", 0)) >> 20)
        for o in objects
        if o.get("type") == "NUMANode"
    }
    return _lstopo_levels(
        frozenset(int(o.get("os_index", 0)) for o in objects if o.get("type") == "PU"),
        sets("Core"),
        sets("Package"),
        sets("L3Cache"),
        numa_nodes,
    )


def _hwloc_set(text: str) -> CpuSet:
    """hwloc's bitmaps: 32-bit words in hexadecimal, highest first, an empty word for zero."""
    mask = 0
    for word in text.split(","):
        mask = mask << 32 | int(word or "0", 16)
    return frozenset(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


_LINE = re.compile(r"^( *)(\w+)(?:\(\w+\))?(?: L#\d+)?(?: \((?:P#(\d+))?(?:.*?local=(\d+)KB)?.*)?$")


def from_lstopo_text(text: str) -> Levels:
    """The text of `lstopo -v`: depth by indentation; what belongs to an object stands deeper below it."""
    found: t.Dict[str, t.List[t.Set[int]]] = {"Core": [], "Package": [], "L3Cache": []}
    numa_nodes: t.Dict[int, t.Tuple[t.Set[int], int]] = {}
    open_objects: t.List[t.Tuple[int, t.Set[int]]] = []  # indentation, CPUs
    cpus: t.Set[int] = set()
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        indent, kind, number, local_kib = len(match.group(1)), match.group(2), match.group(3), match.group(4)
        while open_objects and open_objects[-1][0] >= indent:
            open_objects.pop()
        if kind == "PU":
            cpu = int(number)
            cpus.add(cpu)
            for _indent, members in open_objects:
                members.add(cpu)
        elif kind == "NUMANode":
            members = open_objects[-1][1] if open_objects else set()
            numa_nodes[int(number)] = (members, int(local_kib or 0) >> 10)
        else:
            open_objects.append((indent, set()))
            found.get(kind, []).append(open_objects[-1][1])
    return _lstopo_levels(frozenset(cpus), found["Core"], found["Package"], found["L3Cache"], numa_nodes)


def _lstopo_levels(
    cpus: CpuSet,
    cores: t.Iterable[t.Iterable[int]],
    packages: t.Iterable[t.Iterable[int]],
    l3: t.Iterable[t.Iterable[int]],
    numa_nodes: t.Mapping[int, t.Tuple[t.Iterable[int], int]],
) -> Levels:
    return Levels(
        cpus=cpus,
        cores=partition(cores) or None,
        packages=partition(packages) or None,
        l3=partition(l3),
        numa=_numa_with_cpus({number: members for number, (members, _mib) in numa_nodes.items()}),
        memory={number: mib for number, (_members, mib) in numa_nodes.items()},
    )


def _numa_with_cpus(numa_nodes: t.Mapping[int, t.Iterable[int]]) -> Partition:
    """lstopo shows a NUMA node without CPUs beside those that are near: its CPUs are then all in NUMA nodes of lower number."""
    seen: t.Set[int] = set()
    with_cpus = []
    for number in sorted(numa_nodes):
        members = set(numa_nodes[number])
        if not members <= seen:
            with_cpus.append(members)
            seen |= members
    return partition(with_cpus)


def from_expected_json(document: t.Mapping[str, t.Any]) -> t.Dict[str, Levels]:
    """The answers in a capture's oracle/expected.json by reader: lstopo, lscpu, libvirt, as far as each told.

    libvirt's memory is not an answer: its tests make it up, a GiB more for each NUMA node.
    """
    cpus = {int(cpu): entry for cpu, entry in document["cpus"].items()}
    answers = {"lscpu": _from_expected_lscpu(cpus)} if cpus else {}
    if document.get("libvirt_hostcpu"):
        answers["libvirt-counts"] = _from_libvirt_counts(document["libvirt_hostcpu"])
    if any("threads" in entry for entry in cpus.values()):
        answers["lstopo"] = _from_expected_lstopo(cpus, document["nodes"])
    if any("libvirt" in entry for entry in cpus.values()):
        answers["libvirt"] = _from_expected_libvirt(cpus, document["libvirt_caches"])
    return answers


def _from_libvirt_counts(text: str) -> Levels:
    """`CPUs: 8/8, MHz: 0, Nodes: 1, Sockets: 4, Cores: 2, Threads: 1`: sockets per node, cores per socket."""
    number = {key: int(value) for key, value in re.findall(r"(\w+): (\d+)", text)}
    packages = number["Nodes"] * number["Sockets"]
    return Levels(cpus=number["CPUs"], cores=packages * number["Cores"], packages=packages)


def _from_expected_lscpu(cpus: t.Mapping[int, t.Mapping[str, t.Any]]) -> Levels:
    return Levels(
        cpus=frozenset(cpus),
        cores=partition(entry.get("lscpu_threads") or () for entry in cpus.values()) or None,
        packages=grouped({cpu: entry.get("lscpu_socket") for cpu, entry in cpus.items()}),
        numa=grouped({cpu: entry.get("node") for cpu, entry in cpus.items()}),
    )


def _from_expected_lstopo(cpus: t.Mapping[int, t.Mapping[str, t.Any]], nodes: t.Mapping[str, t.Any]) -> Levels:
    numa_nodes = {int(number): (node["hwloc_cpuset"], node["memory_bytes"] >> 20) for number, node in nodes.items()}
    packages = grouped({cpu: entry.get("package") if entry.get("package") != NO_NUMBER else None for cpu, entry in cpus.items()})
    return _lstopo_levels(
        frozenset(cpus),
        (entry["threads"] for entry in cpus.values() if entry.get("threads")),
        packages or (),
        (entry["l3"] for entry in cpus.values() if entry.get("l3")),
        numa_nodes,
    )


def _from_expected_libvirt(cpus: t.Mapping[int, t.Mapping[str, t.Any]], caches: t.Iterable[t.Mapping[str, t.Any]]) -> Levels:
    told = {cpu: entry["libvirt"] for cpu, entry in cpus.items() if "libvirt" in entry}
    return Levels(
        cpus=frozenset(told),
        cores=partition(entry["threads"] for entry in told.values()),
        packages=grouped({cpu: entry["socket"] for cpu, entry in told.items()}),
        numa=grouped({cpu: entry["node"] for cpu, entry in told.items()}),
        l3=partition(cpu_set(cache["cpus"]) for cache in caches if cache["level"] == "3"),
    )
