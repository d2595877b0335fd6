# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with the PVE API over proxmoxer: one login, concurrent reads, and every failure as one sentence.

Reads are repeated a few times when a connection fails. A write is never repeated: when its answer is missing, the
caller gets UncertainError and has to read back, because PVE carries a write out even if the client has gone.

Note that this module util is PRIVATE to the collection: it can change at any time.
"""

from __future__ import annotations

import os
import re
import threading
import time
import traceback
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote

from .errors import LoginError, PveError, UncertainError, UnreachableError, refusal

PROXMOXER_ERROR: t.Optional[str] = None
try:
    import requests  # before proxmoxer, whose https backend ends the whole program where requests is missing
    from proxmoxer.backends.https import Backend
    from proxmoxer.core import AuthenticationError, ProxmoxResource, ResourceException
except ImportError:
    PROXMOXER_ERROR = traceback.format_exc()

RETRY_DELAYS_S = (0.5, 1.5)  # a read is tried once more than this has entries
CONNECT_TIMEOUT_S = 10.0
ROOT_USER = "root@pam"

_NEVER_CONNECTED = re.compile("NewConnectionError|NameResolutionError|Failed to establish")

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


@dataclass(frozen=True)
class Login:
    """Where and as whom to log in. `token_id` is the part after the `!`; a password wins over a token."""

    host: str
    port: int = 8006
    user: str = ROOT_USER
    password: t.Optional[str] = field(default=None, repr=False)
    otp: t.Optional[str] = field(default=None, repr=False)
    token_id: t.Optional[str] = None
    token_secret: t.Optional[str] = field(default=None, repr=False)
    ca_path: t.Optional[str] = None
    validate_certs: bool = True
    timeout_s: float = 35.0
    concurrency: int = 8

    @property
    def by_token(self) -> bool:
        return not self.password

    @property
    def may_set_root_keys(self) -> bool:
        """PVE compares the user's name, so that not even a token of root@pam with all its privileges will do."""
        return self.user == ROOT_USER and not self.by_token

    @property
    def label(self) -> str:
        return f"the token {self.user}!{self.token_id}" if self.by_token else f"the user {self.user}"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def path(*parts: t.Any) -> str:
    """An API path of single parts, each quoted: path('nodes', 'pve1') -> 'nodes/pve1'."""
    return "/".join(quote(str(part), safe="") for part in parts)


class Session:
    """A logged-in session; `get`, `put` and `each` may be used from several threads at once."""

    def __init__(self, login: Login) -> None:
        """Log in once. Raises LoginError, UnreachableError or PveError."""
        self.login = login
        self._backend = self._log_in()
        self._thread = threading.local()

    def get(self, call: str, **params: t.Any) -> t.Any:
        """The data of a GET request. Raises PveError."""
        delays = iter(RETRY_DELAYS_S)
        while True:
            try:
                return self._request("GET", call, params)
            except (UnreachableError, UncertainError) as e:
                delay = next(delays, None)
                if delay is None or isinstance(e, ReadTimeoutError):
                    raise
                time.sleep(delay)

    def get_list(self, call: str, **params: t.Any) -> t.List[t.Mapping[str, t.Any]]:
        """The list of mappings that a GET request answers. Raises PveError."""
        data = self.get(call, **params)
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self._strange(call, data)
        return data

    def get_mapping(self, call: str, **params: t.Any) -> t.Mapping[str, t.Any]:
        """The mapping that a GET request answers. Raises PveError."""
        data = self.get(call, **params)
        if not isinstance(data, dict):
            raise self._strange(call, data)
        return data

    def _strange(self, call: str, data: t.Any) -> PveError:
        shown = f"{type(data).__name__} {str(data)[:40]!r}"
        return PveError(f"The answer of {self.login.address} to GET /{call} is {shown}; check that it is PVE that answers there.")

    def put(self, call: str, data: t.Mapping[str, t.Any]) -> t.Any:
        """Send a PUT request once. Raises UncertainError where it may have been carried out all the same, else PveError."""
        return self._request("PUT", call, dict(data))

    def post(self, call: str, data: t.Mapping[str, t.Any]) -> t.Any:
        """Send a POST request once; its data is the UPID where PVE does the work in a task. Raises as `put`."""
        return self._request("POST", call, dict(data))

    def each(self, function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> t.List[Result]:
        """`function` of each item, several at once, in the order of the items; the first exception ends it."""
        if not items:
            return []
        with ThreadPoolExecutor(max_workers=max(1, min(self.login.concurrency, len(items)))) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _log_in(self) -> t.Any:
        login = self.login
        credentials: t.Dict[str, t.Any] = (
            {"token_name": login.token_id, "token_value": login.token_secret}
            if login.by_token
            else {"password": login.password, "otp": login.otp}
        )
        try:
            return Backend(
                login.host,
                port=login.port,
                user=login.user,
                verify_ssl=self._verify(),
                timeout=(min(CONNECT_TIMEOUT_S, login.timeout_s), login.timeout_s),
                **credentials,
            )
        except AuthenticationError as e:
            raise self._login_refused(str(e)) from None
        except (KeyError, TypeError, ValueError) as e:
            raise PveError(
                f"What answers at {login.address} is not the PVE API (no ticket in its answer); check api_host and api_port."
            ) from e
        except OSError as e:
            raise self._connection_failure(e, "the login") from None

    def _verify(self) -> t.Union[bool, str]:
        """What requests is to verify the certificate with: a path wins over REQUESTS_CA_BUNDLE, and so does False."""
        ca_path = self.login.ca_path
        if not self.login.validate_certs or not ca_path:
            return self.login.validate_certs
        if not os.path.exists(ca_path):
            raise PveError(f"The CA file {ca_path!r} does not exist; correct ca_path (on a PVE host it is /etc/pve/pve-root-ca.pem).")
        return ca_path

    def _login_refused(self, words: str) -> PveError:
        login = self.login
        if "Two Factor" in words and login.otp:
            return LoginError(f"PVE refuses the second factor of {login.user}; give a fresh api_otp, for each is valid once only.")
        if "Two Factor" in words:
            return LoginError(f"The login {login.user} needs a second factor; give api_otp, or use an API token, which needs none.")
        code = re.search(r"code: (\d+)", words)
        if code and code.group(1) == "401":
            return LoginError(
                f"PVE at {login.address} refuses the login of {login.user}; check api_user (with its realm) and api_password."
            )
        return UnreachableError(
            f"PVE at {login.address} cannot log in {login.user} (status {code.group(1) if code else 'unknown'}); check the host."
        )

    def _request(self, method: str, call: str, params: t.Dict[str, t.Any]) -> t.Any:
        what = f"{method} /{call}"
        resource = ProxmoxResource(
            base_url=f"{self._backend.get_base_url()}/{call}", session=self._http(), serializer=self._backend.get_serializer()
        )
        try:
            data = {"GET": resource.get, "PUT": resource.put, "POST": resource.post}[method](**params)
        except ResourceException as e:
            raise self._refused(e, what) from None
        except OSError as e:  # the exceptions of requests are OSErrors
            raise self._connection_failure(e, what) from None
        if isinstance(data, dict) and isinstance(data.get("errors"), bytes):
            raise PveError(f"The answer of {self.login.address} to {what} is not JSON; check that api_host and api_port are those of PVE.")
        return data

    def _http(self) -> t.Any:
        """The calling thread's own connection pool, for those of requests are not made for sharing."""
        if not hasattr(self._thread, "session"):
            self._thread.session = self._backend.get_session()
        return self._thread.session

    def _refused(self, error: t.Any, what: str) -> PveError:
        words = str(error.content or "")
        if isinstance(error.errors, dict) and not any(isinstance(text, bytes) for text in error.errors.values()):
            words = "; ".join(f"{key}: {' '.join(str(text).split())}" for key, text in sorted(error.errors.items())) or words
        failure = refusal(self._without_secrets(words), what, error.status_code)
        if isinstance(failure, LoginError):
            return LoginError(
                f"PVE at {self.login.address} does not accept {self.login.label} ({failure.words or 'no reason given'}); check it."
            )
        return failure

    def _connection_failure(self, error: OSError, what: str) -> PveError:
        where = self.login.address
        text = self._without_secrets(str(error))
        if isinstance(error, requests.exceptions.SSLError):
            return PveError(
                f"The TLS connection to {where} fails ({_reason(text)}); give the CA of the cluster with ca_path, or validate_certs: false."
            )
        if "CA certificate bundle" in text:
            return PveError(f"The CA bundle for {where} cannot be used ({_reason(text)}); correct ca_path or REQUESTS_CA_BUNDLE.")
        if isinstance(error, requests.exceptions.ReadTimeout) or "Read timed out" in text:
            return ReadTimeoutError(f"PVE at {where} did not answer {what} within api_timeout ({self.login.timeout_s:g} s).")
        if isinstance(error, requests.exceptions.ConnectTimeout) or _NEVER_CONNECTED.search(text):
            return UnreachableError(
                f"The PVE API at {where} cannot be reached ({_reason(text)}); check api_host, api_port and the network."
            )
        return UncertainError(f"The connection to the PVE API at {where} broke during {what} ({_reason(text)}); run again.")

    def _without_secrets(self, text: str) -> str:
        for secret in (self.login.password, self.login.token_secret, self.login.otp):
            if secret:
                text = text.replace(secret, "***")
        return text


class ReadTimeoutError(UncertainError):
    """No answer within the time limit; repeating a read would only wait as long again."""


def _reason(text: str) -> str:
    """The last and innermost part of an exception text of requests, which nests several: `[Errno 111] Connection refused`."""
    for pattern in (
        r"\[Errno -?\d+\] [^'\")]+",
        r"certificate verify failed: [^(\"')]+",
        r"[Tt]imed out",
        r"(invalid path: \S+)",
        r"\[SSL[^\]]*\] [^(\"')]+",
    ):
        match = re.search(pattern, text)
        if match:
            return match.group(0).strip(" ,.")
    return text[-120:].strip("() '\"")
