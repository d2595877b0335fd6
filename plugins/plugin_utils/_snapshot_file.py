# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot and the text of its file.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._engine.errors import FactsError
from ansible_collections.corepin.proxmox.plugins.module_utils._engine.snapshot import Snapshot


def read_snapshot(text: t.Any) -> t.Dict[str, t.Any]:
    """The snapshot that the text of a file holds. Raises FactsError where it is none."""
    try:
        document = json.loads(str(text))
    except ValueError as e:
        raise FactsError(f"The snapshot file is not JSON ({e}); save the variable corepin_snapshot with the filter to_json.") from e
    Snapshot.from_dict(document)
    return t.cast("t.Dict[str, t.Any]", document)
