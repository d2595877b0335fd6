# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ACPI tables that give the machine's CPUs frequencies, so that the kernel's real cpufreq drivers serve them.

QEMU has no P-states of its own. `performance_states` lets acpi-cpufreq load: it controls frequencies through I/O ports
that lead nowhere. `cppc` lets amd-pstate load on a machine of AMD's: its registers lie in memory that the kernel is
told to leave alone, and each command to the platform is complete as soon as it is given.
"""

from __future__ import annotations

import struct
import subprocess
import typing as t
from pathlib import Path

# (MHz, milliwatts) from fastest to slowest
STATES = ((2800, 20000), (2400, 16000), (2000, 12000), (1600, 9000), (1200, 6000))
_CONTROL_PORT, _STATUS_PORT = 0x0E00, 0x0E04
_COORDINATION_HARDWARE = 0xFE
_COORDINATION_ALL = 0xFC

# Where the shared memory of CPPC lies: the end of the first GiB.
SHARED_MEMORY = 0x3FF00000
SHARED_MEMORY_PARAMETER = f"memmap=1M${SHARED_MEMORY:#x}"
_SUBSPACE_LENGTH = 0x10000
# ACPI 6.5, 14.2: signature (4 bytes), command (2), status (2), then the space that registers may use.
_STATUS = SHARED_MEMORY + 6
_REGISTERS, _REGISTERS_PER_CPU = 16, 0x40
_NOMINAL_MHZ, _LOWEST_MHZ = 2450, 400
_HIGHEST, _NOMINAL, _NONLINEAR, _LOWEST = 240, 160, 72, 24


def performance_states(cpu_count: int, cpus_per_policy: int = 1) -> str:
    """_PCT, _PSS, _PSD and _PPC (ACPI 6.5, 8.4.5) of every CPU; `cpus_per_policy` CPUs in a row share a frequency."""

    def body(cpu: int) -> t.List[str]:
        states = ", ".join(
            f"Package () {{{mhz}, {milliwatts}, 10, 10, {number}, {number}}}" for number, (mhz, milliwatts) in enumerate(STATES)
        )
        ports = ", ".join(f"ResourceTemplate () {{Register (SystemIO, 8, 0, {port:#06x})}}" for port in (_CONTROL_PORT, _STATUS_PORT))
        coordination = _COORDINATION_ALL if cpus_per_policy > 1 else _COORDINATION_HARDWARE
        domain = f"Package () {{5, 0, {cpu // cpus_per_policy}, {coordination:#x}, {cpus_per_policy}}}"
        return [
            f"Name (_PCT, Package () {{{ports}}})",
            f"Name (_PSS, Package () {{{states}}})",
            f"Name (_PSD, Package () {{{domain}}})",
            "Method (_PPC, 0) {Return (0)}",
        ]

    return _table("PSTATES", cpu_count, body)


def cppc(cpu_count: int) -> str:
    """_CPC of every CPU, revision 3 (ACPI 6.5, 8.4.6.1)."""
    unused = "ResourceTemplate () {Register (SystemMemory, 0, 0, 0, 0)}"

    def body(cpu: int) -> t.List[str]:
        first = _REGISTERS + cpu * _REGISTERS_PER_CPU

        def register(number: int) -> str:
            return f"ResourceTemplate () {{Register (PCC, 32, 0, {first + 4 * number:#x}, 0)}}"

        entries = {
            "entries": 23,
            "revision": 3,
            "highest performance": _HIGHEST,
            "nominal performance": _NOMINAL,
            "lowest nonlinear performance": _NONLINEAR,
            "lowest performance": _LOWEST,
            "guaranteed performance": unused,
            "desired performance": register(0),
            "minimum performance": register(1),
            "maximum performance": register(2),
            "performance reduction tolerance": unused,
            "time window": unused,
            "counter wraparound time": unused,
            "reference performance counter": register(3),
            "delivered performance counter": register(4),
            "performance limited": register(5),
            "enable": register(6),
            "autonomous selection": register(7),
            "autonomous activity window": unused,
            "energy performance preference": register(8),
            "reference performance": _NOMINAL,
            "lowest frequency": _LOWEST_MHZ,
            "nominal frequency": _NOMINAL_MHZ,
        }
        return [f"Name (_CPC, Package () {{{', '.join(map(str, entries.values()))}}})"]

    return _table("CPPC", cpu_count, body)


def platform_channel() -> bytes:
    """The table PCCT (ACPI 6.5, 14.1) with one channel, whose doorbell is the bit that says that a command is complete."""
    doorbell = struct.pack("<BBBBQ", 0, 16, 0, 2, _STATUS)
    keep, ring = 0xFFFF, 0x0001
    latency, requests_per_minute, turnaround = 1, 0, 0
    subspace = struct.pack("<BB6xQQ", 0, 62, SHARED_MEMORY, _SUBSPACE_LENGTH)
    subspace += doorbell + struct.pack("<QQIIH", keep, ring, latency, requests_per_minute, turnaround)
    content = struct.pack("<IQ", 0, 0) + subspace
    header = struct.pack("<4sIBB6s8sI4sI", b"PCCT", 36 + len(content), 1, 0, b"CORPIN", b"CPPC    ", 1, b"CRPN", 1)
    table = bytearray(header + content)
    table[9] = -sum(table) % 256
    return bytes(table)


def compile_table(source: str, target: Path) -> Path:
    """Turn ASL into `target` (.aml) with iasl."""
    text = target.with_suffix(".asl")
    text.write_text(source, encoding="ascii")
    done = subprocess.run(["iasl", "-p", str(target.with_suffix("")), str(text)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"iasl refused {text}: {done.stdout}{done.stderr}")
    return target


def _table(name: str, cpu_count: int, body: t.Callable[[int], t.List[str]]) -> str:
    """An SSDT that adds `body(cpu)` to each CPU where QEMU's own tables have it."""
    paths = [f"\\_SB.CPUS.C{cpu:03X}" for cpu in range(cpu_count)]
    lines = [f"External ({path}, ProcessorObj)" for path in paths]
    for cpu, path in enumerate(paths):
        lines += [f"Scope ({path}) {{", *body(cpu), "}"]
    return "\n".join([f'DefinitionBlock ("", "SSDT", 2, "CORPIN", "{name}", 1)', "{", *lines, "}", ""])
