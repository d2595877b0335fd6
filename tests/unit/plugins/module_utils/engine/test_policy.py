# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import PolicyError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.guest import Guest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy import Policy, Reservation
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.policy_variables import fold

DB = Guest(101, "pve1", 4, 4096, name="db-main", tags=("database", "gold"), pool="prod")


def rule_of(*rules, guest=DB, groups=None):
    return Policy.from_dict({"rules": list(rules)}).rule_for(guest, groups or {})


def test_without_rules_a_guest_is_unmanaged():
    assert rule_of().cpu_class == "unmanaged"


def test_the_defaults_of_a_rule():
    rule = rule_of({"match": {}})
    assert (rule.cpu_class, rule.siblings, rule.numa, rule.memory, rule.devices) == ("dedicated", "pack", "compact", "bind", "prefer")
    assert rule.vcpu_pinning
    assert not rule_of({"class": "local"}).vcpu_pinning


def test_the_first_matching_rule_counts():
    assert rule_of({"match": {"tags": ["silver"]}, "class": "shared"}, {"match": {}, "class": "isolated"}).cpu_class == "isolated"


@pytest.mark.parametrize(
    "match",
    [
        {"tags": ["silver", "gold"]},
        {"tags": "gold"},
        {"pools": ["prod"]},
        {"vmids": [101]},
        {"vmids": "101"},
        {"names": ["web-*", "db-*"]},
        {"nodes": ["pve1"]},
        {"groups": ["fast"]},
        {"groups": ["hosts"]},
        {"tags": ["gold"], "pools": ["prod"], "names": ["db-*"]},
    ],
)
def test_any_value_within_a_key_and_all_keys(match):
    assert rule_of({"match": match}, groups={"fast": [101], "hosts": ["pve1"]}).cpu_class == "dedicated"


@pytest.mark.parametrize(
    "match", [{"tags": ["old"]}, {"names": ["DB-*"]}, {"nodes": ["pve2"]}, {"groups": ["none"]}, {"tags": ["gold"], "pools": ["test"]}]
)
def test_one_key_that_does_not_hold_is_enough_to_fail(match):
    assert rule_of({"match": match}).cpu_class == "unmanaged"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"ruels": []}, "'ruels' is not a known policy key; did you mean rules?"),
        ({"rules": [{"sibling": "pack"}]}, "'sibling' is not a known key of rule 1; did you mean siblings?"),
        ({"rules": [{}, {"match": {"tag": "x"}}]}, "'tag' is not a known key of rule 2.match; did you mean tags?"),
        ({"rules": [{"class": "pinned"}]}, "class of rule 1 is 'pinned'; allowed are dedicated"),
        ({"rules": [{"numa": "two"}]}, "numa of rule 1 is 'two'; allowed are single"),
        ({"rules": [{"vcpu_pinning": "maybe"}]}, "vcpu_pinning of rule 1 is 'maybe'; write true or false"),
        ({"rules": "all"}, "rule 1 is 'all'; it has to be a mapping"),
        ({"reserved": {"pve1": {}}}, "'pve1' is not a known key of reserved"),
        ({"reserved": {"default": {"cpus": "3-1"}}}, "reserved.default.cpus cannot be read"),
        ({"reserved": {"hosts": {"pve1": {"memory_mib": -1}}}}, "reserved.hosts.pve1.memory_mib is -1"),
        ({"reserved": {"default": {"auto": ["gluster"]}}}, "reserved.default.auto is 'gluster'; allowed are ceph, zfs"),
        ({"requests": [{"name": "web", "vcpus": 4}]}, "request 1 has no memory_mib"),
        ({"requests": [{"name": "web", "vcpus": 4, "memory_mib": 1, "tags": ["db"]}]}, "'tags' is not a known key of request 1"),
        ({"repack": "always"}, "repack is 'always'; write never, suggest"),
        ({"overcommit": {"cpu": 0}}, "overcommit.cpu is 0"),
        ({"partial": "ignore"}, "partial is 'ignore'; allowed are freeze, refuse"),
    ],
)
def test_unknown_names_and_values_are_named_with_the_nearest_known(policy, words):
    with pytest.raises(PolicyError) as error:
        Policy.from_dict(policy)
    assert words in str(error.value)


def test_empty_survey_answers_count_as_absent():
    policy = Policy.from_dict({"rules": "", "reserved": None, "repack": "", "overcommit": "", "restart": None})
    assert policy == Policy()


def test_a_host_has_its_own_reservation_or_the_default():
    policy = Policy.from_dict({"reserved": {"default": {"cores_per_numa_node": 1}, "hosts": {"pve2": {"cpus": "0-1"}}}})
    assert policy.reservation("pve1") == Reservation(cores_per_numa_node=1)
    assert policy.reservation("pve2") == Reservation(cpus=3)


def test_the_variables_of_all_hosts_are_folded():
    rules = [{"match": {}}]
    hostvars = {
        "pve1": {"corepin_rules": rules, "corepin_host": {}, "corepin_plan_file": "x", "ansible_host": "192.0.2.1"},
        "n2": {"corepin_rules": rules, "corepin_node": "pve2", "corepin_reserved": {"cpus": "0-1"}},
        "localhost": {},
    }
    assert fold(hostvars) == {"rules": rules, "reserved": {"hosts": {"pve2": {"cpus": "0-1"}}}}


def test_the_variables_of_one_host_may_be_given_alone():
    assert fold({"corepin_repack": 1, "other": 2}) == {"repack": 1}


def test_reservations_of_a_group_differ_from_host_to_host():
    defaults = {"default": {"cores_per_numa_node": 1}}
    assert fold({"a": {"corepin_reserved": defaults}, "b": {"corepin_reserved": defaults}})["reserved"] == {**defaults, "hosts": {}}
    other = {"default": {"cores_per_numa_node": 2}}
    folded = fold({"a": {"corepin_reserved": defaults}, "b": {"corepin_reserved": other}})["reserved"]
    assert folded == {**defaults, "hosts": {"b": {"cores_per_numa_node": 2}}}


@pytest.mark.parametrize(
    ("hostvars", "words"),
    [
        ({"a": {"corepin_repack": 1}, "b": {"corepin_repack": 2}}, "corepin_repack differs between the hosts a and b"),
        ({"a": {"corepin_repak": 1}}, "corepin_repak of host a is not known; did you mean corepin_repack?"),
        ({"a": {"corepin_report_dri": "x"}}, "corepin_report_dri of host a is not known; did you mean corepin_report_dir?"),
        ({"a": {"corepin_reserved": "0-3"}}, "corepin_reserved of host a is '0-3'"),
        ({"a": {"corepin_reserved": {"default": {}, "cpus": "0"}}}, "mixes 'cpus' with default or hosts"),
        ({"a": {"corepin_rules": [{"clas": "shared"}]}}, "'clas' is not a known key of rule 1; did you mean class?"),
    ],
)
def test_variables_that_cannot_be_meant_are_named(hostvars, words):
    with pytest.raises(PolicyError) as error:
        fold(hostvars)
    assert words in str(error.value)
