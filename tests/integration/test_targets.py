# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of targets/ holds a playbook main.yml that checks what it did by itself, on two sorts of hosts.

Group `trees`: generated hosts, `corepin_root` being where the tree lies. Group `pythons`: this machine under each Python
that is found on it, from 3.9 on, with the tree of an EPYC 9354.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import TreeWriter
from .harness import ROOT, Controller, local_host

sys.path.insert(0, str(ROOT / "tests" / "tools"))
from pythons import find_pythons

TARGETS = sorted(path.parent for path in (ROOT / "tests" / "integration" / "targets").glob("*/main.yml"))
MODELS = ("epyc-9354-nps4", "epyc-7742-2s-nps4", "xeon-5118-2s-interleaved", "ryzen-5950x", "i9-13900", "altra-q80-30", "odd-no-l3")


@pytest.mark.parametrize("target", TARGETS, ids=lambda path: path.name)
def test_target(target: Path, controller: Controller, tree: TreeWriter) -> None:
    epyc = str(tree("epyc-9354-nps4"))
    pythons = {
        f"python{version}": local_host(ansible_python_interpreter=str(python), corepin_root=epyc)
        for version, python in find_pythons().items()
    }
    trees = {model: local_host(corepin_root=str(tree(model))) for model in MODELS}
    run = controller.playbook(target / "main.yml", {"trees": {"hosts": trees}, "pythons": {"hosts": pythons}})
    assert run.ok, run.output
    assert run.results
    assert "Traceback" not in run.output
