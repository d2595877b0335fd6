# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the owner of a cluster wants: placement rules, reservations, limits.

A policy is a dict whose keys are the inventory variables `corepin_*` without their prefix; every key is optional.
Unknown names and values are errors that name the nearest known one, never ignored.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import difflib
import fnmatch
import typing as t
from dataclasses import dataclass, field, fields

from .cpuset import parse_cpulist
from .errors import GrammarError, PolicyError
from .guest import Guest

CLASSES = ("dedicated", "isolated", "local", "shared", "unmanaged")
PINNED_CLASSES = ("dedicated", "isolated")
MATCH_KEYS = ("tags", "pools", "vmids", "names", "nodes", "groups")
_CHOICES: t.Mapping[str, t.Tuple[str, ...]] = {
    "class": CLASSES,
    "siblings": ("pack", "spread", "require"),
    "numa": ("single", "compact", "spread", "any"),
    "memory": ("bind", "preferred", "interleave", "none"),
    "core_type": ("performance", "efficiency", "any", "mixed"),
    "devices": ("require", "prefer", "ignore"),
    "irq": ("follow", "ignore"),
    "emulator": ("shared", "reserved"),
    "hugepages": ("any", "2", "1024"),
}
_TEXTS = ("governor", "epp")
_BOOLEANS = ("vcpu_pinning", "expose_threads")
RULE_KEYS = tuple(_CHOICES) + _TEXTS + _BOOLEANS
REQUEST_KEYS = (
    "name",
    "count",
    "vcpus",
    "memory_mib",
    "across",
    "nodes",
    "ha_rules",
    "group",
    "group_affinity",
)
ACROSS = ("pack", "spread")
GROUP_AFFINITIES = ("positive", "negative")
AUTO_RESERVATIONS = ("ceph", "zfs")
MODES = ("config", "runtime", "both")
PARTIAL = ("freeze", "refuse")
POLICY_KEYS = (
    "rules",
    "reserved",
    "requests",
    "repack",
    "overcommit",
    "mode",
    "partial",
    "restart",
    "housekeeping",
    "memory_move",
    "allow_protected",
    "free_cpus",
)


@dataclass(frozen=True)
class Match:
    """Which guests a rule is for: any value within a key, all given keys; none given = every guest."""

    tags: t.Tuple[str, ...] = ()
    pools: t.Tuple[str, ...] = ()
    vmids: t.Tuple[int, ...] = ()
    names: t.Tuple[str, ...] = ()
    nodes: t.Tuple[str, ...] = ()
    groups: t.Tuple[str, ...] = ()

    def holds(self, guest: Guest, groups: t.Mapping[str, t.Collection[t.Any]]) -> bool:
        return (
            (not self.tags or bool(set(self.tags) & set(guest.tags)))
            and (not self.pools or guest.pool in self.pools)
            and (not self.vmids or guest.vmid in self.vmids)
            and (not self.names or any(fnmatch.fnmatchcase(guest.name, glob) for glob in self.names))
            and (not self.nodes or guest.node in self.nodes)
            and (not self.groups or any(_in_group(guest, groups.get(group, ())) for group in self.groups))
        )


def _in_group(guest: Guest, members: t.Collection[t.Any]) -> bool:
    return guest.vmid in members or str(guest.vmid) in members or guest.node in members


@dataclass(frozen=True)
class Rule:
    """How the guests that it matches are placed; the defaults are the design's."""

    match: Match = field(default_factory=Match)
    cpu_class: str = "dedicated"
    siblings: str = "pack"
    numa: str = "compact"
    memory: str = "bind"
    core_type: str = "any"
    devices: str = "prefer"
    vcpu_pinning: bool = True
    irq: str = "ignore"
    emulator: str = "shared"
    governor: t.Optional[str] = None
    epp: t.Optional[str] = None
    hugepages: t.Optional[str] = None
    expose_threads: t.Optional[bool] = None  # False takes away what True has put into a guest's args, None leaves them alone


@dataclass(frozen=True)
class Frequency:
    """Governor and energy performance preference for CPUs; None = as they are."""

    governor: t.Optional[str] = None
    epp: t.Optional[str] = None


UNMANAGED = Rule(cpu_class="unmanaged", vcpu_pinning=False)


@dataclass(frozen=True)
class Reservation:
    """CPUs and memory that the host keeps for itself."""

    cpus: int = 0
    cores_per_numa_node: int = 0
    memory_mib: int = 0
    memory_mib_per_numa_node: int = 0
    auto: t.Tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """`count` guests still to be created, all alike.

    `group` is never None where `group_affinity` (positive or negative) is given: without a name the copies are a group.
    """

    name: str
    vcpus: int
    memory_mib: int
    count: int = 1
    rule: Rule = field(default_factory=Rule)
    across: t.Optional[str] = None
    nodes: t.Tuple[str, ...] = ()
    ha_rules: t.Tuple[str, ...] = ()
    group: t.Optional[str] = None
    group_affinity: t.Optional[str] = None


@dataclass(frozen=True)
class Policy:
    rules: t.Tuple[Rule, ...] = ()
    reserved_default: Reservation = field(default_factory=Reservation)
    reserved_hosts: t.Mapping[str, Reservation] = field(default_factory=dict)
    requests: t.Tuple[Request, ...] = ()
    repack: t.Union[str, int] = "never"
    overcommit_cpu: float = 1.0
    overcommit_memory: float = 1.0
    mode: str = "config"
    partial: str = "freeze"
    restart: t.Tuple[str, ...] = ()
    housekeeping: bool = False
    memory_move: bool = False
    allow_protected: bool = False
    free_cpus: Frequency = field(default_factory=Frequency)

    @classmethod
    def from_dict(cls, policy: t.Mapping[str, t.Any]) -> Policy:
        """Read a policy dict. Raises PolicyError."""
        _known(policy, POLICY_KEYS, "policy key")
        reserved = _mapping(policy.get("reserved"), "reserved")
        _known(reserved, ("default", "hosts"), "key of reserved")
        overcommit = _mapping(policy.get("overcommit"), "overcommit")
        _known(overcommit, ("cpu", "memory"), "key of overcommit")
        return cls(
            rules=tuple(_rule(rule, f"rule {n}") for n, rule in enumerate(_list(policy.get("rules"), "rules"), start=1)),
            reserved_default=_reservation(reserved.get("default"), "reserved.default"),
            reserved_hosts={
                str(host): _reservation(value, f"reserved.hosts.{host}")
                for host, value in _mapping(reserved.get("hosts"), "reserved.hosts").items()
            },
            requests=_requests(policy.get("requests")),
            repack=_repack(policy.get("repack")),
            overcommit_cpu=_factor(overcommit.get("cpu"), "overcommit.cpu"),
            overcommit_memory=_factor(overcommit.get("memory"), "overcommit.memory"),
            mode=_choice(policy.get("mode"), MODES, "mode", "config"),
            partial=_choice(policy.get("partial"), PARTIAL, "partial", "freeze"),
            restart=tuple(str(entry) for entry in _list(policy.get("restart"), "restart")),
            housekeeping=_boolean(policy.get("housekeeping"), "housekeeping", False),
            memory_move=_boolean(policy.get("memory_move"), "memory_move", False),
            allow_protected=_boolean(policy.get("allow_protected"), "allow_protected", False),
            free_cpus=_frequency(policy.get("free_cpus")),
        )

    def rule_for(self, guest: Guest, groups: t.Mapping[str, t.Collection[t.Any]]) -> Rule:
        """The first rule that matches; without one the guest is unmanaged (UNMANAGED itself, which no rule is)."""
        for rule in self.rules:
            if rule.match.holds(guest, groups):
                return rule
        return UNMANAGED

    def restarts(self, guest: Guest) -> bool:
        """Whether a running guest may be restarted for its placement."""
        return guest.running and (str(guest.vmid) in self.restart or bool(set(guest.tags) & set(self.restart)))

    def reservation(self, host: str) -> Reservation:
        return self.reserved_hosts.get(host, self.reserved_default)


def nearest(name: str, known: t.Iterable[str], prefix: str = "") -> str:
    """The known name that a misspelt one most likely means, as a hint: `did you mean siblings?`; `prefix` goes before each."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {prefix}{close[0]}?" if close else f"known are {', '.join(prefix + known_name for known_name in names)}."


def _known(mapping: t.Mapping[str, t.Any], known: t.Sequence[str], what: str) -> None:
    for key in mapping:
        if key not in known:
            raise PolicyError(f"{key!r} is not a known {what}; {nearest(str(key), known)}")


def _mapping(value: t.Any, what: str) -> t.Mapping[str, t.Any]:
    if value in (None, ""):
        return {}
    if not isinstance(value, t.Mapping):
        raise PolicyError(f"{what} is {value!r}; it has to be a mapping of names to values.")
    return value


def _list(value: t.Any, what: str) -> t.Sequence[t.Any]:
    """A list; one value alone counts as a list of it, and None or '' as the empty list (AWX surveys send both)."""
    if value in (None, ""):
        return []
    if isinstance(value, (str, int, t.Mapping)):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise PolicyError(f"{what} is {value!r}; it has to be a list.")
    return value


def _choice(value: t.Any, allowed: t.Sequence[str], what: str, default: str) -> str:
    if value in (None, ""):
        return default
    if str(value) not in allowed:
        raise PolicyError(f"{what} is {str(value)!r}; allowed are {', '.join(allowed)}.")
    return str(value)


def _boolean(value: t.Any, what: str, default: bool) -> bool:
    if value in (None, ""):
        return default
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("1", "yes", "true", "on"):
        return True
    if str(value).lower() in ("0", "no", "false", "off"):
        return False
    raise PolicyError(f"{what} is {value!r}; write true or false.")


def _number(value: t.Any, what: str, default: int = 0) -> int:
    if value in (None, ""):
        return default
    try:
        number = int(str(value))
    except ValueError as e:
        raise PolicyError(f"{what} is {value!r}; write a whole number.") from e
    if number < 0:
        raise PolicyError(f"{what} is {number}; write 0 or more.")
    return number


def _factor(value: t.Any, what: str) -> float:
    if value in (None, ""):
        return 1.0
    try:
        factor = float(str(value))
    except ValueError as e:
        raise PolicyError(f"{what} is {value!r}; write a number such as 1 or 1.5.") from e
    if not 0 < factor <= 100:
        raise PolicyError(f"{what} is {value!r}; write a number above 0 and at most 100.")
    return factor


def _repack(value: t.Any) -> t.Union[str, int]:
    if value in (None, "", "never"):
        return "never"
    if value == "suggest":
        return "suggest"
    try:
        return _number(value, "repack")
    except PolicyError as e:
        raise PolicyError(f"repack is {value!r}; write never, suggest, or the most moves that a plan may make.") from e


def _rule(value: t.Any, what: str) -> Rule:
    entry = _mapping(value, what)
    _known(entry, ("match",) + RULE_KEYS, f"key of {what}")
    return rule_from(entry, _match(entry.get("match"), f"{what}.match"), what)


def rule_from(entry: t.Mapping[str, t.Any], match: Match, what: str) -> Rule:
    """A Rule from the rule keys in `entry`; other keys are the caller's business."""
    values: t.Dict[str, t.Any] = {}
    for key, allowed in _CHOICES.items():
        if entry.get(key) not in (None, ""):
            values[key] = _choice(entry[key], allowed, f"{key} of {what}", "")
    for key in _TEXTS:
        if entry.get(key) not in (None, ""):
            values[key] = str(entry[key])
    cpu_class = values.pop("class", "dedicated")
    pinning = _boolean(entry.get("vcpu_pinning"), f"vcpu_pinning of {what}", cpu_class in PINNED_CLASSES)
    expose = None
    if entry.get("expose_threads") not in (None, ""):
        expose = _boolean(entry["expose_threads"], f"expose_threads of {what}", False)
    if expose and (cpu_class != "dedicated" or values.get("siblings") == "spread" or not pinning):
        raise PolicyError(
            f"expose_threads of {what} is for guests with whole cores; it goes with class dedicated, siblings pack or require, and "
            "vcpu_pinning."
        )
    return Rule(match=match, cpu_class=cpu_class, vcpu_pinning=pinning, expose_threads=expose, **values)


def _match(value: t.Any, what: str) -> Match:
    entry = _mapping(value, what)
    _known(entry, MATCH_KEYS, f"key of {what}")
    texts = {key: tuple(str(v) for v in _list(entry.get(key), f"{what}.{key}")) for key in MATCH_KEYS if key != "vmids"}
    vmids = tuple(_number(v, f"{what}.vmids") for v in _list(entry.get("vmids"), f"{what}.vmids"))
    return Match(vmids=vmids, **texts)


def _reservation(value: t.Any, what: str) -> Reservation:
    entry = _mapping(value, what)
    _known(entry, tuple(f.name for f in fields(Reservation)), f"key of {what}")
    try:
        cpus = parse_cpulist(str(entry.get("cpus") if entry.get("cpus") is not None else ""))
    except GrammarError as e:
        raise PolicyError(f"{what}.cpus cannot be read: {e}") from e
    auto = tuple(str(v) for v in _list(entry.get("auto"), f"{what}.auto"))
    for name in auto:
        _choice(name, AUTO_RESERVATIONS, f"{what}.auto", "")
    return Reservation(
        cpus=cpus,
        cores_per_numa_node=_number(entry.get("cores_per_numa_node"), f"{what}.cores_per_numa_node"),
        memory_mib=_number(entry.get("memory_mib"), f"{what}.memory_mib"),
        memory_mib_per_numa_node=_number(entry.get("memory_mib_per_numa_node"), f"{what}.memory_mib_per_numa_node"),
        auto=auto,
    )


def _frequency(value: t.Any) -> Frequency:
    entry = _mapping(value, "free_cpus")
    _known(entry, _TEXTS, "key of free_cpus")
    return Frequency(**{key: str(entry[key]) for key in _TEXTS if entry.get(key) not in (None, "")})


def _requests(value: t.Any) -> t.Tuple[Request, ...]:
    requests = tuple(_request(r, f"request {n}") for n, r in enumerate(_list(value, "requests"), start=1))
    affinities: t.Dict[t.Optional[str], t.Optional[str]] = {}
    for request in requests:
        if request.group and affinities.setdefault(request.group, request.group_affinity) != request.group_affinity:
            raise PolicyError(
                f"The requests of the group {request.group} have the group_affinity {affinities[request.group]} and "
                f"{request.group_affinity}; give all of them the same."
            )
    return requests


def _request(value: t.Any, what: str) -> Request:
    entry = _mapping(value, what)
    _known(entry, REQUEST_KEYS + RULE_KEYS, f"key of {what}")
    for key in ("name", "vcpus", "memory_mib"):
        if entry.get(key) in (None, ""):
            raise PolicyError(f"{what} has no {key}; a request needs name, vcpus and memory_mib.")
    affinity = _choice(entry.get("group_affinity"), GROUP_AFFINITIES, f"group_affinity of {what}", "") or None
    group = None if entry.get("group") in (None, "") else str(entry["group"])
    if group and not affinity:
        raise PolicyError(
            f"{what} is in the group {group} but has no group_affinity; write positive (one host) or negative (different hosts)."
        )
    return Request(
        name=str(entry["name"]),
        vcpus=_number(entry["vcpus"], f"vcpus of {what}"),
        memory_mib=_number(entry["memory_mib"], f"memory_mib of {what}"),
        count=_number(entry.get("count"), f"count of {what}", 1),
        rule=rule_from(entry, Match(), what),
        across=_choice(entry.get("across"), ACROSS, f"across of {what}", "") or None,
        nodes=tuple(str(v) for v in _list(entry.get("nodes"), f"nodes of {what}")),
        ha_rules=tuple(str(v) for v in _list(entry.get("ha_rules"), f"ha_rules of {what}")),
        group=(group or f"of {what}") if affinity else None,
        group_affinity=affinity,
    )
