# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PVE's own words, sorted into what a caller has to do about them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._pve import errors

CASES: t.List[t.Tuple[str, t.Optional[int], t.Type[errors.PveError], str]] = [
    ("only root can set 'affinity' config\n", 500, errors.RootOnlyError, "root@pam"),
    ("only root can set 'hostpci0' config for non-mapped devices\n", 500, errors.RootOnlyError, "hostpci0"),
    ("VM is locked (backup)\n", 500, errors.LockedError, "backup"),
    ("CT is locked (snapshot)\n", 500, errors.LockedError, "snapshot"),
    ("can't lock file '/var/lock/qemu-server/lock-300.conf' - got timeout\n", 500, errors.BusyError, "10 seconds"),
    ("checksum mismatch (file change by other user?)\n", 500, errors.ConflictError, "plan again"),
    ("detected modified configuration - file changed by other user? Try again.\n", 500, errors.ConflictError, "plan again"),
    ("unable to open file '/etc/pve/nodes/pve1/qemu-server/300.conf.tmp.175' - Permission denied\n", 500, errors.NoQuorumError, "quorum"),
    ("cluster not ready - no quorum?\n", 500, errors.NoQuorumError, "quorum"),
    ("Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist\n", 500, errors.MissingGuestError, "999.conf"),
    ("Permission check failed (/vms/100, VM.Config.CPU)\n", 403, errors.DeniedError, "VM.Config.CPU on /vms/100"),
    ("Permission check failed (/, Sys.Audit|Sys.Modify)", 403, errors.DeniedError, "Sys.Audit|Sys.Modify on /"),
    ("Permission check failed", 403, errors.DeniedError, "privilege"),
    ("something else is forbidden", 403, errors.DeniedError, "forbidden"),
    ("No ticket", 401, errors.LoginError, "No ticket"),
    ("Method 'GET /nope' not implemented", 501, errors.UnknownCallError, "nope"),
    ("No route to host", 595, errors.UnreachableError, "No route to host"),
    ("Broken pipe", 596, errors.UncertainError, "Broken pipe"),
    ("balloon value too large", 500, errors.PveError, "balloon"),
    ("", 500, errors.PveError, "500"),
]


@pytest.mark.parametrize(("words", "status", "kind", "named"), CASES)
def test_kind_and_sentence(words: str, status: t.Optional[int], kind: t.Type[errors.PveError], named: str) -> None:
    failure = errors.refusal(words, "PUT /nodes/pve1/qemu/100/config", status)
    assert failure.__class__ is kind
    assert named in str(failure)
    assert "\n" not in str(failure)
    assert str(failure).endswith(".")


def test_the_command_line_has_no_status() -> None:
    assert isinstance(errors.refusal("VM is locked (migrate)\n", "qm set 100"), errors.LockedError)
    assert str(errors.refusal("please run as root\n", "qm set 100")) == "PVE refuses qm set 100: please run as root."


def test_a_missing_right_is_named_in_parts() -> None:
    failure = errors.refusal("Permission check failed (/vms/100, VM.Audit)", "GET /x", 403)
    assert isinstance(failure, errors.DeniedError)
    assert (failure.path, failure.privilege) == ("/vms/100", "VM.Audit")
