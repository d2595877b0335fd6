# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What qm, pct and pvesh share: finding the lab, asking it, reading options, failing as PVE's commands fail."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
import typing as t

BOOLEANS = {"on": "1", "yes": "1", "true": "1", "off": "0", "no": "0", "false": "0"}
# Options whose value on the command line may be a word or absent (Getopt's flags).
FLAGS = frozenset(
    (
        "numa",
        "keephugepages",
        "onboot",
        "protection",
        "template",
        "kvm",
        "acpi",
        "autostart",
        "freeze",
        "localtime",
        "reboot",
        "tablet",
        "tdf",
    )
    + (
        "allow-ksm",
        "current",
        "full",
        "pretty",
        "verbose",
        "online",
        "skiplock",
        "force",
        "unprivileged",
        "console",
        "debug",
        "restart",
        "purge",
    )
)


Reply = t.Dict[str, t.Any]
Options = t.Dict[str, str]
Command = t.Callable[[t.List[str]], None]


class Failed(Exception):
    """The command ends: text for the standard error output, and the exit code."""

    def __init__(self, text: str, code: int = 255) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def place() -> Reply:
    """The host that this command was called on, and the socket of its lab."""
    configured = os.environ.get("PVE_LAB_DOOR")
    path = pathlib.Path(configured) if configured else pathlib.Path(sys.argv[0]).absolute().parent.parent / "door.json"
    try:
        return t.cast(Reply, json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise Failed(f"no lab behind this command: {error}\n") from None


def ask(method: str, path: str, params: t.Optional[t.Mapping[str, t.Any]] = None) -> Reply:
    """One question; prints warnings; raises Failed as PVE's code would die."""
    here = place()
    question = {"node": here["node"], "method": method, "path": path, "params": params or {}}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(here["socket"])
        except OSError as error:
            raise Failed(f"the lab behind this command does not answer: {error}\n") from None
        connection.sendall(json.dumps(question).encode() + b"\n")
        with connection.makefile("rb") as stream:
            reply: Reply = json.loads(stream.readline())
    for line in reply["warnings"]:
        sys.stderr.write(line + "\n")
    if reply["status"] != 200:
        raise Failed(failure_text(reply), failure_code(reply))
    return reply


def failure_text(reply: Reply) -> str:
    """A message and, for parameter errors, the code before it and a line per parameter behind it."""
    if reply["status"] == 595:
        return f"ssh: connect to host port 22: {reply['message']}\n"
    if not reply["errors"]:
        prefix = "trying to acquire lock...\n" if "got timeout" in reply["message"] else ""
        return prefix + str(reply["message"]).rstrip("\n") + "\n"
    lines = [f"{reply['status']} {reply['message'].rstrip()}"] + [
        f"{key}: {text.rstrip()}" for key, text in sorted(reply["errors"].items())
    ]
    return "\n".join(lines) + "\n"


def failure_code(reply: Reply) -> int:
    """Perl's `die` ends with the last system error where there was one: 2 for a file that is not there."""
    if reply["message"].startswith("Configuration file"):
        return 2
    return 13 if "Permission denied" in reply["message"] else 255


def node() -> str:
    """The name of the host."""
    return str(place()["node"])


def read_options(arguments: list[str]) -> Options:
    """`--key value`, `--key=value`, `-key value`; flags take words and may stand alone."""
    options: Options = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            raise Failed("400 too many arguments\n")
        key, equals, value = word.lstrip("-").partition("=")
        if not equals:
            if key in FLAGS and (not rest or rest[0].startswith("--")):
                value = "1"
            elif not rest:
                raise Failed(f"Option {key} requires an argument\n400 unable to parse option\n")
            else:
                value = rest.pop(0)
        options[key] = BOOLEANS.get(value.lower(), value) if key in FLAGS else value
    return options


def follow_task(reply: Reply) -> None:
    """Print what a task printed; fail as it failed."""
    for line in reply.get("log") or []:
        sys.stdout.write(line + "\n")
    status = reply.get("exitstatus") or "OK"
    if status != "OK" and not status.startswith("WARNINGS"):
        raise Failed(status + "\n")


def run(commands: t.Mapping[str, Command], arguments: list[str], name: str) -> int:
    """Find and call the command; its exit code."""
    try:
        if not arguments or arguments[0] not in commands:
            raise Failed(f"ERROR: unknown command '{name} {arguments[0] if arguments else ''}'\n")
        try:
            commands[arguments[0]](arguments[1:])
        except Failed as failed:
            if failed.text.startswith("400 "):
                failed.text += f"\n{name} {arguments[0]} <vmid> [OPTIONS]\n"
            raise
    except Failed as failed:
        sys.stdout.flush()
        sys.stderr.write(failed.text)
        return int(failed.code)
    return 0


def encoded(text: str) -> str:
    """Text on one line, as PVE encodes descriptions."""
    return "".join(char if " " <= char <= "~" and char not in "%:" else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text)


class GuestCommands:
    """The subcommands that qm and pct have in common, for one kind of guest."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def path(self, vmid: str, *parts: str) -> str:
        return "/".join(["", "nodes", node(), self.kind, vmid, *parts])

    def take_vmid(self, arguments: list[str]) -> tuple[str, Options]:
        if not arguments or arguments[0].startswith("-"):
            raise Failed("400 not enough arguments\n")
        return arguments[0], read_options(arguments[1:])

    def set(self, arguments: list[str]) -> None:
        vmid, options = self.take_vmid(arguments)
        for line in ask("PUT", self.path(vmid, "config"), options)["printed"]:
            sys.stdout.write(line + "\n")

    def config(self, arguments: list[str]) -> None:
        vmid, options = self.take_vmid(arguments)
        shown = ask("GET", self.path(vmid, "config"), options)["data"]
        raw = shown.pop("lxc", [])
        for key in sorted(shown):
            if key != "digest":
                sys.stdout.write(f"{key}: {encoded(shown[key]) if key == 'description' else shown[key]}\n")
        for key, value in raw:
            sys.stdout.write(f"{key}: {value}\n")

    def pending(self, arguments: list[str]) -> None:
        vmid, options = self.take_vmid(arguments)
        for entry in sorted(ask("GET", self.path(vmid, "pending"), options)["data"], key=lambda item: item["key"]):
            key = entry["key"]
            if key == "digest":
                continue
            old, new = (
                encoded(entry[name]) if key == "description" and name in entry else entry.get(name) for name in ("value", "pending")
            )
            if old is not None:
                sys.stdout.write(f"{'del' if 'delete' in entry else 'cur'} {key}: {old}\n")
            if new is not None:
                sys.stdout.write(f"new {key}: {new}\n")

    def status(self, arguments: list[str]) -> None:
        vmid, _options = self.take_vmid(arguments)
        sys.stdout.write(f"status: {ask('GET', self.path(vmid, 'status', 'current'))['data']['status']}\n")

    def power(self, action: str) -> Command:
        def command(arguments: list[str]) -> None:
            vmid, options = self.take_vmid(arguments)
            follow_task(ask("POST", self.path(vmid, "status", action), options))

        return command

    def migrate(self, arguments: list[str]) -> None:
        if len(arguments) < 2:
            raise Failed("400 not enough arguments\n")
        vmid, options = self.take_vmid([arguments[0], *arguments[2:]])
        follow_task(ask("POST", self.path(vmid, "migrate"), {"target": arguments[1], **options}))

    def unlock(self, arguments: list[str]) -> None:
        vmid, _options = self.take_vmid(arguments)
        ask("UNLOCK", self.path(vmid), {"vmid": vmid, "type": self.kind})

    def commands(self) -> dict[str, Command]:
        actions = {action: self.power(action) for action in ("start", "stop", "shutdown", "reboot")}
        return {
            "set": self.set,
            "config": self.config,
            "pending": self.pending,
            "status": self.status,
            "migrate": self.migrate,
            "unlock": self.unlock,
            **actions,
        }
