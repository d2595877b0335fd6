# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping guests: the checks of PVE, taskset, QEMU and the kernel, in their order and words."""

from __future__ import annotations

import typing as t

from .cluster import Cluster, Node
from .command import build_command, guest_cells
from .config_file import ConfigFile, Section
from .cpulist import format_cpus, read_cpus
from .errors import TaskError
from .guest import Guest, LiveProcess, vcpus_of
from .tasks import Task

QEMU_FAILED = "start failed: QEMU exited with code 1"


def start_guest(cluster: Cluster, guest: Guest, task: Task) -> None:
    """What a start task does; TaskError when the guest does not come up."""
    with cluster.file_lock(guest):
        config = guest.load()
        check_lock(guest, config)
        if config.main.get("template") == "1":
            raise TaskError("you can't start a vm if it's a template" if guest.type == "qemu" else f"CT {guest.vmid} is a template")
        if guest.running:
            raise TaskError(f"VM {guest.vmid} already running" if guest.type == "qemu" else f"CT {guest.vmid} already running")
        if config.pending or config.pending_deletes:
            apply_pending(config)
            cluster.store(guest, config)
        launch(cluster, guest, cluster.nodes[guest.node], config, task)


def launch(cluster: Cluster, guest: Guest, node: Node, config: ConfigFile, task: Task, migrated_from: t.Optional[str] = None) -> None:
    """Bring up a process for the guest's main section on a host; the guest is running there afterwards."""
    hook = config.main.get("hookscript")
    cluster.run_hook(guest, node, "pre-start", hook, migrated_from)
    if guest.type == "lxc":
        guest.live = _container_process(cluster, guest, node, config)
    else:
        guest.live = _qemu_process(cluster, guest, node, config.main, task)
    cluster.run_hook(guest, node, "post-start", hook, migrated_from)
    cluster.changed()


def shut_down_guest(cluster: Cluster, guest: Guest, forced: bool) -> None:
    """What a shutdown task does. A deaf guest runs on when its time is over, unless it is stopped by force then."""
    if guest.running and guest.deaf and not forced:
        raise TaskError("VM quit/powerdown failed - got timeout")
    stop_guest(cluster, guest)


def stop_guest(cluster: Cluster, guest: Guest) -> None:
    """What a stop task does; nothing at all when the guest does not run."""
    with cluster.file_lock(guest):
        config = guest.load()
        check_lock(guest, config)
        if not guest.running:
            return
        node = cluster.nodes[guest.node]
        hook = config.main.get("hookscript")
        cluster.run_hook(guest, node, "pre-stop", hook)
        halt(cluster, guest)
        cluster.run_hook(guest, node, "post-stop", hook)


def halt(cluster: Cluster, guest: Guest) -> None:
    """End the guest's process. PVE applies what is pending to a stopped VM in its cleanup."""
    guest.live = None
    config = guest.load()
    if (config.pending or config.pending_deletes) and cluster.quorate and cluster.writable:
        apply_pending(config)
        guest.store(config)
    cluster.changed()


def check_lock(guest: Guest, config: ConfigFile) -> None:
    """A guest with a lock in its configuration is nobody's to change."""
    lock = config.main.get("lock")
    if lock:
        raise TaskError(f"{'VM' if guest.type == 'qemu' else 'CT'} is locked ({lock})")


def apply_pending(config: ConfigFile) -> None:
    """Move everything that is pending into the main section."""
    for key in config.pending_deletes:
        config.main.pop(key, None)
    config.main.update(config.pending)
    config.pending.clear()
    config.pending_deletes.clear()


def adopt_running(cluster: Cluster, guest: Guest, section: t.Optional[Section] = None) -> None:
    """Take a guest that the description says is running as running, whether or not it could start."""
    config = guest.load()
    main = section if section is not None else config.main
    node = cluster.nodes[guest.node]
    if guest.type == "lxc":
        try:
            guest.live = _container_process(cluster, guest, node, config)
        except TaskError:
            guest.live = _process(cluster, guest, node.hardware.cpus, [], main)
        return
    try:
        cpus = effective_affinity(main.get("affinity"), node)
    except TaskError:
        cpus = node.hardware.cpus
    try:
        command = build_command(guest, main, node)
    except TaskError:
        command = ["/usr/bin/kvm", "-id", str(guest.vmid)]
    guest.live = _process(cluster, guest, cpus, command, main)


def effective_affinity(affinity: t.Optional[str], node: Node) -> frozenset[int]:
    """The CPUs that `taskset` gives a process: PVE does not call it for "0", the kernel drops CPUs that are not there."""
    if not affinity or affinity == "0":
        return node.hardware.cpus
    try:
        wanted = read_cpus(affinity)
    except ValueError:
        raise TaskError(QEMU_FAILED, [f"taskset: failed to parse CPU list: {affinity}"]) from None
    cpus = wanted & node.hardware.cpus
    if not cpus:
        raise TaskError(QEMU_FAILED, ["taskset: failed to set pid PID's affinity: Invalid argument"])
    return cpus


def _qemu_process(cluster: Cluster, guest: Guest, node: Node, section: Section, task: Task) -> LiveProcess:
    command = build_command(guest, section, node)
    pid = cluster.tasks.new_pid()
    try:
        cpus = effective_affinity(section.get("affinity"), node)
        _qemu_checks(section)
    except TaskError as error:
        raise TaskError(error.message, [line.replace("PID", str(pid)) for line in error.log]) from None
    live = _process(cluster, guest, cpus, command, dict(section))
    live.pid = pid
    return live


def _process(cluster: Cluster, guest: Guest, cpus: frozenset[int], command: list[str], section: Section) -> LiveProcess:
    pid = cluster.tasks.new_pid()
    threads = [cluster.tasks.new_pid() for _vcpu in range(vcpus_of(section))] if guest.type == "qemu" else []
    return LiveProcess(
        pid, cpus, command, dict(section), threads, section.get("cpulimit", "0"), section.get("cpuunits", "100"), cluster.clock()
    )


def _qemu_checks(section: Section) -> None:
    """What QEMU itself refuses: the messages on its standard error."""
    if section.get("kvm") == "0" and section.get("cpu", "").split(",")[0] in ("host", "cputype=host"):
        raise TaskError(QEMU_FAILED, ["kvm: CPU model 'host' requires KVM or HVF"])
    sockets, cores = int(section.get("sockets", 1)), int(section.get("cores", 1))
    vcpus, maxcpus = vcpus_of(section), sockets * cores
    if vcpus > maxcpus:
        complaint = (
            "kvm: Invalid CPU topology: maxcpus must be equal to or greater than smp: "
            f"sockets ({sockets}) * dies (1) * modules (1) * cores ({cores}) * threads (1) == maxcpus ({maxcpus}) < smp_cpus ({vcpus})"
        )
        raise TaskError(QEMU_FAILED, [complaint])
    _topology_check(section, {"cpus": vcpus, "sockets": sockets, "cores": cores, "maxcpus": maxcpus})
    if section.get("numa") == "1":
        _qemu_numa_checks(section, maxcpus)


def _topology_check(section: Section, smp: dict[str, int]) -> None:
    """QEMU merges each -smp of `args` into PVE's key by key, and then wants the product to be maxcpus."""
    words = section.get("args", "").split()
    for word, options in zip(words, words[1:]):
        if word == "-smp":
            smp.update(
                (key, int(value)) for key, value in (part.rsplit("=", 1) if "=" in part else ("cpus", part) for part in options.split(","))
            )
    levels = {level: smp.get(level, 1) for level in ("sockets", "dies", "modules", "cores", "threads")}
    product = 1
    for number in levels.values():
        product *= number
    if product != smp["maxcpus"]:
        shown = " * ".join(f"{level} ({number})" for level, number in levels.items())
        complaint = f"kvm: Invalid CPU topology: product of the hierarchy must match maxcpus: {shown} != maxcpus ({smp['maxcpus']})"
        raise TaskError(QEMU_FAILED, [complaint])


def _qemu_numa_checks(section: Section, maxcpus: int) -> None:
    owner: dict[int, int] = {}
    cells = guest_cells(section)
    for number, cell in cells.items():
        spans = cell["cpus"].split(";")
        option = f"kvm: -numa node,nodeid={number},{','.join('cpus=' + span for span in spans)},memdev=ram-node{number}"
        for vcpu in sorted(read_cpus(cell["cpus"].replace(";", ","))):
            if vcpu >= maxcpus:
                raise TaskError(QEMU_FAILED, [f"{option}: CPU index ({vcpu}) should be smaller than maxcpus ({maxcpus})"])
            if vcpu in owner:
                raise TaskError(QEMU_FAILED, [f"{option}: CPU is already assigned to node-id: {owner[vcpu]}"])
            owner[vcpu] = number
    for number in range(max(cells, default=-1) + 1):
        if number not in cells:
            raise TaskError(QEMU_FAILED, [f"kvm: numa: Node ID missing: {number}"])


def _container_process(cluster: Cluster, guest: Guest, node: Node, config: ConfigFile) -> LiveProcess:
    """A container's CPUs: its raw cpuset key, else PVE's choice of `cores` CPUs (here the lowest), else all."""
    online = node.hardware.cpus
    raw = dict(config.lxc).get("lxc.cgroup2.cpuset.cpus")
    if raw is not None:
        try:
            cpus = read_cpus(raw) & online
        except ValueError:
            cpus = frozenset()
        if not cpus:
            raise TaskError(
                f"startup for container '{guest.vmid}' failed",
                [f'lxc-start: {guest.vmid}: cgfsng: Invalid argument - Could not set "cpuset.cpus" to {raw}'],
            )
    elif "cores" in config.main:
        cpus = frozenset(sorted(online)[: int(config.main["cores"])])
    else:
        cpus = online
    return _process(cluster, guest, cpus, ["/usr/bin/lxc-start", "-F", "-n", str(guest.vmid)], config.main)


def describe_live(guest: Guest) -> str:
    """The live CPUs as `taskset -cp` words them."""
    assert guest.live
    return f"pid {guest.live.pid}'s current affinity list: {format_cpus(guest.live.cpus)}"
