# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn on MSI-X of a PCI function that vfio-pci holds, as QEMU does for a guest whose driver has come up.

    vfio_vectors.py ADDRESS COUNT SECONDS

Its interrupts are in /proc/interrupts as long as the program runs. It runs on the lab host, on Python alone. Names and
numbers are those of linux/vfio.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
import time
from pathlib import Path


def _io(number: int) -> int:
    return ord(";") << 8 | 100 + number


VFIO_SET_IOMMU = _io(2)
VFIO_GROUP_SET_CONTAINER = _io(4)
VFIO_GROUP_GET_DEVICE_FD = _io(6)
VFIO_DEVICE_SET_IRQS = _io(10)
VFIO_TYPE1_IOMMU = 1
VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 2, 1 << 5
VFIO_PCI_MSIX_IRQ_INDEX = 2


def open_device(address: str) -> int:
    """A descriptor of the function, with its group in a container of its own. Both stay open until the program ends."""
    group_name = Path(f"/sys/bus/pci/devices/{address}/iommu_group").resolve().name
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    group = os.open(f"/dev/vfio/{group_name}", os.O_RDWR)
    fcntl.ioctl(group, VFIO_GROUP_SET_CONTAINER, struct.pack("i", container))
    fcntl.ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU)
    # Python's ioctl gives back its argument, but here the result is the descriptor.
    ioctl = ctypes.CDLL(None, use_errno=True).ioctl
    ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p]
    device: int = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address.encode())
    if device < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), address)
    return device


def turn_on(device: int, count: int) -> None:
    """Give each of the first `count` vectors an eventfd to signal."""
    descriptors = [os.eventfd(0) for _vector in range(count)]
    flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER
    request = struct.pack(f"5I{count}i", 20 + 4 * count, flags, VFIO_PCI_MSIX_IRQ_INDEX, 0, count, *descriptors)
    fcntl.ioctl(device, VFIO_DEVICE_SET_IRQS, request)


def main(address: str, count: str, seconds: str) -> None:
    turn_on(open_device(address), int(count))
    print("on", flush=True)
    time.sleep(float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
