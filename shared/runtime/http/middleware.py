"""The middleware around each service's app.

It handles bounds, headers, correlation id, metrics and errors of every request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.runtime.delivery.backoff import is_transient
from shared.runtime.http import client_address, content_codings, fast_routes, problems
from shared.runtime.http.fast_routes import DirectRoute
from shared.runtime.http.problems import PROBLEM, RETRY_AFTER_SECONDS, ProblemError, field_errors, problem
from shared.runtime.postgres.pool import within_request
from shared.runtime.process import logging, metrics
from shared.runtime.process.addresses import Network, parse_networks
from shared.runtime.process.settings import ServiceSettings

__all__ = ["PROBLEM", "Middleware", "MiddlewareOptions", "ProblemError", "field_errors", "problem"]

CORRELATION_HEADER = "x-correlation-id"
_CORRELATION = CORRELATION_HEADER.encode()
MAX_CORRELATION_LENGTH = 100
GONE = 499
"""Status counted for a client that disconnected before the answer."""
ALWAYS_OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/version"})
"""Paths that are answered for any host, and while the service starts.

They are not logged.
"""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
"""Headers of every answer that does not set them itself.

Most answers hold personal data, some a secret.
"""
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_CLOSE = (b"connection", b"close")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_ONCE = frozenset({b"authorization", b"content-type", b"content-length", b"idempotency-key", b"host"})
"""Header fields that are refused if repeated.

Only one of them would be read.
"""


@dataclass(frozen=True, slots=True)
class MiddlewareOptions:
    """Options of the middleware. ``hosts``: host names that are answered; empty: any.

    ``proxies``: networks whose ``X-Forwarded-For`` is trusted. ``is_secure``: clients use https only (HSTS).
    ``database_seconds``: longest time for which a request waits for and uses a connection; ``None``:
    no limit but the statement timeout.
    """

    hosts: Collection[str] = ()
    proxies: Sequence[Network] = ()
    is_secure: bool = False
    database_seconds: float | None = None

    @classmethod
    def of(cls, settings: ServiceSettings) -> "MiddlewareOptions":
        """The options in a service's settings."""
        return cls(
            hosts=frozenset(host.strip().lower() for host in settings.http_hosts.split(",") if host.strip()),
            proxies=parse_networks(settings.http_trusted_proxies),
            is_secure=settings.public_url.startswith("https:"),
            database_seconds=settings.http_database_seconds,
        )


class TooLargeError(HTTPException):
    """The body exceeds the limit.

    It is an ``HTTPException``, because FastAPI passes only those on while it reads a body.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body may have {limit} bytes at most.")


class Middleware:
    """The middleware around one app.

    It adds correlation id, body limit, security headers, metrics and answers to errors.
    It also installs the error handlers of the app.
    """

    def __init__(self, api: FastAPI, *, max_body_bytes: int, options: MiddlewareOptions | None = None) -> None:
        problems.install(api)
        api.router.redirect_slashes = False  # its redirects are made from the request's Host
        self._api = api
        self._max_body_bytes = max_body_bytes
        self._options = options or MiddlewareOptions()
        self._log = logging.get("http")
        self._direct: fast_routes.Table | None = None
        self.is_closing = False
        """Set when the process stops.

        Connections are then closed after their answer, and unfinished requests get 503.
        """
        self.headers = (*SECURITY_HEADERS, *((_HSTS,) if self._options.is_secure else ()))
        """Headers of every answer, also of those that the protocol layer writes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        if is_head:  # as GET, without what it would send (RFC 9110, 9.3.2)
            scope = {**scope, "method": "GET", "is_head": True}
        headers = dict(scope["headers"])
        given = _given_id(headers)
        correlation = given or str(uuid4())
        logging.bind(correlation_id=correlation)
        scope.setdefault("state", {})["correlation_id"] = correlation
        extra = (*self.headers, _CLOSE) if self.is_closing else self.headers
        answer = _Answer(send, (*extra, (_CORRELATION, correlation.encode())), is_head=is_head)
        started = time.perf_counter()
        within_request.set(self._options.database_seconds)
        try:
            await self._handle(scope, headers, receive, answer)
        finally:
            route, seconds = _template(scope), time.perf_counter() - started
            _requests(route, answer.status).inc()
            if not answer.is_stream:
                _seconds(route).observe(seconds)
            if given is not None or (scope["method"] not in _READS and not isinstance(scope.get("route"), DirectRoute)):
                self._log_request(scope, route, answer.status, seconds)
            logging.unbind("correlation_id")

    def _log_request(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Log a request, unless its path is one of ``ALWAYS_OPEN``.

        It is called for requests that write, or that came with a correlation id; for hot routes only with one.
        """
        if scope["path"] not in ALWAYS_OPEN:
            self._log.info("request", method=scope["method"], route=route, status=status, seconds=round(seconds, 4))

    async def _handle(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, answer: "_Answer") -> None:
        try:
            self._set_client(scope, headers)
            receive = self._admit(scope, headers, receive)
            await self._call_app(scope, receive, answer)
        except HTTPException as error:
            await answer.send_instead(await problems.on_http_error(Request(scope), error), scope, receive)
        except ProblemError as error:
            await answer.send_instead(await problems.on_problem(Request(scope), error), scope, receive)
        except ClientDisconnect:
            answer.status = GONE
        except asyncio.CancelledError:
            if not self.is_closing:
                raise
            self._log.warning("request_cut", route=_template(scope))
            await answer.send_instead(_unavailable("The service is stopping. Send the request again."), scope, receive)
        except Exception as error:
            if is_transient(error):
                self._log.warning("request_failed_transiently", route=_template(scope), error=repr(error))
            else:
                self._log.exception("request_failed", route=_template(scope))
            await answer.send_instead(await problems.on_failure(Request(scope), error), scope, receive)

    def _set_client(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Set ``scope["client"]`` to the client behind trusted proxies."""
        if self._options.proxies and client_address.FIELD in headers and scope.get("client"):
            peer, port = scope["client"]
            said = [value for name, value in scope["headers"] if name == client_address.FIELD]
            scope["client"] = client_address.client_address(peer, said, self._options.proxies), port

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """Check the request; return its body, limited and decompressed.

        Raises:
            HTTPException, ProblemError: the request is refused on every route.
        """
        if len(headers) != len(scope["headers"]):
            _refuse_repeated(scope["headers"])
        if scope["path"] not in ALWAYS_OPEN:
            self._check_host(headers)
            is_open: Callable[[], bool] = getattr(self._api.state, "is_open", lambda: True)
            if not is_open():
                message = "The service is starting or rebuilding its read model. Send the request again."
                raise HTTPException(503, message, {"Retry-After": "1"})
        limit = self._max_body_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise TooLargeError(limit)
        if b"content-encoding" not in headers:
            return _limited(receive, limit)
        values = [value for name, value in scope["headers"] if name == b"content-encoding"]
        if not content_codings.is_packed(values):
            return _limited(receive, limit)
        if length:  # the length of the compressed body
            scope["headers"] = [field for field in scope["headers"] if field[0] != b"content-length"]
            scope["headers"].append((b"transfer-encoding", b"gzip"))
        return content_codings.unpacked(_limited(receive, limit), limit, TooLargeError)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Check that the request is for one of the service's hosts.

        Raises:
            HTTPException: 421 (RFC 9110, 15.5.20): it is for another.
        """
        if self._options.hosts:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
            if name not in self._options.hosts:
                raise HTTPException(421, "The request is for a host that this service does not answer to.")

    async def _call_app(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if self._direct is None:
            self._direct = fast_routes.table(self._api)
        route = self._direct.get((scope["method"], scope["path"]))
        if route is None:
            await self._api(scope, receive, answer.send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ProblemError as error:
            response = await problems.on_problem(request, error)
        except HTTPException as error:
            response = await problems.on_http_error(request, error)
        await response(scope, receive, answer.send)


def _unavailable(message: str) -> Response:
    return problem(503, "unavailable", message, headers={"Retry-After": RETRY_AFTER_SECONDS})


def _refuse_repeated(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check that no field of ``_ONCE`` is repeated.

    Raises:
        HTTPException: 400: one is.
    """
    names = [name for name, _ in headers]
    for name in _ONCE:
        if names.count(name) > 1:
            raise HTTPException(400, f"The header field {name.decode().title()} must be given once.")


class _Answer:
    """Adds headers to the answer, and notes its status."""

    def __init__(self, send: Send, extra: Sequence[tuple[bytes, bytes]], *, is_head: bool) -> None:
        self.status = 500
        self.is_stream = False
        """Whether the answer is a stream of server-sent events.

        Such a stream lasts as long as the client wants.
        """
        self._send = send
        self._started = False
        self._is_head = is_head
        self._extra = extra

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            present = {name.lower(): value for name, value in message["headers"]}
            self.is_stream = present.get(b"content-type", b"").startswith(b"text/event-stream")
            added = [(name, value) for name, value in self._extra if name not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        elif self._is_head:
            return
        await self._send(message)
        if self._is_head:  # ends the answer, also of a stream
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_instead(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Send ``response``, unless an answer has begun."""
        if not self._started:
            await response(scope, receive, self.send)


def _limited(receive: Receive, limit: int) -> Receive:
    """Limit a body that comes without a length.

    Raises:
        TooLargeError: while it is read.
    """
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLargeError(limit)
        return message

    return counted


def _given_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The client's correlation id, if it sent a valid one."""
    if (field := headers.get(_CORRELATION)) is None:
        return None
    given = field.decode("ascii", "replace").strip()
    return given if 0 < len(given) <= MAX_CORRELATION_LENGTH and given.isprintable() and given.isascii() else None


@cache
def _requests(route: str, status: int) -> Counter:
    """The counter of a route and status, cached."""
    return metrics.HTTP_REQUESTS.labels(route=route, status=str(status))


@cache
def _seconds(route: str) -> Histogram:
    return metrics.HTTP_SECONDS.labels(route=route)


def _template(scope: Scope) -> str:
    """The route's path template, so that ids do not become labels."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
