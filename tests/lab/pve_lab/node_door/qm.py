# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""qm on a simulated host: set, config, pending, list, status, showcmd, start, stop, shutdown, reboot, migrate, unlock."""

from __future__ import annotations

import sys

from door_client import GuestCommands, ask, node, read_options, run

VMS = GuestCommands("qemu")


def list_vms(arguments: list[str]) -> None:
    sys.stdout.write(f"{'VMID':>10} {'NAME':<20} {'STATUS':<10} {'MEM(MB)':<10} {'BOOTDISK(GB)':>12} {'PID':<10}\n")
    for vm in ask("GET", f"/nodes/{node()}/qemu", {"full": "1", **read_options(arguments)})["data"]:
        sys.stdout.write(
            f"{vm['vmid']:>10} {vm['name']:<20} {vm['status']:<10} {vm['maxmem'] // 2**20:<10} {'0.00':>12} {vm.get('pid', 0):<10}\n"
        )


def showcmd(arguments: list[str]) -> None:
    vmid, options = VMS.take_vmid(arguments)
    sys.stdout.write(ask("SHOWCMD", VMS.path(vmid, "config"), {"vmid": vmid, "pretty": options.get("pretty") == "1"})["data"])


if __name__ == "__main__":
    sys.exit(run({**VMS.commands(), "list": list_vms, "showcmd": showcmd}, sys.argv[1:], "qm"))
