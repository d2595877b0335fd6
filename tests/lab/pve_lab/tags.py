# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags: how a list is written, and which of them are not everybody's (datacenter.cfg)."""

from __future__ import annotations

import typing as t

from .access import ROOT
from .errors import permission_error
from .schema import split_list

if t.TYPE_CHECKING:
    from .cluster import Cluster


def _properties(value: t.Any) -> dict[str, str]:
    """A property string of datacenter.cfg, or the object that a description may have in its place."""
    if isinstance(value, str):
        return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
    return {key: ";".join(item) if isinstance(item, list) else str(item) for key, item in (value or {}).items()}


def unique_tags(cluster: Cluster, text: str) -> str:
    """The list as PVE stores it: lower case, no doubles, sorted, joined by ";", unless tag-style says otherwise."""
    style = _properties(cluster.options.get("tag-style"))
    tags = split_list(text)
    if style.get("case-sensitive") != "1":
        tags = [tag.lower() for tag in tags]
    tags = list(dict.fromkeys(tags))
    if style.get("ordering") != "config":
        tags.sort()
    return ";".join(tags)


def registered_tags(cluster: Cluster) -> list[str]:
    """Tags that only Sys.Modify on / may give or take."""
    registered = cluster.options.get("registered-tags") or []
    return split_list(registered) if isinstance(registered, str) else list(registered)


def used_tags(cluster: Cluster) -> list[str]:
    """All tags in use or registered: "allowed-tags" of GET /cluster/options."""
    used = {tag for guest in cluster.guests.values() for tag in split_list(guest.load().main.get("tags"))}
    return sorted(used | set(registered_tags(cluster)))


def check_tag_rights(cluster: Cluster, user: str, vmid: int, before: str, after: str) -> None:
    """403 unless the user may turn the one list of tags into the other."""
    if user == ROOT:
        return
    cluster.access.check(user, f"/vms/{vmid}", "VM.Config.Options")
    if cluster.access.has(user, "/", "Sys.Modify"):
        return
    for tag in sorted(set(split_list(before)) ^ set(split_list(after))):
        if tag in registered_tags(cluster) or not _is_allowed(cluster, user, tag):
            raise permission_error(f"/, Sys.Modify for modifying tag '{tag}'")


def _is_allowed(cluster: Cluster, user: str, tag: str) -> bool:
    """What user-tag-access says: free (default), existing, list, or none."""
    access = _properties(cluster.options.get("user-tag-access"))
    mode = access.get("user-allow", "free")
    if mode == "free":
        return True
    listed = split_list(access.get("user-allow-list")) if mode != "none" else []
    return tag in listed or (mode == "existing" and tag in _seen_tags(cluster, user))


def _seen_tags(cluster: Cluster, user: str) -> set[str]:
    visible = [guest for vmid, guest in cluster.guests.items() if cluster.access.has(user, f"/vms/{vmid}", "VM.Audit")]
    return {tag for guest in visible for tag in split_list(guest.load().main.get("tags"))}
