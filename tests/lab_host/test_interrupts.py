# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interrupts of virtual functions come, can be moved, and go, as with a guest that uses them."""

from __future__ import annotations

from .host import LabHost


def test_vectors_exist_while_they_are_held(lab_host: LabHost) -> None:
    first, second = lab_host.sriov.create(2)
    with lab_host.sriov.vectors(first, 3) as held:
        assert sorted(held) == [0, 1, 2]
        lab_host.run(f"echo 5 >/proc/irq/{held[1]}/smp_affinity_list")
        assert lab_host.read(f"/proc/irq/{held[1]}/effective_affinity_list") == "5"
    assert lab_host.sriov.interrupts(first) == {}

    # With another function's vectors in between they come back under other numbers.
    with lab_host.sriov.vectors(second, 1), lab_host.sriov.vectors(first, 3) as again:
        assert sorted(again) == [0, 1, 2]
        assert again != held


def test_interrupts_that_the_kernel_manages_cannot_be_moved(lab_host: LabHost) -> None:
    queue = lab_host.run("grep -o '^ *[0-9]*:.*virtio.-req.0' /proc/interrupts").stdout.split(":")[0].strip()
    done = lab_host.run(f"echo 5 >/proc/irq/{queue}/smp_affinity_list", check=False)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr
