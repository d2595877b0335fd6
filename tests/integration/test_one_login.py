# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run logs in to the API once, so that a one-time password lasts for all of it; what it knows in secret stays secret."""

from __future__ import annotations

import json
import re
import typing as t
import urllib.parse
from pathlib import Path

import pytest
from pve_lab.tickets import totp

from .cluster_world import CPU_TOKEN, World
from .harness import Run

WRONG = "Wr0ng &pass/+%"
PASSWORD = "Pa55 &wörd/+%=x"
TOTP_SECRET = "JBSWY3DPEHPK3PXP"
MOMENT = 1_800_108_570.0  # the secret's code is 006379 then, which is printed nowhere as a number of its own
ROOT_WITH_TOTP = {"userid": "root@pam", "password": PASSWORD, "totp": TOTP_SECRET}
# Plan and apply in one run, as a pipeline without an approval does it.
WHOLE_CHAIN = """
- ansible.builtin.import_playbook: corepin.proxmox.plan
- ansible.builtin.import_playbook: corepin.proxmox.apply
"""


@pytest.fixture
def two_steps(make_world: t.Callable[..., World]) -> World:
    """The cluster of cluster_world, whose root has a second factor; its clock stands still, so that a code stays valid."""
    world = make_world(users=[ROOT_WITH_TOTP, {"userid": "ops@pve"}, {"userid": "bare@pve"}])
    world.lab.cluster.clock = lambda: MOMENT
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


def stands_in(secret: str, text: str) -> bool:
    """A code is looked for as a number of its own: digests, ids and fractions of seconds may hold the same digits."""
    if not secret.isdigit():
        return secret in text
    return re.search(rf"((?<![\w.])|(?<=%3A)){secret}(?!\w)", text) is not None


class Watch:
    """Looks for secrets in all that runs have printed and written, but for the inventory that holds them."""

    def __init__(self, world: World, *secrets: str) -> None:
        self._world = world
        self._secrets = secrets

    def check(self, run: Run) -> None:
        secrets = {form for secret in (*self._secrets, *self._world.lab.cluster.mint.issued) for form in forms(secret)}
        places = {"what was printed": run.output, "what callbacks got": repr(run.results)}
        places.update({str(path): path.read_bytes().decode("utf-8", "replace") for path in self._written()})
        leaks = [f"{secret[:12]!r}... in {place}" for place, text in places.items() for secret in secrets if stands_in(secret, text)]
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


def test_the_role_takes_a_session_that_the_playbook_brings_along(two_steps: World) -> None:
    world = two_steps
    play = {
        "hosts": "proxmox_nodes",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Log in",
                "corepin.proxmox.api_session": {
                    "api_host": world.lab.host,
                    "api_port": world.lab.port,
                    "api_password": PASSWORD,
                    "api_otp": code(world),
                    "ca_path": world.lab.ca_path,
                },
                "delegate_to": "localhost",
                "run_once": True,
                "no_log": True,
                "register": "login",
            },
            {
                "name": "Read",
                "vars": {"corepin_api_session": "{{ login.api_session }}"},
                "ansible.builtin.include_role": {"name": "corepin.proxmox.corepin", "tasks_from": "snapshot", "rolespec_validate": False},
            },
        ],
    }
    world.log_in({})
    for name in ("corepin_api_host", "corepin_api_port", "corepin_ca_path"):
        del world.variables[name]
    path = world.controller.folder / "own.json"
    path.write_text(json.dumps([play]), encoding="utf-8")
    run = world.run(path, "-vvv")
    assert run.ok, run.output
    assert logins(world) == 1
    path.unlink()
    Watch(world, PASSWORD).check(run)


def test_a_converged_apply_takes_one_login_one_read_per_guest_and_no_write(make_world: t.Callable[..., World]) -> None:
    number = 60
    guests = [
        {"vmid": 1000 + count, "node": f"pve{1 + count % 5 // 4}", "config": {"name": f"g{count}", "tags": "pinned", "memory": 256}}
        for count in range(number)
    ]
    world = make_world(guests=guests)
    chain = world.controller.folder / "chain.yml"
    chain.write_text(WHOLE_CHAIN, encoding="utf-8")
    assert world.run(chain).ok
    assert len(world.lab.writes) == len(world.saved_plan["changes"]) == number

    seen = world.lab.mark()
    again = world.run("apply")
    assert again.ok, again.output
    assert again.changed == 0
    requests = world.lab.requests_since(seen)
    of_guests = [request.path for request in requests if "/qemu/" in request.path]
    assert len(of_guests) == len(set(of_guests)) == number
    assert [request.method for request in requests if request.method != "GET"] == ["POST"]
    assert sum(request.path == "/access/ticket" for request in requests) == 1
    assert len(requests) <= number + 5


@pytest.mark.long
def test_no_secret_gets_out_where_something_fails(world: World) -> None:
    world.lab.cluster.access.users["root@pam"].password = PASSWORD
    world.lab.cluster.unauthorized_delay = 0
    watch = Watch(world, PASSWORD, WRONG, CPU_TOKEN["corepin_api_token_secret"])
    echo = world.lab.faults.add(path="/pending", status=500, reason=f"sent {CPU_TOKEN['corepin_api_token_secret']}")

    world.log_in({"corepin_api_user": "root@pam", "corepin_api_password": WRONG})
    refused = world.run("plan", "-vvv")
    assert "refuses the login of root@pam" in refused.message
    watch.check(refused)

    world.log_in(CPU_TOKEN)
    unread = world.run("plan", "-vvv")
    assert "sent ***" in unread.message
    watch.check(unread)
    world.lab.faults.remove(echo)
    assert world.run("plan").ok
    denied = world.run("apply", "-vvv", "--diff")
    assert "which PVE lets only root@pam" in denied.message
    watch.check(denied)

    world.log_in({"corepin_api_user": "root@pam", "corepin_api_password": PASSWORD})
    world.lab.faults.add(method="PUT", status=500, reason="no space left")
    broken = world.run("apply", "-vvv", "--diff")
    assert "PVE refuses PUT /nodes/" in broken.message
    watch.check(broken)
    report = world.run("report", "-vvv")
    assert report.ok, report.output
    assert logins(world) == 3
    watch.check(report)
