#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's face of _host/sysfs.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_topology_facts
short_description: Gather a host's CPUs, caches, NUMA nodes and PCI devices as facts
version_added: 0.1.0
description:
  - Reads which CPUs a Linux host has and what they share (cores, L2 and L3 caches, NUMA nodes, packages), the memory and
    distances of its NUMA nodes, frequency scaling, PCI devices, network interfaces and kernel settings that matter for
    placing guests.
  - Everything comes from C(sysfs) and C(procfs), in one pass; no other program is run and no privileges are needed.
  - CPU sets are written as the kernel writes them, for example V(0-7,32-39).
author:
  - corepin contributors (@corepin)
extends_documentation_fragment:
  - corepin.proxmox._attributes
  - corepin.proxmox._attributes.facts_module
options:
  root:
    description:
      - Directory below which C(sys/) and C(proc/) are read.
      - Set it to the directory of a captured host to read that one instead of the running host.
    type: path
    default: /
  node:
    description:
      - Name of the host in Proxmox VE.
      - By default this is the kernel's node name without its domain.
    type: str
seealso:
  - module: ansible.builtin.setup
"""

EXAMPLES = r"""
- name: Gather the topology of the host
  corepin.proxmox.host_topology_facts:

- name: Show which CPUs share an L3 cache
  ansible.builtin.debug:
    msg: "{{ ansible_facts.corepin_host.l3_domains | map(attribute='cpus') }}"

- name: Read a captured host
  corepin.proxmox.host_topology_facts:
    root: /srv/captures/pve1
    node: pve1
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to C(ansible_facts).
  returned: always
  type: dict
  contains:
    corepin_host:
      description:
        - The host. A value is V(null) where the kernel does not show it.
        - Lists of packages, NUMA nodes, L3 domains and cores hold online CPUs only.
      returned: always
      type: dict
      contains:
        schema:
          description: Version of the shape of these facts.
          type: int
          returned: always
          sample: 1
        node:
          description: Name of the host in Proxmox VE.
          type: str
          returned: always
          sample: pve1
        gathered_at:
          description: When the facts were gathered (UTC, ISO 8601).
          type: str
          returned: always
          sample: "2026-01-31T12:00:00Z"
        fingerprint:
          description:
            - Identity of the layout, a SHA-256 in hexadecimal.
            - It covers CPUs, packages, cores, caches, NUMA nodes with their distances, and isolation asked for at boot; not memory
              sizes, drivers, or what changes at run time.
          type: str
          returned: always
          sample: d546fe866ea2fae9ecf445d1f8d10cf8f1b25898bebf18c79b76772c1cfbcf43
        architecture:
          description: The kernel's name of the processor architecture.
          type: str
          returned: always
          sample: x86_64
        vendor:
          description: The processor's vendor as in C(/proc/cpuinfo).
          type: str
          returned: always
          sample: AuthenticAMD
        model:
          description: The processor's model name as in C(/proc/cpuinfo).
          type: str
          returned: always
          sample: AMD EPYC 9354 32-Core Processor
        cpus:
          description: CPU sets, each a cpulist.
          type: dict
          returned: always
          contains:
            possible:
              description: CPUs that could be there.
              type: str
              returned: always
              sample: 0-63
            present:
              description: CPUs that are there.
              type: str
              returned: always
              sample: 0-63
            online:
              description: CPUs that are switched on.
              type: str
              returned: always
              sample: 0-63
            isolated:
              description: CPUs kept out of load balancing at boot (C(isolcpus)); empty if none.
              type: str
              returned: always
              sample: ""
            nohz_full:
              description: CPUs without a regular tick (C(nohz_full)); empty if none.
              type: str
              returned: always
              sample: ""
        packages:
          description: Processor packages (sockets).
          type: list
          elements: dict
          returned: always
          sample: [{"id": 0, "cpus": "0-63"}]
        dies:
          description: Dies, V(null) where the kernel shows none or each is just one core.
          type: list
          elements: dict
          returned: always
          sample: [{"id": 0, "cpus": "0-63"}]
        clusters:
          description: Clusters of cores, V(null) where the kernel shows none or each is just one core.
          type: list
          elements: dict
          returned: always
          sample: null
        l2_domains:
          description: L2 caches and the CPUs that share them, V(null) where there are none or each belongs to just one core.
          type: list
          elements: dict
          returned: always
          sample: null
        numa_nodes:
          description: NUMA nodes; a host without a NUMA directory has NUMA node 0 with all its CPUs and memory.
          type: list
          elements: dict
          returned: always
          contains:
            id:
              description: The kernel's number of the NUMA node.
              type: int
              returned: always
              sample: 0
            cpus:
              description: Its online CPUs; empty for memory without CPUs.
              type: str
              returned: always
              sample: 0-7,32-39
            memory_mib:
              description: Memory in MiB.
              type: int
              returned: always
              sample: 128654
            memory_free_mib:
              description: Unused memory in MiB.
              type: int
              returned: always
              sample: 96490
            distances:
              description: Distance to each NUMA node by its number; 10 is local.
              type: dict
              returned: always
              sample: {"0": 10, "1": 12, "2": 12, "3": 12}
            hugepages:
              description: Huge pages by page size in KiB.
              type: dict
              returned: always
              sample: {"2048": {"total": 0, "free": 0}}
        l3_domains:
          description: L3 caches and the CPUs that share them; an empty list where there is none.
          type: list
          elements: dict
          returned: always
          contains:
            id:
              description:
                - The kernel's number of the cache.
                - Where not every L3 cache has a number of its own, they are numbered from 0 by their lowest CPU.
              type: int
              returned: always
              sample: 0
            cpus:
              description: The CPUs that share it.
              type: str
              returned: always
              sample: 0-3,32-35
            size_kib:
              description: Size in KiB.
              type: int
              returned: always
              sample: 32768
            numa_node:
              description: The NUMA node that holds all its CPUs; V(null) if there are several or none.
              type: int
              returned: always
              sample: 0
        cores:
          description: The online CPUs of each core, by lowest CPU.
          type: list
          elements: str
          returned: always
          sample: ["0,32", "1,33", "2,34", "3,35"]
        core_types:
          description: CPUs of the C(performance) and C(efficiency) cores of a hybrid processor, V(null) where all cores are of one type.
          type: dict
          returned: always
          sample: {"performance": "0-15", "efficiency": "16-31"}
        cpufreq:
          description: Frequency scaling, equal settings once; V(null) where the host has none.
          type: list
          elements: dict
          returned: always
          contains:
            cpus:
              description: The CPUs with these settings.
              type: str
              returned: always
              sample: 0-63
            shared:
              description: The CPUs of each frequency policy among them that has several; CPUs of one policy have the same settings.
              type: list
              elements: str
              returned: always
              sample: []
            driver:
              description: Scaling driver.
              type: str
              returned: always
              sample: amd-pstate-epp
            governor:
              description: Governor in force.
              type: str
              returned: always
              sample: powersave
            governors:
              description: Governors that can be chosen.
              type: list
              elements: str
              returned: always
              sample: [performance, powersave]
            epp:
              description: Energy performance preference in force.
              type: str
              returned: always
              sample: balance_performance
            epps:
              description: Energy performance preferences that can be chosen.
              type: list
              elements: str
              returned: always
              sample: [default, performance, balance_performance, balance_power, power]
            min_khz:
              description: Lower bound in force, in kHz.
              type: int
              returned: always
              sample: 400000
            max_khz:
              description: Upper bound in force, in kHz.
              type: int
              returned: always
              sample: 3799072
            boost:
              description: Whether frequencies above the nominal one are allowed.
              type: bool
              returned: always
              sample: true
        pci_devices:
          description: PCI functions; V(null) where the host has no PCI bus.
          type: list
          elements: dict
          returned: always
          sample:
            - address: "0000:41:00.0"
              class: "0x020000"
              vendor: "0x15b3"
              device: "0x101d"
              driver: mlx5_core
              numa_node: 1
              local_cpus: 8-15,40-47
              iommu_group: 40
              irqs: [130, 131, 132, 133]
              physical_function: null
              virtual_functions: ["0000:41:00.2", "0000:41:00.3"]
        nics:
          description:
            - Network interfaces that are hardware, have an address, or stand on one of these (bridges, bonds, VLANs).
            - RV(ignore:lower) are those that it stands on, RV(ignore:master) is the bridge or bond that it is a port of.
            - An IPv4 address whose network is on several interfaces is listed with each of them.
          type: list
          elements: dict
          returned: always
          sample:
            - name: vmbr0
              pci: null
              addresses: ["192.0.2.11/24"]
              master: null
              lower: ["enp65s0f0np0"]
        cluster_networks:
          description:
            - Addresses of Corosync's links on all hosts, and networks and monitors of Ceph, from the files below C(/etc/pve).
            - V(null) where they are not known, for example because only root may read them; V([]) for a host in no cluster and
              without Ceph.
          type: list
          elements: str
          returned: always
          sample: ["192.0.2.11", "192.0.2.12", "10.20.0.0/24"]
        kernel:
          description: The kernel's release, and the isolation parameters of its command line.
          type: dict
          returned: always
          sample: {"release": "6.14.8-2-pve", "cmdline_isolation": {"isolcpus": "2-3"}}
        numa_balancing:
          description: The kernel's automatic NUMA balancing (0 is off).
          type: int
          returned: always
          sample: 1
        ksm:
          description: Whether the kernel merges equal memory pages (C(run) is 1), and across NUMA nodes.
          type: dict
          returned: always
          sample: {"run": 0, "merge_across_nodes": 1}
        swap_mib:
          description: Swap space in MiB.
          type: int
          returned: always
          sample: 8192
        psi:
          description: Pressure stall information per resource, averages in percent.
          type: dict
          returned: always
          sample: {"cpu": {"some": {"avg10": 1.25, "avg60": 0.4, "avg300": 0.1}}}
        irqbalance:
          description:
            - Whether the service irqbalance runs, and the CPUs that C(/etc/default/irqbalance) keeps it from.
            - V(null) where the host does not show its services.
          type: dict
          returned: always
          sample: {"running": false, "banned_cpus": ""}
        ceph:
          description:
            - Ceph daemons of the host's services that run, by kind.
            - V(null) where the host does not show its services.
          type: dict
          returned: always
          sample: {"osd": 6, "mon": 1, "mgr": 1, "mds": 0}
        zfs:
          description:
            - What the ARC of ZFS may grow to in MiB (C(arc_max_mib)), V(0) on a host without ZFS.
            - V(null) where the host does not tell.
          type: dict
          returned: always
          sample: {"arc_max_mib": 16384}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._host.sysfs import read_host


def main() -> None:
    """Gather and return the facts."""
    module = AnsibleModule(
        argument_spec={"root": {"type": "path", "default": "/"}, "node": {"type": "str"}},
        supports_check_mode=True,
    )
    try:
        facts = read_host(module.params["root"], module.params["node"])
    except CorepinError as e:
        module.fail_json(msg=str(e))
    module.exit_json(ansible_facts={"corepin_host": facts})


if __name__ == "__main__":
    main()
