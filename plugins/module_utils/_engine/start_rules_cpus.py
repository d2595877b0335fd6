# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the CPUs that a guest starts on: affinity, numbers of vCPUs, isolated CPUs, containers' cpusets.

Sources: config_to_command in qemu-server's src/PVE/QemuServer.pm, taskset of util-linux, and what both did when they
were tried.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .cpuset import count, format_cpulist, parse_cpulist
from .errors import GrammarError
from .guest import LXC_CPUSET_KEYS, affinity_effect, lxc_cpuset
from .guest_config import accepts_affinity
from .start_case import Finding, Findings, StartCase

_SMP_OPTION = re.compile(r"(?<!\S)--?smp\s+(\S+)", re.ASCII)


def more_vcpus_than_cpus(case: StartCase) -> Findings:
    cpus = count(case.host.online)
    if case.maxcpus > cpus:
        yield Finding(
            "max_vcpus",
            f"MAX {cpus} vcpus allowed per VM on this node",
            f"Give the guest at most {cpus} vCPUs (cores x sockets), or run it on a host with {case.maxcpus} CPUs.",
        )


def affinity_dropped(case: StartCase) -> Findings:
    text = case.config.get("affinity")
    if text and not accepts_affinity(text):
        yield Finding(
            "affinity_dropped",
            f"The affinity {text!r} of {case.guest.label} is no CPU list for PVE, which drops the line: the guest runs on all CPUs.",
            "Write CPU numbers and ascending ranges separated by commas, for example 0-7,32-39.",
            fatal=False,
        )


def affinity_zero(case: StartCase) -> Findings:
    if case.config.get("affinity") == "0":
        yield Finding(
            "affinity_zero",
            f"The affinity '0' of {case.guest.label} is not applied, because PVE takes it for unset: the guest runs on all CPUs.",
            "Write 0-0.",
            fatal=False,
        )


def affinity_for_taskset(case: StartCase) -> Findings:
    """What taskset and the kernel say to the CPUs, or quietly leave out."""
    text = case.config.get("affinity") or ""
    if not accepts_affinity(text):
        return
    if re.search(r"\s|,$", text):
        yield Finding(
            "affinity_syntax", f"taskset: failed to parse CPU list: {text}", "Write the affinity without blanks and without trailing comma."
        )
        return
    try:
        asked = affinity_effect(text)
    except GrammarError:  # a CPU number that no Linux can have
        asked = 0
    if asked is None:
        return
    there = asked & case.host.online
    if not there:
        yield Finding(
            "affinity_not_online",
            "taskset: failed to set pid N's affinity: Invalid argument",
            f"Name CPUs that host {case.host.node} has online ({format_cpulist(case.host.online)}); none of {text} is.",
        )
    elif there != asked:
        yield Finding(
            "affinity_narrowed",
            f"The affinity {text} of {case.guest.label} names CPU {format_cpulist(asked & ~there)}, which host {case.host.node} does "
            f"not have online: the guest runs on {format_cpulist(there)} only.",
            f"Name CPUs that host {case.host.node} has online ({format_cpulist(case.host.online)}).",
            fatal=False,
        )


def affinity_on_isolated_cpus(case: StartCase) -> Findings:
    """The scheduler balances nothing on isolated CPUs: threads that may use several of them stay where they began."""
    if case.guest.vcpus < 2:
        return
    try:
        cpus = (affinity_effect(case.config.get("affinity")) or 0) & case.host.online
    except GrammarError:
        return
    isolated = cpus & case.host.isolated
    if isolated and count(cpus) > 1:
        yield Finding(
            "affinity_isolated",
            f"The affinity of {case.guest.label} holds CPU {format_cpulist(isolated)}, which host {case.host.node} isolates from the "
            "scheduler's balancing: all vCPUs pile up on one CPU until each is pinned to its own.",
            "Pin each vCPU to its own CPU (vcpu_pinning, mode runtime or both), or take these CPUs out of isolcpus.",
            fatal=False,
        )


def model_without_kvm(case: StartCase) -> Findings:
    if case.config.get("kvm") == "0" and case.config.get("cpu", "").split(",")[0] in ("host", "cputype=host"):
        yield Finding("cpu_model", "kvm: CPU model 'host' requires KVM or HVF", "Delete kvm: 0 or choose another CPU model.")


def plugged_vcpus(case: StartCase) -> Findings:
    vcpus = case.number("vcpus", case.maxcpus)
    if vcpus > case.maxcpus:
        cores = case.maxcpus // case.sockets
        yield Finding(
            "vcpus",
            "kvm: Invalid CPU topology: maxcpus must be equal to or greater than smp: "
            f"sockets ({case.sockets}) * dies (1) * modules (1) * cores ({cores}) * threads (1) == maxcpus ({case.maxcpus}) "
            f"< smp_cpus ({vcpus})",
            f"Set vcpus to at most {case.maxcpus} (cores x sockets), or delete it.",
        )


def topology_of_args(case: StartCase) -> Findings:
    """-smp in args: QEMU merges it into PVE's own, key by key (hw/core/machine-smp.c)."""
    smp = _merged_smp(case)
    if smp is None:
        return
    levels = ("sockets", "dies", "modules", "cores", "threads")
    product = 1
    for level in levels:
        product *= smp[level]
    if product != smp["maxcpus"]:
        shown = " * ".join(f"{level} ({smp[level]})" for level in levels)
        yield Finding(
            "smp_product",
            f"kvm: Invalid CPU topology: product of the hierarchy must match maxcpus: {shown} != maxcpus ({smp['maxcpus']})",
            f"Correct -smp in args for the {case.maxcpus} vCPUs of the guest (cores x sockets), or take it out.",
        )
    elif smp["maxcpus"] != case.maxcpus:
        yield Finding(
            "smp_count",
            f"The args of {case.guest.label} give it {smp['maxcpus']} vCPUs, whatever its cores and sockets say ({case.maxcpus}).",
            "Plan again where a rule has expose_threads, else correct -smp in args or take it out.",
            fatal=False,
        )


def _merged_smp(case: StartCase) -> t.Optional[t.Dict[str, int]]:
    """The values that count once the -smp options in args are merged in; None without any, or with what is not understood."""
    options = _SMP_OPTION.findall(case.config.get("args", ""))
    vcpus = case.number("vcpus", case.maxcpus)
    smp = {"cpus": vcpus, "sockets": case.sockets, "dies": 1, "modules": 1, "cores": case.maxcpus // case.sockets, "threads": 1}
    smp["maxcpus"] = case.maxcpus
    for option in options:
        for part in option.split(","):
            key, equals, value = part.partition("=")
            if not equals:
                key, value = "cpus", part
            if key not in smp or not value.isdigit() or not int(value):
                return None
            smp[key] = int(value)
    return smp if options else None


def container_cpuset(case: StartCase) -> Findings:
    text = lxc_cpuset(case.config)
    if text is None:
        return
    try:
        asked = parse_cpulist(text)
    except GrammarError:
        asked = 0
    there = asked & case.host.online
    fix = f"Name CPUs that host {case.host.node} has online ({format_cpulist(case.host.online)}) in {LXC_CPUSET_KEYS[0]}."
    if not there:
        message = f'lxc-start: {case.guest.vmid}: cgfsng: Invalid argument - Could not set "cpuset.cpus" to {text}'
        yield Finding("cpuset_not_online", message, fix)
    elif there != asked:
        yield Finding(
            "cpuset_narrowed",
            f"The cpuset {text} of {case.guest.label} names CPU {format_cpulist(asked & ~there)}, which host {case.host.node} does not "
            f"have online: the container runs on {format_cpulist(there)} only, or fails to start where these CPUs cannot exist.",
            fix,
            fatal=False,
        )
