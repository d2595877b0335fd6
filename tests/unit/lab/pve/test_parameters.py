# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types, ranges and grammars of a VM's keys, with PVE's words, and the types that come back."""

from __future__ import annotations

import pytest

NOT_DEFINED = "property is not defined in schema and the schema does not allow additional properties"
NOT_LISTED = "does not have a value in the enumeration"
LOCKS = "backup, clone, create, migrate, rollback, snapshot, snapshot-delete, suspending, suspended"
NO_DEFAULT_KEY = "invalid format - value without key, but schema does not define a default key\n"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cores", 0, "value must have a minimum value of 1"),
        ("cores", "x", "type check ('integer') failed - got 'x'"),
        ("cores", 2.5, "type check ('integer') failed - got '2.5'"),
        ("cores", True, "type check ('integer') failed - got JSON::PP::Boolean"),
        ("sockets", 0, "value must have a minimum value of 1"),
        ("vcpus", 0, "value must have a minimum value of 1"),
        ("cpulimit", -1, "value must have a minimum value of 0"),
        ("cpulimit", 200, "value must have a maximum value of 128"),
        ("cpuunits", 0, "value must have a minimum value of 1"),
        ("cpuunits", 262145, "value must have a maximum value of 262144"),
        ("hugepages", "3", "value '3' does not have a value in the enumeration 'any, 2, 1024'"),
        ("memory", 15, "invalid format - format error\nmemory.current: value must have a minimum value of 16\n"),
        ("memory", "512M", "invalid format - format error\nmemory.current: type check ('integer') failed - got '512M'\n"),
        ("shares", 50001, "value must have a maximum value of 50000"),
        ("cpu", "nonsense", "invalid format - Built-in cputype 'nonsense' is not defined (missing 'custom-' prefix?)\n"),
        ("cpu", "host,hidden=1,foo=2", f"invalid format - format error\ncpu.foo: {NOT_DEFINED}\n"),
        ("numa", "on", "type check ('boolean') failed - got 'on'"),
        ("numa", "True", "type check ('boolean') failed - got 'True'"),
        ("protection", "yes", "type check ('boolean') failed - got 'yes'"),
        ("tags", "ä", "invalid format - invalid characters in tag\n"),
        ("lock", "foo", f"value 'foo' {NOT_LISTED} '{LOCKS}'"),
        ("numa8", "cpus=0,memory=512", NOT_DEFINED),
        ("unknown", 1, NOT_DEFINED),
        ("delete", "lxc.foo", "invalid format - invalid configuration ID 'lxc.foo'\n"),
        ("delete", "nope", "unknown option 'nope'"),
        ("revert", "nope", "unknown option 'nope'"),
        ("hookscript", "/var/x.sh", "invalid format - unable to parse volume ID '/var/x.sh'\n"),
        ("hookscript", "other:snippets/x.sh", "storage 'other' does not exist\n"),
        ("hookscript", "local:iso/x.iso", "'local:iso/x.iso' is not in the snippets directory\n"),
        ("hookscript", "local:snippets/sub/x.sh", "unable to parse directory volume name 'snippets/sub/x.sh'\n"),
        ("hookscript", "local:snippets/x.sh", "script 'local:snippets/x.sh' does not exist\n"),
    ],
)
def test_refused(make, key, value, message):
    ask = make({"memory": 512})
    got = ask.config(100, **{key: value})
    assert (got.status, got.message, got.errors) == (400, "Parameter verification failed.\n", {key: message})
    assert ask.cluster.guest(100).text == "memory: 512\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0-1,hostnodes=0", NO_DEFAULT_KEY),
        ("cpus=0,1,memory=512", NO_DEFAULT_KEY),
        ("memory=512", "invalid format - format error\nnuma0.cpus: property is missing and it is not optional\n"),
        (
            "cpus=0-1,policy=strict",
            f"invalid format - format error\nnuma0.policy: value 'strict' {NOT_LISTED} 'preferred, bind, interleave'\n",
        ),
        ("cpus=0-1 ,memory=512", "invalid format - format error\nnuma0.cpus: value does not match the regex pattern\n"),
        ("cpus=0-1,foo=1", f"invalid format - format error\nnuma0.foo: {NOT_DEFINED}\n"),
        ("cpus=0,cpus=1,memory=512", "invalid format - duplicate key in comma-separated list property: cpus\n"),
        ("cpus=", "invalid format - missing key in comma-separated list property\n"),
    ],
)
def test_cells_refused(make, value, message):
    got = make().config(100, numa0=value)
    assert (got.status, got.errors) == (400, {"numa0": message})


@pytest.mark.parametrize(
    "value",
    [
        "cpus=0-1,hostnodes=0,memory=512,policy=bind",
        "cpus=0;1,memory=512",
        "cpus=0-1",
        "cpus=0-1,memory=512.5",
        "cpus=1-0,memory=512",
        "cpus=0-1,hostnodes=7,memory=512,policy=bind",
        "policy=bind,memory=512,cpus=0-1,hostnodes=0",
        "cpus=0-1,memory=0",
        "cpus=0-1,memory=-5",
    ],
)
def test_cells_accepted_however_senseless(make, value):
    ask = make()
    assert ask.config(100, numa7=value).status == 200
    assert ask.shown(100)["numa7"] == value


def test_types_that_come_back(make):
    ask = make()
    sent = {
        "cores": "2",
        "numa": "1",
        "memory": "current=1024",
        "cpulimit": "1.5",
        "cpuunits": "200",
        "balloon": "0",
        "hugepages": "2",
        "vcpus": "99",
        "cpu": "cputype=host",
        "description": "x\ny: 100 %",
        "protection": "0",
    }
    assert ask.config(100, **sent).status == 200
    shown = ask.shown(100)
    assert shown.pop("digest") == ask.cluster.guest(100).digest
    assert shown == {
        "cores": 2,
        "numa": 1,
        "memory": "current=1024",
        "cpulimit": "1.5",
        "cpuunits": 200,
        "balloon": 0,
        "hugepages": "2",
        "vcpus": 99,
        "cpu": "cputype=host",
        "description": "x\ny: 100 %",
        "protection": 0,
    }
    assert ask.cluster.guest(100).text.startswith("#x\n#y%3A 100 %25\nballoon: 0\n")


@pytest.mark.parametrize(("cgroup", "stored"), [(1, 20000), (2, 10000)])
def test_cpuunits_are_clamped_by_control_group_version(make, cgroup, stored):
    ask = make(cluster={"nodes": [{"name": "pve1", "cgroup": cgroup}]})
    ask.config(100, cpuunits=20000)
    assert ask.shown(100)["cpuunits"] == stored


@pytest.mark.parametrize(("sent", "stored"), [("B;a, C", "a;b;c"), ("a b", "a;b"), ("x,x;X", "x")])
def test_tags_are_put_in_order(make, sent, stored):
    ask = make()
    ask.config(100, tags=sent)
    assert ask.shown(100)["tags"] == stored


def test_tag_style_of_the_datacenter(make):
    ask = make(cluster={"options": {"tag-style": "case-sensitive=1,ordering=config"}})
    ask.config(100, tags="B;a,B")
    assert ask.shown(100)["tags"] == "B;a"


def test_registered_tags_and_allowed_tags(make):
    users = {"users": [{"userid": "ops@pve"}], "acl": [{"path": "/vms/100", "ugid": "ops@pve", "roleid": "PVEVMAdmin"}]}
    ask = make({"tags": "gold"}, cluster={**users, "options": {"registered-tags": ["gold"]}})
    assert ask.config(100, user="ops@pve", tags="gold;new").status == 200
    got = ask.config(100, user="ops@pve", tags="new")
    assert (got.status, got.message) == (403, "Permission check failed (/, Sys.Modify for modifying tag 'gold')\n")
    assert ask.config(100, user="ops@pve", delete="tags").status == 403
    ask = make(cluster={**users, "options": {"user-tag-access": "user-allow=list,user-allow-list=one;two"}})
    assert ask.config(100, user="ops@pve", tags="two").status == 200
    assert ask.config(100, user="ops@pve", tags="three").message == "Permission check failed (/, Sys.Modify for modifying tag 'three')\n"


def test_balloon_above_memory(make):
    ask = make({"memory": 512})
    assert ask.config(100, balloon=513).message == "balloon value too large (must be smaller than assigned memory)\n"
    assert ask.config(100, balloon=512).status == 200
    assert ask.config(100, memory=256).status == 500
    assert ask.config(100, memory=256, balloon=0).status == 200


def test_nothing_to_do(make):
    ask = make({"cores": 2})
    assert (ask.config(100).status, ask.config(100).message) == (500, "no options specified\n")
    assert ask.config(100, delete="affinity,numa0").status == 200
    assert ask.config(100, delete="cores", cores=3).errors == {"delete": "you can't use '-cores' and -delete cores' at the same time"}


def test_a_bad_number_and_a_guest_that_is_not_there(make):
    ask = make(cluster={"nodes": [{"name": "pve1"}, {"name": "pve2"}]})
    assert ask("GET", "/nodes/pve1/qemu/5/config").errors == {"vmid": "invalid format - value does not look like a valid VM ID\n"}
    assert ask("GET", "/nodes/pve2/qemu/100/config").message == "Configuration file 'nodes/pve2/qemu-server/100.conf' does not exist\n"
    assert ask("GET", "/nodes/pve1/lxc/100/config").message == "Configuration file 'nodes/pve1/lxc/100.conf' does not exist\n"
    gone = ask("GET", "/nodes/nope/qemu/100/config")
    assert (gone.status, gone.message) == (
        500,
        "hostname lookup 'nope' failed - failed to get address info for: nope: Temporary failure in name resolution\n",
    )
    assert (ask("GET", "/nope").status, ask("GET", "/nope").message) == (501, "Method 'GET /nope' not implemented")
