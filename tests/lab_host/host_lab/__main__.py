# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host by hand: `PYTHONPATH=tests/lab_host .venv/bin/python -m host_lab start host16`, from the root of the checkout."""

from __future__ import annotations

import argparse
import os
import sys
import time

from . import instance, requirements
from .emulator import Boot
from .image import build
from .instance import Instance
from .machines import MACHINES


def main() -> None:
    arguments = _parser().parse_args()
    reason = requirements.missing()
    if reason:
        sys.exit(f"No: {reason}.")
    arguments.act(arguments)


def _build(_arguments: argparse.Namespace) -> None:
    print(build().folder)


def _start(arguments: argparse.Namespace) -> None:
    boot = Boot(arguments.cpufreq, arguments.append, arguments.cpus_per_policy, arguments.tcg)
    begin = time.monotonic()
    host = instance.start(arguments.name or arguments.machine, MACHINES[arguments.machine], boot)
    print(f"{host.folder.name} is up after {time.monotonic() - begin:.0f} s: 127.0.0.1:{host.ssh_port}, pid {host.pid}")


def _ssh(arguments: argparse.Namespace) -> None:
    command = _find(arguments.name).remote.command(*arguments.command)
    os.execvp(command[0], command)


def _stop(arguments: argparse.Namespace) -> None:
    _find(arguments.name).stop()


def _list(_arguments: argparse.Namespace) -> None:
    for name in instance.running():
        host = _find(name)
        print(f"{name}: {host.machine.name}, {host.machine.cpu_count} CPUs, {host.boot}, pid {host.pid}")


def _find(name: str) -> Instance:
    return instance.find(name) or sys.exit(f"No machine called {name} runs.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="host_lab", description=__doc__)
    acts = parser.add_subparsers(required=True)
    acts.add_parser("build", help="build the image, if it is not there").set_defaults(act=_build)
    acts.add_parser("list", help="machines that run").set_defaults(act=_list)
    start = acts.add_parser("start", help="boot a machine")
    start.add_argument("machine", choices=sorted(MACHINES))
    start.add_argument("--name", help="default: that of the machine")
    start.add_argument("--cpufreq", default="acpi", choices=("acpi", "amd_pstate=active", "amd_pstate=passive", "amd_pstate=guided"))
    start.add_argument("--no-cpufreq", dest="cpufreq", action="store_const", const=None)
    start.add_argument("--cpus-per-policy", type=int, default=1)
    start.add_argument("--append", default="", help="further kernel parameters")
    start.add_argument("--tcg", default="single", choices=("single", "multi"))
    start.set_defaults(act=_start)
    ssh = acts.add_parser("ssh", help="a shell on it, or a command")
    ssh.add_argument("name")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    ssh.set_defaults(act=_ssh)
    stop = acts.add_parser("stop", help="end it and remove its disk")
    stop.add_argument("name")
    stop.set_defaults(act=_stop)
    return parser


if __name__ == "__main__":
    main()
