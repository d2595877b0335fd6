# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit tests share: running a module's main() in this process."""

from __future__ import annotations

import json
import typing as t

import pytest

ModuleRunner = t.Callable[..., t.Dict[str, t.Any]]


@pytest.fixture
def run_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> ModuleRunner:
    """Call `run_module(module, check_mode=False, diff=False, **options)`: the dict that the module's main() prints.

    The module is the imported Python module, as in `from ansible_collections.corepin.proxmox.plugins.modules import
    guest_info`. Its exit is not an error: `failed` says whether it failed. It works on every ansible-core since 2.17.
    """
    from ansible.module_utils import basic

    def run(module: t.Any, check_mode: bool = False, diff: bool = False, **options: t.Any) -> dict[str, t.Any]:
        arguments = {**options, "_ansible_check_mode": check_mode, "_ansible_diff": diff}
        payload = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", payload)
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        _act_as_target(monkeypatch)
        capsys.readouterr()
        with pytest.raises(SystemExit):
            module.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run


def _act_as_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let warnings go into the result as on a host; where filters were imported before, they go to the screen instead."""
    try:
        from ansible.module_utils import _internal
    except ImportError:
        return  # ansible-core before 2.19 knows no difference
    monkeypatch.setattr(_internal, "is_controller", False, raising=False)
