# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences from other readers that are not ours to mend, one by one: (capture, level, reader) -> reason.

Readers: lstopo, lscpu, libvirt and libvirt-counts are the answers that shared captures come with; hwloc-ls and lscpu the
programs installed here; hwloc-suite and util-linux-suite the outputs that these packages expect of their own tests.
"""

from __future__ import annotations

import typing as t

BULLDOZER = "Linux counts the two threads of a Bulldozer module as siblings of one core; hwloc corrects them to cores from cpuinfo"
CROSSING_NUMA = "the made-up CPUs of NUMA nodes 4 and 5 cross those of 3 and of packages: lstopo cannot draw them, the kernel lists them"
FOREIGN_MASKS = "the capture's masks were edited to contradict its cpulists; we go by the cpulists, others by the masks"
NO_SIBLINGS = "the capture has no thread_siblings, without which lscpu takes all CPUs for one core; hwloc and we do not"
PACKAGE_IDS_TWICE = "each physical_package_id stands for two packages: the answer groups by id, we go by core_siblings (as lscpu does)"
KNL_CACHE = "hwloc makes the L3 of Knights Landing from its memory side cache; the kernel shows no cache of level 3"
SAME_CPUS = "all NUMA nodes list the same CPUs: lstopo drops all but the first, the kernel lists them with their memory"
SHORT_ROW = "lscpu writes too few columns for the CPU whose caches differ from the others'"
PER_CPU_TYPE = "lscpu counts cores and sockets anew for each type of CPU, so that unrelated ones get the same number"
WITHOUT_MEMORY = "the suite's output leaves out NUMA nodes without memory"
SUBCORES = "libvirt counts the secondary threads of POWER subcores, which the kernel shows as offline"
SUBCORES_OFFLINE = "libvirt counts the cores of a POWER host from its largest NUMA node, also those that are offline"
UNEVEN_DIES = "libvirt finds no product of sockets, cores and threads that gives all CPUs and then counts one socket with all of them"
S390_THREADS = "libvirt counts each CPU of an s390 host as a core; thread_siblings pairs them"

EXPLAINED: t.Dict[t.Tuple[str, str, str], str] = {
    ("hwloc-16ia64-8n2s", "packages", "lstopo"): PACKAGE_IDS_TWICE,
    ("hwloc-40intel64-4n10c_pci-conflicts", "packages", "lscpu"): FOREIGN_MASKS,
    ("hwloc-40intel64-4n10c_pci-conflicts", "packages", "lstopo"): FOREIGN_MASKS,
    ("hwloc-40intel64-4n10c_pci-conflicts", "l3", "lstopo"): FOREIGN_MASKS,
    ("hwloc-4fake-4gr1nu1pu", "cores", "lscpu"): NO_SIBLINGS,
    ("hwloc-64amd64-4s2n4ca2co", "cores", "lstopo"): BULLDOZER,
    ("hwloc-fakeheterocpunuma", "numa", "lstopo"): CROSSING_NUMA,
    ("hwloc-fakeheterocpunuma", "memory", "lstopo"): CROSSING_NUMA,
    ("hwloc-fakememinitiators-1np2c_1npp_gi", "cores", "lscpu"): NO_SIBLINGS,
    ("hwloc-x86linux-64amd64-4p2n4ca2co", "cores", "lstopo"): BULLDOZER,
    ("libvirt-hostcpu-subcores1", "cpus", "libvirt-counts"): SUBCORES,
    ("libvirt-hostcpu-subcores2", "cpus", "libvirt-counts"): SUBCORES,
    ("libvirt-hostcpu-subcores2", "cores", "libvirt-counts"): SUBCORES_OFFLINE,
    ("libvirt-hostcpu-subcores3", "cores", "libvirt-counts"): SUBCORES_OFFLINE,
    ("libvirt-hostcpu-with-die", "packages", "libvirt-counts"): UNEVEN_DIES,
    ("libvirt-hostcpu-with-frequency", "cores", "libvirt-counts"): S390_THREADS,
    ("debian-hwloc-40intel64-4n10c+pci-conflicts", "packages", "hwloc-ls"): FOREIGN_MASKS,
    ("debian-hwloc-40intel64-4n10c+pci-conflicts", "l3", "hwloc-ls"): FOREIGN_MASKS,
    ("debian-hwloc-40intel64-4n10c+pci-conflicts", "packages", "lscpu"): FOREIGN_MASKS,
    ("debian-hwloc-40intel64-4n10c+pci-conflicts", "l3", "lscpu"): FOREIGN_MASKS,
    ("debian-hwloc-64amd64-4s2n4ca2co", "cores", "hwloc-ls"): BULLDOZER,
    ("debian-hwloc-64amd64-4s2n4ca2co", "cores", "hwloc-suite"): BULLDOZER,
    ("debian-hwloc-64amd64-4p2n4ca2co", "cores", "hwloc-ls"): BULLDOZER,
    ("debian-hwloc-64amd64-4p2n4ca2co", "cores", "hwloc-suite"): BULLDOZER,
    ("debian-hwloc-64intel64-fakeKNL-A2A-cache", "l3", "hwloc-ls"): KNL_CACHE,
    ("debian-hwloc-64intel64-fakeKNL-A2A-cache", "l3", "hwloc-suite"): KNL_CACHE,
    ("debian-hwloc-64intel64-fakeKNL-SNC4-hybrid", "l3", "hwloc-ls"): KNL_CACHE,
    ("debian-hwloc-64intel64-fakeKNL-SNC4-hybrid", "l3", "hwloc-suite"): KNL_CACHE,
    ("debian-hwloc-8em64t-2s2ca2c-buggynuma", "memory", "hwloc-ls"): SAME_CPUS,
    ("debian-hwloc-8em64t-2s2ca2c-buggynuma", "memory", "hwloc-suite"): SAME_CPUS,
    ("debian-hwloc-fakeheterocpunuma", "numa", "hwloc-ls"): CROSSING_NUMA,
    ("debian-hwloc-fakeheterocpunuma", "memory", "hwloc-ls"): CROSSING_NUMA,
    ("debian-hwloc-fakememinitiators-1np2c+1npp+gi", "memory", "hwloc-suite"): WITHOUT_MEMORY,
    ("debian-hwloc-5intel64-hybrid-lakefield", "l3", "lscpu"): SHORT_ROW,
    ("debian-util-linux-arm-A510-A710-A715-X3", "cores", "lscpu"): PER_CPU_TYPE,
    ("debian-util-linux-arm-A510-A710-A715-X3", "packages", "lscpu"): PER_CPU_TYPE,
    ("debian-util-linux-arm-A510-A710-A715-X3", "cores", "util-linux-suite"): PER_CPU_TYPE,
    ("debian-util-linux-arm-A510-A710-A715-X3", "packages", "util-linux-suite"): PER_CPU_TYPE,
}
