#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_info
short_description: Read all guests of a Proxmox VE cluster and what decides where they run
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Reads every VM and container of a cluster with its stored config, its pending changes and its digest, and the cluster
    itself with its hosts, HA rules and PCI mappings, in one pass and one login.
  - What it returns goes into the filter P(corepin.proxmox.snapshot#filter).
  - With O(api_host) it asks the API. Without it, it reads the cluster file system of the PVE host on which it runs, as root. Both
    give the same result; any one host or API of the cluster sees all of it.
extends_documentation_fragment:
  - corepin.proxmox._connection
  - corepin.proxmox._attributes
  - corepin.proxmox._attributes.info_module
  - corepin.proxmox._attributes.actiongroup_proxmox
notes:
  - Over the API the role PVEAuditor on C(/) is enough. A login with less is refused, because PVE would hide guests from it, whose
    CPUs would then look free.
  - A guest on an offline host, and one that disappears while the cluster is read, are reported in RV(unread) and do not fail the
    module.
  - A line of a config file that PVE does not understand is lost with the next write by anybody. Only the file itself shows such
    lines, so that warnings about them come without O(api_host) alone.
seealso:
  - plugin: corepin.proxmox.snapshot
    plugin_type: filter
  - module: corepin.proxmox.guest_placement
"""

EXAMPLES = r"""
- name: Read the guests on one host of the cluster, without any credentials
  corepin.proxmox.guest_info:
  become: true
  run_once: true
  register: guest_info

- name: Read the guests over the API
  corepin.proxmox.guest_info:
    api_host: pve1.example.com
    api_user: auditor@pve
    api_token_id: corepin
    api_token_secret: "{{ vault_pve_token }}"
    ca_path: /etc/ssl/certs/pve-root-ca.pem
  delegate_to: localhost
  register: guest_info

- name: Show which guests still wait for their next start
  ansible.builtin.debug:
    msg: "{{ guest_info.guests | selectattr('pending') | map(attribute='vmid') }}"
"""

RETURN = r"""
guests:
  description:
    - All VMs and containers, templates too, by vmid.
    - RV(guests[].affinity), RV(guests[].numa_cells), RV(guests[].vcpus) and RV(guests[].memory_mib) are those of the stored
      config; what the next start changes about them is in RV(guests[].pending).
  returned: success
  type: list
  elements: dict
  contains:
    vmid:
      description: Number of the guest.
      type: int
      sample: 101
    type:
      description: V(qemu) for a VM, V(lxc) for a container.
      type: str
      sample: qemu
    name:
      description: Its name; of a container its hostname.
      type: str
      sample: db-main
    node:
      description: The host it is on.
      type: str
      sample: pve1
    status:
      description: V(running), V(stopped), or V(unknown) on an offline host.
      type: str
      sample: running
    template:
      description: Whether it is a template.
      type: bool
      sample: false
    lock:
      description: What its config is locked by, or null.
      type: str
      sample: null
    protection:
      description: Whether it is protected against removal.
      type: bool
      sample: false
    tags:
      description: Its tags.
      type: list
      elements: str
      sample: [database, prod]
    pool:
      description: Its resource pool, or null.
      type: str
      sample: databases
    ha:
      description: Null unless it is managed by HA.
      type: dict
      contains:
        state:
          description: The state that is asked of HA.
          type: str
          sample: started
        group:
          description: Its HA group (PVE 8 and earlier), or null.
          type: str
          sample: null
        rules:
          description: Names of the enabled RV(cluster.ha_rules) that name it.
          type: list
          elements: str
          sample: [db-on-big-hosts]
    digest:
      description: SHA-1 of its config file, by which a write notices that somebody else has changed it.
      type: str
      sample: d049b8d09c39d4a323e651f942956b7123028e67
    config:
      description:
        - The stored config by PVE's keys, all values as texts; of a container also its raw C(lxc.*) keys.
        - Empty where the guest is in RV(unread). A password in it is masked.
      type: dict
      sample: {affinity: 0-3, cores: "4", memory: "8192", numa: "1", numa0: "cpus=0-3,hostnodes=0,memory=8192,policy=bind"}
    pending:
      description: Changes that wait for the next start, by key; null for a key that will be removed.
      type: dict
      sample: {affinity: 4-7, numa0: null}
    vcpus:
      description:
        - Cores times sockets of a VM.
        - Cores of a container; null for one that may use all CPUs.
      type: int
      sample: 4
    memory_mib:
      description: Its memory in MiB.
      type: int
      sample: 8192
    affinity:
      description: Its affinity as it is stored, or null. V(0) has no effect in PVE; V(0-0) is CPU 0.
      type: str
      sample: 0-3
    numa_cells:
      description: Its NUMA nodes by number; empty without C(numa), and (with a warning) where one of them cannot be read.
      type: list
      elements: dict
      contains:
        cpus:
          description: vCPU numbers.
          type: str
          sample: 0-3
        hostnodes:
          description: NUMA nodes of the host that its memory comes from, or null.
          type: str
          sample: "0"
        memory_mib:
          description: Memory in MiB, or null where none is stored.
          type: int
          sample: 8192
        policy:
          description: V(bind), V(preferred), V(interleave), or null.
          type: str
          sample: bind
    hostpci:
      description:
        - Addresses of the PCI devices that are passed through to it, also those behind a mapping of the cluster.
        - Of a mapping with several devices on the host all are listed, as PVE takes a free one at each start.
      type: list
      elements: str
      sample: ["0000:01:00.0"]
    hugepages:
      description: V(2), V(1024), V(any), or null.
      type: str
      sample: "1024"
cluster:
  description: The cluster.
  returned: success
  type: dict
  contains:
    name:
      description: Its name; of a host in no cluster the name of that host.
      type: str
      sample: production
    quorate:
      description: Whether it has a quorum; without one PVE writes nothing.
      type: bool
      sample: true
    nodes:
      description: Its hosts, by name.
      type: list
      elements: dict
      contains:
        name:
          description: The host's name.
          type: str
          sample: pve1
        ip:
          description: Its address in the cluster network, or null.
          type: str
          sample: 192.0.2.11
        online:
          description: Whether it is online.
          type: bool
          sample: true
    ha_rules:
      description: HA rules; the groups of PVE 8 and earlier in the shape of the rules that PVE 9 makes of them.
      type: list
      elements: dict
      contains:
        rule:
          description: Name of the rule or group.
          type: str
          sample: db-on-big-hosts
        type:
          description: V(node-affinity) or V(resource-affinity).
          type: str
          sample: node-affinity
        source:
          description: V(rule) or V(group).
          type: str
          sample: rule
        affinity:
          description: V(positive) or V(negative).
          type: str
          sample: positive
        strict:
          description: Whether the guests may run on RV(cluster.ha_rules[].nodes) alone.
          type: bool
          sample: true
        enabled:
          description: Whether the rule is in force.
          type: bool
          sample: true
        vmids:
          description: The guests it is about.
          type: list
          elements: int
          sample: [101]
        nodes:
          description: The hosts it is about, each with its C(name) and C(priority).
          type: list
          elements: dict
          sample: [{name: pve1, priority: 0}, {name: pve2, priority: 2}]
    crs:
      description: Settings of the cluster resource scheduler; empty where all are at their defaults.
      type: dict
      sample: {ha: static, ha-rebalance-on-start: true}
    pci_mappings:
      description: PCI mappings, each with its C(id) and its C(devices) by host.
      type: list
      elements: dict
      sample: [{id: gpu, devices: [{node: pve1, addresses: ["0000:01:00.0"]}]}]
    version:
      description: Version of PVE on the host that answered.
      type: str
      sample: 9.2.6
unread:
  description: Guests whose config could not be read, and why. Those that are gone are not in RV(guests).
  returned: success
  type: list
  elements: dict
  contains:
    vmid:
      description: Number of the guest.
      type: int
      sample: 200
    node:
      description: The host it was listed on.
      type: str
      sample: pve3
    reason:
      description: Why.
      type: str
      sample: its host is offline
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.guests import guest_info
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.options import CONNECTION_OPTIONS, TOGETHER, open_door


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=dict(CONNECTION_OPTIONS), required_together=TOGETHER, supports_check_mode=True)
    try:
        info, warnings = guest_info(open_door(module).read_cluster())
    except CorepinError as e:
        module.fail_json(msg=str(e))
    for warning in warnings:
        module.warn(warning)
    module.exit_json(changed=False, **info)


if __name__ == "__main__":
    main()
