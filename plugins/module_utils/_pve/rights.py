# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may set which config key, so that a plan is refused before its first write and not in the middle.

Source: check_vm_modify_config_perm in qemu-server's src/PVE/API2/Qemu.pm. A key that no privilege covers belongs to
root@pam alone, and PVE compares the user's name, so that no token can set it.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import typing as t

from .._engine.guest import PLACEMENT_KEYS
from .reading import GuestRef

ROOT_ONLY_KEYS = ("affinity", "args", "hookscript", "hugepages", "keephugepages")
CPU_KEYS = tuple(key for key in PLACEMENT_KEYS if key != "affinity")
CPU_PRIVILEGE = "VM.Config.CPU"
POWER_PRIVILEGE = "VM.PowerMgmt"
BOOLEAN_KEYS = ("keephugepages", "numa")
WRITABLE_KEYS = tuple(sorted(ROOT_ONLY_KEYS + CPU_KEYS))

Permissions = t.Mapping[str, t.Mapping[str, t.Any]]


def root_only_refusal(wanted: t.Mapping[GuestRef, t.Sequence[str]], login: str) -> t.Optional[str]:
    """One sentence where some of the keys that are to be sent may be set by root@pam alone, else None."""
    guests: t.Dict[str, t.List[int]] = {}
    for guest, keys in wanted.items():
        for key in keys:
            if key in ROOT_ONLY_KEYS:
                guests.setdefault(key, []).append(guest.vmid)
    if not guests:
        return None
    named = " and ".join(f"{key} of {_listed(guests[key])}" for key in sorted(guests))
    return (
        f"The plan sets {named}, which PVE lets only root@pam with a password set and never a token, but the login is {login}; log in "
        "with api_user root@pam and api_password, or run without api_host on the hosts as root (nothing was written)."
    )


def _listed(vmids: t.Sequence[int]) -> str:
    shown = ", ".join(str(vmid) for vmid in vmids[:5])
    more = f" and {len(vmids) - 5} more" if len(vmids) > 5 else ""
    return f"guest{'s' if len(vmids) > 1 else ''} {shown}{more}"


def sees_all_guests(permissions: t.Optional[Permissions]) -> bool:
    """Whether VM.Audit is granted on /vms for all guests; True where this PVE does not tell."""
    return permissions is None or bool(permissions.get("/vms", {}).get("VM.Audit"))


def lacks(permissions: Permissions, privilege: str, vmid: int) -> bool:
    """Whether the answer of GET /access/permissions does not give `privilege` on a guest.

    It maps paths to {privilege: 1 where the paths below inherit it, else 0}; not every guest has a path of its own.
    """
    own = permissions.get(f"/vms/{vmid}")
    return privilege not in own if own is not None else not permissions.get("/vms", {}).get(privilege)
