# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a lab by itself: python -m pve_lab CLUSTER.json [--port N] [--ready-file F] [--log F] [--state-file F] [--door DIR] [--lifetime S]"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import sys
import typing as t

from .cluster import Cluster
from .door import Door
from .lab import Lab


def main(arguments: t.Optional[t.Sequence[str]] = None) -> int:
    """Serve until the lifetime is over or a signal asks for the end."""
    parser = argparse.ArgumentParser(prog="pve_lab", description="A simulated Proxmox VE cluster on the loopback interface.")
    parser.add_argument("cluster", help="the cluster's description, a JSON file")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument("--ready-file", help="gets {host, port, ca_path, pid} as JSON once the lab answers")
    parser.add_argument("--log", help="gets one JSON line per answered request")
    parser.add_argument("--state-file", help="holds the state as a description, written after each change")
    parser.add_argument("--door", help="gets a view of each host: bin/ with qm, pct and pvesh, and etc-pve/")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--task-delay", type=float, default=0.0, help="seconds that a task takes")
    parser.add_argument("--lifetime", type=float, default=3600.0, help="seconds after which the lab ends by itself (default: an hour)")
    options = parser.parse_args(arguments)
    try:
        cluster = Cluster.from_file(options.cluster)
    except (OSError, ValueError, KeyError) as error:
        print(f"pve_lab: {options.cluster}: {error}", file=sys.stderr)
        return 1
    cluster.tasks.delay = options.task_delay
    ends = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the threads begin: they are to leave these signals to us
    with contextlib.ExitStack() as opened:
        lab = opened.enter_context(Lab(cluster, options.delay, options.port, options.log, options.state_file))
        if options.door:
            opened.enter_context(Door(lab, options.door))
        ready = {"host": lab.host, "port": lab.port, "ca_path": lab.ca_path, "pid": os.getpid()}
        if options.ready_file:
            target = pathlib.Path(options.ready_file)
            fresh = target.with_name(target.name + ".new")
            fresh.write_text(json.dumps(ready) + "\n", encoding="utf-8")
            os.replace(fresh, target)
        print(json.dumps(ready), flush=True)
        signal.sigtimedwait(ends, options.lifetime)
    return 0


if __name__ == "__main__":
    sys.exit(main())
