# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Showing a guest which of its vCPUs are siblings: `-smp ...,threads=2` in its `args`.

PVE gives every vCPU a core of its own (`-smp 4,sockets=1,cores=4,maxcpus=4`, config_to_command in qemu-server's
src/PVE/QemuServer.pm) and puts `args` last. QEMU merges all -smp options key by key, the later value wins, and the product
of the hierarchy has to be maxcpus (qemu_options and machine_parse_smp_config in QEMU's system/vl.c and
hw/core/machine-smp.c; tried with QEMU 10.0). vCPUs keep their numbers: 2n and 2n + 1 are the threads of one core, and
`-numa node,cpus=` goes on naming vCPUs by these numbers.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .cpuset import count
from .desired import Wanted
from .errors import PlacementError
from .guest import Cell, Guest
from .start_case import StartCase
from .topology import Host

_OURS = re.compile(r"(?<!\S)-smp (\d+),sockets=(\d+),cores=(\d+),threads=2,maxcpus=(\d+)(?!\S)", re.ASCII)
_ANY = re.compile(r"(?<![\w-])--?smp\b|\bsmp\.", re.ASCII)

# On AMD QEMU shows threads to these models alone (topoext); `host` does not have that flag by default. target/i386/cpu.c.
_AMD_MODELS_WITH_THREADS = re.compile(r"^(cputype=)?(EPYC|Dhyana|custom-)", re.ASCII)


def thread_keys(guest: Guest, expose: t.Optional[bool], host: Host, cpus: t.Sequence[int], cells: t.Sequence[Cell]) -> Wanted:
    """`args` as a rule's expose_threads asks: shown, no longer shown, or (None) left alone. Raises PlacementError."""
    if expose:
        return _exposing_keys(guest, host, cpus, cells)
    return _hiding_keys(guest) if expose is False else {}


def _exposing_keys(guest: Guest, host: Host, cpus: t.Sequence[int], cells: t.Sequence[Cell]) -> Wanted:
    """`args` with which the guest sees its pairs of siblings; `cpus` are in vCPU order. Raises PlacementError."""
    check_config(guest, host)
    if not in_pairs(host, cpus, cells):
        raise _refusal("its vCPUs are not in pairs on siblings of one core")
    case = StartCase(guest, host, guest.next_config)
    option = f"-smp {guest.vcpus},sockets={case.sockets},cores={guest.vcpus // case.sockets // 2},threads=2,maxcpus={guest.vcpus}"
    present = guest.next_config.get("args", "").strip()
    merged = _OURS.sub(option, present) if _OURS.search(present) else f"{present} {option}".strip()
    return {"args": guest.next_config["args"] if merged == present and present else merged}


def _hiding_keys(guest: Guest) -> Wanted:
    """`args` without what `_exposing_keys` put there; {} where there is nothing of it."""
    present = guest.next_config.get("args", "")
    if not _OURS.search(present):
        return {}
    return {"args": re.sub(r"\s+", " ", _OURS.sub(" ", present)).strip() or None}


def check_config(guest: Guest, host: Host) -> None:
    """Raise PlacementError where something in the guest's config does not go with threads, whatever CPUs it gets."""
    case = StartCase(guest, host, guest.next_config)
    args = guest.next_config.get("args", "")
    if guest.vcpus % 2:
        raise _refusal(f"its {guest.vcpus} vCPUs are no pairs")
    if guest.vcpus // case.sockets % 2:
        raise _refusal(f"its {guest.vcpus // case.sockets} cores in each of {case.sockets} sockets are no pairs")
    if "cpu" in case.hotplug:
        raise _refusal("its hotplug has cpu, for which PVE plugs in each vCPU as a core")
    if case.number("vcpus", guest.vcpus) != guest.vcpus:
        raise _refusal(f"its vcpus is {case.number('vcpus', guest.vcpus)}, less than the {guest.vcpus} that it can have")
    if _ANY.search(_OURS.sub(" ", args)):
        raise _refusal(f"its args have a topology of their own ({args})")
    if len(_OURS.findall(args)) > 1:
        raise _refusal(f"its args have -smp twice ({args})")


def in_pairs(host: Host, cpus: t.Sequence[int], cells: t.Sequence[Cell]) -> bool:
    """Whether vCPUs 2n and 2n + 1 lie on siblings of one core and in one cell."""
    pairs = list(zip(cpus[0::2], cpus[1::2]))
    together = all(count(cell.vcpus & (3 << 2 * n)) in (0, 2) for cell in cells for n in range(len(pairs)))
    return together and len(cpus) % 2 == 0 and all(host.core_of[one] == host.core_of[other] for one, other in pairs)


def hidden_all_the_same(guest: Guest, host: Host) -> bool:
    """Whether the guest's CPU model keeps it from seeing threads on this host."""
    config = guest.next_config
    return (
        host.vendor == "AuthenticAMD"
        and not _AMD_MODELS_WITH_THREADS.match(config.get("cpu", ""))
        and "topoext" not in config.get("args", "")
    )


def _refusal(what: str) -> PlacementError:
    return PlacementError(
        f"expose_threads does not go with it: {what}; change that, or take expose_threads from its rule.", "expose_threads"
    )
