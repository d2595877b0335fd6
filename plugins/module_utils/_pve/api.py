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
from urllib.parse import quote, quote_plus

from .errors import LoginError, PveError, UncertainError, UnreachableError, refusal
from .ticket import Answer, SecondFactorError, Ticket, obtain

PROXMOXER_ERROR: t.Optional[str] = None
try:
    import requests  # before proxmoxer, whose https backend ends the whole program where requests is missing
    from proxmoxer.backends.https import Backend
    from proxmoxer.core import ProxmoxResource, ResourceException
    from requests.cookies import cookiejar_from_dict
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
    """Where and as whom to log in. `token_id` is the part after the `!`; a ticket wins over a password, and that over a token."""

    host: str
    port: int = 8006
    user: str = ROOT_USER
    password: t.Optional[str] = field(default=None, repr=False)
    otp: t.Optional[str] = field(default=None, repr=False)
    token_id: t.Optional[str] = None
    token_secret: t.Optional[str] = field(default=None, repr=False)
    ticket: t.Optional[Ticket] = field(default=None, repr=False)
    ca_path: t.Optional[str] = None
    validate_certs: bool = True
    timeout_s: float = 35.0
    concurrency: int = 8

    @property
    def by_token(self) -> bool:
        return not self.password and not self.ticket

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


class TicketAuth:
    """What requests and proxmoxer ask of an authentication, for a ticket: its cookie, and the CSRF token of writes."""

    def __init__(self, ticket: Ticket, verify: t.Union[bool, str], timeout: t.Tuple[float, float]) -> None:
        self.ticket = ticket
        self.verify_ssl = verify
        self.timeout = timeout

    def get_cookies(self) -> t.Any:
        return cookiejar_from_dict({"PVEAuthCookie": self.ticket.ticket})

    def __call__(self, request: t.Any) -> t.Any:
        if request.method != "GET":
            request.headers["CSRFPreventionToken"] = self.ticket.csrf_token
        return request


class Session:
    """A logged-in session; `get`, `put` and `each` may be used from several threads at once."""

    def __init__(self, login: Login) -> None:
        """Log in once, unless the login is by a ticket or a token. Raises LoginError, UnreachableError or PveError."""
        self.login = login
        self._thread = threading.local()
        self._timeout = (min(CONNECT_TIMEOUT_S, login.timeout_s), login.timeout_s)
        self._verify = self._verification()
        self._backend = Backend(
            login.host,
            port=login.port,
            user=login.user,
            verify_ssl=self._verify,
            timeout=self._timeout,
            token_name=login.token_id or "",
            token_value=login.token_secret or "",
        )
        self._renewal = threading.Lock()
        self._renewable = True
        self._secrets = [login.password, login.otp, login.token_secret]
        if not login.by_token:
            self._use(login.ticket or self._log_in())

    @property
    def ticket(self) -> t.Optional[Ticket]:
        """The ticket in use; None for a token."""
        auth = self._backend.auth
        return auth.ticket if isinstance(auth, TicketAuth) else None

    def renew(self) -> None:
        """Exchange the ticket for a new one, without password and second factor. Raises PveError."""
        present = self.ticket
        if present:
            try:
                self._use(self._obtained(present.ticket, None))
            except LoginError:
                raise self._over() from None

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

    def _use(self, ticket: Ticket) -> None:
        self._secrets += [ticket.ticket, ticket.csrf_token]
        self._backend.auth = TicketAuth(ticket, self._verify, self._timeout)
        self._thread = threading.local()

    def _log_in(self) -> Ticket:
        return self._obtained(str(self.login.password), self.login.otp)

    def _obtained(self, password: str, otp: t.Optional[str]) -> Ticket:
        login = self.login
        try:
            ticket = obtain(self._post_login, login.user, password, otp)
        except SecondFactorError as e:
            raise self._second_factor_missing(e) from None
        except (AttributeError, KeyError, TypeError, ValueError):  # no `from`: what answers may have sent back what was sent
            raise PveError(
                f"What answers at {login.address} is not the PVE API (no ticket in its answer); check api_host and api_port."
            ) from None
        except OSError as e:
            raise self._connection_failure(e, "the login") from None
        if ticket is None:
            raise LoginError(f"PVE at {login.address} refuses the login of {login.user}; check api_user (with its realm) and api_password.")
        return ticket

    def _post_login(self, form: t.Mapping[str, str]) -> t.Optional[Answer]:
        url = f"{self._backend.get_base_url()}/access/ticket"
        answer = requests.post(url, data=dict(form), verify=self._verify, timeout=self._timeout, allow_redirects=False)
        if answer.status_code == 401:
            return None
        if answer.status_code != 200:
            raise UnreachableError(
                f"PVE at {self.login.address} cannot log in {self.login.user} (status {answer.status_code}); check the host."
            )
        return t.cast(Answer, answer.json()["data"])

    def _renew_in_time(self) -> None:
        """A ticket that ends within the hour is renewed once; where that fails, it serves as long as it lasts."""
        if not self.ticket or not self.ticket.wants_renewal:
            return
        with self._renewal:
            if self._renewable and self.ticket.wants_renewal:
                try:
                    self.renew()
                except PveError:
                    self._renewable = False

    def _verification(self) -> t.Union[bool, str]:
        """What requests is to verify the certificate with: a path wins over REQUESTS_CA_BUNDLE, and so does False."""
        ca_path = self.login.ca_path
        if not self.login.validate_certs or not ca_path:
            return self.login.validate_certs
        if not os.path.exists(ca_path):
            raise PveError(f"The CA file {ca_path!r} does not exist; correct ca_path (on a PVE host it is /etc/pve/pve-root-ca.pem).")
        return ca_path

    def _over(self, words: str = "") -> LoginError:
        said = f" ({words})" if words else ""
        return LoginError(
            f"PVE at {self.login.address} does not accept the session of {self.login.user} (any more){said}; log in again, for a ticket is "
            "valid for two hours."
        )

    def _second_factor_missing(self, error: SecondFactorError) -> LoginError:
        if error.refused:
            return LoginError(f"PVE refuses the second factor of {self.login.user}; give a fresh api_otp, for each is valid once only.")
        return LoginError(f"The login {self.login.user} needs a second factor; give api_otp, or use an API token, which needs none.")

    def _request(self, method: str, call: str, params: t.Dict[str, t.Any]) -> t.Any:
        what = f"{method} /{call}"
        self._renew_in_time()
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
        if isinstance(failure, LoginError) and self.ticket:
            return self._over(failure.words)
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
        for secret in filter(None, self._secrets):
            for form in (secret, quote(secret, safe=""), quote_plus(secret), quote(secret)):
                text = text.replace(form, "***")
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
