#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_placement
short_description: Make the stored config of guests agree with a plan, or undo one
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Carries out the C(changes) of a plan that the filter P(corepin.proxmox.place#filter) made, for all guests in one task. It decides
    nothing itself.
  - It restarts those guests alone whose change in the plan has the effect V(restart), which the policy key C(restart) asks for, and
    starts and stops no other.
  - Each guest is read once. Only keys whose effect differs are sent, in one request per guest and together with the digest
    for which the plan was made, so that nobody's change is overwritten. Where all agrees, nothing is written.
  - Before the first write the plan is refused as a whole where it was edited, made for another cluster or outdated, where the login
    may not set one of the keys, and where the cluster has no quorum or its Ceph is in the state HEALTH_ERR.
  - It goes from host to host, looks at quorum and Ceph in between, and stops at the first thing that does not go as it should.
  - With O(rollback) the same is done the other way round.
  - With O(api_host) it works over the API. Without it, it runs C(qm) on the PVE host on which it runs, as root; then it
    reaches the guests of that host alone.
extends_documentation_fragment:
  - corepin.proxmox._connection
  - corepin.proxmox._attributes
  - corepin.proxmox._attributes.actiongroup_proxmox
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  plan:
    description:
      - The plan, as P(corepin.proxmox.place#filter) returned it.
    type: dict
    required: true
  nodes:
    description:
      - Only the changes of these hosts, by their names in PVE. Without it, all of them.
    type: list
    elements: str
  on_conflict:
    description:
      - What to do about a guest that has been changed, moved or removed after the plan was made and does not agree with it.
      - V(refuse) carries out nothing of the plan.
      - V(skip) leaves these guests as they are and carries out the rest, which was planned together with them.
      - The same goes for the guests of hosts whose fingerprint is not the planned one (see O(fingerprints)).
    type: str
    choices: [refuse, skip]
    default: refuse
  rollback:
    description:
      - Undo the plan. Each key gets the value back that it had before, and keys that were absent are removed again.
      - Only keys that the plan changes are touched. A guest where one of them has a value that is neither the planned one nor the one
        before was changed by somebody else; it is left as it is and named, whatever O(on_conflict) says.
      - Guests that the plan restarts are restarted again.
    type: bool
    default: false
  fingerprints:
    description:
      - The fingerprints that the hosts have now, by the hosts' names in PVE, as M(corepin.proxmox.host_topology_facts) gathers them.
        Nothing is changed for guests of a host that has another one than when the plan was made, or is missing here.
      - Without it, hosts are not compared.
    type: dict
  rolling:
    description:
      - Whether to do one host after the other, in the order of their names, and to look at the cluster before each but the first. Without
        a quorum, or where Ceph has become worse, nothing more is done then.
    type: bool
    default: true
  canary:
    description:
      - Number of a guest of the plan that is changed first and looked at before anything else is done. Then come the other guests of its
        host.
    type: int
  ceph_health:
    description:
      - The worst state of Ceph in which to go on. Without it, that is the state before the first write; HEALTH_ERR is never gone on with.
      - It matters with O(rolling), and where there is Ceph.
    type: str
    choices: [HEALTH_OK, HEALTH_WARN]
  shutdown_timeout:
    description:
      - Seconds that a guest has to shut down where the plan restarts it. Then it is left running and the task stops; no guest is ever
        stopped by force.
    type: int
    default: 180
  start_timeout:
    description:
      - Seconds within which such a guest has to run again, with what was planned.
    type: int
    default: 300
notes:
  - C(affinity), C(args), C(hookscript), C(hugepages) and C(keephugepages) can be set by V(root@pam) with O(api_password) alone; PVE
    refuses them to every API token and every other user. The other keys need the privilege VM.Config.CPU, restarts need VM.PowerMgmt.
  - A running guest keeps what it was started with; RV(guests[].effect) is V(pending) then, until it is stopped and started.
  - A guest whose config is locked (backup, migration, snapshot), or whose host is offline, is skipped with a warning.
  - If something fails, the task stops there and fails; RV(guests), RV(not_applied) and RV(not_restarted) say what was done and what
    was not. Running it again carries out what is left.
  - If the answer to a write is lost, the guest is read back, for PVE carries out what it has accepted. If PVE cannot get the lock of a
    guest's config, which it waits for 10 seconds, the write is tried twice more.
  - A guest that does not start with what was planned gets its previous config back and is started with that; the task fails and says so.
  - A guest under high availability is restarted by a reboot through PVE, because the resource manager would stop it by force.
seealso:
  - module: corepin.proxmox.guest_info
  - plugin: corepin.proxmox.place
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Carry out a plan on every host, each for its own guests, without any credentials
  corepin.proxmox.guest_placement:
    plan: "{{ plan }}"
    nodes:
      - "{{ corepin_node | default(inventory_hostname) }}"
  become: true

- name: Carry out a plan over the API, for the whole cluster
  corepin.proxmox.guest_placement:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    api_host: pve1.example.com
    api_user: root@pam
    api_password: "{{ vault_root_password }}"
    ca_path: /etc/ssl/certs/pve-root-ca.pem
  delegate_to: localhost
  register: placement

- name: Undo that plan, beginning with one guest
  corepin.proxmox.guest_placement:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    rollback: true
    canary: 101
    api_host: pve1.example.com
    api_user: root@pam
    api_password: "{{ vault_root_password }}"
    ca_path: /etc/ssl/certs/pve-root-ca.pem
  delegate_to: localhost

- name: List the guests that have to be stopped and started
  ansible.builtin.debug:
    msg: "{{ placement.guests | selectattr('effect', 'eq', 'pending') | map(attribute='vmid') }}"
"""

RETURN = r"""
guests:
  description: One entry per change of the plan, in its order; after a failure without those in RV(not_applied).
  returned: when the plan was carried out, at least in part
  type: list
  elements: dict
  contains:
    vmid:
      description: Number of the guest.
      type: int
      sample: 101
    node:
      description: The host it is on.
      type: str
      sample: pve1
    changed:
      description: Whether its config was changed or it was restarted (in check mode, would be).
      type: bool
      sample: true
    before:
      description: The planned keys as its next start would have found them; null for an absent one.
      type: dict
      sample: {affinity: 0-3, numa: null}
    after:
      description: The same keys as its next start finds them now.
      type: dict
      sample: {affinity: "8-9,40-41", numa: "1"}
    effect:
      description:
        - V(now) where the stored config says so, V(pending) where a running guest waits for its next start, V(restart) where it was
          restarted for it, null if skipped.
      type: str
      sample: pending
    skipped:
      description: Whether the guest was left as it is for RV(guests[].reason).
      type: bool
      sample: false
    reason:
      description: Why it was skipped, or null.
      type: str
      sample: null
not_applied:
  description: The guests that still differ from the plan because something failed, the one that failed first.
  returned: when something failed and there are such guests
  type: list
  elements: int
  sample: [102, 103]
not_restarted:
  description: The guests that have the planned config and wait for a restart that the plan asks for, because something failed.
  returned: when something failed and there are such guests
  type: list
  elements: int
  sample: [101]
ceph_health:
  description: The state of Ceph before the first write; null where there is no Ceph, and where it was not asked because nothing was to do.
  returned: when the plan was carried out, at least in part
  type: str
  sample: HEALTH_OK
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan, hosts_in_order
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.changes import changes_of
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.options import CONNECTION_OPTIONS, TOGETHER, open_door
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.placement import Terms, carry_out, prepare
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.restart import Patience
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.results import placement_result
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.steps import ApplyError


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "plan": {"type": "dict", "required": True},
            "nodes": {"type": "list", "elements": "str"},
            "on_conflict": {"type": "str", "choices": ["refuse", "skip"], "default": "refuse"},
            "rollback": {"type": "bool", "default": False},
            "fingerprints": {"type": "dict"},
            "rolling": {"type": "bool", "default": True},
            "canary": {"type": "int"},
            "ceph_health": {"type": "str", "choices": ["HEALTH_OK", "HEALTH_WARN"]},
            "shutdown_timeout": {"type": "int", "default": 180},
            "start_timeout": {"type": "int", "default": 300},
        },
        required_together=TOGETHER,
        supports_check_mode=True,
    )
    try:
        plan = check_plan(module.params["plan"])
        changes = changes_of(plan, module.params["nodes"], module.params["rollback"])
        terms = _terms(module.params, plan)
        door = open_door(module)
        prepared = prepare(door, changes, terms)
        outcome = prepared.outcome if module.check_mode else carry_out(door, prepared, terms)
    except ApplyError as e:
        _warn(module, e.outcome.warnings)
        module.fail_json(msg=str(e), **placement_result(e.outcome))
    except CorepinError as e:
        module.fail_json(msg=str(e))
    _warn(module, outcome.warnings)
    module.exit_json(**placement_result(outcome))


def _terms(options: t.Mapping[str, t.Any], plan: t.Mapping[str, t.Any]) -> Terms:
    """The terms that the options set for this plan. Raises PlanError for a canary that the plan does not know."""
    changed_hosts = {str(change["node"]) for change in plan["changes"]}
    if options["canary"] is not None:
        hosts_in_order(plan, changed_hosts if options["nodes"] is None else options["nodes"], options["canary"])
    return Terms(
        cluster=plan["cluster"],
        hosts={host: plan["hosts"].get(host) for host in changed_hosts | {str(entry["node"]) for entry in plan["placements"]}},
        fingerprints=options["fingerprints"],
        skip_conflicts=options["on_conflict"] == "skip",
        rolling=options["rolling"],
        canary=options["canary"],
        ceph=options["ceph_health"],
        patience=Patience(options["shutdown_timeout"], options["start_timeout"]),
    )


def _warn(module: AnsibleModule, warnings: t.Sequence[str]) -> None:
    for warning in warnings:
        module.warn(warning)


if __name__ == "__main__":
    main()
