# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both modules as a person runs them: real ansible and ansible-playbook against the simulated cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest
from pve_lab import Lab
from pve_lab.door import Door

from .conftest import NO_RIGHTS, ROOT_PASSWORD, ROOT_TOKEN, connection, logins, plan_for

BIN = Path(sys.executable).parent


def ansible(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not (BIN / command).exists():
        pytest.skip(f"{command} is not installed beside this Python")
    interpreter = environment.pop("interpreter", sys.executable)
    local = ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={interpreter}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROXMOX_")}
    env.update(ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_DEPRECATION_WARNINGS="0", LC_ALL="C.UTF-8", **environment)
    return subprocess.run([BIN / command, *local, *arguments], capture_output=True, text=True, env=env, timeout=120, check=False)


def call(module: str, options: t.Mapping[str, t.Any], *arguments: str, **environment: str) -> dict[str, t.Any]:
    """The result of one ad-hoc call."""
    given = json.dumps(options) if options else ""
    done = ansible("ansible", "localhost", "-m", f"corepin.proxmox.{module}", "-a", given, *arguments, **environment)
    assert "=> {" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout.partition("=> ")[2]))


@pytest.mark.parametrize(
    ("login", "named"),
    [
        ({}, None),
        ({"api_user": "root@pam", "api_password": "wrong-secret"}, "refuses the login"),
        (NO_RIGHTS, "Sys.Audit on /"),
        ({"api_user": "root@pam", "api_password": "wrong-secret", "api_port": 1}, "cannot be reached"),
    ],
)
def test_guest_info_ad_hoc(lab: Lab, login: dict[str, t.Any], named: t.Optional[str]) -> None:
    result = call("guest_info", connection(lab, **login))
    if named is None:
        assert [guest["vmid"] for guest in result["guests"]] == [100, 101, 102, 103, 200, 300]
    else:
        assert named in result["msg"]


def test_without_api_host_on_a_machine_that_is_no_pve_host(tmp_path: Path) -> None:
    result = call("guest_info", {}, COREPIN_ETC_PVE=str(tmp_path))
    assert "This is no PVE host" in result["msg"]
    assert "give api_host" in result["msg"]


def test_on_a_host_as_root_with_the_standard_library_alone(lab: Lab) -> None:
    bare = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    with tempfile.TemporaryDirectory(prefix="door-") as folder, Door(lab, folder) as door:
        host = door.hosts["pve1"]
        environment = {
            "interpreter": str(bare) if bare.exists() else sys.executable,
            "COREPIN_ETC_PVE": str(host.etc_pve),
            "PATH": f"{host.bin}{os.pathsep}{os.environ['PATH']}",
        }
        info = call("guest_info", {}, **environment)
        assert [guest["vmid"] for guest in info["guests"]] == [100, 101, 102, 103, 200, 300]
        options = {"plan": plan_for(lab.cluster, {100: {"affinity": "8-9,40-41"}, 102: {"numa": "1"}}), "nodes": ["pve1"]}
        checked = call("guest_placement", options, "--check", **environment)
        assert lab.writes == []
        real = call("guest_placement", options, **environment)
        assert real["guests"] == checked["guests"]
        assert [(request.path, request.params["affinity"]) for request in lab.writes] == [("/nodes/pve1/qemu/100/config", "8-9,40-41")]
        assert call("guest_placement", options, **environment)["changed"] is False
        assert len(lab.writes) == 1
        assert logins(lab) == 0
        assert door.violations == []


PLAY = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/corepin.proxmox.proxmox:
      api_host: "{{ pve.api_host }}"
      api_port: "{{ pve.api_port }}"
      api_user: "{{ pve.api_user }}"
      api_password: "{{ pve.api_password | default(omit) }}"
      api_token_id: "{{ pve.api_token_id | default(omit) }}"
      api_token_secret: "{{ pve.api_token_secret | default(omit) }}"
      ca_path: "{{ pve.ca_path }}"
  tasks:
    - name: Gather
      corepin.proxmox.guest_info:
      register: info
    - name: Place
      corepin.proxmox.guest_placement:
        plan: "{{ lookup('ansible.builtin.file', plan_file) | from_json }}"
      register: placement
    - name: Keep
      ansible.builtin.copy:
        content: "{{ {'info': info, 'placement': placement} | to_json }}"
        dest: "{{ result_file }}"
        mode: "0600"
      check_mode: false
      diff: false
      changed_when: false
"""


class Play:
    """A playbook that gathers, places, and keeps both results."""

    def __init__(self, folder: Path, lab: Lab, plan: t.Mapping[str, t.Any], **login: t.Any) -> None:
        self.folder = folder
        (folder / "play.yml").write_text(PLAY)
        (folder / "plan.json").write_text(json.dumps(plan))
        (folder / "vars.json").write_text(
            json.dumps(
                {"pve": connection(lab, **login), "plan_file": str(folder / "plan.json"), "result_file": str(folder / "result.json")}
            )
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "result.json").unlink(missing_ok=True)
        return ansible("ansible-playbook", str(self.folder / "play.yml"), "-e", f"@{self.folder / 'vars.json'}", *arguments)

    @property
    def placement(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.folder / "result.json").read_text())["placement"])


def test_check_then_run_then_run_again(lab: Lab, tmp_path: Path) -> None:
    plan = plan_for(lab.cluster, {100: {"affinity": "8-9,40-41"}, 101: {"affinity": "0-0", "numa": "1"}})
    play = Play(tmp_path, lab, plan)

    done = play.run("--check", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1 " in done.stdout
    checked = play.placement
    assert lab.writes == []
    assert "-  affinity: 0-3" in done.stdout
    assert "+  affinity: 8-9,40-41" in done.stdout

    done = play.run("--diff", "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1 " in done.stdout
    assert play.placement["guests"] == checked["guests"]
    assert play.placement["diff"] == checked["diff"]
    assert len(lab.writes) == 2
    assert ROOT_PASSWORD not in done.stdout + done.stderr

    mark = lab.mark()
    done = play.run("--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0 " in done.stdout
    assert [request for request in lab.requests_since(mark) if request.method != "GET" and request.path != "/access/ticket"] == []


def test_a_refused_plan_writes_nothing(lab: Lab, tmp_path: Path) -> None:
    plan = plan_for(lab.cluster, {100: {"affinity": "8-9,40-41"}, 101: {"numa": "1"}})
    done = Play(tmp_path, lab, plan, **ROOT_TOKEN).run()
    assert done.returncode == 2
    assert "affinity of guest 100, which PVE lets only root@pam with a password set" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr
    assert lab.writes == []
    assert logins(lab) == 0
    assert ROOT_TOKEN["api_token_secret"] not in done.stdout + done.stderr
