# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that connect to PVE; the argument specification is in module_utils/_pve/options.py.

Note that this doc fragment is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations


class ModuleDocFragment:
    """The options of both doors: the API where O(api_host) or O(api_session) is given, else a PVE host as root."""

    DOCUMENTATION = r"""
options:
  api_host:
    description:
      - Host of the PVE API, any one of the cluster. One login serves the whole cluster.
      - Without it the module works on the host that it runs on, which has to be a PVE host, as root and without
        any login, and needs neither C(proxmoxer) nor C(requests). It reads C(/etc/pve), or the folder that the environment
        variable E(COREPIN_ETC_PVE) names for a simulated host, and finds C(qm) and C(pvesh) by E(PATH).
      - Uses the E(PROXMOX_HOST) environment variable if not specified.
    type: str
  api_port:
    description:
      - Port of the PVE API.
      - Uses the E(PROXMOX_PORT) environment variable if not specified.
    type: int
    default: 8006
  api_user:
    description:
      - User to log in as, with its realm.
      - Uses the E(PROXMOX_USER) environment variable if not specified.
    type: str
    default: root@pam
  api_password:
    description:
      - Password of O(api_user), or a ticket that is still valid.
      - Where both are given, it wins over the API token.
      - Uses the E(PROXMOX_PASSWORD) environment variable if not specified.
    type: str
  api_otp:
    description:
      - One-time password (TOTP), where O(api_user) has a second factor. Each is valid once only, so that a play with several tasks
        logs in with M(corepin.proxmox.api_session) and gives the others O(api_session).
      - Uses the E(PROXMOX_OTP) environment variable if not specified.
    type: str
  api_token_id:
    description:
      - Name of an API token of O(api_user), the part after the exclamation mark.
      - PVE lets no token set C(affinity) and some other keys, not even one of V(root@pam).
      - Uses the E(PROXMOX_TOKEN_ID) environment variable if not specified.
    type: str
  api_token_secret:
    description:
      - Secret of the API token.
      - Uses the E(PROXMOX_TOKEN_SECRET) environment variable if not specified.
    type: str
  ca_path:
    description:
      - File with the certificate authority that signed the certificate of O(api_host). That of a PVE cluster is
        C(/etc/pve/pve-root-ca.pem) on its hosts.
      - Without it the authorities that C(requests) knows are used, which the variable E(REQUESTS_CA_BUNDLE) replaces.
        The variable has no effect where O(ca_path) or O(validate_certs=false) is given.
      - Uses the E(PROXMOX_CA_PATH) environment variable if not specified.
    type: path
  validate_certs:
    description:
      - Whether to verify the certificate of O(api_host).
      - Uses the E(PROXMOX_VALIDATE_CERTS) environment variable if not specified.
    type: bool
    default: true
  api_timeout:
    description:
      - Seconds to wait for each answer of the API.
      - The default is above the 10 seconds for which PVE waits for the lock of a guest, and above the 30 seconds after
        which the answering host gives up on another one that is down, so that PVE's own answer arrives. A client that
        gives up earlier does not stop what it asked for.
      - Uses the E(PROXMOX_API_TIMEOUT) environment variable if not specified.
    type: int
    default: 35
  concurrency:
    description:
      - How many requests that only read are under way at once.
    type: int
    default: 8
  api_session:
    description:
      - The session that M(corepin.proxmox.api_session) returned, so that a play logs in once. A one-time password is valid
        once only.
      - It says where, as whom and how verified, and wins over all options and environment variables that say so too, from
        O(api_host) to O(validate_certs).
      - PVE lets a ticket serve for two hours. In its second hour it is renewed for as long as the task lasts.
    type: dict
    suboptions:
      host:
        description: Host of the PVE API.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 8006
      user:
        description: Who has logged in.
        type: str
        required: true
      ticket:
        description: The ticket, which goes with every request.
        type: str
        required: true
      csrf_token:
        description: The token that goes with every write as well.
        type: str
        required: true
      expires:
        description: When the ticket ends, in seconds since the epoch.
        type: int
        required: true
      ca_path:
        description: File with the certificate authority that signed the host's certificate.
        type: path
      validate_certs:
        description: Whether to verify that certificate.
        type: bool
        default: true
notes:
  - The options have the names that community.proxmox gives them, and so have the environment variables, so that one
    C(module_defaults) block of C(group/corepin.proxmox.proxmox) serves both collections. Version 1.4.0 of community.proxmox
    does not have O(api_otp), O(ca_path) and O(api_timeout) yet.
requirements:
  - proxmoxer >= 2.0.1 and requests, only where O(api_host) or O(api_session) is given
"""
