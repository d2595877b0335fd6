# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run logs in to the API once, so that a one-time password lasts for all of it; what it knows in secret stays secret."""

from __future__ import annotations

import typing as t
import urllib.parse
from pathlib import Path

import pytest
from pve_lab.tickets import totp

from .cluster_world import World
from .harness import Run

PASSWORD = "Pa55 &wörd/+%=x"
TOTP_SECRET = "JBSWY3DPEHPK3PXP"
ROOT_WITH_TOTP = {"userid": "root@pam", "password": PASSWORD, "totp": TOTP_SECRET}
# Plan and apply in one run, as a pipeline without an approval does it.
WHOLE_CHAIN = """
- ansible.builtin.import_playbook: corepin.proxmox.plan
- ansible.builtin.import_playbook: corepin.proxmox.apply
"""


@pytest.fixture
def two_steps(make_world: t.Callable[..., World]) -> World:
    """The cluster of cluster_world, whose root has a second factor."""
    world = make_world(users=[ROOT_WITH_TOTP, {"userid": "ops@pve"}, {"userid": "bare@pve"}])
    world.lab.cluster.unauthorized_delay = 0
    world.log_in({"corepin_api_user": "root@pam", "corepin_api_password": PASSWORD})
    return world


def code(world: World) -> str:
    return totp(TOTP_SECRET, world.lab.cluster.clock())


def logins(world: World) -> int:
    """How many logins were begun; the second step of one does not count."""
    return sum(r.path == "/access/ticket" and "tfa-challenge" not in r.params for r in world.lab.requests)


def forms(secret: str) -> set[str]:
    """A secret as it is, and as it stands in addresses, forms, and JSON."""
    return {secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret), repr(secret)[1:-1]}


class Watch:
    """Looks for secrets in all that runs have printed and written, but for the inventory that holds them."""

    def __init__(self, world: World, *secrets: str) -> None:
        self._world = world
        self._secrets = secrets

    def check(self, run: Run) -> None:
        secrets = {form for secret in (*self._secrets, *self._world.lab.cluster.mint.issued) for form in forms(secret)}
        places = {"what was printed": run.output, "what callbacks got": repr(run.results)}
        places.update({str(path): path.read_bytes().decode("utf-8", "replace") for path in self._written()})
        leaks = [f"{secret[:12]!r}... in {place}" for place, text in places.items() for secret in secrets if secret in text]
        assert not leaks, leaks

    def _written(self) -> list[Path]:
        inputs = ("inventory.json",)
        return [path for path in self._world.controller.folder.rglob("*") if path.is_file() and path.name not in inputs]


def test_one_code_lasts_for_plan_and_apply_and_no_secret_gets_out(two_steps: World) -> None:
    world = two_steps
    world.variables["corepin_api_otp"] = code(world)
    watch = Watch(world, PASSWORD, world.variables["corepin_api_otp"], TOTP_SECRET)
    chain = world.controller.folder / "chain.yml"
    chain.write_text(WHOLE_CHAIN, encoding="utf-8")

    run = world.run(chain, "-vvv", "--diff")
    assert run.ok, run.output
    assert len(world.lab.writes) == 3
    assert logins(world) == 1
    watch.check(run)

    again = world.run("apply", "-vvv")
    assert not again.ok
    assert again.message.startswith("PVE refuses the second factor of root@pam; give a fresh api_otp")
    watch.check(again)
