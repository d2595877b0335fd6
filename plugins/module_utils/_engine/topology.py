# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's CPUs, cores, L3 domains, NUMA nodes and packages, as the engine works with them.

`Host.from_facts` reads the `corepin_host` facts of the module host_topology_facts; only `cpus`, `numa_nodes`,
`l3_domains`, `packages` and `cores` are needed, and whatever else is absent counts as unknown. Levels need not nest
and ids need not be contiguous. All sets hold online CPUs only.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from .cpuset import count, cpus_of, lowest, mask_of, parse_cpulist
from .errors import FactsError, GrammarError
from .frequency import Offer, offer_of

# ACPI's SLIT value for "the same NUMA node", and the usual one for "another NUMA node" where no table says.
LOCAL_DISTANCE = 10
REMOTE_DISTANCE = 20

Facts = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Domain:
    """CPUs that share something: a package or an L3 cache."""

    id: int
    cpus: int


@dataclass(frozen=True)
class NumaNode:
    """A NUMA node; one without CPUs or without memory is normal. `memory_mib` None means unknown."""

    id: int
    cpus: int
    memory_mib: t.Optional[int] = None
    memory_free_mib: t.Optional[int] = None
    distances: t.Mapping[int, int] = field(default_factory=dict)
    hugepages: t.Mapping[int, t.Tuple[int, int]] = field(default_factory=dict)  # page size in KiB -> (total, free)


@dataclass(frozen=True)
class Zone:
    """CPUs that no border separates: one L3 domain inside one NUMA node and one package.

    `l3` is the position in Host.l3_domains, or None where the CPUs have no L3; `package` the position in
    Host.packages. `cores` are the masks of the zone's cores, ordered by lowest CPU.
    """

    cpus: int
    numa_node: int
    l3: t.Optional[int]
    package: int
    cores: t.Tuple[int, ...]


@dataclass(frozen=True)
class PciDevice:
    """What placement needs of a PCI function: where it sits and which physical function it belongs to."""

    address: str
    numa_node: t.Optional[int]
    local_cpus: int
    physical_function: t.Optional[str] = None


@dataclass(frozen=True)
class Host:
    """One host. `cores` are masks of online thread siblings, ordered by their lowest CPU."""

    node: str
    online: int
    cores: t.Tuple[int, ...]
    l3_domains: t.Tuple[Domain, ...]
    numa_nodes: t.Tuple[NumaNode, ...]
    packages: t.Tuple[Domain, ...]
    present: int = 0
    isolated: int = 0
    performance: int = 0
    efficiency: int = 0
    fingerprint: t.Optional[str] = None
    gathered_at: t.Optional[str] = None
    vendor: t.Optional[str] = None
    ceph: t.Optional[t.Mapping[str, int]] = None  # running daemons by kind
    arc_max_mib: t.Optional[int] = None  # what the ARC of ZFS may grow to; 0 without ZFS
    pci_devices: t.Mapping[str, PciDevice] = field(default_factory=dict)
    frequency: t.Optional[Offer] = None  # governors and energy preferences that its CPUs can be given

    @classmethod
    def from_facts(cls, facts: Facts, name: t.Optional[str] = None) -> Host:
        """Read `corepin_host` facts; `name` replaces the facts' own `node`. Raises FactsError."""
        node = name or str(facts.get("node") or "")
        try:
            return _host_from_facts(facts, node)
        except GrammarError as e:
            raise FactsError(f"The topology facts of host {node or 'without a name'} cannot be read: {e}") from e
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise FactsError(
                f"The topology facts of host {node or 'without a name'} do not have the expected shape ({e!r}); "
                "gather them again with corepin.proxmox.host_topology_facts."
            ) from e

    @cached_property
    def core_of(self) -> t.Mapping[int, int]:
        """CPU -> mask of its core's online threads."""
        return {cpu: core for core in self.cores for cpu in cpus_of(core)}

    @cached_property
    def first_threads(self) -> int:
        """The lowest CPU of every core."""
        return mask_of(lowest(core) for core in self.cores)

    def whole_cores(self, cpus: int) -> int:
        """All online threads of the cores that `cpus` touch."""
        whole = 0
        rest = cpus & self.online
        while rest:
            core = self.core_of[lowest(rest)]
            whole |= core
            rest &= ~core
        return whole

    @cached_property
    def numa_node_by_id(self) -> t.Mapping[int, NumaNode]:
        return {numa_node.id: numa_node for numa_node in self.numa_nodes}

    @cached_property
    def zones(self) -> t.Tuple[Zone, ...]:
        """The host cut along every border, ordered by NUMA node and then by lowest CPU."""
        zones = []
        for numa_node in self.numa_nodes:
            for package, l3, cpus in _cut(numa_node.cpus, self.packages, self.l3_domains):
                cores = tuple(core & cpus for core in self.cores if core & cpus)
                zones.append(Zone(cpus, numa_node.id, l3, package, cores))
        return tuple(sorted(zones, key=lambda zone: (zone.numa_node, lowest(zone.cpus))))

    @cached_property
    def zones_of(self) -> t.Mapping[int, t.Tuple[Zone, ...]]:
        """NUMA node id -> its zones."""
        return {n.id: tuple(zone for zone in self.zones if zone.numa_node == n.id) for n in self.numa_nodes}

    def numa_nodes_of(self, cpus: int) -> t.Tuple[NumaNode, ...]:
        """The NUMA nodes that `cpus` touch, by id."""
        return tuple(numa_node for numa_node in self.numa_nodes if numa_node.cpus & cpus)

    def distance(self, from_id: int, to_id: int) -> int:
        """The SLIT distance between two NUMA nodes; REMOTE_DISTANCE where the host does not say."""
        if from_id == to_id:
            return LOCAL_DISTANCE
        return self.numa_node_by_id[from_id].distances.get(to_id, REMOTE_DISTANCE)


def _cut(cpus: int, packages: t.Sequence[Domain], l3_domains: t.Sequence[Domain]) -> t.Iterator[t.Tuple[int, t.Optional[int], int]]:
    """Split `cpus` by package and L3 domain into (package position, L3 position or None, CPUs)."""
    remaining = cpus
    for package, package_domain in enumerate(packages):
        for l3, l3_domain in enumerate(l3_domains):
            part = remaining & package_domain.cpus & l3_domain.cpus
            if part:
                remaining &= ~part
                yield package, l3, part
        rest = remaining & package_domain.cpus
        if rest:
            remaining &= ~rest
            yield package, None, rest
    if remaining:
        yield 0, None, remaining


def _host_from_facts(facts: Facts, node: str) -> Host:
    cpus = facts["cpus"]
    online = parse_cpulist(cpus["online"])
    if not online:
        raise FactsError(f"Host {node or 'without a name'} has no online CPU in its facts (cpus.online is empty); gather them again.")
    core_types = facts.get("core_types") or {}
    return Host(
        node=node,
        online=online,
        present=parse_cpulist(cpus.get("present") or cpus["online"]),
        isolated=parse_cpulist(cpus.get("isolated") or ""),
        cores=_cores(facts.get("cores") or [], online),
        l3_domains=_domains(facts.get("l3_domains") or [], online),
        numa_nodes=_numa_nodes(facts.get("numa_nodes") or [], online),
        packages=_domains(facts.get("packages") or [], online) or (Domain(0, online),),
        performance=parse_cpulist(core_types.get("performance") or "") & online,
        efficiency=parse_cpulist(core_types.get("efficiency") or "") & online,
        fingerprint=facts.get("fingerprint"),
        gathered_at=facts.get("gathered_at"),
        vendor=facts.get("vendor"),
        ceph=None if facts.get("ceph") is None else {str(kind): int(number) for kind, number in facts["ceph"].items()},
        arc_max_mib=_optional_int((facts.get("zfs") or {}).get("arc_max_mib")),
        pci_devices=_pci_devices(facts.get("pci_devices") or []),
        frequency=offer_of(facts["cpufreq"]) if "cpufreq" in facts else None,
    )


def _cores(cpulists: t.Sequence[str], online: int) -> t.Tuple[int, ...]:
    """Core masks; a CPU that no core names is a core of its own, one that two name belongs to the first."""
    seen = 0
    cores = []
    for cpulist in cpulists:
        core = parse_cpulist(cpulist) & online & ~seen
        if core:
            cores.append(core)
            seen |= core
    cores.extend(1 << cpu for cpu in cpus_of(online & ~seen))
    return tuple(sorted(cores, key=lowest))


def _domains(entries: t.Sequence[Facts], online: int) -> t.Tuple[Domain, ...]:
    domains = (Domain(int(entry["id"]), parse_cpulist(entry["cpus"]) & online) for entry in entries)
    return tuple(sorted((d for d in domains if d.cpus), key=lambda d: (d.id, lowest(d.cpus))))


def _numa_nodes(entries: t.Sequence[Facts], online: int) -> t.Tuple[NumaNode, ...]:
    """NUMA nodes by id; a CPU listed by several counts for the lowest id, and without any entry all CPUs are NUMA node 0."""
    seen = 0
    numa_nodes = []
    for entry in sorted(entries, key=lambda e: int(e["id"])):
        cpus = parse_cpulist(entry["cpus"]) & online & ~seen
        seen |= cpus
        numa_nodes.append(
            NumaNode(
                id=int(entry["id"]),
                cpus=cpus,
                memory_mib=_optional_int(entry.get("memory_mib")),
                memory_free_mib=_optional_int(entry.get("memory_free_mib")),
                distances={int(to): int(value) for to, value in (entry.get("distances") or {}).items()},
                hugepages={
                    int(size): (int(pages.get("total") or 0), int(pages.get("free") or 0))
                    for size, pages in (entry.get("hugepages") or {}).items()
                },
            )
        )
    if not numa_nodes:
        return (NumaNode(0, online),)
    return tuple(numa_nodes)


def _optional_int(value: t.Any) -> t.Optional[int]:
    return None if value is None else int(value)


def _pci_devices(entries: t.Sequence[Facts]) -> t.Mapping[str, PciDevice]:
    devices = (
        PciDevice(
            address=str(entry["address"]),
            numa_node=_optional_int(entry.get("numa_node")),
            local_cpus=parse_cpulist(entry.get("local_cpus") or ""),
            physical_function=entry.get("physical_function"),
        )
        for entry in entries
    )
    return {device.address: device for device in devices}


def fingerprint(facts: Facts, caches: t.Sequence[t.Tuple[int, str, int, str]] = ()) -> str:
    """The identity of a host's hardware layout and boot-time isolation: sha256 in hexadecimal.

    It covers ids and cpulists of present CPUs, packages, cores, NUMA nodes with their distances, `caches` (level,
    type, id, cpulist) and the isolation asked for on the kernel command line; not memory sizes, drivers or anything
    else that changes at run time. The kernel hides the topology of an offline CPU, so taking one offline changes it.
    """
    identity = {
        "present": facts["cpus"].get("present"),
        "packages": [[p["id"], p["cpus"]] for p in facts["packages"]],
        "cores": list(facts["cores"]),
        "caches": sorted([list(cache) for cache in caches]) or [[d["id"], d["cpus"]] for d in facts["l3_domains"]],
        "numa_nodes": [[n["id"], n["cpus"], n.get("distances")] for n in facts["numa_nodes"]],
        "isolation": (facts.get("kernel") or {}).get("cmdline_isolation"),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def describe(host: Host) -> str:
    """One line for people: `64 CPUs, 32 cores, 8 L3 domains, 4 NUMA nodes, 1 package`."""
    parts = (
        (count(host.online), "CPU"),
        (len(host.cores), "core"),
        (len(host.l3_domains), "L3 domain"),
        (len(host.numa_nodes), "NUMA node"),
        (len(host.packages), "package"),
    )
    return ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in parts)
