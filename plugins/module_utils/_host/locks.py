# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a lock, but not for ever.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import fcntl
import time

from .._engine.errors import SettingError

_PAUSE_S = 0.1


def lock(descriptor: int, path: str, wait_s: float) -> bool:
    """Lock the open file or folder at `path` for this process alone (flock(2)); False where another one has it after `wait_s` seconds.

    Raises SettingError where its file system has no locks.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
        except OSError as e:
            raise SettingError(f"{path} could not be locked ({e.strerror}); put it on a file system that has locks.") from None
        time.sleep(_PAUSE_S)
