# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of the lab host: real QEMU processes, started and stopped as PVE does it, from /etc/pve/qemu-server/VMID.conf.

    lab_guest.py start VMID... [--busy] [--helper]    all vCPUs write memory; another process beside QEMU in the scope
    lab_guest.py stop VMID...
    lab_guest.py remove [VMID...]                     stop, and remove the config; without a number, of all
    lab_guest.py list                                 all guests that have a config
    lab_guest.py hold VMID SECONDS                    occupy the QMP socket, which serves one client at a time

`list` and `start` print what the kernel says of the guests, in JSON.

Of the config it looks at: sockets, cores, vcpus, memory, affinity, cpulimit, cpuunits, numa and numaN, iothread=1 of
scsiN with scsihw virtio-scsi-single, and netN (with vhost, as on PVE). It runs on the lab host, on Python alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import firmware

CONFIGS = Path("/etc/pve/qemu-server")
RUN = Path("/var/run/qemu-server")
WORK = Path("/var/lib/lab-guests")
SLICE = Path("/sys/fs/cgroup/qemu.slice")
PATIENT = {**os.environ, "SYSTEMD_BUS_TIMEOUT": "600"}  # many guests that start at once keep systemd waiting
HELPER = "exec -a swtpm sleep infinity"

Config = t.Dict[str, str]


def read_config(vmid: int) -> Config:
    """The keys of a config, without what belongs to snapshots and pending changes."""
    config: Config = {}
    for line in (CONFIGS / f"{vmid}.conf").read_text().splitlines():
        if line.startswith("["):
            break
        key, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            config[key] = value.strip()
    return config


def options(value: str) -> Config:
    """The options of a value such as `virtio=AA:BB,bridge=vmbr0`."""
    return dict(part.partition("=")[::2] for part in value.split(","))


# --- start -----------------------------------------------------------------------------------------------------------


def start(vmids: t.Sequence[int], busy: bool, helper: bool) -> None:
    for vmid, process in [(vmid, begin(vmid, busy, helper)) for vmid in vmids]:
        if process.wait():
            sys.exit(f"Guest {vmid} did not start.")


def begin(vmid: int, busy: bool, helper: bool) -> subprocess.Popen[bytes]:
    """The program that ends once the guest runs."""
    if qemu_pid(vmid):
        sys.exit(f"Guest {vmid} runs already.")
    config = read_config(vmid)
    work = WORK / str(vmid)
    work.mkdir(parents=True, exist_ok=True)
    RUN.mkdir(exist_ok=True)
    (work / "firmware").write_bytes(firmware.busy(int(config["memory"])) if busy else firmware.idle())
    (work / str(vmid)).write_bytes(bytes(1 << 20))
    command = scope_command(vmid, config, helper) + affinity_command(config) + qemu_command(vmid, config)
    # PVE creates each scope anew; one that is just coming to its end bears the name for a moment longer.
    wait(lambda: not (SLICE / f"{vmid}.scope").exists(), 60, f"the scope of guest {vmid} is still there")
    return subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=PATIENT)


def scope_command(vmid: int, config: Config, helper: bool) -> t.List[str]:
    """Run what follows in a transient scope of its own, after a helper process if there is to be one."""
    properties = ["KillMode=process", f"CPUWeight={config.get('cpuunits', '100')}"]
    if float(config.get("cpulimit", 0)):
        properties.append(f"CPUQuota={float(config['cpulimit']) * 100:.0f}%")
    words = ["systemd-run", "--quiet", "--scope", f"--unit={vmid}", "--slice=qemu.slice", f"--description=Guest {vmid}"]
    words += [f"--property={setting}" for setting in properties]
    beside = ["bash", "-c", f'setsid bash -c "{HELPER}" >/dev/null 2>&1 & exec "$@"', "start"]
    return words + (beside if helper else [])


def affinity_command(config: Config) -> t.List[str]:
    affinity = config.get("affinity")
    return ["/usr/bin/taskset", "--cpu-list", "--all-tasks", affinity] if affinity else []


def qemu_command(vmid: int, config: Config) -> t.List[str]:
    """QEMU's command line, close to PVE's.

    PVE's own QEMU has an option `-id VMID`, which others look for in the command line; Debian's has not. Here `-id` is
    the name of a folder to look for firmware in, and VMID that of the disk's file.
    """
    sockets, cores = int(config.get("sockets", 1)), int(config.get("cores", 1))
    vcpus = int(config.get("vcpus", sockets * cores))
    return [
        "/usr/bin/kvm",
        *("-L", "-id", str(vmid)),
        *("-name", f"{config.get('name', f'vm{vmid}')},debug-threads=on"),
        "-no-shutdown",
        *("-chardev", f"socket,id=qmp,path={RUN}/{vmid}.qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
        *("-pidfile", f"{RUN}/{vmid}.pid", "-daemonize"),
        *("-smp", f"{vcpus},sockets={sockets},cores={cores},maxcpus={sockets * cores}"),
        *("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=16", "-cpu", "qemu64"),
        *("-nodefaults", "-vga", "none", "-display", "none", "-bios", "firmware"),
        *memory(config),
        *io_threads(config),
        *networks(vmid, config),
    ]


def memory(config: Config) -> t.List[str]:
    """Memory in cells, each bound to host NUMA nodes, where the config has numaN; else as it comes."""
    words = ["-m", config["memory"]]
    cells = [options(config[f"numa{number}"]) for number in range(8) if f"numa{number}" in config]
    for number, cell in enumerate(cells):
        place = f",host-nodes={cell['hostnodes']},policy={cell['policy']}" if "hostnodes" in cell else ""
        cpus = "".join(f",cpus={part}" for part in cell["cpus"].split(";"))
        words += ["-object", f"memory-backend-ram,id=ram-node{number},size={cell['memory']}M{place}"]
        words += ["-numa", f"node,nodeid={number}{cpus},memdev=ram-node{number}"]
    return words


def io_threads(config: Config) -> t.List[str]:
    """One I/O thread for each disk that asks for it."""
    words = []
    for key, value in sorted(config.items()):
        if re.fullmatch(r"scsi\d+", key) and options(value).get("iothread") == "1" and config.get("scsihw") == "virtio-scsi-single":
            controller = f"virtioscsi{key[len('scsi') :]}"
            words += ["-object", f"iothread,id=iothread-{controller}"]
            words += ["-device", f"virtio-scsi-pci,id={controller},iothread=iothread-{controller}"]
    return words


def networks(vmid: int, config: Config) -> t.List[str]:
    words = []
    for key in sorted(config):
        if re.fullmatch(r"net\d+", key):
            tap = f"tap,id={key},ifname=tap{vmid}i{key[len('net') :]},script=no,downscript=no,vhost=on"
            words += ["-netdev", tap, "-device", f"virtio-net-pci,netdev={key},romfile="]
    return words


# --- stop ------------------------------------------------------------------------------------------------------------


def stop(vmids: t.Sequence[int]) -> None:
    """End QEMU, then what else is in the scope, and wait until the scope is gone; of all of them at once."""
    pids = {vmid: scope_pids(SLICE / f"{vmid}.scope") for vmid in vmids}
    for vmid in vmids:
        pid = qemu_pid(vmid)
        if pid:
            send(pid, signal.SIGTERM)
            send(pid, signal.SIGCONT)  # a process that is held by SIGSTOP ends once it goes on
    for vmid in vmids:
        see_it_end(vmid, pids[vmid])


def see_it_end(vmid: int, pids: t.Sequence[int]) -> None:
    wait(lambda: qemu_pid(vmid) is None, 120, f"guest {vmid} does not end")
    scope = SLICE / f"{vmid}.scope"
    for other in scope_pids(scope):
        send(other, signal.SIGKILL)
    wait(lambda: not scope.exists(), 120, f"the scope of guest {vmid} is still there")
    # A process leaves its cgroup before it is gone.
    wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 120, f"processes of guest {vmid} are still there")
    for name in ("pid", "qmp"):
        (RUN / f"{vmid}.{name}").unlink(missing_ok=True)


def send(pid: int, number: signal.Signals) -> None:
    """A signal, to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def remove(vmids: t.Sequence[int]) -> None:
    stop(vmids)
    for vmid in vmids:
        (CONFIGS / f"{vmid}.conf").unlink(missing_ok=True)


def scope_pids(scope: Path) -> t.List[int]:
    try:
        return [int(line) for line in (scope / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def qemu_pid(vmid: int) -> t.Optional[int]:
    """The process in the guest's pid file, if it is that guest's QEMU."""
    try:
        pid = int((RUN / f"{vmid}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if f"{RUN}/{vmid}.pid".encode() in words else None


def wait(condition: t.Callable[[], bool], seconds: float, failure: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"After {seconds:.0f} s {failure}.")
        time.sleep(0.05)


# --- list and hold ---------------------------------------------------------------------------------------------------


def describe(vmid: int) -> t.Dict[str, t.Any]:
    """What the kernel says of a guest: each thread of QEMU and of the scope's other processes, with the CPUs it may use."""
    pid = qemu_pid(vmid)
    scope = SLICE / f"{vmid}.scope"
    others = [other for other in scope_pids(scope) if other != pid]
    return {
        "vmid": vmid,
        "pid": pid,
        "scope": scope.name if scope.exists() else None,
        "scope_cpus": cpuset(scope),
        "threads": threads(pid) if pid else [],
        "helpers": [thread for other in others for thread in threads(other)],
    }


def cpuset(scope: Path) -> t.Optional[str]:
    """The CPUs that the scope is held to; None where it is not."""
    try:
        return (scope / "cpuset.cpus").read_text().strip() or None
    except OSError:
        return None


def threads(pid: int) -> t.List[t.Dict[str, t.Any]]:
    """By number; threads that end meanwhile are left out."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        except OSError:
            continue
        found.append({"tid": int(task.name), "name": status["Name"].strip(), "cpus": status["Cpus_allowed_list"].strip()})
    return sorted(found, key=lambda thread: thread["tid"])


def configured() -> t.List[int]:
    return sorted(int(path.stem) for path in CONFIGS.glob("[0-9]*.conf"))


def hold(vmid: int, seconds: int) -> None:
    """For so long, or until the guest ends."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(RUN / f"{vmid}.qmp"))
        client.recv(4096)
        print("held", flush=True)
        client.settimeout(seconds)
        with contextlib.suppress(OSError):
            client.recv(4096)  # QEMU says nothing to a client that does not ask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("act", choices=("start", "stop", "remove", "list", "hold"))
    parser.add_argument("numbers", type=int, nargs="*")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--helper", action="store_true")
    arguments = parser.parse_args()
    if arguments.act == "start":
        start(arguments.numbers, arguments.busy, arguments.helper)
    if arguments.act in ("start", "list"):
        print(json.dumps([describe(vmid) for vmid in arguments.numbers or configured()]))
    elif arguments.act == "stop":
        stop(arguments.numbers)
    elif arguments.act == "remove":
        remove(arguments.numbers or configured())
    else:
        hold(*arguments.numbers)


if __name__ == "__main__":
    main()
