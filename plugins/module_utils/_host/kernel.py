# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel, what it was told at boot, and its state: isolation, NUMA balancing, KSM, swap, pressure.

Sources: admin-guide/kernel-parameters.txt, admin-guide/sysctl/kernel.rst, admin-guide/mm/ksm.rst, accounting/psi.rst.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import os
import re
import typing as t

from .domains import Facts
from .files import Tree
from .numa import meminfo_mib
from .services import system_slice

ISOLATION_KEYS = ("isolcpus", "nohz_full", "rcu_nocbs", "rcu_nocb_poll", "irqaffinity")
PSI_RESOURCES = ("cpu", "io", "irq", "memory")

_CPUINFO_HEAD = 4096  # bytes; the first CPU's block is all that is read of a file that takes long on large hosts
_BANNED_CPUS = re.compile(r"""^\s*(?:export\s+)?IRQBALANCE_BANNED_CPULIST=["']?([0-9,-]*)["']?\s*$""", re.MULTILINE)
_PSI_LINE = re.compile(r"^(some|full)\s+(.*)$", re.MULTILINE)


def read_node_name(tree: Tree) -> t.Optional[str]:
    """The kernel's node name without its domain, as Proxmox VE names its hosts (PVE/INotify.pm, nodename)."""
    name = os.uname().nodename if tree.live else tree.word("proc/sys/kernel/hostname")
    return (name or "").split(".")[0] or None


def read_kernel(tree: Tree) -> Facts:
    """release, and cmdline_isolation with the isolation parameters that are present (a parameter without value is '')."""
    return {
        "release": os.uname().release if tree.live else tree.word("proc/sys/kernel/osrelease") or _release(tree),
        "cmdline_isolation": _cmdline_isolation(tree.words("proc/cmdline")),
    }


def _release(tree: Tree) -> t.Optional[str]:
    """From `Linux version 6.14.8-2-pve (builder) ...`, which captures have more often than proc/sys."""
    words = tree.words("proc/version") or []
    return words[2] if words[:2] == ["Linux", "version"] and len(words) > 2 else None


def _cmdline_isolation(words: t.Optional[t.Sequence[str]]) -> t.Optional[t.Dict[str, str]]:
    if words is None:
        return None
    parameters = dict(word.partition("=")[::2] for word in words)
    return {key: parameters[key].strip('"') for key in ISOLATION_KEYS if key in parameters}


def read_processor(tree: Tree) -> Facts:
    """architecture, vendor and model, each null where neither the kernel nor proc/cpuinfo says."""
    info = _cpuinfo(tree)
    return {
        "architecture": os.uname().machine if tree.live else tree.word("proc/sys/kernel/arch") or _architecture(info),
        "vendor": info.get("vendor_id") or info.get("CPU implementer"),
        "model": info.get("model name") or info.get("cpu") or info.get("Processor"),
    }


def _cpuinfo(tree: Tree) -> t.Dict[str, str]:
    info: t.Dict[str, str] = {}
    for line in (tree.head("proc/cpuinfo", _CPUINFO_HEAD) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            info.setdefault(key.strip(), value.strip())
    return info


def _architecture(info: t.Mapping[str, str]) -> t.Optional[str]:
    """A guess for captured trees of kernels before 6.1, which have no proc/sys/kernel/arch."""
    if "flags" in info:
        return "x86_64" if "lm" in info["flags"].split() else "i686"
    if "CPU implementer" in info:
        return "aarch64" if info.get("CPU architecture") in ("8", "AArch64") else "arm"
    return None


def read_state(tree: Tree) -> Facts:
    """numa_balancing (0, 1, 2), ksm {run, merge_across_nodes}, swap_mib, psi, irqbalance; null for what the kernel does not show."""
    return {
        "numa_balancing": tree.loose_number("proc/sys/kernel/numa_balancing"),
        "ksm": _ksm(tree),
        "swap_mib": meminfo_mib(tree, "proc/meminfo", "SwapTotal"),
        "psi": _psi(tree),
        "irqbalance": _irqbalance(tree),
    }


def _ksm(tree: Tree) -> t.Optional[t.Dict[str, t.Optional[int]]]:
    run = tree.loose_number("sys/kernel/mm/ksm/run")
    return None if run is None else {"run": run, "merge_across_nodes": tree.loose_number("sys/kernel/mm/ksm/merge_across_nodes")}


def _psi(tree: Tree) -> t.Optional[t.Dict[str, t.Any]]:
    """Per resource, for `some` and `full`: avg10, avg60, avg300 in percent of time."""
    readings = {resource: _pressure(tree.text(f"proc/pressure/{resource}") or "") for resource in PSI_RESOURCES}
    return {resource: reading for resource, reading in readings.items() if reading} or None


def _pressure(text: str) -> t.Dict[str, t.Dict[str, float]]:
    return {
        kind: {name: float(value) for name, value in re.findall(r"\b(avg\d+)=(\d+(?:\.\d+)?)", values)}
        for kind, values in _PSI_LINE.findall(text)
    }


def _irqbalance(tree: Tree) -> t.Optional[t.Dict[str, t.Any]]:
    """{running, banned_cpus: cpulist}: whether the service has a process, and the CPUs that its settings of Debian keep it from.

    None where the host has no cgroups of systemd. Settings that are no plain cpulist count as ''.
    """
    services = system_slice(tree)
    if services is None:
        return None
    banned = _BANNED_CPUS.findall(tree.text("etc/default/irqbalance") or "")
    return {"running": bool(tree.words(f"{services}/irqbalance.service/cgroup.procs")), "banned_cpus": banned[-1] if banned else ""}
