# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that run: boot, find again, reboot with other parameters, stop. Each has a folder with its disk and its state."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

from . import emulator, host_files, programs
from .emulator import Boot
from .image import Image, build, cache_folder
from .machines import MACHINES, Machine
from .remote import Remote

# A machine ends by itself after this many seconds, whatever became of the program that booted it.
LIFETIME = 8 * 3600
NICENESS = 10


@dataclasses.dataclass
class Instance:
    """A running machine."""

    folder: Path
    machine: Machine
    boot: Boot
    ssh_port: int
    image: Image

    @property
    def remote(self) -> Remote:
        return Remote(self.ssh_port, self.image.ssh_key)

    @property
    def pid(self) -> t.Optional[int]:
        """Of its QEMU; None where it does not run."""
        return _pid(self.folder)

    def reboot(self, boot: t.Optional[Boot] = None, timeout: float = 900) -> None:
        """Shut the host down in good order and boot it again from the same disk, with other parameters where they are given."""
        self.remote.run("systemctl --no-block poweroff", check=False)  # the connection may end before the answer
        _wait(lambda: self.pid is None, timeout, "did not shut down", self.folder)
        self.remote.close()
        self.boot = boot or self.boot
        _launch(self, timeout)

    def stop(self) -> None:
        """End it at once, and remove its folder."""
        self.remote.close()
        pid = self.pid
        if pid:
            os.kill(pid, signal.SIGTERM)
            _wait(lambda: self.pid is None, 30, "does not end", self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def start(name: str, machine: Machine, boot: t.Optional[Boot] = None, timeout: float = 900) -> Instance:
    """Boot a machine from a fresh copy of the image and wait until it is up; TimeoutError after `timeout` seconds."""
    built = build()
    folder = _folder(name)
    if _pid(folder):
        raise RuntimeError(f"A machine called {name} runs already.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    instance = Instance(folder, machine, boot or Boot(), _free_port(), built)
    disk = str(folder / "disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(built.disk), disk], check=True)
    try:
        _launch(instance, timeout)
    except BaseException:
        if instance.pid:
            os.kill(instance.pid, signal.SIGTERM)
        raise
    return instance


def find(name: str) -> t.Optional[Instance]:
    """The running machine of that name."""
    folder = _folder(name)
    if not _pid(folder):
        return None
    state = json.loads((folder / "state.json").read_text())
    return Instance(folder, MACHINES[state["machine"]], Boot(**state["boot"]), state["ssh_port"], Image(Path(state["image"])))


def running() -> t.List[str]:
    """The names of the machines that run."""
    return sorted(folder.name for folder in _folder("x").parent.glob("*") if _pid(folder))


def _launch(instance: Instance, timeout: float) -> None:
    files = emulator.Files(instance.folder, instance.image.kernel, instance.image.initrd)
    files.console.unlink(missing_ok=True)
    command = emulator.command(instance.machine, instance.boot, files, instance.ssh_port)
    _save(instance)
    with (instance.folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            ["timeout", str(LIFETIME), "nice", "-n", str(max(0, NICENESS - os.nice(0))), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def is_up() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"QEMU ended: {(instance.folder / 'qemu.log').read_text()[-1000:]}")
        return files.console.exists() and host_files.READY in files.console.read_text(errors="replace")

    _wait(is_up, timeout, "did not come up", instance.folder)
    programs.install(instance.remote)


def _save(instance: Instance) -> None:
    state = {
        "machine": instance.machine.name,
        "boot": dataclasses.asdict(instance.boot),
        "ssh_port": instance.ssh_port,
        "image": str(instance.image.folder),
    }
    (instance.folder / "state.json").write_text(json.dumps(state))


def _folder(name: str) -> Path:
    return cache_folder() / "run" / name


def _pid(folder: Path) -> t.Optional[int]:
    """The process in the pid file, if it is still the QEMU of that folder and no zombie."""
    try:
        pid = int((folder / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"-pidfile" in words and str(folder / "pid").encode() in words else None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(condition: t.Callable[[], bool], seconds: float, failure: str, folder: Path) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"The machine {folder.name} {failure} within {seconds:.0f} s: see {folder / 'console.log'}.")
        time.sleep(0.2)
