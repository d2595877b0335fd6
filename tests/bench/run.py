# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks: the plans' quality and speed beside the engine's peers, and applying beside a loop of proxmox_kvm."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_importable() -> None:
    """The lab, and the collection by its full name, through a link in .ansible where the checkout lies elsewhere."""
    sys.path.insert(0, str(ROOT / "tests" / "lab"))
    if ROOT.parts[-3:] == ("ansible_collections", "corepin", "proxmox"):
        sys.path.insert(0, str(ROOT.parents[2]))
        return
    link = ROOT / ".ansible" / "collections" / "ansible_collections" / "corepin" / "proxmox"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(Path("..", "..", "..", ".."), target_is_directory=True)
    sys.path.insert(0, str(link.parents[2]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller instances: under two minutes")
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/benchmark.md and the plots beside it")
    parser.add_argument("--only", choices=["place", "apply"], help="one of the two benchmarks alone")
    arguments = parser.parse_args()
    make_importable()
    codes = []
    if arguments.only != "apply":
        from placebench import program

        codes.append(program.run(quick=arguments.quick, write=arguments.write))
    if arguments.only != "place":
        import applybench

        codes.append(applybench.run(quick=arguments.quick, write=arguments.write))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
