#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_placement
short_description: Make the stored config of guests agree with a plan
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Carries out the C(changes) of a plan that the filter P(corepin.proxmox.place#filter) made, for all guests in one task. It decides
    nothing itself and starts, stops and restarts nothing.
  - Each guest is read once. Only keys whose effect differs are sent, in one request per guest and together with the digest
    for which the plan was made, so that nobody's change is overwritten. Where all agrees, nothing is written.
  - Before the first write the plan is refused as a whole where it was edited, made for another cluster or outdated, where the login
    may not set one of the keys, and where the cluster has no quorum.
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
    type: str
    choices: [refuse, skip]
    default: refuse
notes:
  - C(affinity), C(args), C(hookscript), C(hugepages) and C(keephugepages) can be set by V(root@pam) with O(api_password) alone; PVE
    refuses them to every API token and every other user. The other keys need the privilege VM.Config.CPU.
  - A running guest keeps what it was started with; RV(guests[].effect) is V(pending) then, until it is stopped and started.
  - A guest whose config is locked (backup, migration, snapshot), or whose host is offline, is skipped with a warning.
  - If a write fails, the task stops there and fails; RV(guests) and RV(not_applied) say what was done and what was not. Running it
    again carries out what is left.
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
      description: Whether its config was changed (in check mode, would be).
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
      description: V(now) where the stored config says so, V(pending) where a running guest waits for its next start, null if skipped.
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
  description: The guests that still differ from the plan because an earlier write failed, the one that failed first.
  returned: when a write failed
  type: list
  elements: int
  sample: [102, 103]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.changes import changes_of
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.options import CONNECTION_OPTIONS, TOGETHER, open_door
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.placement import ApplyError, carry_out, prepare
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.results import placement_result


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "plan": {"type": "dict", "required": True},
            "nodes": {"type": "list", "elements": "str"},
            "on_conflict": {"type": "str", "choices": ["refuse", "skip"], "default": "refuse"},
        },
        required_together=TOGETHER,
        supports_check_mode=True,
    )
    try:
        plan = check_plan(module.params["plan"])
        changes = changes_of(plan, module.params["nodes"])
        door = open_door(module)
        outcome = prepare(door, changes, plan["cluster"], skip_conflicts=module.params["on_conflict"] == "skip")
        if not module.check_mode:
            outcome = carry_out(door, outcome)
    except ApplyError as e:
        _warn(module, e.outcome.warnings)
        module.fail_json(msg=str(e), **placement_result(e.outcome))
    except CorepinError as e:
        module.fail_json(msg=str(e))
    _warn(module, outcome.warnings)
    module.exit_json(**placement_result(outcome))


def _warn(module: AnsibleModule, warnings: t.Sequence[str]) -> None:
    for warning in warnings:
        module.warn(warning)


if __name__ == "__main__":
    main()
