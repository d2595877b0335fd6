#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's face of _host/governors.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpu_governor
short_description: Set governor, energy preference and frequency limits of CPU sets
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Gives each set of CPUs in O(busy) its own governor, energy preference and frequency limits, and all other online CPUs those of O(free).
  - What can be set depends on the driver and is read from the host. A value that the driver does not offer is refused before
    anything is written.
  - Each frequency policy is written once and only where it differs. If the kernel refuses a value, everything is put back.
    Only an earlier governor that it refuses is left out, and stays remembered.
  - What a policy had before is remembered on the host. It is restored with O(state=absent), and as soon as no set covers the policy
    any more. So is each single value that no set names any more.
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
  busy:
    description:
      - Sets of CPUs, for example those of pinned guests. Each CPU may be in one set.
    type: list
    elements: dict
    suboptions:
      cpus:
        description: CPUs as a cpulist, for example V(0-7,32-39). All have to be online.
        type: str
        required: true
      governor:
        description: A governor that the driver offers, for example V(performance) or V(schedutil).
        type: str
      epp:
        description:
          - Energy performance preference, for example V(balance_performance). C(amd-pstate) has it in its active mode,
            C(intel_pstate) in both modes on processors with HWP. C(intel_pstate) also takes a number from V(0) (fastest)
            to V(255).
          - In the active modes it is always V(performance) under the governor V(performance).
        type: str
      min_khz:
        description: Lowest frequency in kHz.
        type: int
      max_khz:
        description: Highest frequency in kHz.
        type: int
  free:
    description:
      - What all online CPUs outside O(busy) get, those without frequency scaling left out. Without it, they keep what they have.
    type: dict
    suboptions:
      governor:
        description: A governor that the driver offers, for example V(performance) or V(schedutil).
        type: str
      epp:
        description:
          - Energy performance preference, for example V(balance_performance). C(amd-pstate) has it in its active mode,
            C(intel_pstate) in both modes on processors with HWP. C(intel_pstate) also takes a number from V(0) (fastest)
            to V(255).
          - In the active modes it is always V(performance) under the governor V(performance).
        type: str
      min_khz:
        description: Lowest frequency in kHz.
        type: int
      max_khz:
        description: Highest frequency in kHz.
        type: int
  persistent:
    description:
      - Whether this is set again after a reboot and after sleep, by a systemd unit (C(corepin-cpu-governor.service)).
      - The unit writes nothing if the CPUs have another driver by then.
      - V(false) removes the unit of an earlier run.
    type: bool
    default: false
  state:
    description:
      - V(present) makes the CPUs agree with O(busy) and O(free).
      - V(absent) restores what all policies had before this module changed them, and removes the unit.
      - What they had under another driver than now is kept, because it means nothing to this one. A warning names both drivers.
      - So is what cannot be restored because CPUs are offline, or because the kernel refuses the governor. A warning names both.
    type: str
    choices: [present, absent]
    default: present
  root:
    description:
      - Directory below which the host's files are. Another one than V(/) is for trials with a copy.
    type: path
    default: /
notes:
  - CPUs of one frequency policy share its values. Where a policy has CPUs of several sets, it follows the faster wish, and a warning
    names the CPUs that get it unasked. A set without a maximum lifts that of the others, and V(performance) their preferences.
  - Services that set governors too, such as C(tuned) and C(power-profiles-daemon), are named in a warning and left alone.
  - A host without frequency scaling, for example a virtual machine, is skipped. If it had some when O(persistent=true) wrote the
    unit, the unit is still removed by O(state=absent) and by O(persistent=false).
  - The kernel rounds frequencies, and the preference V(default) reads back under another name. What a value reads back as is remembered
    in C(/var/lib/corepin), so that the next run finds it unchanged.
seealso:
  - module: corepin.proxmox.host_topology_facts
  - name: CPU Performance Scaling
    description: The kernel's documentation of policies and governors.
    link: https://docs.kernel.org/admin-guide/pm/cpufreq.html
"""

EXAMPLES = r"""
- name: Run the CPUs of the database at full speed, and the others as the load asks
  corepin.proxmox.cpu_governor:
    busy:
      - cpus: 8-15,40-47
        governor: performance
    free:
      governor: schedutil
    persistent: true
  become: true

- name: Prefer speed on some CPUs of a host with amd-pstate in active mode
  corepin.proxmox.cpu_governor:
    busy:
      - cpus: 0-15
        governor: powersave
        epp: balance_performance
  become: true

- name: Restore what was set before
  corepin.proxmox.cpu_governor:
    state: absent
  become: true
"""

RETURN = r"""
policies:
  description: The frequency policies that are covered by a set or restored, equal ones as one entry, by lowest CPU.
  returned: when the host has frequency scaling
  type: list
  elements: dict
  contains:
    cpus:
      description: Their CPUs as a cpulist.
      type: str
      sample: 8-15,40-47
    driver:
      description: The frequency driver.
      type: str
      sample: amd-pstate-epp
    changed:
      description: Whether something had to be written (in check mode, would have to be).
      type: bool
      sample: true
    before:
      description: What they had; null for a value that the driver does not have.
      type: dict
      sample: {governor: powersave, epp: balance_performance, min_khz: 400000, max_khz: 3799072}
    after:
      description: What they have now, as it was asked for.
      type: dict
      sample: {governor: performance, epp: performance, min_khz: 400000, max_khz: 3799072}
    outside:
      description: CPUs among them that are in no set, or in one with another wish.
      type: str
      sample: ""
unrestored:
  description: CPUs whose earlier values were to be restored and could not be. They stay remembered.
  returned: when the host has frequency scaling
  type: list
  elements: dict
  contains:
    cpus:
      description:
        - The CPUs as a cpulist. Of a policy that is offline only the first CPU is known.
      type: str
      sample: 0-15
    online:
      description: Whether they are online, so that it is the kernel that refuses the values.
      type: bool
      sample: true
    earlier:
      description: The values that could not be restored.
      type: dict
      sample: {governor: ondemand}
other_drivers:
  description:
    - CPUs for which values are remembered that they had under another driver. Nothing is done with these values before that driver is back.
  returned: when the host has frequency scaling
  type: list
  elements: dict
  contains:
    cpus:
      description: The CPUs as a cpulist.
      type: str
      sample: 0-15
    driver:
      description: Their driver now.
      type: str
      sample: amd-pstate
    earlier:
      description: The driver under which they had these values.
      type: str
      sample: amd-pstate-epp
conflicts:
  description: Services and scripts that set governors on this host too.
  returned: when the host has frequency scaling
  type: list
  elements: str
  sample: [tuned.service]
boot:
  description: The files that set this at boot, before and after, by path.
  returned: when the host has frequency scaling, or such files that are removed
  type: dict
  sample: {before: {}, after: {}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.governor_result import diff_of, warnings_of
from ansible_collections.corepin.proxmox.plugins.module_utils._host.governors import set_governors

SETTING = {"governor": {"type": "str"}, "epp": {"type": "str"}, "min_khz": {"type": "int"}, "max_khz": {"type": "int"}}


def main() -> None:
    """Set the governors and return what was changed."""
    module = AnsibleModule(
        argument_spec={
            "busy": {"type": "list", "elements": "dict", "options": {"cpus": {"type": "str", "required": True}, **SETTING}},
            "free": {"type": "dict", "options": SETTING},
            "persistent": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    try:
        result = set_governors(Tree(module.params["root"]), module.params, module.check_mode)
    except CorepinError as e:
        module.fail_json(msg=str(e))
    for warning in warnings_of(result):
        module.warn(warning)
    module.exit_json(diff=diff_of(result), **result)


if __name__ == "__main__":
    main()
