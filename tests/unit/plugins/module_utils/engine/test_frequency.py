# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several wishes for CPUs that share a frequency."""

from __future__ import annotations

import pytest
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.frequency import Setting, fastest

RESOLVED = {
    "alone": ([Setting("powersave", "power", 1, 2)], Setting("powersave", "power", 1, 2)),
    "values one by one": (
        [Setting("powersave", "power", 1, 4), Setting("powersave", "default", 3, 3)],
        Setting("powersave", "default", 3, 4),
    ),
    "no maximum": ([Setting("performance"), Setting("schedutil", max_khz=2)], Setting("performance")),
    "minimum above the others' maximum": ([Setting(min_khz=3), Setting(max_khz=2)], Setting(min_khz=3)),
    "preference without a governor": ([Setting(epp="power"), Setting("powersave")], Setting("powersave", "power")),
    "preference of the slower governor": ([Setting("schedutil"), Setting("powersave", "default")], Setting("schedutil")),
    "performance": ([Setting(epp="power"), Setting("performance")], Setting("performance")),
    "unknown names": ([Setting("userspace"), Setting("powersave")], Setting("powersave")),
}


@pytest.mark.parametrize("name", RESOLVED)
def test_the_faster_wish_holds(name):
    wishes, resolved = RESOLVED[name]
    assert fastest(wishes) == resolved
    assert fastest(wishes[::-1]) == resolved
