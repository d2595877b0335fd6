#!/usr/bin/python
# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: api_session
short_description: Log in to the API of Proxmox VE once for a whole play
version_added: 0.1.0
author:
  - corepin contributors (@corepin)
description:
  - Logs in with a password, and with a one-time password where the user has a second factor, and returns what the other modules
    of the collection take as O(api_session) in place of a login of their own.
  - Each module that logs in by itself takes one login, and PVE accepts a one-time password once only. With a session, one
    one-time password lasts for a whole play.
  - Given O(api_session), it renews that session, for which PVE asks for neither password nor one-time password.
  - An API token needs no login and no session; this module refuses it.
extends_documentation_fragment:
  - corepin.proxmox._connection
  - corepin.proxmox._attributes
  - corepin.proxmox._attributes.actiongroup_proxmox
attributes:
  check_mode:
    support: full
    details:
      - Logs in in check mode too, so that the tasks after it can read.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - Never reports a change, but logs in each time.
notes:
  - The result holds a ticket with all rights of the user. The task has to have C(no_log=true), and the module refuses to run without
    it. What it says when it fails is hidden then too; register the result and print its C(msg), which never holds a secret.
  - PVE signs tickets without keeping a list of them, and has no call to end one. A session ends by itself two hours after the login.
seealso:
  - module: corepin.proxmox.guest_info
  - module: corepin.proxmox.guest_placement
"""

EXAMPLES = r"""
- name: Log in once, with a second factor
  corepin.proxmox.api_session:
    api_host: pve1.example.com
    api_user: root@pam
    api_password: "{{ vault_root_password }}"
    api_otp: "{{ one_time_password }}"
    ca_path: /etc/ssl/certs/pve-root-ca.pem
  no_log: true
  failed_when: false
  delegate_to: localhost
  register: login

- name: Say why the login was refused
  ansible.builtin.fail:
    msg: "{{ login.msg }}"
  when: login.api_session is not defined

- name: Read the guests without another login
  corepin.proxmox.guest_info:
    api_session: "{{ login.api_session }}"
  delegate_to: localhost
  register: guest_info

- name: Renew the session in a play of several hours
  corepin.proxmox.api_session:
    api_session: "{{ login.api_session }}"
  no_log: true
  delegate_to: localhost
  register: login
"""

RETURN = r"""
api_session:
  description: What the other modules take as O(api_session).
  returned: success
  type: dict
  contains:
    host:
      description: Host of the PVE API.
      type: str
      sample: pve1.example.com
    port:
      description: Its port.
      type: int
      sample: 8006
    user:
      description: Who has logged in.
      type: str
      sample: root@pam
    ticket:
      description: The ticket. A secret.
      type: str
      sample: PVE:root@pam:6A0F2B31::c2lnbmF0dXJl
    csrf_token:
      description: The token that goes with every write. A secret.
      type: str
      sample: 6A0F2B31:c2lnbmF0dXJl
    expires:
      description: When the ticket ends, two hours after the login, in seconds since the epoch.
      type: int
      sample: 1779385361
    ca_path:
      description: File with the certificate authority, or null.
      type: str
      sample: /etc/ssl/certs/pve-root-ca.pem
    validate_certs:
      description: Whether the certificate of the host is verified.
      type: bool
      sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import CorepinError
from ansible_collections.corepin.proxmox.plugins.module_utils._pve.options import CONNECTION_OPTIONS, TOGETHER, need_proxmoxer, session_from


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=dict(CONNECTION_OPTIONS), required_together=TOGETHER, supports_check_mode=True)
    if not module.no_log:
        module.fail_json(msg="The result of this task holds a ticket; set no_log: true on the task (it has not logged in).")
    need_proxmoxer(module)
    try:
        session = session_from(module.params)
    except CorepinError as e:
        module.fail_json(msg=str(e))
    module.no_log_values -= {session["ticket"], session["csrf_token"]}  # two logins in one second give the same ticket
    module.exit_json(changed=False, api_session=session)


if __name__ == "__main__":
    main()
