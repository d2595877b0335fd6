# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests, and the grammar of the config keys that decide where they run.

The rules are those of qemu-server: src/PVE/QemuServer.pm (affinity, memory, hostpci) and
src/PVE/QemuServer/Memory.pm (numaN). A value has two faces: its text, which PVE keeps exactly as it was sent, and its
effect at the next start. corepin compares effects and writes canonical text.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from functools import lru_cache

from .cpuset import KNOWN_TEXTS, format_cpulist, format_ordered, parse_cpulist, parse_ordered
from .errors import FactsError, GrammarError

MAX_CELLS = 8  # MAX_NUMA in src/PVE/QemuServer/Memory.pm
DEFAULT_MEMORY_MIB = 512
CELL_KEYS = tuple(f"numa{index}" for index in range(MAX_CELLS))
PLACEMENT_KEYS = ("affinity", "numa") + CELL_KEYS
CELL_POLICIES = ("preferred", "bind", "interleave")
LXC_CPUSET_KEYS = ("lxc.cgroup2.cpuset.cpus", "lxc.cgroup.cpuset.cpus")

# karpenter's dummy guest that only describes a host: it never starts and holds nothing.
_NODE_CAPACITY_NAME, _NODE_CAPACITY_TAG = "node-capacity", "karpenter"

_PVE_CPUSET_PART = re.compile(r"^\s*\d+(-\d+)?\s*$", re.ASCII)
_ID_LIST = re.compile(r"^\d+(-\d+)?(;\d+(-\d+)?)*$", re.ASCII)
_PCI_ADDRESS = re.compile(r"^(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.([0-7]))?$", re.ASCII)

Config = t.Mapping[str, str]
Pending = t.Mapping[str, t.Optional[str]]


@dataclass(frozen=True)
class Cell:
    """A guest NUMA node. `vcpus` is a mask of vCPU numbers, `hostnodes` a mask of NUMA node ids (0 = not bound)."""

    vcpus: int
    memory_mib: t.Optional[int]
    hostnodes: int = 0
    policy: t.Optional[str] = None


@dataclass(frozen=True)
class Guest:
    """A VM or container as planning sees it: what its config will mean at its next start.

    vcpus and memory_mib are those of the next start too, while guest_info reports the stored ones.
    """

    vmid: int
    node: str
    vcpus: int
    memory_mib: int
    type: str = "qemu"
    name: str = ""
    status: str = "stopped"
    template: bool = False
    lock: t.Optional[str] = None
    protection: bool = False
    tags: t.Tuple[str, ...] = ()
    pool: t.Optional[str] = None
    ha: t.Optional[t.Mapping[str, t.Any]] = None
    digest: t.Optional[str] = None
    config: Config = field(default_factory=dict)
    pending: Pending = field(default_factory=dict)
    hostpci: t.Tuple[str, ...] = ()
    hugepages: t.Optional[str] = None
    unread: t.Optional[str] = None  # why its config is not known

    @classmethod
    def from_info(cls, info: t.Mapping[str, t.Any]) -> Guest:
        """Read one entry of guest_info's `guests`; only vmid, node, vcpus and memory_mib are needed. Raises FactsError."""
        try:
            return _guest_from_info(info)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise FactsError(
                f"Guest {info.get('vmid', 'without vmid') if isinstance(info, t.Mapping) else info!r} of the snapshot does "
                f"not have the expected shape ({e!r}); gather the guests again with corepin.proxmox.guest_info."
            ) from e

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def next_config(self) -> t.Dict[str, str]:
        """The config that the next start uses: stored values with the pending changes applied."""
        return apply_pending(self.config, self.pending)

    @property
    def label(self) -> str:
        """How messages name the guest: `guest 101 (db-main)`."""
        return f"guest {self.vmid} ({self.name})" if self.name else f"guest {self.vmid}"


def has_function(given: str, address: str) -> bool:
    """Whether the PCI function `address` is the one `given`, or one of the device that is given without a function."""
    return address == given or address.startswith(given + ".")


def describes_host(guest: Guest) -> bool:
    """Whether it is karpenter's dummy guest, which belongs into neither books nor reports."""
    return guest.name == _NODE_CAPACITY_NAME and _NODE_CAPACITY_TAG in guest.tags


def _guest_from_info(info: t.Mapping[str, t.Any]) -> Guest:
    config = {str(key): str(value) for key, value in (info.get("config") or {}).items()}
    if not config:
        config = _config_from_fields(info)
    pending = {str(key): None if value is None else str(value) for key, value in (info.get("pending") or {}).items()}
    resized = apply_pending(config, pending)
    return Guest(
        vmid=int(info["vmid"]),
        node=str(info["node"] or ""),
        vcpus=config_vcpus(resized) if {"cores", "sockets"} & set(pending) else int(info["vcpus"] or 0),
        memory_mib=config_memory_mib(resized) if "memory" in pending else int(info["memory_mib"] or 0),
        type=str(info.get("type") or "qemu"),
        name=str(info.get("name") or ""),
        status=str(info.get("status") or "stopped"),
        template=bool(info.get("template")),
        lock=info.get("lock") or None,
        protection=bool(info.get("protection")),
        tags=tuple(info.get("tags") or ()),
        pool=info.get("pool") or None,
        ha=info.get("ha") or None,
        digest=info.get("digest") or None,
        config=config,
        pending=pending,
        hostpci=tuple(info.get("hostpci") or ()),
        hugepages=None if info.get("hugepages") in (None, "") else str(info["hugepages"]),
        unread=None if info.get("unread") in (None, "") else str(info["unread"]),
    )


def _config_from_fields(info: t.Mapping[str, t.Any]) -> t.Dict[str, str]:
    """The placement keys of a guest that comes without `config`, from its `affinity` and `numa_cells`."""
    config: t.Dict[str, str] = {}
    affinity = info.get("affinity")
    if affinity not in (None, ""):
        config["affinity"] = str(affinity)
    cells = info.get("numa_cells") or []
    if cells:
        config["numa"] = "1"
    for index, cell in enumerate(cells):
        config[f"numa{index}"] = format_cell(cell_from_mapping(cell))
    return config


def cell_from_mapping(cell: t.Mapping[str, t.Any]) -> Cell:
    """Read {cpus: `0-15`, hostnodes: `0-1`, memory_mib, policy}. Raises GrammarError."""
    hostnodes = cell.get("hostnodes")
    return Cell(
        vcpus=_parse_ids(str(cell["cpus"]).replace(",", ";"), "cpus"),
        memory_mib=None if cell.get("memory_mib") is None else int(cell["memory_mib"]),
        hostnodes=0 if hostnodes in (None, "") else _parse_ids(str(hostnodes).replace(",", ";"), "hostnodes"),
        policy=cell.get("policy") or None,
    )


def cell_to_mapping(cell: Cell) -> t.Dict[str, t.Any]:
    """The contract's form of a cell; the opposite of `cell_from_mapping`."""
    return {
        "cpus": format_cpulist(cell.vcpus),
        "hostnodes": format_cpulist(cell.hostnodes) or None,
        "memory_mib": cell.memory_mib,
        "policy": cell.policy,
    }


def parse_properties(text: str, default_key: t.Optional[str] = None) -> t.Dict[str, str]:
    """Read a PVE property string (`key=value,...`, at most one value without key). Raises GrammarError."""
    properties: t.Dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            if default_key is None or default_key in properties:
                raise GrammarError(f"{text!r} has the value {part!r} without a key; write key=value pairs separated by commas.")
            key, value = default_key, part
        if key in properties:
            raise GrammarError(f"{text!r} gives {key!r} twice; keep one of them.")
        properties[key] = value
    return properties


@lru_cache(maxsize=KNOWN_TEXTS)
def parse_cell(text: str) -> Cell:
    """Read the value of a numaN key. Raises GrammarError for what PVE's schema refuses."""
    properties = parse_properties(text)
    unknown = sorted(set(properties) - {"cpus", "hostnodes", "memory", "policy"})
    if unknown:
        raise GrammarError(f"{text!r} has the unknown property {unknown[0]!r}; numaN knows cpus, hostnodes, memory and policy.")
    if "cpus" not in properties:
        raise GrammarError(f"{text!r} names no cpus; numaN needs cpus=FIRST-LAST.")
    policy = properties.get("policy")
    if policy is not None and policy not in CELL_POLICIES:
        raise GrammarError(f"{text!r} has the policy {policy!r}; allowed are {', '.join(CELL_POLICIES)}.")
    return Cell(
        vcpus=_parse_ids(properties["cpus"], "cpus"),
        memory_mib=_cell_memory(properties.get("memory"), text),
        hostnodes=_parse_ids(properties["hostnodes"], "hostnodes") if "hostnodes" in properties else 0,
        policy=policy,
    )


def _cell_memory(value: t.Optional[str], text: str) -> t.Optional[int]:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError as e:
        raise GrammarError(f"{text!r} has the memory {value!r}; write a whole number of MiB.") from e
    if number != int(number):
        raise GrammarError(f"{text!r} has the memory {value!r}, which is not a whole number of MiB; PVE cannot add it up.")
    return int(number)


def _parse_ids(text: str, what: str) -> int:
    if not _ID_LIST.match(text):
        raise GrammarError(f"{text!r} is not a list of {what}; write ids and ranges separated by semicolons, for example 0-3;8.")
    return parse_cpulist(text.replace(";", ","))


def format_cell(cell: Cell) -> str:
    """The canonical text of a numaN value: `cpus=0-3,hostnodes=0,memory=4096,policy=bind`."""
    parts = ["cpus=" + _format_ids(cell.vcpus)]
    if cell.hostnodes:
        parts.append("hostnodes=" + _format_ids(cell.hostnodes))
    if cell.memory_mib is not None:
        parts.append(f"memory={cell.memory_mib}")
    if cell.policy:
        parts.append(f"policy={cell.policy}")
    return ",".join(parts)


def _format_ids(mask: int) -> str:
    return format_cpulist(mask).replace(",", ";")


@lru_cache(maxsize=KNOWN_TEXTS)
def affinity_effect(text: t.Optional[str]) -> t.Optional[int]:
    """The CPUs that an affinity text starts the guest on; None = no restriction.

    The text `0` is false in Perl and so is not applied at all. Raises GrammarError for text with which a start fails
    (taskset takes no blanks and no empty parts) or that PVE's own check refuses.
    """
    if text is None or text in ("", "0"):
        return None
    for part in re.sub(r",+$", "", text).split(","):
        if not _PVE_CPUSET_PART.match(part):
            raise GrammarError(f"The affinity {text!r} is not a CPU list; write for example 0-7,32-39.")
    if re.search(r"\s|,$", text):
        raise GrammarError(f"The affinity {text!r} has a blank or a trailing comma, with which taskset refuses to start; write it without.")
    return parse_cpulist(text)


def affinity_order(text: t.Optional[str]) -> t.List[int]:
    """The CPUs of an affinity in the order in which they are written; [] where it has no effect or fails."""
    try:
        return parse_ordered(text or "") if affinity_effect(text) is not None else []
    except GrammarError:
        return []


def format_affinity(cpus: t.Iterable[int]) -> str:
    """The text to store for CPUs in the given order; CPU 0 alone is `0-0`, because PVE ignores `0`."""
    text = format_ordered(cpus)
    return "0-0" if text == "0" else text


def config_cells(config: Config) -> t.List[Cell]:
    """The guest NUMA nodes that a config defines, by N; [] unless `numa` is on. Raises GrammarError."""
    if not truthy(config.get("numa")):
        return []
    return [parse_cell(config[key]) for key in CELL_KEYS if key in config]


def truthy(value: t.Any) -> bool:
    """PVE's booleans as they are stored: 0/1, and in files also on/off, yes/no, true/false."""
    return str(value).lower() in ("1", "on", "yes", "true") if value is not None else False


def same_effect(key: str, left: t.Optional[str], right: t.Optional[str]) -> bool:
    """Whether two values of a config key (None = absent) do the same at the next start.

    An affinity that a start would refuse never equals anything, not even itself: it always needs mending.
    """
    try:
        if key == "affinity":
            return affinity_effect(left) == affinity_effect(right)
        if left is None or right is None:
            return left is right or (key == "numa" and not truthy(left) and not truthy(right))
        if key == "numa":
            return truthy(left) == truthy(right)
        if key in CELL_KEYS:
            return parse_cell(left) == parse_cell(right)
    except GrammarError:
        return key != "affinity" and left == right
    return left == right


def apply_pending(config: Config, pending: Pending) -> t.Dict[str, str]:
    """`config` with each pending value set and each pending delete (None) carried out."""
    merged = dict(config)
    for key, value in pending.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def config_vcpus(config: Config) -> int:
    """cores x sockets of a VM; PVE's default for each is 1."""
    return int(config.get("cores") or 1) * int(config.get("sockets") or 1)


def config_memory_mib(config: Config) -> int:
    """The memory of a VM or container in MiB: `2048` or, since PVE 8.1, also `current=2048`. Raises GrammarError."""
    text = config.get("memory")
    if text is None:
        return DEFAULT_MEMORY_MIB
    current = parse_properties(str(text), default_key="current").get("current", str(DEFAULT_MEMORY_MIB))
    if not current.isdigit():
        raise GrammarError(f"The memory {text!r} is not a number of MiB; write for example 4096.")
    return int(current)


def split_tags(text: t.Optional[str]) -> t.List[str]:
    """PVE's tag list (separated by `;`, in input also by `,` or blanks)."""
    return [tag for tag in re.split(r"[;,\s]+", text or "") if tag]


def normalise_pci_address(address: str) -> t.Optional[str]:
    """`01:00.0` -> `0000:01:00.0`, `01:00` -> `0000:01:00` (all functions); None for anything else."""
    match = _PCI_ADDRESS.match(address.strip())
    if not match:
        return None
    domain, slot, function = match.groups()
    return f"{(domain or '0000').lower()}:{slot.lower()}" + (f".{function}" if function is not None else "")


def lxc_cpuset(config: Config) -> t.Optional[str]:
    """The cpulist of a container's raw cpuset key, or None."""
    for key in LXC_CPUSET_KEYS:
        if config.get(key):
            return config[key]
    return None
