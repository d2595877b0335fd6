#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's face of _host/pin_guests.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_pinning
short_description: Make running guests agree with a plan without a restart
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Gives the guests that run on a Proxmox VE host the CPUs that a plan has for them, while they run. One task serves all guests of
    the host.
  - A VM gets its CPUs in two layers. C(AllowedCPUs) of its systemd scope holds every thread that it has or will have. After that each
    thread gets a mask of its own. With V(vcpu_pinning) in the plan each vCPU has one CPU, in the order of the plan.
  - All other threads run on the CPUs of their guest. Where the rule of the guest says V(emulator=reserved), the threads of the emulator
    and of helper processes run on the reserved CPUs of the host, and only I/O threads and vhost workers stay with the guest.
  - Guests of the class V(shared) are kept off all CPUs that are dedicated or reserved. Containers are kept there by the cpuset of their
    cgroup, and by the key C(lxc.cgroup2.cpuset.cpus) of their config.
  - Only what differs is written. If a step fails, everything of that guest is put back as it was. The other guests are done, and the
    task fails in the end. If only its memory fails, the guest keeps the planned CPUs.
  - Whom it touched is remembered on the host, so that O(state=absent) undoes it.
extends_documentation_fragment:
  - corepin.proxmox._attributes
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
      - With O(state=absent) it only says which CPUs are reserved. Without it these are the ones of the last plan.
    type: dict
  node:
    description:
      - Name of the host in Proxmox VE.
      - By default this is the kernel's node name without its domain.
    type: str
  state:
    description:
      - V(present) makes the guests agree with O(plan). A guest that an earlier run touched and that the plan does not place any more
        gets the CPUs of its stored C(affinity), without one those that are open to shared guests.
      - V(absent) undoes the whole host. Nobody is dedicated afterwards, so every guest that earlier runs touched gets all CPUs that are
        neither reserved nor isolated, also one with a stored C(affinity), which it gets at its next start. The configs of containers
        are restored, and services get back the CPUs that they had.
    type: str
    choices: [present, absent]
    default: present
  memory_move:
    description:
      - Whether the memory of VMs is moved to the NUMA nodes of their cells.
      - It is moved by this module, in steps of 64 MiB, cell by cell. Then C(AllowedMemoryNodes) of the scope is set for VMs
        whose cells are all bound to one NUMA node, unless QEMU was started with that binding.
      - This is done after the CPUs of all guests have been set.
      - Memory that a passed-through device reaches directly cannot be moved, nor can memory for which its NUMA node has no room.
        Both are reported. Where room is lacking, the next run tries again.
      - Every ten seconds the host's journal gets a line that says how much has moved and how much is left.
      - What an earlier run set is opened to all NUMA nodes as soon as the plan does not want it any more, whatever this option says.
    type: bool
    default: false
  memory_timeout:
    description:
      - Seconds that moving memory may take for all guests of the host. What is left then is moved by the next run.
    type: int
    default: 600
  housekeeping:
    description:
      - Whether C(system.slice), C(user.slice) and C(init.scope) are kept on the reserved CPUs of the host.
      - V(false) gives them back the C(AllowedCPUs) that they had before an earlier run, else all CPUs.
    type: bool
    default: false
  timeout:
    description:
      - Seconds that one call of C(systemctl) may take.
    type: int
    default: 60
notes:
  - Run it as root on the host. While another run works there, it waits for ten seconds and then fails. Check mode does not wait.
  - What it sets holds until a VM stops, for the services of the host until the next boot. A VM that was started anew is
    treated as a new one.
  - A thread that somebody else has held to fewer CPUs than planned is named in a warning and gets what is planned.
  - Guests without a matching rule, and those that the plan refused or skipped, are not touched.
  - The key C(lxc.cgroup2.cpuset.cpus) acts at the next start of the container, and at once on the part of Proxmox VE that else spreads
    containers over all CPUs. It stays as it is where it names CPUs among the planned ones.
seealso:
  - module: corepin.proxmox.guest_placement
  - module: corepin.proxmox.guest_runtime_info
  - plugin: corepin.proxmox.place
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Make the running guests agree with the plan
  corepin.proxmox.guest_pinning:
    plan: "{{ plan }}"
    node: "{{ corepin_node | default(inventory_hostname) }}"
  become: true

- name: Move their memory as well, and keep the host's services off their CPUs
  corepin.proxmox.guest_pinning:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    node: "{{ corepin_node | default(inventory_hostname) }}"
    memory_move: true
    housekeeping: true
  become: true

- name: Undo all of it
  corepin.proxmox.guest_pinning:
    state: absent
  become: true
"""

RETURN = r"""
node:
  description: Name of the host in Proxmox VE.
  returned: when the plan is for this host
  type: str
  sample: pve1
guests:
  description: The guests that the plan places on this host, and those that earlier runs touched, by number.
  returned: when the plan is for this host
  type: list
  elements: dict
  contains:
    vmid:
      description: Number of the guest.
      type: int
      sample: 101
    type:
      description: V(qemu) or V(lxc); V(null) for one that does not run and is no container.
      type: str
      sample: qemu
    class:
      description: Its placement class; V(null) for one that is released.
      type: str
      sample: dedicated
    changed:
      description: Whether something of it was changed (in check mode, would be).
      type: bool
      sample: true
    skipped:
      description: Whether it was left alone for RV(guests[].reason).
      type: bool
      sample: false
    failed:
      description: Whether it could not be done for RV(guests[].reason). Its CPUs are as before then; as planned if only its memory failed.
      type: bool
      sample: false
    reason:
      description: Why it was skipped or failed, or V(null).
      type: str
      sample: null
    before:
      description:
        - The CPUs of its scope or cgroup, and by role those of its threads. vCPUs are in their order, of other threads each set is named
          once. V(null) for a guest that was skipped.
        - Of a container also C(stored), the value of its cpuset key.
        - Of a VM also C(memory_nodes), the NUMA nodes that C(AllowedMemoryNodes) leaves it, where that changes.
      type: dict
      sample: {"scope": "0-63", "threads": {"vcpu": ["8-11", "8-11"], "emulator": ["8-11"]}}
    after:
      description: The same afterwards.
      type: dict
      sample: {"scope": "0,32", "threads": {"vcpu": ["0", "32"], "emulator": ["0,32"]}}
    memory:
      description:
        - The memory that was not where the plan wants it. Amounts are in MiB, by NUMA node.
      type: dict
      returned: with O(memory_move) where there was something to do
      contains:
        numa_nodes:
          description: The NUMA nodes of the guest's cells.
          type: str
          sample: "1"
        before:
          description: Where its memory was.
          type: dict
          sample: {"0": 8192}
        astray:
          description: How much of it was elsewhere than wanted.
          type: dict
          sample: {"0": 8192}
        after:
          description: Where its memory is now; absent in check mode, as are all following values.
          type: dict
          sample: {"1": 8192}
        moved_mib:
          description: How much was moved.
          type: int
          sample: 8192
        left:
          description: How much could not be moved, or was not because time was up.
          type: dict
          sample: {}
        refused:
          description: The part of RV(guests[].memory.left) for which its NUMA node has no room, or which a cgroup keeps out of it.
          type: dict
          sample: {}
        finished:
          description: Whether all was tried before time was up.
          type: bool
          sample: true
        steps:
          description: In how many steps.
          type: int
          sample: 128
        seconds:
          description: How long it took.
          type: float
          sample: 6.2
units:
  description: The systemd units of the host's services whose CPUs were changed (in check mode, would be).
  returned: when the plan is for this host
  type: list
  elements: dict
  contains:
    unit:
      description: Name of the unit.
      type: str
      sample: system.slice
    before:
      description: Its CPUs as a cpulist.
      type: str
      sample: 0-63
    after:
      description: Its CPUs afterwards.
      type: str
      sample: 0,32
lines:
  description: What was changed, what failed and who was left alone, in sentences.
  returned: when the plan is for this host
  type: list
  elements: str
  sample: ["Guest 101: CPUs 0-63 -> 0,32, one vCPU each on 0,32."]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.plan import check_plan
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.hands import Hands
from ansible_collections.corepin.proxmox.plugins.module_utils._host.kernel import read_node_name
from ansible_collections.corepin.proxmox.plugins.module_utils._host.pin_guests import pin_guests
from ansible_collections.corepin.proxmox.plugins.module_utils._host.pinning_text import diff_of


def main() -> t.NoReturn:
    """Pin the guests of the host and return what was changed."""
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict"},
            "node": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "memory_move": {"type": "bool", "default": False},
            "memory_timeout": {"type": "int", "default": 600},
            "housekeeping": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ["plan"])],
        supports_check_mode=True,
    )
    tree = Tree()
    options = {**module.params, "node": module.params["node"] or read_node_name(tree)}
    try:
        plan = check_plan(options["plan"]) if options["plan"] or options["state"] == "present" else None
        result, warnings, failures = pin_guests(tree, Hands(tree, options["timeout"]), options, plan, module.check_mode, module.log)
    except CorepinError as e:
        module.fail_json(msg=str(e))
    for warning in warnings:
        module.warn(warning)
    if failures:
        module.fail_json(msg=" ".join(failures), diff=diff_of(result), **result)
    module.exit_json(diff=diff_of(result), **result)


if __name__ == "__main__":
    main()
