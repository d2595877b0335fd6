# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest runs: 64 KiB of firmware, after which all its vCPUs rest, or all of them write to its memory without end."""

from __future__ import annotations

import struct

SIZE = 0x10000
_RESET = 0xFFF0
_IDLE = bytes.fromhex("FA F4 EB FC")  # cli; hlt; jump back


def idle() -> bytes:
    """The first vCPU halts; the others wait for a start that never comes."""
    return _image(_IDLE)


def busy(memory_mib: int) -> bytes:
    """Each vCPU adds to one word of every page from 1 MiB to `memory_mib`, over and over; the first one starts the others.

    Others start at the same place, for the firmware also lies at 0xF0000 and a start interrupt names a page.
    """
    top = struct.pack("<I", memory_mib << 20).hex()
    return _image(
        bytes.fromhex(
            # 16 bits: into protected mode with flat segments
            "FA"  # 00 cli
            "2E 66 0F 01 16 00 01"  # 01 lgdt cs:[0x100]
            "0F 20 C0"  # 08 mov eax, cr0
            "0C 01"  # 0b or al, 1
            "0F 22 C0"  # 0d mov cr0, eax
            "66 EA 18 00 0F 00 08 00"  # 10 jmp 0x08:0xF0018
            # 32 bits: is this the first vCPU?
            "B8 10 00 00 00"  # 18 mov eax, 0x10
            "8E D8"  # 1d mov ds, ax
            "B9 1B 00 00 00"  # 1f mov ecx, 0x1B (IA32_APIC_BASE)
            "0F 32"  # 24 rdmsr
            "F6 C4 01"  # 26 test ah, 1
            "74 25"  # 29 jz 0x50
            # it is: enable the local APIC, then INIT and start-up interrupts to all others
            "C7 05 F0 00 E0 FE FF 01 00 00"  # 2b mov [0xFEE000F0], 0x1FF
            "C7 05 00 03 E0 FE 00 45 0C 00"  # 35 mov [0xFEE00300], 0xC4500
            "B9 00 00 01 00"  # 3f mov ecx, 0x10000
            "E2 FE"  # 44 loop 0x44
            "C7 05 00 03 E0 FE F0 46 0C 00"  # 46 mov [0xFEE00300], 0xC46F0
            # the work
            "BF 00 00 10 00"  # 50 mov edi, 0x100000
            "FF 07"  # 55 inc dword [edi]
            "81 C7 00 10 00 00"  # 57 add edi, 0x1000
            f"81 FF {top}"  # 5d cmp edi, top
            "72 F0"  # 63 jb 0x55
            "EB E9"  # 65 jmp 0x50
        )
    )


def _image(code: bytes) -> bytes:
    """The code at the start, the segment table at 0x100, and at the reset vector a jump to the start."""
    image = bytearray(SIZE)
    image[: len(code)] = code
    table = struct.pack("<QQQ", 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF)
    image[0x100:0x106] = struct.pack("<HI", len(table) - 1, 0xF0110)
    image[0x110 : 0x110 + len(table)] = table
    image[_RESET : _RESET + 3] = bytes.fromhex("E9 0D 00")  # jmp 0 in a segment of 64 KiB
    return bytes(image)
