"""HTTP: problem documents (RFC 9457), and what every request goes through."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from functools import cache
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter, Histogram
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.events.refusals import HTTP_STATUS, Refusal, RefusalCode
from shared.runtime import direct, logging, metrics
from shared.runtime.trouble import passes

PROBLEM = "application/problem+json"
CORRELATION_HEADER = "x-correlation-id"
MAX_CORRELATION_LENGTH = 100
RETRY_AFTER_SECONDS = "2"
GONE = 499
"""The status under which a request is counted whose client went away before it was answered."""
ALWAYS_OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/version"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TITLES: dict[int, str] = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Refused",
    413: "Too large",
    414: "Too large",
    415: "Unsupported content type",
    422: "Invalid request",
    429: "Too many requests",
    431: "Too large",
    500: "Internal error",
    503: "Unavailable",
}
_CODES: dict[int, str] = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "too_many_requests",
    503: "unavailable",
}
_SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)


class ProblemError(Exception):
    """Answer the request with this refusal. ``status`` is the code's own unless given."""

    def __init__(
        self, refusal: Refusal, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.status = status or HTTP_STATUS[refusal.code]
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, code: RefusalCode, message: str, **details: Any) -> "ProblemError":
        """The short form."""
        return cls(Refusal(code=code, message=message, details=details))


def problem(
    status: int,
    code: str,
    detail: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An RFC 9457 document; ``details`` become members of it."""
    body = {
        **(details or {}),
        "type": f"urn:unitpool:problem:{code}",
        "title": _TITLES.get(status, "Problem"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    return JSONResponse(body, status, dict(headers or {}), media_type=PROBLEM)


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this class
    return problem(error.status, error.refusal.code, error.refusal.message, error.refusal.details, error.headers)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return problem(400, "malformed", "The body is not JSON.")
    return problem(422, "invalid_request", "The request is not valid.", {"errors": list(field_errors(error))})


async def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _CODES.get(error.status_code, "error")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


async def _on_failure(_request: Request, error: Exception) -> Response:
    if passes(error):
        message = "A part of the service is not answering. Try again shortly."
        return problem(503, "unavailable", message, headers={"Retry-After": RETRY_AFTER_SECONDS})
    return problem(500, "internal", "Something went wrong here. It was logged with the correlation id.")


def field_errors(error: RequestValidationError | ValidationError) -> Iterator[dict[str, str]]:
    """What is wrong with which field, in words; the place is dotted, without saying that it is the body."""
    for one in error.errors():
        place = [str(part) for part in one["loc"]]
        if place and place[0] in {"body", "query", "path", "header"}:
            place = place[1:]
        yield {"field": ".".join(place), "message": str(one["msg"]).removeprefix("Value error, ")}


class TooLargeError(HTTPException):
    """The body is longer than this service takes. FastAPI lets its own kind of error pass when it reads a body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body may have {limit} bytes at most.")


class Edge:
    """What is served of an app: around it correlation id, body limit, security headers, metrics, and a net for errors.

    The app is given the handlers of its errors.
    """

    def __init__(self, api: FastAPI, *, max_body_bytes: int) -> None:
        api.add_exception_handler(ProblemError, _on_problem)
        api.add_exception_handler(RequestValidationError, _on_invalid)
        api.add_exception_handler(HTTPException, _on_http_error)
        api.add_exception_handler(Exception, _on_failure)
        self._api = api
        self._max_body_bytes = max_body_bytes
        self._log = logging.get("http")
        self._direct: direct.Table | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        headers = dict(scope["headers"])
        correlation = _correlation_id(headers)
        logging.bind(correlation_id=correlation)
        scope.setdefault("state", {})["correlation_id"] = correlation
        answer = _Answer(send, correlation)
        started = time.perf_counter()
        try:
            await self._guarded(scope, headers, receive, answer)
        finally:
            route = _template(scope)
            _requests(route, answer.status).inc()
            if not answer.is_stream:
                _seconds(route).observe(time.perf_counter() - started)
            logging.unbind("correlation_id")

    async def _guarded(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, answer: "_Answer") -> None:
        limit = self._max_body_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            too_large = TooLargeError(limit)
            await answer.instead(await _on_http_error(Request(scope), too_large), scope, receive)
            return
        if not self._is_open(scope):
            starting = problem(503, "unavailable", "The service is starting.", headers={"Retry-After": "1"})
            await answer.instead(starting, scope, receive)
            return
        try:
            await self._answered(scope, _limited(receive, limit), answer)
        except ClientDisconnect:
            answer.status = GONE
        except Exception as error:
            if passes(error):
                self._log.warning("request_failed_for_now", route=_template(scope), error=repr(error))
            else:
                self._log.exception("request_failed", route=_template(scope))
            await answer.instead(await _on_failure(Request(scope), error), scope, receive)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if self._direct is None:
            self._direct = direct.table(self._api)
        route = self._direct.get((scope["method"], scope["path"]))
        if route is None:
            await self._api(scope, receive, answer.send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ProblemError as error:
            response = await _on_problem(request, error)
        except HTTPException as error:
            response = await _on_http_error(request, error)
        await response(scope, receive, answer.send)

    def _is_open(self, scope: Scope) -> bool:
        """Until the service has started, only its health can be asked for."""
        is_open: Callable[[], bool] = getattr(self._api.state, "is_open", lambda: True)
        return scope["path"] in ALWAYS_OPEN or is_open()


class _Answer:
    """Sees what is sent."""

    def __init__(self, send: Send, correlation: str) -> None:
        self.status = 500
        self.is_stream = False
        """Server-sent events: an answer that lasts as long as its reader wants."""
        self._send = send
        self._started = False
        self._extra = (*_SECURITY_HEADERS, (CORRELATION_HEADER.encode(), correlation.encode()))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            present = {name.lower(): value for name, value in message["headers"]}
            self.is_stream = present.get(b"content-type", b"").startswith(b"text/event-stream")
            added = [(name, value) for name, value in self._extra if name not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

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


def _correlation_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(CORRELATION_HEADER.encode(), b"").decode("ascii", "replace").strip()
    return (
        given if 0 < len(given) <= MAX_CORRELATION_LENGTH and given.isprintable() and given.isascii() else str(uuid4())
    )


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
