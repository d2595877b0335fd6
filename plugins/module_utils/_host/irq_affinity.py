# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module irq_affinity does, from its options to its result.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from functools import partial

from .._engine.cpuset import format_cpulist, parse_cpulist
from .._engine.errors import GrammarError, SettingError
from .cpu_options import refuse_absent
from .cpus import CpuSets, read_cpu_sets
from .files import Tree
from .irq_apply import GONE, MANAGED, PROTECTED, SET, SHARED, Memory, before_of, carry_out
from .irq_devices import Devices, DeviceSet, device_sets, protected_functions, without_protected
from .irq_plan import DEVICE, RESTORE, Step, Wishes, step_for_device, step_for_other
from .irq_result import Result, label_of
from .irqbalance import BanChange, Bans, Irqbalance, change_bans, find_irqbalance
from .irqs import (
    IRQ,
    Interrupt,
    Readings,
    Target,
    all_interrupts,
    device_of,
    lines_of,
    looks_managed,
    refuses_all,
    vectors_of,
)
from .pci import DEVICES

Vectors = t.Dict[str, t.List[Interrupt]]
NO_IRQS = "This host shows no interrupts (no /proc/irq), so there is nothing to set."
POLL_S = 0.5
QUIET_POLLS = 3  # looks in which the same vectors are there, after which no more of them are expected


def set_interrupts(tree: Tree, options: t.Mapping[str, t.Any], check: bool, pause: t.Callable[[float], None] = time.sleep) -> Result:
    """Make the interrupts agree with `options` (devices, keep_off, protected, allow_protected, wait_seconds, state).

    With `check` only say what would change. Returns changed, interrupts, not_restored, without_interrupts, missing, refused and
    irqbalance, as RETURN of the module says, or skipped with msg. Raises SettingError and FactsError, with nothing changed.
    """
    cpus = read_cpu_sets(tree)
    devices = Devices(tree)
    sets, left_out, wishes = _wishes(tree, devices, options, cpus)
    if not tree.exists(IRQ):
        return {"changed": False, "skipped": True, "msg": NO_IRQS}
    memory = Memory.read(tree)
    readings = Readings(tree)
    vectors = _vectors(tree, sets)
    if options["wait_seconds"] and not _settled(devices, sets, vectors, readings, wishes):
        vectors = _wait_for_vectors(tree, sets, vectors, options["wait_seconds"], pause)
        readings = Readings(tree)
    steps = _steps(tree, readings, devices, vectors, wishes, memory)
    states = _states(tree, steps, memory)
    irqbalance = find_irqbalance(tree) if sets or wishes.keep_off or memory.irqbalance else Irqbalance(False)
    wanted = Bans(_to_ban(steps, states), wishes.keep_off & wishes.online)
    bans = change_bans(irqbalance, memory.irqbalance, wanted) if irqbalance.socket else None
    told = bans is not None or (wanted == Bans() and not memory.irqbalance)
    if not check:
        moving = [step for step in steps if step.differs and states[step.interrupt.key] == SET]
        states.update(carry_out(tree, moving, memory, bans, irqbalance.socket, cpus.online))
        _forget(memory, steps, states, options["state"] == "absent", irqbalance)
        memory.write(tree)
    entries = [_entry(step, states[step.interrupt.key]) for step in steps]
    return {
        "changed": any(entry["changed"] for entry in entries) or bool(bans and bans.messages),
        "interrupts": entries,
        "not_restored": [label_of(entry) for step, entry in zip(steps, entries) if _is_stuck(step, entry["state"])],
        "without_interrupts": [function for entry in sets for function in entry.functions if not vectors[function]],
        **left_out,
        "irqbalance": _irqbalance_result(tree, irqbalance, bans, wanted, sets, told),
    }


def _wishes(
    tree: Tree, devices: Devices, options: t.Mapping[str, t.Any], cpus: CpuSets
) -> t.Tuple[t.List[DeviceSet], t.Dict[str, t.List[str]], Wishes]:
    """Every check of the options; the lists `missing` and `refused` have the devices that are left out and may be. Raises SettingError."""
    if options["state"] == "absent":
        return [], {"missing": [], "refused": []}, Wishes(cpus.online, {}, 0, (), devices.local_cpus)
    present = cpus.present or cpus.online
    sets, missing = device_sets(devices, options["devices"] or (), cpus.online, present)
    protected = protected_functions(devices, options["protected"], options["allow_protected"] or ())
    sets, refused = without_protected(devices, sets, protected)
    placed = {function: entry.cpus for entry in sets for function in entry.functions}
    keep_off = _keep_off(options["keep_off"], cpus.online, present)
    lines = lines_of(tree, protected) if keep_off else frozenset()
    wishes = Wishes(cpus.online, placed, keep_off, protected, devices.local_cpus, lines)
    return sets, {"missing": missing, "refused": refused}, wishes


def _keep_off(text: t.Optional[str], online: int, present: int) -> int:
    """Offline CPUs are no mistake here: they have no interrupts, and may come back."""
    try:
        cpus = parse_cpulist(text or "")
    except GrammarError as e:
        raise SettingError(f"keep_off: {e}") from None
    refuse_absent("keep_off", cpus, present)
    if not online & ~cpus:
        raise SettingError(f"keep_off {text} leaves no online CPU for the host's interrupts; leave out some of {format_cpulist(online)}.")
    return cpus


def _vectors(tree: Tree, sets: t.Sequence[DeviceSet]) -> Vectors:
    return {function: vectors_of(tree, function) for entry in sets for function in entry.functions}


def _complete(sets: t.Sequence[DeviceSet], vectors: Vectors) -> bool:
    return all(any(vectors[function] for function in entry.functions) for entry in sets)


def _settled(devices: Devices, sets: t.Sequence[DeviceSet], vectors: Vectors, readings: Readings, wishes: Wishes) -> bool:
    """Whether there is nothing to wait for: each set has vectors, and those of guests, which may ask for more, are in place."""
    held = [interrupt for function in vectors if devices.given_away(function) for interrupt in vectors[function]]
    return _complete(sets, vectors) and not any(step.differs for step in map(partial(_step, readings, wishes, Memory()), held) if step)


def _wait_for_vectors(
    tree: Tree, sets: t.Sequence[DeviceSet], vectors: Vectors, seconds: float, pause: t.Callable[[float], None]
) -> Vectors:
    """The interrupts of all functions in `sets` once each set has some and no more of them appear, or when the time is over."""
    end = time.monotonic() + seconds
    quiet = 0
    while time.monotonic() < end and not (quiet >= QUIET_POLLS and _complete(sets, vectors)):
        pause(min(POLL_S, max(0.0, end - time.monotonic())))
        before, vectors = vectors, _vectors(tree, sets)
        quiet = quiet + 1 if vectors == before else 0
    return vectors


def _steps(tree: Tree, readings: Readings, devices: Devices, vectors: Vectors, wishes: Wishes, memory: Memory) -> t.List[Step]:
    """What shall become of every interrupt that is of interest, by device and index. Forgets those that have gone."""
    remembered = {device_of(key) for key in memory.previous}
    known = [interrupt for function in vectors for interrupt in vectors[function]]
    for function in devices.functions:
        if function in remembered and function not in vectors:
            vectors = {**vectors, function: vectors_of(tree, function)}
            known += vectors[function]
    if wishes.keep_off or None in remembered:
        known = all_interrupts(tree, known, [function for function in devices.functions if function not in vectors])
    memory.keep_only(tree, known)
    steps = [_step(readings, wishes, memory, interrupt) for interrupt in known]
    return sorted((step for step in steps if step), key=_place)


def _place(step: Step) -> t.Tuple[str, int, str]:
    """PCI functions first."""
    return step.interrupt.device or "~", step.interrupt.index or 0, step.interrupt.key


def _step(readings: Readings, wishes: Wishes, memory: Memory, interrupt: Interrupt) -> t.Optional[Step]:
    """Reads as little as decides it: of an interrupt that is nowhere near, one file."""
    effective = readings.effective(interrupt)
    previous = memory.previous.get(interrupt.key)
    placed = interrupt.device in wishes.cpus
    if not placed and previous is None and effective is not None and not effective & wishes.keep_off:
        return None
    allowed = readings.allowed(interrupt)
    if allowed is None:
        return None
    target = Target(allowed, effective)
    if placed:
        return step_for_device(interrupt, target, wishes)
    return step_for_other(interrupt, target, None if previous is None else parse_cpulist(previous.cpus), wishes)


def _states(tree: Tree, steps: t.Sequence[Step], memory: Memory) -> t.Dict[str, str]:
    """What becomes of each, by key. The memory keeps which ones only a write tells to be managed, so that it is not tried again."""
    states = {step.interrupt.key: _state(tree, step, memory) for step in steps}
    managed = [step for step in steps if states[step.interrupt.key] == MANAGED and not looks_managed(tree, step.interrupt)]
    memory.managed = {step.interrupt.key: before_of(tree, step) for step in managed}
    return states


def _state(tree: Tree, step: Step, memory: Memory) -> str:
    interrupt = step.interrupt
    if step.protected:
        return PROTECTED
    if not step.free_to_move:
        return SHARED
    if not step.differs:
        return SET
    managed = looks_managed(tree, interrupt) or memory.knows_as_managed(tree, interrupt) or refuses_all(tree, interrupt)
    return MANAGED if managed else SET


def _is_stuck(step: Step, state: str) -> bool:
    """Whether it should have got back what it had, and has not."""
    return step.reason == RESTORE and (state not in (SET, GONE) or not step.as_before)


def _to_ban(steps: t.Sequence[Step], states: t.Mapping[str, str]) -> t.FrozenSet[int]:
    """The placed ones; irqbalance keeps the others off the dedicated CPUs by itself, once it knows these."""
    return frozenset(step.interrupt.number for step in steps if step.reason == DEVICE and states[step.interrupt.key] == SET)


def _forget(memory: Memory, steps: t.Sequence[Step], states: t.Mapping[str, str], everything: bool, irqbalance: Irqbalance) -> None:
    """What was restored and, with `everything`, all but what could not be."""
    stuck = {step.interrupt.key for step in steps if _is_stuck(step, states[step.interrupt.key])}
    done = set(memory.previous) if everything else {step.interrupt.key for step in steps if step.reason == RESTORE}
    memory.forget(done - stuck)
    if not irqbalance.running:
        memory.irqbalance = {}


def _entry(step: Step, state: str) -> Result:
    interrupt, target = step.interrupt, step.target
    return {
        "device": interrupt.device,
        "index": interrupt.index,
        "irq": interrupt.number,
        "users": list(interrupt.users),
        "reason": step.reason,
        "state": state,
        "changed": step.differs and state == SET,
        "before": format_cpulist(target.allowed),
        "after": format_cpulist(step.wanted if step.differs and state == SET else target.allowed),
        "effective": None if target.effective is None else format_cpulist(target.effective),
    }


def _irqbalance_result(
    tree: Tree, irqbalance: Irqbalance, bans: t.Optional[BanChange], wanted: Bans, sets: t.Sequence[DeviceSet], told: bool
) -> t.Optional[Result]:
    """None where irqbalance does not run or does not matter."""
    if not irqbalance.running:
        return None
    return {
        "before": _shown(bans.before if bans else irqbalance.bans),
        "after": _shown(bans.after if bans else irqbalance.bans),
        "told": told,
        "settings": [] if told else _settings(tree, wanted, sets),
    }


def _shown(bans: Bans) -> Result:
    return {"irqs": sorted(bans.irqs), "cpus": format_cpulist(bans.cpus)}


def _settings(tree: Tree, wanted: Bans, sets: t.Sequence[DeviceSet]) -> t.List[str]:
    """Lines for /etc/default/irqbalance that say the same, as far as they can: interrupts have no lasting numbers, modules have names."""
    drivers = {tree.link_name(f"{DEVICES}/{function}/driver") for entry in sets for function in entry.functions}
    modules = sorted(driver.replace("-", "_") for driver in drivers if driver)
    lines = [f"IRQBALANCE_BANNED_CPULIST={format_cpulist(wanted.cpus)}"] if wanted.cpus else []
    return lines + [f'IRQBALANCE_ARGS="{" ".join(f"--banmod={module}" for module in modules)}"'] * bool(modules)
