# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls that the lab answers, one module per branch of PVE's tree."""

from __future__ import annotations

from . import access, cluster, ha, lxc, mapping, migration, nodes, pools, power, qemu, snapshots  # noqa: F401  (each registers its calls)
from .registry import Call, answer

__all__ = ["Call", "answer"]
