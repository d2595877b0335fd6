# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual functions of the lab host's SR-IOV NIC, and interrupts of those that vfio-pci holds."""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from dataclasses import dataclass

from .machines import SRIOV_NIC
from .programs import VECTORS
from .remote import Remote

_DEVICES = "/sys/bus/pci/devices"


@dataclass(frozen=True)
class Sriov:
    remote: Remote
    address: str = SRIOV_NIC.address

    @property
    def removal(self) -> str:
        """A line of shell that leaves no virtual function."""
        number = f"{_DEVICES}/{self.address}/sriov_numvfs"
        return f"if [ $(cat {number}) != 0 ]; then echo 0 >{number}; fi"

    def create(self, count: int, driver: t.Optional[str] = "vfio-pci") -> t.List[str]:
        """Make `count` virtual functions (at most 7), bound to `driver` (None: to the kernel's own); their addresses.

        Those that there are go first; 0 leaves none.
        """
        nic = f"{_DEVICES}/{self.address}"
        if not count:
            self.remote.run(self.removal)
            return []
        automatic = int(driver is None)
        self.remote.run(f"modprobe vfio-pci; echo {automatic} >{nic}/sriov_drivers_autoprobe; echo 0 >{nic}/sriov_numvfs")
        self.remote.run(f"echo {count} >{nic}/sriov_numvfs")
        links = self.remote.run(f"for link in {nic}/virtfn*; do [ -e $link ] && basename $(readlink $link); done; true")
        addresses = sorted(links.stdout.split())
        for address in addresses if driver else []:
            device = f"{_DEVICES}/{address}"
            self.remote.run(f"echo {driver} >{device}/driver_override && echo {address} >/sys/bus/pci/drivers_probe")
        return addresses

    @contextlib.contextmanager
    def vectors(self, address: str, count: int, seconds: float = 3600) -> t.Iterator[t.Dict[int, int]]:
        """While it is open, the function's MSI-X is on with `count` vectors, as while a guest uses it: MSI index -> interrupt."""
        unit = "vectors-" + re.sub(r"\W", "-", address)
        program = f"{VECTORS} {address} {count} {seconds}"
        self.remote.run(f"systemd-run --quiet --unit={unit} --collect --service-type=exec {program}")
        try:
            yield self._wait_for(address, count)
        finally:
            self.remote.run(f"systemctl stop {unit}", check=False)

    def send_elsewhere(self, vectors: t.Mapping[int, int], cpus: str) -> None:
        """Allow interrupts a cpulist of others than the CPUs that a test wants for them.

        The kernel chooses one of those that it allows by itself: where that is the one that is wanted, a module has nothing to
        write, and so nothing to remember.
        """
        for number in vectors.values():
            self.remote.run(f"echo {cpus} >/proc/irq/{number}/smp_affinity_list")

    def _wait_for(self, address: str, count: int, seconds: float = 120) -> t.Dict[int, int]:
        end = time.monotonic() + seconds
        while len(found := self.interrupts(address)) != count:
            if time.monotonic() > end:
                raise TimeoutError(f"{address} has {len(found)} interrupts instead of {count} after {seconds:.0f} s.")
            time.sleep(0.2)
        return found

    def interrupts(self, address: str) -> t.Dict[int, int]:
        """MSI index -> number of the interrupt, of a function that vfio-pci holds."""
        lines = self.remote.run(f"grep 'vfio-msix.*({address})' /proc/interrupts", check=False).stdout.splitlines()
        found = [re.match(r"\s*(\d+):.*vfio-msix\[(\d+)\]", line) for line in lines]
        return {int(match.group(2)): int(match.group(1)) for match in found if match}
