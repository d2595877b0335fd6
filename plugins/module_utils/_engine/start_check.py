# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a guest would start on a host: every rule that makes a start fail or quietly do something else.

PVE accepts configs that cannot start and checks them only at the start, on the host where it happens. The rules stand
here in the order of a start: what PVE says while it builds the command line, what taskset says, what QEMU says, and
then what nobody says.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from . import start_rules_cpus as cpus
from . import start_rules_hugepages as hugepages
from . import start_rules_memory as memory
from .errors import FactsError
from .guest import Guest, apply_pending, config_memory_mib, config_vcpus, describes_host, split_tags, truthy
from .start_case import Finding, Findings, StartCase
from .topology import Host

Rule = t.Callable[[StartCase], Findings]

_PVE: t.Tuple[Rule, ...] = (
    cpus.more_vcpus_than_cpus,
    memory.memory_hotplug,
    hugepages.hugepages_need_numa,
    memory.hotplug_with_virtiofs,
    memory.cells,
    memory.cell_sum,
    hugepages.even_split_with_hugepages,
    memory.plugged_memory_size,
    hugepages.hugepages_on_one_hostnode,
)
_TASKSET_AND_QEMU: t.Tuple[Rule, ...] = (
    cpus.affinity_for_taskset,
    cpus.model_without_kvm,
    cpus.plugged_vcpus,
    cpus.topology_of_args,
    memory.cells_for_qemu,
)
_QUIET: t.Tuple[Rule, ...] = (
    hugepages.hugepages_room,
    memory.cells_dropped,
    memory.cells_without_numa,
    cpus.affinity_dropped,
    cpus.affinity_zero,
    cpus.affinity_on_isolated_cpus,
)
_FATAL_RULES: t.Dict[str, t.Tuple[Rule, ...]] = {"qemu": _PVE + _TASKSET_AND_QEMU, "lxc": (cpus.container_cpuset,)}
_RULES = {**_FATAL_RULES, "qemu": _FATAL_RULES["qemu"] + _QUIET}


def start_errors(info: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any]) -> t.List[t.Dict[str, t.Any]]:
    """[{rule, message, fix, fatal}] for a guest of guest_info and `corepin_host` facts, what the start reports first.

    Judged is what the next start uses, pending changes included. Where the guest lacks vcpus, memory_mib or node, its
    config and the host stand in. Raises FactsError.
    """
    for what, given, source in (("guest", info, "an entry of guest_info's guests"), ("host", facts, "the fact corepin_host")):
        if not isinstance(given, t.Mapping):
            raise FactsError(f"The {what} {given!r} is no dictionary; give {source}.")
    host = Host.from_facts(facts)
    return [finding.as_dict() for finding in findings(Guest.from_info(_completed(info, host)), host)]


def _completed(info: t.Mapping[str, t.Any], host: Host) -> t.Mapping[str, t.Any]:
    try:
        config = apply_pending(info.get("config") or {}, info.get("pending") or {})
        defaults = {
            "vmid": 0,
            "node": host.node,
            "name": config.get("name"),
            "tags": split_tags(config.get("tags")),
            "vcpus": config_vcpus(config) if info.get("vcpus") is None else None,
            "memory_mib": config_memory_mib(config) if info.get("memory_mib") is None else None,
        }
    except (AttributeError, TypeError, ValueError) as e:
        raise FactsError(
            f"The config of guest {info.get('vmid')!r} cannot be read ({e}); gather the guests again with corepin.proxmox.guest_info."
        ) from e
    return {**defaults, **{key: value for key, value in info.items() if value is not None}}


def findings(guest: Guest, host: Host) -> t.List[Finding]:
    """What a start of `guest` on `host` with its next config breaks."""
    return list(_found(guest, host, guest.next_config, _RULES))


def refused_start(finding: Finding, node: str) -> str:
    """Why a guest gets no placement with which it would not start: `it would not start on host pve1 (what PVE says); the fix`."""
    return f"it would not start on host {node} ({finding.message.rstrip('.')}); {finding.fix[:1].lower()}{finding.fix[1:]}"


def first_fatal(guest: Guest, host: Host, wanted: t.Mapping[str, t.Optional[str]]) -> t.Optional[Finding]:
    """What makes a start fail once `wanted` is written over the guest's config (None = key deleted); None where it starts."""
    found = _found(guest, host, apply_pending(guest.next_config, wanted), _FATAL_RULES)
    return next((finding for finding in found if finding.fatal), None)


def _found(guest: Guest, host: Host, config: t.Dict[str, str], rules: t.Mapping[str, t.Sequence[Rule]]) -> Findings:
    if describes_host(guest):
        return
    if guest.template or truthy(config.get("template")):
        yield _template(guest)
        return
    if guest.hugepages and "hugepages" not in guest.config and "hugepages" not in guest.pending:
        config.setdefault("hugepages", guest.hugepages)
    case = StartCase(guest, host, config)
    for rule in rules.get(guest.type, ()):
        yield from rule(case)


def _template(guest: Guest) -> Finding:
    kind = "vm" if guest.type == "qemu" else "CT"
    return Finding(
        "template",
        f"you can't start a {kind} if it's a template",
        "Clone the template and start the clone; for the template itself PVE ignores affinity and NUMA cells.",
    )
