# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that stands for /etc/pve: the cluster's files, kept in step with the lab's state in both directions.

Guest files are the truth: whoever edits, moves, adds or removes one changes the cluster. All other files are written
from the state and only read by clients. A plain directory cannot refuse what the real file system refuses (changes
of mode, any write without quorum), so that such acts on guest files are undone at the next call, and noted in
`violations`.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import typing as t

from .cluster import Cluster
from .guest import Guest

_GUEST_FILE = re.compile(r"([1-9]\d{2,8})\.conf", re.ASCII)
_KINDS = {"qemu-server": "qemu", "lxc": "lxc"}
_FILE_MODE = 0o640


class Pmxcfs:
    """The shared files below `directory`, and per host a view of them with the host's own links."""

    def __init__(self, cluster: Cluster, directory: pathlib.Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.violations: list[str] = []
        self._written: dict[str, str] = {}
        self._version = 0
        for name in cluster.nodes:
            for folder in _KINDS:
                (directory / "nodes" / name / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("ha", "mapping", "priv"):
            (directory / folder).mkdir(exist_ok=True)
        self.push()

    def view(self, node: str, directory: pathlib.Path) -> None:
        """Make `directory` look like /etc/pve on that host."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("nodes", "ha", "mapping", "corosync.conf", "datacenter.cfg", "user.cfg", "storage.cfg", ".vmlist", ".version"):
            (directory / name).symlink_to(os.path.relpath(self.directory / name, directory))
        (directory / ".members").symlink_to(os.path.relpath(self.directory / f".members.{node}", directory))
        (directory / "local").symlink_to(pathlib.Path("nodes") / node)
        for folder in _KINDS:
            (directory / folder).symlink_to(pathlib.Path("nodes") / node / folder)

    # --- from the state to the files ---------------------------------------------------------------------------------

    def push(self) -> None:
        """Write what is not in the files yet."""
        wanted = {guest.path: guest.text for guest in self.cluster.guests.values()}
        wanted.update(cluster_files(self.cluster))
        if any(self._written.get(path) != text for path, text in wanted.items()):
            self._version += 1
        wanted[".vmlist"] = _vmlist(self.cluster, self._version)
        wanted[".version"] = json.dumps({"starttime": 0, "clinfo": self._version, "vmlist": self._version, "corosync.conf": 1}) + "\n"
        for path in set(self._written) - set(wanted):
            (self.directory / path).unlink(missing_ok=True)
        for path, text in wanted.items():
            if self._written.get(path) != text:
                self._write(path, text)
        self._written = wanted

    def _write(self, path: str, text: str) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.lab")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(_FILE_MODE)
        os.replace(fresh, target)

    # --- from the files to the state ---------------------------------------------------------------------------------

    def pull(self) -> None:
        """Take over what somebody did to the guest files since the last push."""
        found = self._guest_files()
        before = {path: text for path, text in self._written.items() if _GUEST_FILE.fullmatch(path.rsplit("/", 1)[-1])}
        self._look_for_violations(found)
        if found == before:
            return
        if not (self.cluster.quorate and self.cluster.writable):
            self.violations += [f"{path} was written while the file system was read-only" for path in sorted(_changed(before, found))]
            self._restore(before, found)
            return
        self._take_over(before, found)
        self.cluster.changed()

    def _guest_files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in self.cluster.nodes:
            for folder in _KINDS:
                for path in sorted((self.directory / "nodes" / node / folder).iterdir()):
                    if _GUEST_FILE.fullmatch(path.name):
                        found[f"nodes/{node}/{folder}/{path.name}"] = path.read_text(encoding="utf-8", errors="replace")
        return found

    def _look_for_violations(self, found: t.Iterable[str]) -> None:
        for path in found:
            mode = stat.S_IMODE((self.directory / path).stat().st_mode)
            if mode not in (_FILE_MODE, 0o600, 0o644):
                self.violations.append(f"{path} was given the mode {mode:o}")
                (self.directory / path).chmod(_FILE_MODE)

    def _restore(self, before: t.Mapping[str, str], found: t.Mapping[str, str]) -> None:
        for path in _changed(before, found):
            if path in before:
                self._write(path, before[path])
            else:
                (self.directory / path).unlink()

    def _take_over(self, before: t.Mapping[str, str], found: t.Mapping[str, str]) -> None:
        for path in set(before) - set(found):
            vmid = int(path.rsplit("/", 1)[-1][: -len(".conf")])
            if not any(other.endswith(f"/{vmid}.conf") for other in found):
                self.cluster.guests.pop(vmid, None)
        for path in _changed(before, found):
            if path in found:
                self._take_file(path, found[path])
        self._written.update(found)
        for path in set(before) - set(found):
            self._written.pop(path, None)

    def _take_file(self, path: str, text: str) -> None:
        _nodes, node, folder, name = path.split("/")
        vmid, kind = int(name[: -len(".conf")]), _KINDS[folder]
        guest = self.cluster.guests.get(vmid)
        if guest is None or guest.type != kind:
            guest = self.cluster.guests[vmid] = Guest(vmid, kind, node, text, self.cluster.major)
        if guest.node != node:
            guest.node, guest.live = node, None  # moved by hand: whatever ran, ran on the other host
        guest.text = text


def _changed(before: t.Mapping[str, str], found: t.Mapping[str, str]) -> set[str]:
    return {path for path in {*before, *found} if before.get(path) != found.get(path)}


# --- what stands in the files ----------------------------------------------------------------------------------------


def cluster_files(cluster: Cluster) -> dict[str, str]:
    """Path below /etc/pve -> text, for everything that is no guest file."""
    files = {
        "datacenter.cfg": "".join(f"{key}: {_option(value)}\n" for key, value in sorted(cluster.options.items())),
        "user.cfg": _user_cfg(cluster),
        "storage.cfg": "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup,snippets\n\n",
        "ha/resources.cfg": cluster.ha.resources_text(),
        "mapping/pci.cfg": _pci_cfg(cluster),
        "corosync.conf": _corosync_conf(cluster) if cluster.name else "",
        **{f".members.{name}": _members(cluster, name) for name in cluster.nodes},
    }
    if cluster.major >= 9:
        files["ha/rules.cfg"] = cluster.ha.rules_text()
    else:
        files["ha/groups.cfg"] = cluster.ha.groups_text()
    return files


def _option(value: t.Any) -> str:
    if isinstance(value, t.Mapping):
        return ",".join(f"{key}={item}" for key, item in sorted(value.items()))
    return ";".join(value) if isinstance(value, list) else str(value)


def _user_cfg(cluster: Cluster) -> str:
    access = cluster.access
    lines = []
    for user in access.users.values():
        lines.append(f"user:{user.userid}:{int(user.enable)}:0::::::")
        lines += [f"token:{token.tokenid}:0:{int(token.privsep)}::" for token in access.tokens.values() if token.owner == user.userid]
    lines.append("")
    for pool in cluster.pools.values():
        lines.append(f"pool:{pool.poolid}:{pool.comment}:{','.join(str(vmid) for vmid in sorted(pool.vmids))}::")
    lines.append("")
    lines += [f"role:{name}:{','.join(sorted(privileges))}:" for name, privileges in access.roles.items() if name not in access.built_in]
    lines.append("")
    lines += [f"acl:{int(entry.propagate)}:{entry.path}:{entry.ugid}:{entry.roleid}:" for entry in access.acl]
    return "\n".join(lines) + "\n"


def _pci_cfg(cluster: Cluster) -> str:
    blocks = []
    for entry in cluster.mappings["pci"]:
        maps = [line if isinstance(line, str) else _option(line) for line in entry.get("map") or []]
        extra = [f"\t{key} {value}" for key, value in sorted(entry.items()) if key not in ("id", "map", "type")]
        blocks.append("\n".join([entry["id"], *extra, *(f"\tmap {line}" for line in maps)]) + "\n\n")
    return "".join(blocks)


def _corosync_conf(cluster: Cluster) -> str:
    nodes = "".join(
        f"  node {{\n    name: {node.name}\n    nodeid: {node.nodeid}\n    quorum_votes: 1\n    ring0_addr: {node.ip}\n  }}\n"
        for node in cluster.nodes.values()
    )
    return (
        "logging {\n  debug: off\n  to_syslog: yes\n}\n\n"
        f"nodelist {{\n{nodes}}}\n\n"
        "quorum {\n  provider: corosync_votequorum\n}\n\n"
        f"totem {{\n  cluster_name: {cluster.name}\n  config_version: {len(cluster.nodes)}\n  interface {{\n    linknumber: 0\n  }}\n"
        "  ip_version: ipv4-6\n  link_mode: passive\n  secauth: on\n  version: 2\n}\n"
    )


def _members(cluster: Cluster, node: str) -> str:
    members: dict[str, t.Any] = {"nodename": node, "version": len(cluster.nodes)}
    if cluster.name:
        count = len(cluster.nodes)
        members["cluster"] = {"name": cluster.name, "version": count, "nodes": count, "quorate": int(cluster.quorate)}
    nodes = cluster.nodes.values()
    members["nodelist"] = {other.name: {"id": other.nodeid, "online": int(other.online), "ip": other.ip} for other in nodes}
    return json.dumps(members, indent=0) + "\n"


def _vmlist(cluster: Cluster, version: int) -> str:
    ids = {str(vmid): {"node": guest.node, "type": guest.type, "version": version} for vmid, guest in sorted(cluster.guests.items())}
    return json.dumps({"version": version, "ids": ids}, indent=0) + "\n"
