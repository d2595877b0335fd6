# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A generated tree whose cpufreq files take and refuse writes as the kernel's drivers do.

Rules: admin-guide/pm/cpufreq.rst, intel_pstate.rst and amd-pstate.rst, and what kernel 6.12 was seen to do.
"""

from __future__ import annotations

import errno
import os
import typing as t

from ansible_collections.corepin.proxmox.plugins.module_utils._host.files import Tree

EPPS = ("default", "performance", "balance_performance", "balance_power", "power")
FIRMWARE_EPP = "balance_performance"  # what `default` stands for here
INTEL_NAMES = {"0": "performance", "128": "balance_performance", "192": "balance_power", "255": "power"}
STEP_KHZ = 1000  # the drivers' frequencies are whole steps


class RuledTree(Tree):
    """Every accepted write is listed in `writes` as (file, text); `refuse` maps files to an errno.

    `modules` are governors that the kernel loads when they are written.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.writes: t.List[t.Tuple[str, str]] = []
        self.refuse: t.Dict[str, int] = {}
        self.modules: t.Set[str] = set()

    def write(self, path: str, text: str) -> None:
        if path in self.refuse:
            raise OSError(self.refuse[path], os.strerror(self.refuse[path]))
        folder, name = path.rsplit("/", 1)
        rule = {
            "scaling_governor": self._governor,
            "energy_performance_preference": self._epp,
            "scaling_max_freq": self._maximum,
            "scaling_min_freq": self._minimum,
        }.get(name)
        if rule is not None:
            rule(folder, text)
        else:
            super().write(path, text)
        self.writes.append((path, text))

    def _put(self, folder: str, name: str, value: t.Any) -> None:
        super().write(f"{folder}/{name}", f"{value}\n")

    def _governor(self, folder: str, text: str) -> None:
        if text not in {*self.modules, *(self.words(f"{folder}/scaling_available_governors") or ())}:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._put(folder, "scaling_governor", text)
        if self._holds_preference(folder) and self.exists(f"{folder}/energy_performance_preference"):
            self._put(folder, "energy_performance_preference", "performance")
        self._show_preferences(folder)

    def _holds_preference(self, folder: str) -> bool:
        """The governor performance brings its preference and keeps it, but not under intel_cpufreq (intel_pstate.c)."""
        return self.word(f"{folder}/scaling_governor") == "performance" and self.word(f"{folder}/scaling_driver") != "intel_cpufreq"

    def _show_preferences(self, folder: str) -> None:
        """Under the governor performance amd-pstate shows only that preference, intel_pstate always all."""
        if self.word(f"{folder}/scaling_driver") == "amd-pstate-epp":
            held = self.word(f"{folder}/scaling_governor") == "performance"
            self._put(folder, "energy_performance_available_preferences", "performance" if held else " ".join(EPPS))

    def _epp(self, folder: str, text: str) -> None:
        numbers = map(str, range(256) if self.word(f"{folder}/scaling_driver") in ("intel_pstate", "intel_cpufreq") else ())
        if text not in {*numbers, *(self.words(f"{folder}/energy_performance_available_preferences") or ())}:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._holds_preference(folder) and text != "performance":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self._put(folder, "energy_performance_preference", FIRMWARE_EPP if text == "default" else INTEL_NAMES.get(text, text))

    def _whole_steps(self, folder: str, khz: int) -> int:
        """The hardware's own limits are taken as they are."""
        limits = (self.loose_number(f"{folder}/cpuinfo_{limit}_freq") for limit in ("min", "max"))
        return khz if khz in limits else khz // STEP_KHZ * STEP_KHZ

    def _maximum(self, folder: str, text: str) -> None:
        value = self._whole_steps(folder, int(text))
        self._put(folder, "scaling_max_freq", value)
        if (self.loose_number(f"{folder}/scaling_min_freq") or 0) > value:
            self._put(folder, "scaling_min_freq", value)

    def _minimum(self, folder: str, text: str) -> None:
        value = self._whole_steps(folder, int(text))
        self._put(folder, "scaling_min_freq", min(value, self.loose_number(f"{folder}/scaling_max_freq") or value))
