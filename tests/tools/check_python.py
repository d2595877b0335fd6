# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends with one sentence where this Python cannot carry the environment: the Makefile asks before it makes one."""

import sys

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    sys.exit("Python %d.%d is too old for ansible-core 2.19: name a newer one, as in `make setup PYTHON=python3.11`." % sys.version_info[:2])
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("Python at %s lacks its venv module: install it, as in `apt-get install python3-venv`." % sys.executable)
