#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's face of _host/irq_affinity.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: irq_affinity
short_description: Send interrupts of PCI devices to CPUs, and others off dedicated CPUs
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Sends the interrupts of the PCI devices or network interfaces in O(devices) to CPUs, one CPU for each vector, round robin in the
    order of the CPUs and beginning anew with each PCI function. So a queue's interrupt and the vCPU that works on it stay together.
  - Moves all other interrupts off the CPUs in O(keep_off).
  - An interrupt is judged by the CPU that it really goes to (C(effective_affinity_list)), and written to only where it is wrong.
    It is known by its PCI function and MSI index, as numbers change whenever a driver takes its interrupts anew.
  - What an interrupt had before is remembered until the next boot. It is restored with O(state=absent), and as soon as nothing
    asks for anything else. If the kernel refuses CPUs, everything is put back.
  - Interrupts that the kernel manages itself, such as the queues of NVMe disks, are reported and left alone.
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
  devices:
    description:
      - Devices and the CPUs for their interrupts. Each PCI function may be in one entry.
    type: list
    elements: dict
    suboptions:
      pci:
        description: A PCI function such as V(0000:41:00.0), or V(0000:41:00) for all functions of a device.
        type: str
      nic:
        description: A network interface. A bond, bridge or VLAN stands for the hardware beneath.
        type: str
      cpus:
        description: CPUs as a cpulist, for example V(8-11,40-43); its order counts. All have to be online.
        type: str
        required: true
      virtual_functions:
        description: Whether the virtual functions of the device belong to it. One that is named itself always does.
        type: bool
        default: false
      required:
        description:
          - Whether it is a mistake where the device does not exist on the host, or has a function that is protected. Otherwise it is
            left out, with a warning, and listed in RV(missing) or RV(refused).
        type: bool
        default: true
      vmid:
        description: The guest that has the device. It informs readers, and changes nothing.
        type: int
  keep_off:
    description:
      - CPUs as a cpulist, for example those of pinned guests, which are to have no other interrupts than those of O(devices).
    type: str
  protected:
    description:
      - Network interfaces that carry the cluster's traffic, for example of Corosync and Ceph; see the filter
        P(corepin.proxmox.cluster_nics#filter). Their interrupts stay as they are, and so do those of their physical function and of
        other functions of the same device that this host uses.
      - Without this option every interface by which the host talks is protected, which is every one that is no virtual function if one
        of the host's addresses shows no hardware beneath it (Open vSwitch, tunnels). V([]) protects none.
    type: list
    elements: str
  allow_protected:
    description:
      - Interfaces that may be touched all the same. One among O(protected) protects nothing then; one on the same card as such an
        interface may be touched itself, and the protected one stays so.
    type: list
    elements: str
  wait_seconds:
    description:
      - How long to wait for interrupts of O(devices) that has none. A guest's devices get theirs when its driver starts.
      - A guest may ask for them one by one. So the wait also takes place where a guest has the device and some of its interrupts are not
        in place, and it ends when no more of them have appeared for 1.5 seconds.
    type: float
    default: 0
  state:
    description:
      - V(present) makes the interrupts agree with O(devices) and O(keep_off).
      - V(absent) restores what all interrupts had before this module changed them.
    type: str
    choices: [present, absent]
    default: present
  root:
    description:
      - Directory below which the host's files are. Another one than V(/) is for trials with a copy.
    type: path
    default: /
notes:
  - A running irqbalance is told through its socket to leave these interrupts and CPUs alone, and is told otherwise when they are given
    back. It is never restarted. Where it cannot be told, a warning says what to put into C(/etc/default/irqbalance).
  - A line that a device shares with others is left alone.
  - Interrupts begin anew with every boot, and those of a guest's devices with every start of the guest. Run the module again then.
seealso:
  - module: corepin.proxmox.cpu_governor
  - plugin: corepin.proxmox.cluster_nics
    plugin_type: filter
  - name: SMP IRQ affinity
    description: The kernel's documentation of the files that are written.
    link: https://docs.kernel.org/core-api/irq/irq-affinity.html
"""

EXAMPLES = r"""
- name: Let the interrupts of a guest's virtual function go to the guest's CPUs
  corepin.proxmox.irq_affinity:
    devices:
      - pci: "0000:41:00.2"
        cpus: 8-11,40-43
    protected: "{{ ansible_facts.corepin_host | corepin.proxmox.cluster_nics }}"
    wait_seconds: 60
  become: true

- name: Keep all other interrupts off the CPUs of pinned guests as well
  corepin.proxmox.irq_affinity:
    devices:
      - pci: "0000:41:00.2"
        cpus: 8-11,40-43
    keep_off: 8-31,40-63
    protected: "{{ ansible_facts.corepin_host | corepin.proxmox.cluster_nics }}"
  become: true

- name: Restore what was set before
  corepin.proxmox.irq_affinity:
    state: absent
  become: true
"""

RETURN = r"""
interrupts:
  description:
    - The interrupts of O(devices), those on CPUs of O(keep_off), and those that are restored, by PCI function and MSI index.
  returned: success
  type: list
  elements: dict
  contains:
    device:
      description: The PCI function; null for an interrupt of another kind.
      type: str
      sample: "0000:41:00.2"
    index:
      description: The MSI index; null for a line.
      type: int
      sample: 0
    irq:
      description: The number that it has at present.
      type: int
      sample: 140
    users:
      description: Who asked for a line.
      type: list
      elements: str
      sample: []
    reason:
      description: V(device) for those of O(devices), V(keep_off), or V(restore).
      type: str
      sample: device
    state:
      description:
        - V(set), or why it stays as it is, namely V(kernel-managed), V(protected), V(shared), or V(gone) where it went meanwhile.
      type: str
      sample: set
    changed:
      description: Whether it had to be written to (in check mode, would have to be).
      type: bool
      sample: true
    before:
      description: The CPUs that it could go to, as a cpulist.
      type: str
      sample: 0-63
    after:
      description: The CPUs that it may go to now.
      type: str
      sample: "8"
    effective:
      description: The CPUs that it went to before; null where the kernel does not say.
      type: str
      sample: "12"
not_restored:
  description:
    - Interrupts that could not get back all of what they had, by PCI function and MSI index. It stays remembered until the next boot.
  returned: success
  type: list
  elements: str
  sample: []
without_interrupts:
  description: PCI functions of O(devices) that have no interrupts at present.
  returned: success
  type: list
  elements: str
  sample: []
missing:
  description: Devices of O(devices) that do not exist on the host and need not.
  returned: success
  type: list
  elements: str
  sample: []
refused:
  description: Devices of O(devices) that have a protected function, are not O(devices[].required), and were left out.
  returned: success
  type: list
  elements: str
  sample: []
irqbalance:
  description: What a running irqbalance leaves alone; null where none runs.
  returned: success
  type: dict
  contains:
    before:
      description: Interrupts by number, and CPUs as a cpulist.
      type: dict
      sample: {irqs: [], cpus: ""}
    after:
      description: The same afterwards.
      type: dict
      sample: {irqs: [140, 141], cpus: "8-31,40-63"}
    told:
      description: Whether it could be told what is wanted now, if anything had to be.
      type: bool
      sample: true
    settings:
      description: Lines for C(/etc/default/irqbalance), where it cannot be told.
      type: list
      elements: str
      sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.irq_affinity import set_interrupts
from ansible_collections.corepin.proxmox.plugins.module_utils._host.irq_result import diff_of, warnings_of

DEVICE = {
    "pci": {"type": "str"},
    "nic": {"type": "str"},
    "cpus": {"type": "str", "required": True},
    "virtual_functions": {"type": "bool", "default": False},
    "required": {"type": "bool", "default": True},
    "vmid": {"type": "int"},
}


def main() -> None:
    """Place the interrupts and return what was changed."""
    module = AnsibleModule(
        argument_spec={
            "devices": {
                "type": "list",
                "elements": "dict",
                "options": DEVICE,
                "mutually_exclusive": [("pci", "nic")],
                "required_one_of": [("pci", "nic")],
            },
            "keep_off": {"type": "str"},
            "protected": {"type": "list", "elements": "str"},
            "allow_protected": {"type": "list", "elements": "str"},
            "wait_seconds": {"type": "float", "default": 0},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    try:
        result = set_interrupts(Tree(module.params["root"]), module.params, module.check_mode)
    except CorepinError as e:
        module.fail_json(msg=str(e))
    for warning in warnings_of(result, module.params["wait_seconds"]):
        module.warn(warning)
    module.exit_json(diff=diff_of(result), **result)


if __name__ == "__main__":
    main()
