# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PVE's named formats, as functions that raise FormatError with PVE's words."""

from __future__ import annotations

import re

from .cpulist import is_pve_cpuset
from .schema import FormatError, split_list

_VOLUME = re.compile(r"([a-z][a-z0-9\-_.]*[a-z0-9]):(.+)", re.IGNORECASE | re.ASCII)
_CONFIG_ID = re.compile(r"[a-z][a-z0-9_-]+", re.IGNORECASE | re.ASCII)
_DNS_NAME = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*", re.ASCII)
_TAG = re.compile(r"[a-z0-9_][a-z0-9_\-+.]*", re.IGNORECASE | re.ASCII)
_NODE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?", re.ASCII)


def cpuset(text: str) -> None:
    """pve-cpuset"""
    if not is_pve_cpuset(text):
        raise FormatError("unable to parse cpuset option")


def vmid(text: str) -> None:
    """pve-vmid"""
    if not re.fullmatch(r"[1-9][0-9]{2,8}", text, re.ASCII):
        raise FormatError("value does not look like a valid VM ID")


def vmid_list(text: str) -> None:
    """pve-vmid-list"""
    for part in split_list(text):
        vmid(part)


def node_name(text: str) -> None:
    """pve-node"""
    if not _NODE.fullmatch(text):
        raise FormatError("value does not look like a valid node name")


def config_id(text: str) -> None:
    """pve-configid"""
    if not _CONFIG_ID.fullmatch(text):
        raise FormatError(f"invalid configuration ID '{text}'")


def config_id_list(text: str) -> None:
    """pve-configid-list"""
    for part in split_list(text):
        config_id(part)


def tag_list(text: str) -> None:
    """pve-tag-list"""
    for part in split_list(text):
        if not _TAG.fullmatch(part):
            raise FormatError("invalid characters in tag")


def dns_name(text: str) -> None:
    """dns-name"""
    if not _DNS_NAME.fullmatch(text):
        raise FormatError("value does not look like a valid DNS name")


def volume_id(text: str) -> None:
    """pve-volume-id"""
    if not _VOLUME.fullmatch(text):
        raise FormatError(f"unable to parse volume ID '{text}'")


def pool_id(text: str) -> None:
    """pve-poolid"""
    if not re.fullmatch(r"[A-Za-z0-9._\-/]+", text, re.ASCII):
        raise FormatError(f"pool name '{text}' contains invalid characters")
