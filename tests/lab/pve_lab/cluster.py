# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a simulated cluster, and the rules under which it may be read and changed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import threading
import time
import typing as t

from .access import AccessControl
from .errors import ApiError, TaskError, died, parameter_error
from .guest import Guest
from .ha import HaState
from .hosts import HostHardware
from .tasks import TaskList
from .tickets import TicketMint

DEFAULT_PASSWORD = "lab-root-password"


@dataclasses.dataclass
class Node:
    """One PVE host.

    cgroup: 1 or 2. snippets: file name below local:snippets -> {"executable": bool, "fails": [phases that exit with 3]}.
    cgroup_failure: what every change of a running guest's control group dies of, or None.
    migration_failure: what live migrations to this host die of once the guest runs here, or None.
    unreachable: while offline, what calls for this host are answered (595), and after how many seconds.
    kvm: whether the machine can virtualise in hardware. pci_devices: as in GET hardware/pci.
    """

    name: str
    ip: str
    nodeid: int
    hardware: HostHardware
    online: bool = True
    root: t.Optional[str] = None
    cgroup: int = 2
    kvm: bool = True
    snippets: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    cgroup_failure: t.Optional[str] = None
    migration_failure: t.Optional[str] = None
    unreachable: tuple[str, float] = ("No route to host", 0.0)
    pci_devices: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Pool:
    """A resource pool and its guests."""

    poolid: str
    comment: str = ""
    vmids: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class HookCall:
    """One run of a guest's hookscript. affinity: the live CPUs at that moment, None while there is no process."""

    node: str
    vmid: int
    phase: str
    migrated_from: t.Optional[str] = None
    affinity: t.Optional[str] = None


class Cluster:
    """Everything that the cluster knows. Change it from a test only through methods, or while holding `mutex`.

    Knobs for tests: ceph (its health, HEALTH_OK, HEALTH_WARN or HEALTH_ERR; None: there is no Ceph),
    quorate, writable (the cluster file system), nodes[...].online, lock_timeout (seconds that a busy
    configuration lock is waited for; PVE: 10), tasks.delay (seconds that a task takes), unauthorized_delay (PVE delays
    each 401 by 3 s), clock.
    """

    def __init__(self, name: t.Optional[str], version: str, clock: t.Callable[[], float] = time.time) -> None:
        self.name = name
        self.version = version
        self.major = int(version.split(".", 1)[0])
        self.clock = clock
        self.mutex = threading.Condition(threading.RLock())
        self.nodes: dict[str, Node] = {}
        self.guests: dict[int, Guest] = {}
        self.pools: dict[str, Pool] = {}
        self.access = AccessControl(self.major)
        self.access.pool_of = self._pool_id_of
        self.mint = TicketMint(self.now)
        self.tasks = TaskList(self.mutex, self.now)
        self.ha = HaState()
        self.mappings: dict[str, list[dict[str, t.Any]]] = {"pci": []}
        self.options: dict[str, t.Any] = {}
        self.hook_calls: list[HookCall] = []
        self.ceph: t.Optional[str] = None
        self.quorate = True
        self.writable = True
        self.lock_timeout = 10.0
        self.unauthorized_delay = 0.0
        self.local_name = ""
        self.listeners: list[t.Callable[[], None]] = []
        self.before_calls: list[t.Callable[[], None]] = []
        self._broadcast: t.Optional[dict[int, dict[str, t.Any]]] = None

    @classmethod
    def from_dict(cls, description: t.Mapping[str, t.Any], clock: t.Callable[[], float] = time.time) -> Cluster:
        """Build a cluster from its description; ValueError with a sentence for what is wrong with it."""
        from .description import build_cluster

        return build_cluster(description, clock)

    @classmethod
    def from_file(cls, path: t.Union[str, pathlib.Path]) -> Cluster:
        """Build a cluster from a JSON file; relative `root` directories are relative to that file."""
        from .description import build_cluster

        path = pathlib.Path(path)
        return build_cluster(json.loads(path.read_text(encoding="utf-8")), time.time, path.parent)

    def to_dict(self) -> dict[str, t.Any]:
        """The present state as a description that from_dict understands; guests with `text` and `live`."""
        from .description import describe_cluster

        with self.mutex:
            return describe_cluster(self)

    def now(self) -> float:
        """Seconds since the epoch, by the replaceable clock."""
        return self.clock()

    # --- looking things up -------------------------------------------------------------------------------------------

    @property
    def local(self) -> Node:
        """The host that answers the calls."""
        return self.nodes[self.local_name]

    def guest(self, vmid: int) -> Guest:
        """A guest by its number; KeyError if there is none."""
        return self.guests[vmid]

    def node(self, name: str) -> Node:
        """A host by its name; KeyError if there is none."""
        return self.nodes[name]

    def known_node(self, name: str) -> Node:
        """A host by its name, or PVE's answer when there is none or it cannot be reached."""
        node = self.nodes.get(name)
        if node is None:
            raise died(f"hostname lookup '{name}' failed - failed to get address info for: {name}: Temporary failure in name resolution")
        if not node.online:
            reason, delay = node.unreachable
            raise ApiError(595, reason, bare=True, delay=delay)
        return node

    def guest_on(self, node: str, vmid: int, kind: str) -> Guest:
        """The guest if it is on that host, or PVE's answer about its missing file."""
        guest = self.guests.get(vmid)
        if guest is None or guest.node != node or guest.type != kind:
            directory = "qemu-server" if kind == "qemu" else "lxc"
            raise died(f"Configuration file 'nodes/{node}/{directory}/{vmid}.conf' does not exist")
        return guest

    def pool_of(self, vmid: int) -> t.Optional[Pool]:
        """The pool that a guest is in."""
        return next((pool for pool in self.pools.values() if vmid in pool.vmids), None)

    def _pool_id_of(self, vmid: str) -> t.Optional[str]:
        pool = self.pool_of(int(vmid))
        return pool.poolid if pool else None

    # --- writing -----------------------------------------------------------------------------------------------------

    def check_quorum(self) -> None:
        """What calls that look before they leap answer without quorum."""
        if not self.quorate:
            raise died("cluster not ready - no quorum?")

    def check_writable(self, path: str) -> None:
        """What a write below /etc/pve dies of without quorum."""
        if not (self.quorate and self.writable):
            raise died(f"unable to open file '/etc/pve/{path}.tmp.{self.tasks.new_pid()}' - Permission denied")

    def store(self, guest: Guest, config: t.Any) -> None:
        """Write a guest's configuration file."""
        self.check_writable(guest.path)
        guest.store(config)
        self.changed()

    def changed(self) -> None:
        """Tell whoever follows the state that it has changed."""
        for listener in self.listeners:
            listener()

    @contextlib.contextmanager
    def file_lock(self, guest: Guest) -> t.Iterator[None]:
        """Hold the guest's configuration lock, for which others wait up to lock_timeout; call it under `mutex`."""
        if not self.mutex.wait_for(lambda: guest.lock_holders == 0, timeout=self.lock_timeout):
            raise died(f"can't lock file '{guest.lock_path}' - got timeout")
        guest.lock_holders += 1
        try:
            yield
        finally:
            guest.lock_holders -= 1
            self.mutex.notify_all()

    @contextlib.contextmanager
    def held_lock(self, vmid: int) -> t.Iterator[None]:
        """For tests: somebody else holds the guest's configuration lock for as long as the block lasts."""
        guest = self.guest(vmid)
        with self.mutex:
            guest.lock_holders += 1
        try:
            yield
        finally:
            with self.mutex:
                guest.lock_holders -= 1
                self.mutex.notify_all()

    # --- hookscripts -------------------------------------------------------------------------------------------------

    def hookscript_problem(self, node: Node, volume: str) -> t.Optional[str]:
        """Why the hookscript cannot be used on that host, in PVE's words; None if it can."""
        storage, _colon, name = volume.partition(":")
        if storage != "local":
            return f"storage '{storage}' does not exist"
        kind, _slash, script = name.partition("/")
        if kind != "snippets":
            return f"'{volume}' is not in the snippets directory"
        if "/" in script:
            return f"unable to parse directory volume name '{name}'"
        if script not in node.snippets:
            return f"script '{volume}' does not exist"
        if not node.snippets[script].get("executable", True):
            return f"script '{volume}' is not executable"
        return None

    def run_hook(self, guest: Guest, node: Node, phase: str, hook: t.Optional[str], migrated_from: t.Optional[str] = None) -> None:
        """Run a guest's hookscript, if it has one; TaskError when it fails in pre-start, else nothing but a note."""
        if hook is None:
            return
        problem = self.hookscript_problem(node, hook)
        if problem is None:
            self.hook_calls.append(HookCall(node.name, guest.vmid, phase, migrated_from, self._seen(guest, phase)))
            script = hook.rsplit("/", 1)[-1]
            if phase in node.snippets[script].get("fails", ()):
                problem = f"command '/var/lib/vz/snippets/{script} {guest.vmid} {phase}' failed: exit code 3"
        if problem is not None and phase == "pre-start":
            raise TaskError(f"hookscript error for {guest.vmid} on pre-start: {problem}\n")

    def _seen(self, guest: Guest, phase: str) -> t.Optional[str]:
        return guest.live_affinity if phase in ("post-start", "pre-stop") else None

    # --- broadcasts --------------------------------------------------------------------------------------------------

    def freeze_broadcasts(self) -> None:
        """From now on GET /cluster/resources shows guests as they are at this moment, as between two broadcasts."""
        from .status import resource_of

        with self.mutex:
            self._broadcast = {vmid: resource_of(self, guest) for vmid, guest in self.guests.items()}

    def thaw_broadcasts(self) -> None:
        """GET /cluster/resources shows the present again."""
        self._broadcast = None

    @property
    def broadcast(self) -> t.Optional[dict[int, dict[str, t.Any]]]:
        """The frozen view of the guests, or None."""
        return self._broadcast


def missing(name: str) -> ApiError:
    """A parameter that had to be given."""
    return parameter_error({name: "property is missing and it is not optional"})
