# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key `affinity`: its grammar at the API, and the rule that only root@pam itself sets it."""

from __future__ import annotations

import pytest

USERS = {
    "users": [{"userid": "admin@pve"}, {"userid": "ops@pve"}],
    "tokens": [
        {"tokenid": "root@pam!all", "secret": "s", "privsep": False},
        {"tokenid": "root@pam!none", "secret": "s", "privsep": True},
        {"tokenid": "admin@pve!all", "secret": "s", "privsep": False},
    ],
    "roles": {"Cpu": "VM.Audit,VM.Config.CPU"},
    "acl": [{"path": "/", "ugid": "admin@pve", "roleid": "Administrator"}, {"path": "/vms/100", "ugid": "ops@pve", "roleid": "Cpu"}],
}
EVERYBODY_ELSE = ["admin@pve", "ops@pve", "root@pam!all", "admin@pve!all"]
ALL_CONFIG = (
    "VM.Config.Disk|VM.Config.CDROM|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.HWType|VM.Config.Options|VM.Config.Cloudinit"
)


@pytest.mark.parametrize("text", ["0-1", "0", "1", "0,1,", "0, 1", "0 ,1", "0-99", "200", "0,0,0-1,1", "00-01"])
def test_accepted_and_stored_as_sent(make, text):
    ask = make()
    assert ask.config(100, affinity=text).status == 200
    assert ask.shown(100)["affinity"] == text


@pytest.mark.parametrize("text", [",0", " 0 - 1", "1-0", "0-7:2", "a", "0;1", "+1", "all", "0,,1"])
def test_refused(make, text):
    ask = make({"affinity": "5"})
    got = ask.config(100, affinity=text)
    assert (got.status, got.message) == (400, "Parameter verification failed.\n")
    assert got.errors == {"affinity": "invalid format - unable to parse cpuset option\n"}
    assert ask.shown(100)["affinity"] == "5"


def test_an_empty_value_is_taken_and_ignored(make):
    ask = make({"affinity": "0-3"})
    assert ask.config(100, affinity="").status == 200
    assert ask.shown(100)["affinity"] == "0-3"
    assert ask.pending(100) == {}


@pytest.mark.parametrize("user", EVERYBODY_ELSE)
@pytest.mark.parametrize("params", [{"affinity": "0-1"}, {"affinity": "0-3"}, {"delete": "affinity"}])
def test_only_root_sets_it(make, user, params):
    """Also when the value is the present one, also to delete it, also with a token of root's."""
    ask = make({"affinity": "0-3"}, cluster=USERS)
    got = ask.config(100, user=user, **params)
    assert (got.status, got.message, got.errors) == (500, "only root can set 'affinity' config\n", None)
    assert ask.shown(100)["affinity"] == "0-3"


@pytest.mark.parametrize("key", ["hugepages", "keephugepages", "args", "lock", "hookscript"])
@pytest.mark.parametrize("user", EVERYBODY_ELSE)
def test_other_keys_of_root(make, user, key):
    got = make(cluster=USERS).config(100, user=user, delete=key)
    assert (got.status, got.message) == (500, f"only root can set '{key}' config\n")


@pytest.mark.parametrize("user", EVERYBODY_ELSE)
@pytest.mark.parametrize(
    "params", [{"numa0": "cpus=0-1,memory=512"}, {"numa": 1}, {"cores": 2}, {"cpu": "host"}, {"cpuunits": 200}, {"vcpus": 1}]
)
def test_cpu_keys_take_a_privilege(make, user, params):
    assert make(cluster=USERS).config(100, user=user, **params).status == 200


def test_a_missing_privilege(make):
    ask = make(cluster=USERS)
    for key, value, privilege in (
        ("memory", 1024, "Memory"),
        ("balloon", 0, "Memory"),
        ("tags", "x", "Options"),
        ("protection", 0, "Options"),
    ):
        got = ask.config(100, user="ops@pve", **{key: value})
        assert (got.status, got.message) == (403, f"Permission check failed (/vms/100, VM.Config.{privilege})\n")


def test_a_token_without_rights_is_told_what_would_do(make):
    got = make(cluster=USERS).config(100, user="root@pam!none", affinity="0-1")
    assert (got.status, got.message) == (403, f"Permission check failed (/vms/100, {ALL_CONFIG})\n")


def test_skiplock_is_roots(make):
    got = make(cluster=USERS).config(100, user="admin@pve", skiplock=1, cores=2)
    assert (got.status, got.errors) == (400, {"skiplock": "Only root may use this option."})


def test_a_device_must_be_mapped(make):
    ask = make(cluster={**USERS, "acl": [*USERS["acl"], {"path": "/mapping/pci/gpu", "ugid": "ops@pve", "roleid": "PVEMappingUser"}]})
    got = ask.config(100, user="admin@pve", hostpci0="0000:00:01.0")
    assert (got.status, got.message) == (500, "only root can set 'hostpci0' config for non-mapped devices\n")
    assert ask.config(100, user="admin@pve", hostpci0="mapping=gpu").status == 200
    assert ask.config(100, user="ops@pve", hostpci1="mapping=gpu").message == "Permission check failed (/vms/100, VM.Config.HWType)\n"
    assert ask.config(100, hostpci2="0000:00:01.0").status == 200
