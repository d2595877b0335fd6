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


def _tag_style(cluster: Cluster) -> dict[str, str]:
    style = cluster.options.get("tag-style") or {}
    if isinstance(style, str):
        return dict(part.split("=", 1) for part in style.split(",") if "=" in part)
    return {key: str(value) for key, value in style.items()}


def unique_tags(cluster: Cluster, text: str) -> str:
    """The list as PVE stores it: lower case, no doubles, sorted, joined by ";", unless tag-style says otherwise."""
    style = _tag_style(cluster)
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
    if user == ROOT or cluster.access.has(user, "/", "Sys.Modify"):
        return
    cluster.access.check(user, f"/vms/{vmid}", "VM.Config.Options")
    touched = set(split_list(before)) ^ set(split_list(after))
    for tag in sorted(touched & set(registered_tags(cluster))):
        raise permission_error(f"/, Sys.Modify for modifying tag '{tag}'")
