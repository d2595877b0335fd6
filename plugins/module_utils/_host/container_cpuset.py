# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a container on its CPUs: by the cpuset of its cgroup, and by the key of its config that PVE takes it from at a start.

Without the key PVE itself spreads containers over all CPUs every few seconds (PVE/Service/pvestatd.pm,
rebalance_lxc_containers). The API cannot set the key. /etc/pve knows no chmod, and a file there is replaced by a rename, under the
lock of PVE's own tools (PVE/LXC/Config.pm, config_file_lock).

A container has two cgroups, lxc/VMID and, for its processes, lxc/VMID/ns. PVE writes both; the inner one may therefore have fewer
CPUs than the outer one. With cgroup v2 either takes any list, and gets what it has in common with the one above.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

from .._engine.cpuset import count, format_cpulist, parse_cpulist
from .._engine.errors import GrammarError, SettingError
from .files import Tree
from .hands import Hands
from .locks import lock
from .pinning import Target, check_available
from .pinning_apply import partition_with
from .runtime import Running
from .scope import Scope, processes_in, read_scope, scope_of_container

KEY = "lxc.cgroup2.cpuset.cpus"
_LINE = re.compile(rf"^{re.escape(KEY)}(?::|\s*=)\s*(.*?)\s*$", re.MULTILINE)
_LOCKED = re.compile(r"^lock:\s*(\S+)", re.MULTILINE)
_CORES = re.compile(r"^cores:\s*(\d+)\s*$", re.MULTILINE)
_LOCKS = "run/lock/lxc"
_LOCK_PATIENCE_S = 10.0
_HALF = ".tmp.corepin"


@dataclass
class ContainerJob:
    """A container, running or not (`guest` None), and what it lacks.

    `live`: CPUs for its cgroups, None where they have them. `stored`: the key's value; `wanted`: the value that it shall have, None to
    have no such key. `cgroups`: those that get `live`, as they are, the outer one first. `now`: the CPUs of its processes.
    `warning`: what the key undoes, or what is to be said of its CPUs; "" for nothing.
    """

    vmid: int
    guest: t.Optional[Running]
    config: str
    live: t.Optional[int]
    stored: t.Optional[str]
    wanted: t.Optional[str]
    cgroups: t.Tuple[Scope, ...] = ()
    now: t.Optional[int] = None
    warning: str = ""

    def __bool__(self) -> bool:
        return self.live is not None or self.stored != self.wanted


def config_path(node: str, vmid: int) -> str:
    return f"etc/pve/nodes/{node}/lxc/{vmid}.conf"


def prepare_container(
    tree: Tree, node: str, vmid: int, guest: t.Optional[Running], target: Target, ours: t.Collection[str]
) -> ContainerJob:
    """Look at what a container has. `ours`: what earlier runs set its key to. Raises SettingError where its CPUs are out of reach, or
    its key would have to change while its config is locked.

    A key that an owner set to CPUs among those of `target` stays, and the cgroup follows it.
    """
    config = config_path(node, vmid)
    text = tree.text(config) or ""
    stored = stored_key(text)
    cpus = 0 if stored in ours else _cpus(stored)
    own = cpus if cpus and not cpus & ~target.own else target.own
    available = read_scope(tree, "lxc").effective or 0
    missing = own & ~available
    check_available(Target(vmid, target.cpu_class, own), available, partition_with(tree, missing) if missing else None)
    now, cgroups = _cgroups(tree, guest)
    astray = [scope for scope in cgroups if scope.asked != own or scope.effective != own]
    wanted = stored if own == cpus else format_cpulist(own)
    warning = ""
    if stored != wanted:
        _check_unlocked(vmid, text)
        warning = _cores_warning(vmid, text, own)
    return ContainerJob(vmid, guest, config, own if astray else None, stored, wanted, tuple(astray), now, warning)


def _cores_warning(vmid: int, config: str, own: int) -> str:
    """PVE applies `cores` to containers without the key alone (PVE/Service/pvestatd.pm, PVE/LXC.pm)."""
    cores = _CORES.search(_main_part(config))
    if cores is None or int(cores.group(1)) >= count(own):
        return ""
    return (
        f"Container {vmid} has cores: {cores.group(1)}, which PVE does not apply beside {KEY}, so that it may use all of CPUs "
        f"{format_cpulist(own)}; limit it with cpulimit."
    )


def prepare_release(
    tree: Tree, node: str, vmid: int, guest: t.Optional[Running], entry: t.Mapping[str, t.Any], target: Target
) -> ContainerJob:
    """What undoes earlier runs: key and cgroup, each where it still is what they made it. Raises SettingError as prepare_container."""
    config = config_path(node, vmid)
    text = tree.text(config) or ""
    stored = stored_key(text)
    wanted = entry["before"] if stored in entry["set"] else stored
    if stored != wanted:
        _check_unlocked(vmid, text)
    cpus = _cpus(wanted) or target.own
    now, cgroups = _cgroups(tree, guest)
    values = {*entry["set"], *entry["live"]}
    ours = tuple(scope for scope in cgroups if format_cpulist(scope.asked or 0) in values and scope.asked != cpus)
    warning = target.warning if ours and not _cpus(wanted) else ""
    return ContainerJob(vmid, guest, config, cpus if ours else None, stored, wanted, ours, now, warning)


def _cgroups(tree: Tree, guest: t.Optional[Running]) -> t.Tuple[t.Optional[int], t.Tuple[Scope, ...]]:
    """The CPUs of a container's processes, and its cgroups: the outer one, and the inner one where somebody gave it a cpuset."""
    if guest is None or guest.scope is None:
        return None, ()
    inner = read_scope(tree, f"{guest.scope.path}/ns")
    return inner.effective, (guest.scope, inner) if inner.asked else (guest.scope,)


def _cpus(text: t.Optional[str]) -> int:
    try:
        return parse_cpulist(text or "")
    except GrammarError:
        return 0


def carry_out_container(tree: Tree, hands: Hands, job: ContainerJob) -> bool:
    """The key first, so that PVE leaves the container's cgroups alone, then these; False where the container stopped before these had
    their CPUs, so that only the key is as wanted. Raises SettingError with both as before."""
    if job.stored != job.wanted:
        write_key(tree, job.vmid, job.config, job.stored, job.wanted)
    try:
        if job.live is not None:
            for scope in job.cgroups:
                hands.set_cpuset(scope.path, format_cpulist(job.live))
            _check_live(tree, job.vmid, job.live)
    except SettingError as e:
        if not _still_runs(tree, job):
            return False
        _put_back(tree, hands, job)
        raise SettingError(f"{e} Container {job.vmid} was put back as it was.") from None
    return job.live is None or _still_runs(tree, job)


def _still_runs(tree: Tree, job: ContainerJob) -> bool:
    return bool(processes_in(tree, scope_of_container(job.vmid)))


def _check_live(tree: Tree, vmid: int, wanted: int) -> None:
    got = read_scope(tree, f"{scope_of_container(vmid)}/ns").effective
    if got is not None and got != wanted:
        raise SettingError(
            f"Container {vmid} got CPUs {format_cpulist(got) or 'none'} instead of {format_cpulist(wanted)}, because another cgroup "
            "has the others; release them, or plan again."
        )


def _put_back(tree: Tree, hands: Hands, job: ContainerJob) -> None:
    for scope in job.cgroups:
        with contextlib.suppress(SettingError):
            if scope.to_restore:
                hands.set_cpuset(scope.path, format_cpulist(scope.to_restore))
    with contextlib.suppress(SettingError):
        if job.stored != job.wanted:
            write_key(tree, job.vmid, job.config, job.wanted, job.stored)


def stored_key(config: str) -> t.Optional[str]:
    """The value of the cpuset key in the part of a config that is no snapshot; None where it has none."""
    found = _LINE.findall(_main_part(config))
    return found[-1] if found else None


def _main_part(config: str) -> str:
    section = re.search(r"^\[", config, re.MULTILINE)
    return config[: section.start()] if section else config


def with_key(config: str, value: t.Optional[str]) -> str:
    """The config with the cpuset key set to `value`, or without it where that is None; snapshots stay as they are."""
    main = _main_part(config)
    rest = config[len(main) :]
    kept = [line for line in main.splitlines() if not _LINE.match(line)]
    while kept and not kept[-1].strip():
        kept.pop()
    if value is not None:
        kept.append(f"{KEY}: {value}")
    return "".join(f"{line}\n" for line in kept) + (f"\n{rest}" if rest else "")


def write_key(tree: Tree, vmid: int, path: str, before: t.Optional[str], value: t.Optional[str]) -> None:
    """Set the key in a config under PVE's lock. Raises SettingError where it is not `before` any more, or may not be written now."""
    with _locked(tree, vmid):
        full = tree.full(path)
        try:
            with open(full, encoding="utf-8", newline="") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError):
            raise SettingError(f"{full} cannot be read; see whether container {vmid} was moved, and run as root.") from None
        _check_unlocked(vmid, text)
        if stored_key(text) != before:
            raise SettingError(f"The config of container {vmid} was changed at this moment; try again.")
        _replace(full, with_key(text, value))


def remove_half_written(tree: Tree, job: ContainerJob) -> None:
    """Remove what a process left beside the config that was killed while it wrote the key."""
    if tree.exists(f"{job.config}{_HALF}"):
        with _locked(tree, job.vmid), contextlib.suppress(OSError):
            os.unlink(tree.full(f"{job.config}{_HALF}"))


def _check_unlocked(vmid: int, config: str) -> None:
    lock = _LOCKED.search(_main_part(config))
    if lock:
        raise SettingError(f"The config of container {vmid} is locked ({lock.group(1)}); try again when that is over.")


def _replace(full: str, text: str) -> None:
    """Put a file with `text` in the place of another, as PVE does it (PVE/Tools.pm, file_set_contents)."""
    temporary = f"{full}{_HALF}"  # under the lock nobody else writes it
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(temporary, full)
    except OSError as e:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise SettingError(f"{full} could not be written ({e.strerror}); see whether the cluster has a quorum, and run as root.") from None


@contextlib.contextmanager
def _locked(tree: Tree, vmid: int) -> t.Iterator[None]:
    path = tree.full(f"{_LOCKS}/pve-config-{vmid}.lock")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as e:
        raise SettingError(f"{path} could not be opened ({e.strerror}); run as root.") from None
    try:
        if not lock(descriptor, path, _LOCK_PATIENCE_S):
            raise SettingError(f"The config of container {vmid} is being changed by somebody else; try again later.")
        yield
    finally:
        os.close(descriptor)
