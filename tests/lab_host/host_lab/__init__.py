# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host to test on: a QEMU machine with a kernel of its own that stands for a Proxmox VE host. See ../README.md."""
