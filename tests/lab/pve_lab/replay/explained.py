# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab differs from the recordings, and why that is right.

"FILE:NUMBER" of the exchange -> start of the difference -> reason. Nothing else may differ, and an entry that no
longer differs has to go.
"""

from __future__ import annotations

_OUR_TEXT = "the file edited by hand is not in the recording; ours has the same meaning, not the same bytes"
_SCRIPT = "the recorded hookscript printed this line itself; the lab's hookscripts print nothing"
_TUNNEL = "ssh's own complaint on the recorded machines"
_TWO_CPUS = "PVE on that machine believed in 64 CPUs, its kernel had two"
EXPLAINED: dict[str, dict[str, str]] = {
    "cluster-ha-pools-nodes:3": {"data.digest": "the file holds UUIDs and a time that PVE makes up when it creates a VM"},
    "cluster-ha-pools-nodes:18": {
        "data.ha.state": "PVE's resource manager had not taken the guest up yet; the lab has none and shows the request"
    },
    "hookscripts:8": {"the log lacks 'fail on pre-start'": _SCRIPT},
    "lxc-and-hand-edits:9": {"data.digest": _OUR_TEXT},
    "lxc-and-hand-edits:10": {"data.digest": _OUR_TEXT},
    "lxc-and-hand-edits:11": {"data.digest": _OUR_TEXT},
    "migration:4": {"the log lacks '2026-11-21 23:23:01 tunnel still running": _TUNNEL},
    "migration:10": {"in post-start the live CPUs were 0-3 instead of 0,1": _TWO_CPUS},
    "migration:17": {"in pre-stop the live CPUs were 0-3 instead of 0,1": _TWO_CPUS},
}
