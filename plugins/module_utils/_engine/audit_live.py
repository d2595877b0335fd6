# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guest_runtime_info found on the hosts, read into the engine's types.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cpuset import parse_cpulist, union
from .errors import FactsError, GrammarError

Document = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class LiveThread:
    """`cpus` is the mask that the kernel holds it to; `inside`: a thread of QEMU itself, and not of a process beside it."""

    tid: int
    name: str
    role: str
    cpus: int
    vcpu: t.Optional[int] = None
    inside: bool = True


@dataclass(frozen=True)
class Live:
    """One running guest. `scope_cpus` None: unknown. `masks`: those of a container's processes. Memory in MiB by NUMA node."""

    vmid: int
    type: str
    scope_cpus: t.Optional[int]
    threads: t.Tuple[LiveThread, ...]
    masks: t.Tuple[int, ...]
    memory_mib: t.Optional[t.Mapping[int, int]]

    @property
    def cpus(self) -> int:
        """All CPUs that QEMU's own threads, or a container's processes, may run on."""
        return union([*self.masks, *(thread.cpus for thread in self.threads if thread.inside)])


LiveHosts = t.Mapping[str, t.Mapping[int, Live]]


def with_interrupts(document: Document, results: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """The snapshot `document` with where interrupts go, as its key `interrupts`: {host: the list of irq_affinity}.

    `results` are registered results of irq_affinity in check mode, by host. Hosts without the list stay unknown; why it failed
    on them becomes the key `interrupts_unseen`: {host: the sentence}. Devices that a host lacks become `devices_missing`, those
    that are protected there `devices_protected`: {host: [as the plan names them]}.
    """
    given = {host: result for host, result in results.items() if result}
    seen = {host: result["interrupts"] for host, result in given.items() if "interrupts" in result}
    failed = {
        host: str(result["msg"]) for host, result in given.items() if host not in seen and "msg" in result and not result.get("skipped")
    }
    left_out = {
        key: {host: list(given[host][why]) for host in seen if given[host].get(why)}
        for key, why in (("devices_missing", "missing"), ("devices_protected", "refused"))
    }
    return {**document, "interrupts": seen, "interrupts_unseen": failed, **left_out}


def with_runtime(document: Document, results: t.Any) -> t.Dict[str, t.Any]:
    """The snapshot `document` with what runs on its hosts, as its key `runtime`: {host: the list `runtime` of guest_runtime_info}.

    `results` are registered results of guest_runtime_info, one per host; hosts without one (unreachable, failed) stay unknown.
    Raises FactsError.
    """
    given = results if isinstance(results, (list, tuple)) else [results]
    read = {str(result["node"]): result["runtime"] for result in given if isinstance(result, t.Mapping) and "runtime" in result}
    live_hosts(read)
    return {**document, "runtime": read}


def live_hosts(runtime: t.Any) -> LiveHosts:
    """{host: {vmid: Live}} from a snapshot's `runtime`; {} where it has none. A host that is absent was not read.

    Raises FactsError.
    """
    if not runtime:
        return {}
    try:
        return {str(host): {int(entry["vmid"]): _live(entry) for entry in entries} for host, entries in runtime.items()}
    except (AttributeError, KeyError, TypeError, ValueError, GrammarError) as e:
        raise FactsError(
            f"What runs on the hosts does not have the expected shape ({e!r}); gather it again with corepin.proxmox.guest_runtime_info."
        ) from e


def _live(entry: Document) -> Live:
    pid = entry.get("pid")
    memory = entry.get("memory_mib")
    return Live(
        vmid=int(entry["vmid"]),
        type=str(entry.get("type") or "qemu"),
        scope_cpus=None if entry.get("scope_cpus") is None else parse_cpulist(str(entry["scope_cpus"])),
        threads=tuple(_thread(thread, pid) for thread in entry.get("threads") or ()),
        masks=tuple(parse_cpulist(str(group["cpus"])) for group in entry.get("processes") or ()),
        memory_mib=None if memory is None else {int(numa_node): int(mib) for numa_node, mib in memory.items()},
    )


def _thread(thread: Document, pid: t.Any) -> LiveThread:
    role = str(thread["role"])
    return LiveThread(
        tid=int(thread["tid"]),
        name=str(thread.get("name") or ""),
        role=role,
        cpus=parse_cpulist(str(thread["cpus"])),
        vcpu=None if thread.get("vcpu") is None else int(thread["vcpu"]),
        inside=role != "helper" and thread.get("pid", pid) == pid,
    )
