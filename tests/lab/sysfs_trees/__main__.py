# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m sysfs_trees MODEL DIRECTORY` writes one tree; `--list` shows the models."""

from __future__ import annotations

import argparse
import sys
import typing as t

from . import MODELS, write_tree


def main(arguments: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sysfs_trees", description="Write the sysfs and procfs tree of a host model.")
    parser.add_argument("--list", action="store_true", help="show the models and end")
    parser.add_argument("model", nargs="?", help="name of a model")
    parser.add_argument("directory", nargs="?", help="where to write the tree; made if absent, else empty")
    options = parser.parse_args(arguments)
    if options.list:
        for name, model in MODELS.items():
            print(f"{name:26} {len(model.present):>4} CPUs  {model.description}")
        return 0
    if not options.model or not options.directory:
        parser.error("name a model and a directory, or use --list")
    try:
        root = write_tree(options.model, options.directory)
    except (KeyError, OSError) as e:
        parser.exit(1, f"{e.args[0] if isinstance(e, KeyError) else e}\n")
    print(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
