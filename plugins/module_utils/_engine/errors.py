# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of exceptions that corepin's own code raises.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations


class CorepinError(Exception):
    """Something a person has to mend: one sentence with the name, the value and the fix."""


class GrammarError(CorepinError):
    """A text (cpulist, numaN value, config line) that does not follow its grammar."""


class FactsError(CorepinError):
    """A host fact or a snapshot that contradicts itself or lacks what planning needs."""


class PolicyError(CorepinError):
    """A policy variable with an unknown name or a value that is not allowed."""


class PlacementError(CorepinError):
    """A guest for which no allowed placement exists; `rule` names what refused it."""

    def __init__(self, message: str, rule: str = "no_room") -> None:
        super().__init__(message)
        self.rule = rule


class SettingError(CorepinError):
    """A setting (governor, frequency, interrupt, CPU mask) that a host does not have or refused."""


class PlanError(CorepinError):
    """A plan document that is missing, edited, outdated or made for something else."""
