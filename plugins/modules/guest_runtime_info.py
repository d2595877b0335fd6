#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's face of _host/runtime.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_runtime_info
short_description: Read on which CPUs the threads of running guests may run
version_added: 0.1.0
description:
  - Reads, on a Proxmox VE host, what its running guests really have, as opposed to what their configs say. That is every thread
    of a VM with the CPUs that the kernel holds it to, the CPUs of its systemd scope, and where its memory lies.
  - Everything comes from C(procfs), the cgroups and the VM's QMP socket; no other program is run, and nothing is changed.
  - CPU sets are written as the kernel writes them, for example V(0-7,32-39).
author:
  - corepin contributors (@corepin)
extends_documentation_fragment:
  - corepin.proxmox._attributes
  - corepin.proxmox._attributes.info_module
options:
  vmids:
    description:
      - Read these guests alone. By default all that run on the host are read.
    type: list
    elements: int
  root:
    description:
      - Directory below which C(proc/), C(sys/) and C(run/) are read.
      - Set it to the directory of a captured host to read that one instead of the running host.
    type: path
    default: /
  node:
    description:
      - Name of the host in Proxmox VE.
      - By default this is the kernel's node name without its domain.
    type: str
notes:
  - Run it as root. The QMP socket is root's alone, and so is the memory of VMs that use huge pages; without it the names of the
    threads tell which is which, and RV(runtime[].memory_mib) is V(null) where nothing else says it.
  - The QMP socket serves one client at a time. It is asked for two seconds at most; while another client keeps it, the names of
    the threads tell which is which.
seealso:
  - module: corepin.proxmox.guest_info
  - module: corepin.proxmox.host_topology_facts
"""

EXAMPLES = r"""
- name: Read what the guests of the host really have
  corepin.proxmox.guest_runtime_info:
  become: true
  register: live

- name: Show the CPUs of each vCPU
  ansible.builtin.debug:
    msg: "{{ item.vmid }}: {{ item.threads | selectattr('role', 'eq', 'vcpu') | map(attribute='cpus') | join(' ') }}"
  loop: "{{ live.runtime }}"
  loop_control:
    label: "{{ item.vmid }}"

- name: Read one guest
  corepin.proxmox.guest_runtime_info:
    vmids: [101]
  become: true
"""

RETURN = r"""
node:
  description: Name of the host in Proxmox VE; V(null) where neither O(node) nor the kernel says.
  returned: success
  type: str
  sample: pve1
runtime:
  description:
    - The guests that run on the host, by number.
    - A value is V(null) where the kernel does not show it.
  returned: success
  type: list
  elements: dict
  contains:
    vmid:
      description: Number of the guest.
      type: int
      returned: always
      sample: 101
    type:
      description: V(qemu) for a VM, V(lxc) for a container.
      type: str
      returned: always
      sample: qemu
    pid:
      description: Process of the VM, or first process of the container.
      type: int
      returned: always
      sample: 5000
    started:
      description: When that process started, in clock ticks after the host's boot. Another start means another process.
      type: int
      returned: always
      sample: 184467
    scope:
      description: The guest's cgroup, relative to where the cgroups are mounted.
      type: str
      returned: always
      sample: qemu.slice/101.scope
    scope_cpus:
      description: The CPUs that the cgroup leaves to its processes.
      type: str
      returned: always
      sample: 0-3,32-35
    scope_cpus_asked:
      description:
        - What has been asked for in C(cpuset.cpus) of the cgroup (C(AllowedCPUs) of the systemd scope).
        - Empty where nothing has, V(null) where the cgroup has no cpuset.
      type: str
      returned: always
      sample: 0-3,32-35
    ids_from:
      description: Who told which thread is which vCPU. V(qmp) is QEMU itself, V(names) the names of the threads.
      type: str
      returned: always
      sample: qmp
    threads:
      description: The threads of a VM, by role, vCPUs by their numbers; empty for containers.
      type: list
      elements: dict
      returned: always
      contains:
        tid:
          description: The kernel's number of the thread.
          type: int
          returned: always
          sample: 5001
        pid:
          description: The process that the thread is of.
          type: int
          returned: always
          sample: 5000
        name:
          description: The thread's name, which the kernel cuts at 15 characters.
          type: str
          returned: always
          sample: CPU 0/KVM
        role:
          description:
            - What the thread does. V(vcpu) runs a vCPU, V(iothread) and V(vhost) serve disks and network interfaces.
            - V(emulator) is any other thread of QEMU, V(helper) a thread of another process of the VM, such as C(swtpm) or C(virtiofsd).
          type: str
          returned: always
          sample: vcpu
        vcpu:
          description: Number of the vCPU, also for a worker of io_uring that works for one (V(iothread)); V(null) for other threads.
          type: int
          returned: always
          sample: 0
        cpus:
          description: The CPUs that the kernel lets the thread run on.
          type: str
          returned: always
          sample: "0"
    processes:
      description: Of a container, how many of its processes may run on which CPUs; empty for VMs.
      type: list
      elements: dict
      returned: always
      sample: [{"cpus": "0-3", "count": 24}]
    memory_mib:
      description: Memory in MiB by NUMA node; NUMA nodes without any are left out.
      type: dict
      returned: always
      sample: {"0": 8192}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree
from ansible_collections.corepin.proxmox.plugins.module_utils._host.kernel import read_node_name
from ansible_collections.corepin.proxmox.plugins.module_utils._host.runtime import read_running


def main() -> None:
    """Read and return what runs."""
    module = AnsibleModule(
        argument_spec={
            "vmids": {"type": "list", "elements": "int"},
            "root": {"type": "path", "default": "/"},
            "node": {"type": "str"},
        },
        supports_check_mode=True,
    )
    tree = Tree(module.params["root"])
    try:
        running = read_running(tree, module.params["vmids"])
    except CorepinError as e:
        module.fail_json(msg=str(e))
    module.exit_json(changed=False, node=module.params["node"] or read_node_name(tree), runtime=[guest.as_facts() for guest in running])


if __name__ == "__main__":
    main()
