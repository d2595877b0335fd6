# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every filter does around the engine: turn its errors into Ansible's.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError

Function = t.TypeVar("Function", bound=t.Callable[..., t.Any])


def ansible_filter(name: str) -> t.Callable[[Function], Function]:
    """Decorate the function behind the filter `name`: an engine error becomes an AnsibleFilterError with its sentence."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                return function(*args, **kwargs)
            except CorepinError as e:
                raise AnsibleFilterError(f"corepin.proxmox.{name}: {e}") from e

        return t.cast(Function, wrapper)

    return decorate


def without_ansible(function: Function) -> Function:
    """The function behind a decorated one, which raises the engine's errors."""
    return t.cast(Function, function.__wrapped__)  # type: ignore[attr-defined]
