# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated Proxmox VE cluster for tests of PVE clients: see README.md beside this file.

from pve_lab import Cluster, Lab

with Lab(Cluster.from_dict({"nodes": [{"name": "pve1"}], "guests": [{"vmid": 100}]})) as lab:
    ...  # https://{lab.host}:{lab.port}/api2/json, certificate authority in lab.ca_path
"""

from __future__ import annotations

from .cluster import Cluster
from .door import Door, HostView
from .faults import Fault
from .lab import Lab
from .requests_log import Request

__all__ = ["Cluster", "Door", "Fault", "HostView", "Lab", "Request"]
