"""HTTP: problem documents (RFC 9457), and what every request goes through."""

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

__all__ = ["PROBLEM", "Edge", "EdgeOptions", "ProblemError", "field_errors", "problem"]

CORRELATION_HEADER = "x-correlation-id"
_CORRELATION = CORRELATION_HEADER.encode()
MAX_CORRELATION_LENGTH = 100
GONE = 499
"""The status under which a request is counted whose client went away before it was answered."""
ALWAYS_OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/version"})

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
"""Of every answer that does not say otherwise: most tell of people, some show a secret."""
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_CLOSE = (b"connection", b"close")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_ONCE = frozenset({b"authorization", b"content-type", b"content-length", b"idempotency-key", b"host"})
"""Fields that mean something else when there are two of them."""


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """``hosts``: the names that this service answers to; empty: any, since nothing is made from them.

    ``proxies``: who may say for whom they ask. ``is_secure``: browsers reach it by https only.
    ``database_seconds``: how long a request may hold a database connection, and wait for one; ``None``: as statements.
    """

    hosts: Collection[str] = ()
    proxies: Sequence[Network] = ()
    is_secure: bool = False
    database_seconds: float | None = None

    @classmethod
    def of(cls, settings: ServiceSettings) -> "EdgeOptions":
        """As a service is told."""
        return cls(
            hosts=frozenset(host.strip().lower() for host in settings.http_hosts.split(",") if host.strip()),
            proxies=parse_networks(settings.http_trusted_proxies),
            is_secure=settings.public_url.startswith("https:"),
            database_seconds=settings.http_database_seconds,
        )


class TooLargeError(HTTPException):
    """The body is longer than this service takes. FastAPI lets its own kind of error pass when it reads a body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body may have {limit} bytes at most.")


class Edge:
    """What is served of an app: around it correlation id, body limit, security headers, metrics, and a net for errors.

    The app is given the handlers of its errors.
    """

    def __init__(self, api: FastAPI, *, max_body_bytes: int, options: EdgeOptions | None = None) -> None:
        problems.install(api)
        api.router.redirect_slashes = False  # its redirects are made from the request's Host
        self._api = api
        self._max_body_bytes = max_body_bytes
        self._options = options or EdgeOptions()
        self._log = logging.get("http")
        self._direct: fast_routes.Table | None = None
        self.is_closing = False
        """The process stops: connections are not used again, and who cannot be answered in time is told so."""
        self.headers = (*SECURITY_HEADERS, *((_HSTS,) if self._options.is_secure else ()))
        """Of every answer, also those that do not come from here."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
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
            await self._guarded(scope, headers, receive, answer)
        finally:
            route, seconds = _template(scope), time.perf_counter() - started
            _requests(route, answer.status).inc()
            if not answer.is_stream:
                _seconds(route).observe(seconds)
            if given is not None or (scope["method"] not in _READS and not isinstance(scope.get("route"), DirectRoute)):
                self._say(scope, route, answer.status, seconds)
            logging.unbind("correlation_id")

    def _say(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """One line for a request that writes, or that its sender follows by an id (which every line of it has).

        Hot routes say nothing by themselves: there are thousands a second.
        """
        if scope["path"] not in ALWAYS_OPEN:
            self._log.info("request", method=scope["method"], route=route, status=status, seconds=round(seconds, 4))

    async def _guarded(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, answer: "_Answer") -> None:
        try:
            self._locate(scope, headers)
            receive = self._admit(scope, headers, receive)
            await self._answered(scope, receive, answer)
        except HTTPException as error:
            await answer.instead(await problems.on_http_error(Request(scope), error), scope, receive)
        except ProblemError as error:
            await answer.instead(await problems.on_problem(Request(scope), error), scope, receive)
        except ClientDisconnect:
            answer.status = GONE
        except asyncio.CancelledError:
            if not self.is_closing:
                raise
            self._log.warning("request_cut", route=_template(scope))
            await answer.instead(_unavailable("The service stops. Send the same again."), scope, receive)
        except Exception as error:
            if is_transient(error):
                self._log.warning("request_failed_for_now", route=_template(scope), error=repr(error))
            else:
                self._log.exception("request_failed", route=_template(scope))
            await answer.instead(await problems.on_failure(Request(scope), error), scope, receive)

    def _locate(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Let ``scope["client"]`` be who asks, and not the proxy that asks for them."""
        if self._options.proxies and client_address.FIELD in headers and scope.get("client"):
            peer, port = scope["client"]
            said = [value for name, value in scope["headers"] if name == client_address.FIELD]
            scope["client"] = client_address.client_address(peer, said, self._options.proxies), port

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """The request's body, bounded and unpacked.

        Raises:
            HTTPException, ProblemError: the request is refused as it is, whatever its route.
        """
        if len(headers) != len(scope["headers"]):
            _refuse_repeated(scope["headers"])
        if scope["path"] not in ALWAYS_OPEN:
            self._check_host(headers)
            is_open: Callable[[], bool] = getattr(self._api.state, "is_open", lambda: True)
            if not is_open():
                raise HTTPException(503, "The service is starting.", {"Retry-After": "1"})
        limit = self._max_body_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise TooLargeError(limit)
        if b"content-encoding" not in headers:
            return _limited(receive, limit)
        values = [value for name, value in scope["headers"] if name == b"content-encoding"]
        if not content_codings.is_packed(values):
            return _limited(receive, limit)
        if length:  # it is not that of what is read
            scope["headers"] = [field for field in scope["headers"] if field[0] != b"content-length"]
            scope["headers"].append((b"transfer-encoding", b"gzip"))
        return content_codings.unpacked(_limited(receive, limit), limit, TooLargeError)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises:
        HTTPException: 421 (RFC 9110, 15.5.20): the request is for a host that is not this service's.
        """
        if self._options.hosts:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
            if name not in self._options.hosts:
                raise HTTPException(421, "The request is for a host that this service does not answer to.")

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
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
    """Raises:
    HTTPException: 400: a field is there twice whose second would be passed over.
    """
    names = [name for name, _ in headers]
    for name in _ONCE:
        if names.count(name) > 1:
            raise HTTPException(400, f"The header field {name.decode().title()} must be there once.")


class _Answer:
    """Sees what is sent."""

    def __init__(self, send: Send, extra: Sequence[tuple[bytes, bytes]], *, is_head: bool) -> None:
        self.status = 500
        self.is_stream = False
        """Server-sent events: an answer that lasts as long as its reader wants."""
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
        if self._is_head:  # nothing follows, also of what would never end
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def instead(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Answer with this, unless an answer has already begun."""
        if not self._started:
            await response(scope, receive, self.send)


def _limited(receive: Receive, limit: int) -> Receive:
    """Counts a body that comes without its length."""
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
    """The caller's correlation id, where there is one that can be one."""
    if (field := headers.get(_CORRELATION)) is None:
        return None
    given = field.decode("ascii", "replace").strip()
    return given if 0 < len(given) <= MAX_CORRELATION_LENGTH and given.isprintable() and given.isascii() else None


@cache
def _requests(route: str, status: int) -> Counter:
    """Looked up once for each; there are as many as routes have statuses."""
    return metrics.HTTP_REQUESTS.labels(route=route, status=str(status))


@cache
def _seconds(route: str) -> Histogram:
    return metrics.HTTP_SECONDS.labels(route=route)


def _template(scope: Scope) -> str:
    """The route as it was declared, so that no id becomes a label."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
