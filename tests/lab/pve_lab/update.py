# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a guest's configuration: what PUT and POST .../config do (API2/Qemu.pm, API2/LXC/Config.pm)."""

from __future__ import annotations

import dataclasses
import typing as t

from . import lxc_keys, qemu_keys
from .access import ROOT
from .cluster import Cluster
from .config_file import ConfigFile
from .errors import ApiError, died, parameter_error, permission_error
from .guest import Guest, memory_of
from .schema import FormatError, parse_property_string, split_list
from .tags import check_tag_rights, unique_tags
from .tasks import Printed, Speaker, Task

CONTROL_PARAMETERS = ("delete", "revert", "digest", "skiplock", "force", "background_delay", "skip_cloud_init")


@dataclasses.dataclass
class Change:
    """A request for change, taken apart: values by key, keys to delete, keys to revert."""

    user: str
    values: dict[str, str]
    deletes: list[str]
    reverts: list[str]
    digest: t.Optional[str]
    skiplock: bool
    as_sent: list[tuple[str, str]]


def read_change(guest_keys: t.Container[str], user: str, params: t.Mapping[str, t.Any]) -> Change:
    """Take the parameters of a VM's change apart; ApiError where PVE refuses them before looking at the guest."""
    if str(params.get("skiplock", "0")) == "1" and user != ROOT:
        raise parameter_error({"skiplock": "Only root may use this option."})
    values = {key: str(value) for key, value in params.items() if key not in CONTROL_PARAMETERS}
    deletes, reverts = split_list(params.get("delete")), split_list(params.get("revert"))
    if not (values or deletes or reverts):
        raise died("no options specified")
    for key in reverts:
        if key not in guest_keys:
            raise parameter_error({"revert": f"unknown option '{key}'"})
        if key in values:
            raise parameter_error({"delete": f"you can't use '-{key}' and -revert {key}' at the same time"})
    for key in deletes:
        if key in values:
            raise parameter_error({"delete": f"you can't use '-{key}' and -delete {key}' at the same time"})
        if key in reverts:
            raise parameter_error({"revert": f"you can't use '-delete {key}' and -revert {key}' at the same time"})
        if key not in guest_keys:
            raise parameter_error({"delete": f"unknown option '{key}'"})
    as_sent = sorted((key, str(value).replace("\0", ",")) for key, value in params.items() if key not in ("digest", "background_delay"))
    return Change(user, values, deletes, reverts, params.get("digest"), str(params.get("skiplock", "0")) == "1", as_sent)


def update_vm(
    cluster: Cluster, node: str, vmid: int, user: str, params: t.Mapping[str, t.Any], printed: t.Optional[Printed]
) -> t.Optional[Task]:
    """Change a VM: in the foreground, printing to `printed`, or (`printed` None) by a task, which is returned."""
    change = read_change(qemu_keys.file_keys(cluster.major), user, params)
    if "cpuunits" in change.values:
        change.values["cpuunits"] = _clamped_cpuunits(int(change.values["cpuunits"]), cluster.nodes[node].cgroup)
    if "hookscript" in change.values:
        problem = cluster.hookscript_problem(cluster.nodes[node], change.values["hookscript"])
        if problem:
            raise parameter_error({"hookscript": problem + "\n"})
    for keys in (change.deletes, list(change.values)):
        for key in keys:
            check_vm_key(cluster, user, vmid, key)
    guest = cluster.guest_on(node, vmid, "qemu")
    with cluster.file_lock(guest):
        config = guest.load()
        if change.digest and change.digest != guest.digest:
            raise died("checksum mismatch (file change by other user?)")
        if config.main.get("lock") and not change.skiplock:
            raise died(f"VM is locked ({config.main['lock']})")
        for key in change.reverts:
            if key in config.main:
                change.values[key] = config.main[key]
            elif key in config.pending:
                change.deletes.append(key)
        _check_balloon(config, change.values)
        if printed is not None:
            _apply_to_vm(cluster, guest, change, printed)
            return None
        return cluster.tasks.start(node, "qmconfig", vmid, user, lambda task: _apply_to_vm(cluster, guest, change, task))


def check_vm_key(cluster: Cluster, user: str, vmid: int, key: str, pool: t.Optional[str] = None) -> None:
    """Whether the user may touch the key at all; the rule that only root@pam itself sets affinity stands here."""
    if user == ROOT:
        return
    privilege = qemu_keys.privilege_for(key)
    if privilege is None:
        raise died(f"only root can set '{key}' config")
    if privilege and not (pool and cluster.access.has(user, f"/pool/{pool}", privilege)):
        if key.startswith("ipconfig") or privilege == "VM.Config.Cloudinit":
            cluster.access.check(user, f"/vms/{vmid}", "VM.Config.Cloudinit", "VM.Config.Network", any_of=True)
        else:
            cluster.access.check(user, f"/vms/{vmid}", privilege)


def check_device(cluster: Cluster, user: str, vmid: int, key: str, value: str) -> None:
    """The rules for keys whose value decides: passed-through devices are root's, mapped ones need a privilege."""
    if user == ROOT:
        return
    if key.startswith("hostpci"):
        try:
            device = parse_property_string(qemu_keys.HOSTPCI_FORMAT, value)
        except FormatError:
            device = {}
        if "host" in device:
            raise died(f"only root can set '{key}' config for non-mapped devices")
        if "mapping" not in device:
            raise died("either 'host' or 'mapping' must be set.")
        cluster.access.check(user, f"/mapping/pci/{device['mapping']}", "Mapping.Use")
        cluster.access.check(user, f"/vms/{vmid}", "VM.Config.HWType")
    elif key.startswith("usb"):
        cluster.access.check(user, f"/vms/{vmid}", "VM.Config.HWType")
        if "host=" in value and "spice" not in value.lower():
            raise died(f"only root can set '{key}' config for real devices")
    elif key.startswith("serial"):
        if value != "socket":
            raise died(f"only root can modify '{key}' config for real devices")
        cluster.access.check(user, f"/vms/{vmid}", "VM.Config.HWType")


def _clamped_cpuunits(units: int, cgroup: int) -> str:
    low, high = (1, 10000) if cgroup == 2 else (2, 262144)
    return str(min(max(units, low), high))


def _check_balloon(config: ConfigFile, values: t.Mapping[str, str]) -> None:
    if "memory" not in values and "balloon" not in values:
        return
    memory = memory_of({**config.main, **config.pending, **{key: values[key] for key in ("memory",) if key in values}})
    balloon = values.get("balloon", config.pending.get("balloon") or config.main.get("balloon"))
    if balloon and int(balloon) > memory:
        raise died("balloon value too large (must be smaller than assigned memory)")


def _apply_to_vm(cluster: Cluster, guest: Guest, change: Change, speaker: Speaker) -> None:
    """Write the change into the pending section, drop what changes nothing, then take over what can be."""
    speaker.say(f"update VM {guest.vmid}: " + " ".join(f"-{key} {value}" for key, value in change.as_sent))
    modified = _delete_keys(cluster, guest, change, speaker) | _set_keys(cluster, guest, change)
    config = guest.load()
    if _drop_unchanged(config):
        cluster.store(guest, config)
    if not (config.pending or config.pending_deletes):
        return
    if guest.running:
        errors = hotplug(cluster, guest, config, modified)
        if errors:
            raise parameter_error(errors)
    else:
        _move_all(config)
        cluster.store(guest, config)


def _delete_keys(cluster: Cluster, guest: Guest, change: Change, speaker: Speaker) -> set[str]:
    modified = set()
    for key in change.deletes:
        config = guest.load()
        value = config.main.get(key, config.pending.get(key))
        if value is None:
            speaker.warn(f"cannot delete '{key}' - not set in current configuration!")
            continue
        modified.add(key)
        check_device(cluster, change.user, guest.vmid, key, value)
        config.pending.pop(key, None)
        if key == "tags":
            check_tag_rights(cluster, change.user, guest.vmid, value, "")
            config.main.pop(key, None)
        else:
            config.pending_deletes[key] = False
        cluster.store(guest, config)
    return modified


def _set_keys(cluster: Cluster, guest: Guest, change: Change) -> set[str]:
    for key, value in change.values.items():
        config = guest.load()
        if config.pending.get(key) == value:
            continue
        if key in config.main:
            check_device(cluster, change.user, guest.vmid, key, config.main[key])
        check_device(cluster, change.user, guest.vmid, key, value)
        if key == "tags":
            check_tag_rights(cluster, change.user, guest.vmid, config.main.get(key, ""), value)
        config.pending[key] = unique_tags(cluster, value) if key == "tags" else value
        config.pending_deletes.pop(key, None)
        cluster.store(guest, config)
    return set(change.values)


def _drop_unchanged(config: ConfigFile) -> bool:
    """Remove pending entries that equal the present value, and deletes of what is not there."""
    same = [key for key, value in config.pending.items() if config.main.get(key) == value]
    gone = [key for key in config.pending_deletes if key not in config.main]
    for key in same:
        del config.pending[key]
    for key in gone:
        del config.pending_deletes[key]
    return bool(same or gone)


def _move_all(config: ConfigFile) -> None:
    for key in config.pending_deletes:
        config.main.pop(key, None)
    config.main.update(config.pending)
    config.pending.clear()
    config.pending_deletes.clear()


# --- running VMs -----------------------------------------------------------------------------------------------------


def hotplug(cluster: Cluster, guest: Guest, config: ConfigFile, selected: t.Container[str]) -> dict[str, str]:
    """Take over what can be changed while the VM runs; the rest stays pending. Returns the errors by key."""
    early = [key for key in config.pending if key in qemu_keys.AT_ONCE]
    for key in early:
        config.main[key] = config.pending.pop(key)
    if early:
        cluster.store(guest, config)
    features = qemu_keys.hotplug_features(config.main.get("hotplug"))
    errors: dict[str, str] = {}
    for key in sorted(config.pending_deletes):
        if key in selected and _plug(cluster, guest, config, features, key, None):
            config.main.pop(key, None)
            del config.pending_deletes[key]
    for key in sorted(config.pending):
        if key in selected and _plug(cluster, guest, config, features, key, config.pending[key], errors):
            config.main[key] = config.pending.pop(key)
    cluster.store(guest, config)
    return errors


def _plug(
    cluster: Cluster,
    guest: Guest,
    config: ConfigFile,
    features: t.Container[str],
    key: str,
    value: t.Optional[str],
    errors: t.Optional[dict[str, str]] = None,
) -> bool:
    """Whether the key (value None: its removal) takes effect on the running process; it does so here."""
    assert guest.live
    if key in qemu_keys.AT_ONCE:
        return True
    if key in ("cpulimit", "cpuunits"):
        _check_cgroup(cluster, guest)
        setattr(guest.live, key, value if value is not None else {"cpulimit": "0", "cpuunits": "100"}[key])
        return True
    if key == "vcpus":
        return "cpu" in features and _plug_cpus(cluster, guest, config, value, errors)
    if key == "memory":
        return "memory" in features
    if key == "balloon":
        was, will = config.main.get("balloon") != "0", value != "0"
        return was == will
    if key == "hotplug":
        return not any(word in f"{value or ''} {config.main.get('hotplug', '')}" for word in ("cpu", "memory"))
    if key.startswith("net") and key[3:].isdigit():
        return "network" in features
    if key.startswith(("scsi", "virtio")) and key[-1].isdigit() and not key.startswith("virtiofs"):
        return "disk" in features
    if key == "tablet":
        return "usb" in features
    return False


def _check_cgroup(cluster: Cluster, guest: Guest) -> None:
    failure = cluster.nodes[guest.node].cgroup_failure
    if failure:
        raise ApiError(500, failure)


def _plug_cpus(cluster: Cluster, guest: Guest, config: ConfigFile, value: t.Optional[str], errors: t.Optional[dict[str, str]]) -> bool:
    assert guest.live
    most = int(config.main.get("cores", 1)) * int(config.main.get("sockets", 1))
    wanted = int(value) if value is not None else most
    if wanted > most:
        if errors is not None:
            errors["vcpus"] = "hotplug problem - you can't add more vcpus than maxcpus\n"
        return False
    while len(guest.live.vcpu_threads) < wanted:
        guest.live.vcpu_threads.append(cluster.tasks.new_pid())
    del guest.live.vcpu_threads[wanted:]
    return True


# --- containers ------------------------------------------------------------------------------------------------------


def update_container(cluster: Cluster, node: str, vmid: int, user: str, params: t.Mapping[str, t.Any]) -> None:
    """Change a container."""
    known = lxc_keys.file_keys()
    values = {key: str(value) for key, value in params.items() if key not in CONTROL_PARAMETERS}
    deletes, reverts = split_list(params.get("delete")), split_list(params.get("revert"))
    if not (values or deletes or reverts):
        raise died("no options specified")
    if "cpuunits" in values:
        values["cpuunits"] = _clamped_cpuunits(int(values["cpuunits"]), cluster.nodes[node].cgroup)
    if "hookscript" in values:
        problem = cluster.hookscript_problem(cluster.nodes[node], values["hookscript"])
        if problem:
            raise parameter_error({"hookscript": problem + "\n"})
    guest = cluster.guest_on(node, vmid, "lxc")
    with cluster.file_lock(guest):
        config = guest.load()
        if config.main.get("lock"):
            raise died(f"CT is locked ({config.main['lock']})")
        if params.get("digest") and params["digest"] != guest.digest:
            raise died("detected modified configuration - file changed by other user? Try again.")
        for key in deletes + reverts:
            check_container_key(cluster, user, vmid, key)
        for name, keys in (("revert", reverts), ("delete", deletes)):
            for key in keys:
                if key not in known:
                    raise parameter_error({name: f"unknown option '{key}'"})
                if key in values:
                    raise parameter_error({name: f"you can't use '-{key}' and -{name} {key}' at the same time"})
        for key in values:
            check_container_key(cluster, user, vmid, key)
        _apply_to_container(cluster, guest, config, values, deletes, reverts)


def check_container_key(cluster: Cluster, user: str, vmid: int, key: str) -> None:
    """Whether the user may touch the container's key."""
    if user == ROOT:
        return
    if key == "hookscript":
        raise permission_error("user != root@pam")
    privilege = lxc_keys.privilege_for(key)
    if privilege is None:
        raise permission_error("user != root@pam")
    cluster.access.check(user, f"/vms/{vmid}", privilege)


def _apply_to_container(
    cluster: Cluster, guest: Guest, config: ConfigFile, values: t.Mapping[str, str], deletes: t.Sequence[str], reverts: t.Sequence[str]
) -> None:
    for key in reverts:
        config.pending.pop(key, None)
        config.pending_deletes.pop(key, None)
    for key in deletes:
        config.pending.pop(key, None)
        config.pending_deletes[key] = False
    for key, value in values.items():
        config.pending_deletes.pop(key, None)
        config.pending[key] = unique_tags(cluster, value) if key == "tags" else value
    _drop_unchanged(config)
    if not guest.running:
        _move_all(config)
    else:
        for key in [key for key in config.pending_deletes if key in lxc_keys.LIVE]:
            config.main.pop(key, None)
            del config.pending_deletes[key]
        for key in [key for key in config.pending if key in lxc_keys.LIVE]:
            if key in ("cores", "cpulimit", "cpuunits"):
                _check_cgroup(cluster, guest)
            config.main[key] = config.pending.pop(key)
    cluster.store(guest, config)
