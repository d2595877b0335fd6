# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Governors that come back after a reboot and after sleep: a systemd unit that has systemd-tmpfiles write them again.

Sources: systemd.unit(5) for the links that enable a unit, systemd.special(7) for the targets of sleep, which are reached when
the host is awake again, systemd.service(5) for ExecCondition, which skips the rest where it exits with 1 to 254, and for
dollars and percent signs in commands, tmpfiles.d(5) for `w`, which writes to a file that exists.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import subprocess
import typing as t

from .._engine.errors import SettingError
from .cpufreq_policies import FILES, CpufreqPolicy
from .files import Tree
from .governor import Change
from .writing import make_link, remove_file, replace_file

LINES = "etc/corepin/cpu-governor.conf"
UNIT_NAME = "corepin-cpu-governor.service"
UNIT = f"etc/systemd/system/{UNIT_NAME}"
_SLEEP = ("suspend.target", "hibernate.target", "hybrid-sleep.target", "suspend-then-hibernate.target")
_TARGETS = ("multi-user.target", *_SLEEP)
_LINKS = tuple(f"etc/systemd/system/{target}.wants/{UNIT_NAME}" for target in _TARGETS)
_WAIT_SECONDS = 30

_UNIT_START = f"""\
# Written by corepin.proxmox.cpu_governor, which removes it with state: absent.
[Unit]
Description=Governors, energy preferences and frequency limits that corepin set
After={" ".join(_SLEEP)}

[Service]
Type=oneshot
"""
_UNIT_END = f"""\
ExecStart=systemd-tmpfiles --create /{LINES}

[Install]
WantedBy={" ".join(_TARGETS)}
"""


def boot_files(changes: t.Sequence[Change]) -> t.Dict[str, str]:
    """The files that set what wishes name in `changes` at boot, by path relative to the root; none for no change.

    The lines are carried out in their order (tmpfiles.d(5)): governors before preferences.
    """
    lines = [
        f"w /{change.policy.folder}/{path} - - - - {getattr(change.asked, name)}\n"
        for change in changes
        for name, path in FILES.items()
        if getattr(change.asked, name) is not None
    ]
    return {LINES: "".join(lines), UNIT: _UNIT_START + _conditions(changes[-1].policy) + _UNIT_END} if lines else {}


def _conditions(policy: CpufreqPolicy) -> str:
    """Wait for the policy that the kernel makes last, then see whether its driver is the one that the values are for.

    A driver that is a module may come after this unit, and a policy that is not ready does not say its governor. The kernel
    has one driver for all policies (cpufreq.c, cpufreq_register_driver).
    """
    ready = f"timeout {_WAIT_SECONDS} sh -c 'until grep -qs . /{policy.folder}/{FILES['governor']}; do sleep 1; done'"
    driver = (policy.driver or "").replace("%", "%%").replace("$", "$$")
    same = f"grep -qsxF {driver} /{policy.folder}/scaling_driver"
    return "".join(f"ExecCondition={command}\n" for command in ([ready, same] if driver else [ready]))


def present_boot_files(tree: Tree) -> t.Dict[str, str]:
    """Those of our files that are there, with their text; without the links a unit counts as not there."""
    texts = {path: tree.text(path) for path in (LINES, UNIT)}
    if not all(tree.link_target(link) for link in _LINKS):
        texts[UNIT] = None
    return {path: text + "\n" for path, text in texts.items() if text is not None}


def write_boot_files(tree: Tree, files: t.Mapping[str, str]) -> None:
    """Make the files on the host agree with `files` and tell systemd. Raises SettingError."""
    for path in (LINES, UNIT):
        if path in files:
            replace_file(tree, path, files[path])
    for link in _LINKS:
        if files:
            make_link(tree, link, f"/{UNIT}")
        else:
            remove_file(tree, link)
    if not files:
        remove_file(tree, UNIT)
        remove_file(tree, LINES)
    if tree.live:
        _reload_systemd()


def _reload_systemd() -> None:
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as e:
        raise SettingError(f"systemctl daemon-reload failed ({e}), so {UNIT_NAME} may not run at the next boot; run it by hand.") from None
