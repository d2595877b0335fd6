# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a call is declared, found, and taken through PVE's steps: found, permitted, host reachable, parameters, work."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from types import MappingProxyType

from .. import formats
from ..access import ROOT
from ..cluster import Cluster, Node
from ..errors import ApiError, parameter_error, permission_error
from ..guest import Guest
from ..schema import Prop, check_parameters
from ..tasks import Printed


@dataclasses.dataclass
class Call:
    """One call being answered. `params` holds path and other parameters together, as PVE does."""

    cluster: Cluster
    method: str
    path: str
    params: dict[str, t.Any]
    user: str
    printed: Printed
    seen_from: str

    def text(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        return str(self.params.get(name, default))

    def flag(self, name: str) -> bool:
        """A boolean parameter."""
        return str(self.params.get(name, "0")) == "1"

    @property
    def vmid(self) -> int:
        return int(self.params["vmid"])

    @property
    def node(self) -> Node:
        """The host named in the path."""
        return self.cluster.known_node(self.params["node"])

    def guest(self, kind: str) -> Guest:
        """The guest named in the path, on the host named in the path."""
        return self.cluster.guest_on(self.params["node"], self.vmid, kind)

    def allowed(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether the caller has the privileges."""
        return self.cluster.access.has(self.user, path, *privileges, any_of=any_of)

    def require(self, path: str, *privileges: str, any_of: bool = False) -> None:
        """403 unless the caller has the privileges."""
        self.cluster.access.check(self.user, path, *privileges, any_of=any_of)


Handler = t.Callable[[Call], t.Any]
Parameters = t.Union[t.Mapping[str, Prop], t.Callable[[Cluster], t.Mapping[str, Prop]]]

EVERYBODY = "everybody"
NOBODY_YET = "nobody yet"
ROOT_ONLY = "root only"


@dataclasses.dataclass(frozen=True)
class Permission:
    """Privileges on a path; `{name}` in the path stands for a parameter."""

    path: str
    privileges: tuple[str, ...]
    any_of: bool = False


Allowed = t.Union[str, Permission, t.Callable[[Cluster], Permission]]


def perm(path: str, *privileges: str, any_of: bool = False) -> Permission:
    """Declare what a call takes."""
    return Permission(path, privileges, any_of)


@dataclasses.dataclass(frozen=True)
class _Route:
    method: str
    template: str
    pattern: t.Pattern[str]
    permission: Allowed
    parameters: Parameters
    handler: Handler


_ROUTES: list[_Route] = []
_PATH_PARAMETERS = {"node": Prop(format=formats.node_name, optional=False), "vmid": Prop("integer", format=formats.vmid, optional=False)}


def route(method: str, template: str, permission: Allowed, parameters: Parameters = MappingProxyType({})) -> t.Callable[[Handler], Handler]:
    """Register the decorated function as the answer to a call. `{name}` in the template is a path parameter."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))

    def register(handler: Handler) -> Handler:
        _ROUTES.append(_Route(method, template, pattern, permission, parameters, handler))
        return handler

    return register


def answer(
    cluster: Cluster,
    method: str,
    path: str,
    params: t.Mapping[str, t.Any],
    user: t.Optional[str],
    printed: t.Optional[Printed] = None,
    seen_from: t.Optional[str] = None,
) -> t.Any:
    """The data of the answer; ApiError for every other end. Call it while holding the cluster's mutex.

    `printed` takes what a command in the foreground prints; `seen_from` is the host that answers (None: the API's).
    """
    here = seen_from or cluster.local_name
    found, in_path = _find(method, path)
    merged = {**params, **in_path}
    _check_permission(cluster, found, merged, user)
    if "node" in in_path and in_path["node"] != here:
        cluster.known_node(in_path["node"])
    schema = dict(found.parameters(cluster) if callable(found.parameters) else found.parameters)
    for name in in_path:
        schema[name] = _PATH_PARAMETERS.get(name, Prop(optional=False))
    errors = check_parameters(schema, merged)
    if errors:
        raise parameter_error(errors)
    return found.handler(Call(cluster, method, path, merged, user or "", printed or Printed(), here))


def needs_login(method: str, path: str) -> bool:
    """Whether the call is only for those who have logged in."""
    try:
        found, _in_path = _find(method, path)
    except ApiError:
        return True
    return found.permission != NOBODY_YET


def _find(method: str, path: str) -> tuple[_Route, dict[str, str]]:
    for candidate in _ROUTES:
        if candidate.method == method:
            match = candidate.pattern.fullmatch(path)
            if match:
                return candidate, match.groupdict()
    raise ApiError(501, f"Method '{method} {path}' not implemented")


def _check_permission(cluster: Cluster, found: _Route, params: t.Mapping[str, t.Any], user: t.Optional[str]) -> None:
    permission = found.permission
    if permission == NOBODY_YET or user == ROOT:
        return
    if not user:
        raise permission_error("user != null")
    if permission == EVERYBODY:
        return
    if permission == ROOT_ONLY:
        raise permission_error("user != root@pam")
    needed = t.cast(Permission, permission(cluster) if callable(permission) else permission)
    path = re.sub(r"\{(\w+)\}", lambda match: str(params.get(match.group(1), "")), needed.path)
    cluster.access.check(user, path, *needed.privileges, any_of=needed.any_of)
