# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated host trees: what sysfs and procfs of well-known and of odd machines look like.

    from sysfs_trees import MODELS, write_tree
    root = write_tree("epyc-9354-nps4", tmp_path / "host")

or, from the folder tests/lab, `python -m sysfs_trees epyc-9354-nps4 DIRECTORY` and `python -m sysfs_trees --list`.
Standard library only; needs nothing else of this repository.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from .machines import machines
from .model import Core, CpufreqPolicy, Kernel, Model, Nic, NumaNode, Oddities, PciDevice, Processor
from .oddities import odd_models
from .write import write_model

__all__ = [
    "MODELS",
    "Core",
    "CpufreqPolicy",
    "Kernel",
    "Model",
    "Nic",
    "NumaNode",
    "Oddities",
    "PciDevice",
    "Processor",
    "write_tree",
]

MODELS: t.Dict[str, Model] = {model.name: model for model in (*machines(), *odd_models())}


def write_tree(model: t.Union[str, Model], directory: t.Union[str, os.PathLike[str]]) -> Path:
    """Write the tree of a model, or of the model with that name, below `directory` and return it.

    `directory` is made if absent and has to be empty otherwise (FileExistsError). An unknown name is a KeyError.
    """
    if isinstance(model, str):
        if model not in MODELS:
            raise KeyError(f"There is no host model {model!r}; there are {', '.join(MODELS)}.")
        model = MODELS[model]
    return write_model(model, directory)
