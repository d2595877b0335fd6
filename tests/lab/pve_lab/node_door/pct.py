# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pct on a simulated host: set, config, pending, list, status, start, stop, shutdown, reboot, migrate, unlock."""

from __future__ import annotations

import sys

from door_client import GuestCommands, ask, node, run

CONTAINERS = GuestCommands("lxc")


def list_containers(_arguments: list[str]) -> None:
    found = ask("GET", f"/nodes/{node()}/lxc")["data"]
    if found:
        sys.stdout.write(f"{'VMID':<10} {'Status':<10} {'Lock':<12} {'Name':<20}\n")
    for container in found:
        sys.stdout.write(f"{container['vmid']:<10} {container['status']:<10} {container.get('lock', ''):<12} {container['name']:<20}\n")


if __name__ == "__main__":
    sys.exit(run({**CONTAINERS.commands(), "list": list_containers}, sys.argv[1:], "pct"))
