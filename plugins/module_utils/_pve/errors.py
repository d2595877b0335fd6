# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PVE refuses, sorted by what a caller has to do about it.

PVE answers nearly everything that goes wrong with status 500 and a sentence (`die` in Perl), so the sentence decides.
The command line tools print the same sentences. Sources: check_vm_modify_config_perm in qemu-server's
src/PVE/API2/Qemu.pm, check_lock in pve-guest-common's src/PVE/AbstractConfig.pm, lock_file_full and
assert_if_modified in pve-common's src/PVE/Tools.pm, check_api2_permissions in pve-access-control.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from .._engine.errors import CorepinError


class PveError(CorepinError):
    """PVE refused a request, or could not be asked. `words` are PVE's own, in one line."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words or message


class UnreachableError(PveError):
    """No connection, or no host behind the one that answered: the request was not carried out."""


class UncertainError(PveError):
    """The answer is missing: a write may have been carried out, so the caller has to read back."""


class LoginError(PveError):
    """Wrong credentials, a missing second factor, or a ticket or token that is not valid any more."""


class DeniedError(PveError):
    """The login lacks a privilege; `path` and `privilege` are PVE's names for it."""

    def __init__(self, message: str, words: str = "", path: str = "", privilege: str = "") -> None:
        super().__init__(message, words)
        self.path = path
        self.privilege = privilege


class RootOnlyError(PveError):
    """A config key that only root@pam may set, and no token."""


class LockedError(PveError):
    """The guest's config is locked (backup, migration, snapshot ...); `lock` names by what."""

    def __init__(self, message: str, words: str = "", lock: str = "") -> None:
        super().__init__(message, words)
        self.lock = lock


class BusyError(PveError):
    """PVE waited its 10 seconds for the lock file of the guest and gave up; nothing was written."""


class ConflictError(PveError):
    """The digest that was sent is not the one of the config: somebody changed it meanwhile; nothing was written."""


class NoQuorumError(PveError):
    """The cluster file system is read-only, because the host is not in a majority."""


class MissingGuestError(PveError):
    """The guest's config file does not exist on the host that was asked: deleted, or migrated away."""


class UnknownCallError(PveError):
    """This PVE does not have the called path or method (status 501)."""


Rule = t.Tuple["re.Pattern[str]", t.Callable[[str, "re.Match[str]"], PveError]]

_RULES: t.Tuple[Rule, ...] = (
    (
        re.compile(r"only root can set '([^']+)' config"),
        lambda words, match: RootOnlyError(
            f"PVE lets only root@pam with a password set {match.group(1)} ({words}); log in as root@pam with api_password, or run "
            "on the host as root without api_host.",
            words,
        ),
    ),
    (
        re.compile(r"(?:VM|CT) is locked(?: \(([^)]*)\))?"),
        lambda words, match: LockedError(
            f"The guest's config is locked ({match.group(1) or 'lock'}); wait until that has finished and run again.",
            words,
            match.group(1) or "lock",
        ),
    ),
    (
        re.compile(r"can't lock file .*got timeout"),
        lambda words, match: BusyError(
            f"PVE could not get the lock of the guest's config within 10 seconds ({words}); run again when the other task has finished.",
            words,
        ),
    ),
    (
        re.compile(r"checksum mismatch|detected modified configuration"),
        lambda words, match: ConflictError("The guest's config was changed by somebody else meanwhile; gather and plan again.", words),
    ),
    (
        re.compile(r"unable to open file '/etc/pve/.*Permission denied|no quorum|cluster not ready"),
        lambda words, match: NoQuorumError(
            f"The cluster has no quorum, so that PVE writes nothing ({words}); restore the quorum first.", words
        ),
    ),
    (
        re.compile(r"[Cc]onfiguration file '([^']*)' does not exist"),
        lambda words, match: MissingGuestError(f"PVE has no config file {match.group(1)}; the guest was deleted or has moved.", words),
    ),
    (
        re.compile(r"Permission check failed(?: \(([^,)]*), ([^)]*)\))?"),
        lambda words, match: DeniedError(
            f"The login lacks the privilege {match.group(2) or 'that PVE asks for'} on {match.group(1) or 'this path'}; grant it "
            "(pveum acl modify), for reading with the role PVEAuditor.",
            words,
            match.group(1) or "",
            match.group(2) or "",
        ),
    ),
)


def refusal(words: str, what: str, status: t.Optional[int] = None) -> PveError:
    """The exception for PVE's own `words`; `what` names the request in our sentence, `status` is the HTTP status."""
    line = " ".join(words.split())
    for pattern, make in _RULES:
        match = pattern.search(line)
        if match:
            return make(line, match)
    if status == 401:
        return LoginError(f"PVE does not accept the ticket or token ({line or 'no reason given'}); check the credentials.", line)
    if status == 403:
        return DeniedError(f"PVE forbids {what} ({line}); grant the login the missing privilege.", line)
    if status == 501:
        return UnknownCallError(f"This PVE does not know {what} ({line}).", line)
    if status == 595:
        return UnreachableError(f"The host behind {what} cannot be reached by the host that answers ({line}); check that it is up.", line)
    if status in (596, 597, 598, 599):
        return UncertainError(f"The connection to the host behind {what} broke ({line}); check that it is up.", line)
    return PveError(f"PVE refuses {what}: {line or f'status {status}'}.", line)
