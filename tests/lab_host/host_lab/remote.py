# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on a lab host over ssh, through one connection that stays open between them."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

Done = subprocess.CompletedProcess


class RemoteError(RuntimeError):
    """A command failed that was expected to succeed."""


@dataclass(frozen=True)
class Remote:
    """Root's account on 127.0.0.1 at `port`, opened by the private key `key`."""

    port: int
    key: Path

    @property
    def options(self) -> t.List[str]:
        """Options of ssh that Ansible can use as well. The host has another key in each image, and is known by its port."""
        pairs = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "120",
            "ControlMaster": "auto",
            "ControlPersist": "120",
        }
        return [word for name, value in pairs.items() for word in ("-o", f"{name}={value}")]

    @property
    def control_path(self) -> str:
        """The open connection's socket. Its folder outlasts a test run, for so may the connection."""
        return "/tmp/corepin-%C"

    @property
    def inventory(self) -> t.Dict[str, t.Any]:
        """The variables by which Ansible reaches the host."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_args": " ".join(self.options),
            "ansible_control_path": self.control_path.replace("%", "%%"),
            "ansible_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def run(self, command: str, *, check: bool = True, text: t.Optional[str] = None, timeout: float = 900) -> Done[str]:
        """Run a line of shell, with `text` as its input; RemoteError where it fails, unless `check` is false."""
        done = subprocess.run(
            self.command(command), input=text or "", capture_output=True, encoding="utf-8", errors="replace", timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RemoteError(f"{command}: exit code {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        return done

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file whole."""
        self.run(f"install -D -m {mode} /dev/stdin {path}", text=text)

    def copy(self, folder: str, files: t.Mapping[str, Path]) -> None:
        """Copy files into a folder, by their names below it."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for name, path in files.items():
                tar.add(path, name)
        text = base64.b64encode(archive.getvalue()).decode()
        self.run(f"mkdir -p {folder} && base64 -d | tar -xz --no-same-owner -C {folder}", text=text)

    def command(self, *words: str) -> t.List[str]:
        """The command line that opens a shell on the host, or runs words there."""
        return ["ssh", *self.options, *self._where, "root@127.0.0.1", *words]

    def close(self) -> None:
        """Close the connection that stays open, if there is one."""
        subprocess.run(["ssh", *self._where, "-O", "exit", "root@127.0.0.1"], capture_output=True, check=False)

    @property
    def _where(self) -> t.List[str]:
        return ["-i", str(self.key), "-p", str(self.port), "-o", f"ControlPath={self.control_path}"]
