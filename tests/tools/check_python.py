# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends with one sentence where this Python cannot carry the environment: the Makefile asks before it makes one."""

import sys

if sys.version_info < (3, 11):
    found = sys.version.split()[0]
    sys.exit("Python " + found + " is too old for ansible-core 2.19: name a newer one, as in `make setup PYTHON=python3.11`.")

try:
    __import__("ensurepip")
    __import__("venv")
except ImportError:
    sys.exit("Python at " + sys.executable + " lacks its venv module: install it, as in `apt-get install python3-venv`.")
