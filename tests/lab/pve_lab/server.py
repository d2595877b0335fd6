# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTPS server: requests in, PVE's answers out."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import typing as t
import urllib.parse

from .authentication import caller
from .cluster import Cluster
from .errors import ApiError, died
from .faults import Fault, Faults
from .requests_log import Request, RequestsLog
from .routes import answer
from .routes.registry import needs_login

_PREFIX = "/api2/"
_FORMATS = ("json", "extjs")


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class LabServer(http.server.ThreadingHTTPServer):
    """One thread per connection; TLS is negotiated in that thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, cluster: Cluster, faults: Faults, log: RequestsLog, delay: float
    ) -> None:
        super().__init__(address, _Handler)
        self.context = context
        self.cluster = cluster
        self.faults = faults
        self.log = log
        self.delay = delay
        self.closing = threading.Event()

    def finish_request(self, request: t.Any, client_address: t.Any) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            return
        try:
            _Handler(secured, client_address, self)
        except OSError:
            pass
        finally:
            secured.close()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that goes away is nobody's concern; anything else is shown by the default."""
        super().handle_error(request, client_address)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the server."""
        if seconds > 0:
            self.closing.wait(seconds)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "pve-api-daemon/3.0"
    sys_version = ""
    wbufsize = -1
    server: LabServer

    def log_message(self, format: str, *args: t.Any) -> None:
        """The log of requests is kept elsewhere."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        address = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, form = _split_path(urllib.parse.unquote(address.path))
        problem: t.Optional[ApiError] = None
        params: dict[str, t.Any] = {}
        try:
            params = _parameters(address.query, body, self.headers.get("Content-Type", ""))
        except ApiError as error:
            problem = error
        entry = self.server.log.begin(method, path, params)
        fault = self.server.faults.meet(method, path)
        try:
            self.server.pause(self.server.delay)
            status, reason, data = self._outcome(method, path, form, params, entry, fault, problem)
        except Dropped:
            self.server.log.end(entry, 0, "")
            self.close_connection = True
            return
        self.server.log.end(entry, status, reason)
        self._send(status, reason, data)

    def _outcome(
        self,
        method: str,
        path: str,
        form: str,
        params: dict[str, t.Any],
        entry: Request,
        fault: t.Optional[Fault],
        problem: t.Optional[ApiError],
    ) -> tuple[int, str, bytes]:
        if fault and not fault.after_acceptance:
            replaced = self._suffer(fault, form)
            if replaced:
                return replaced
        outcome = _failure(problem, form) if problem else self._work(method, path, form, params, entry)
        if fault and fault.after_acceptance:
            return self._suffer(fault, form) or outcome
        return outcome

    def _suffer(self, fault: Fault, form: str) -> t.Optional[tuple[int, str, bytes]]:
        """Live through a fault; what is answered instead, or None when it was a mere delay."""
        if fault.act:
            with self.server.cluster.mutex:
                fault.act()
        self.server.pause(fault.delay)
        if fault.drop:
            raise Dropped
        if fault.status is None:
            return None
        return _failure(ApiError(fault.status, (fault.reason or "injected fault") + "\n", bare=fault.status in (401, 595, 596)), form)

    def _work(self, method: str, path: str, form: str, params: dict[str, t.Any], entry: Request) -> tuple[int, str, bytes]:
        cluster = self.server.cluster
        try:
            if form not in _FORMATS or not path.startswith("/"):
                raise ApiError(501, f"Method '{method} {path}' not implemented")
            user = None
            with cluster.mutex:
                for prepare in cluster.before_calls:
                    prepare()
                if needs_login(method, path):
                    user = caller(cluster, method, t.cast("t.Mapping[str, str]", self.headers))
                    entry.user = user
                data = answer(cluster, method, path, params, user)
                if path == "/access/ticket" and data:
                    entry.user = data["username"]
        except ApiError as error:
            self.server.pause(cluster.unauthorized_delay if error.status == 401 else error.delay)
            return _failure(error, form)
        document = {"data": data} if form == "json" else {"data": data, "success": 1}
        return 200, "OK", json.dumps(document).encode()

    def _send(self, status: int, reason: str, body: bytes) -> None:
        self.send_response(status, reason.encode("ascii", "replace").decode())
        self.send_header("Cache-Control", "max-age=0")
        self.send_header("Pragma", "no-cache")
        if body:
            self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _failure(error: ApiError, form: str) -> tuple[int, str, bytes]:
    if error.bare:
        return error.status, error.reason, b""
    document: dict[str, t.Any] = {"data": None, "message": error.message}
    if error.errors:
        document["errors"] = error.errors
    if form == "extjs":
        return 200, "OK", json.dumps({**document, "success": 0, "status": error.status}).encode()
    return error.status, error.reason, json.dumps(document).encode()


def _split_path(path: str) -> tuple[str, str]:
    """ "/api2/json/nodes" -> ("/nodes", "json"); anything else comes back with an empty format."""
    if not path.startswith(_PREFIX):
        return path, ""
    form, slash, rest = path[len(_PREFIX) :].partition("/")
    return (slash + rest.rstrip("/")) or "/", form


def _parameters(query: str, body: bytes, content_type: str) -> dict[str, t.Any]:
    """Parameters of the query and the body. A repeated one becomes a list, joined by the null byte as PVE does."""
    params: dict[str, t.Any] = _form(query)
    if not body:
        return params
    if content_type.split(";")[0].strip() == "application/json":
        try:
            document = json.loads(body)
        except ValueError as error:
            raise died(f"malformed JSON string: {error}") from None
        if not isinstance(document, dict):
            raise died("malformed JSON string: not an object")
        return {
            **params,
            **{
                key: "\0".join(map(str, value)) if isinstance(value, list) else value
                for key, value in document.items()
                if value is not None
            },
        }
    return {**params, **_form(body.decode("utf-8", "replace"))}


def _form(text: str) -> dict[str, t.Any]:
    params: dict[str, t.Any] = {}
    for key, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        params[key] = f"{params[key]}\0{value}" if key in params else value
    return params
