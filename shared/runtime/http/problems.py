"""Problem documents (RFC 9457): the answers to refusals and errors."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from shared.events.refusals import HTTP_STATUS, Refusal, RefusalCode
from shared.runtime.delivery.backoff import is_transient

PROBLEM = "application/problem+json"
RETRY_AFTER_SECONDS = "2"

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
    421: "Misdirected",
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
    421: "misdirected",
    422: "invalid_request",
    429: "too_many_requests",
    503: "unavailable",
}


class ProblemError(Exception):
    """Ends a request with a refusal. ``status`` is that of the code unless given."""

    def __init__(
        self, refusal: Refusal, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.status = status or HTTP_STATUS[refusal.code]
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, code: RefusalCode, message: str, **details: Any) -> "ProblemError":
        """Make one from a code and a message."""
        return cls(Refusal(code=code, message=message, details=details))


def problem(
    status: int,
    code: str,
    detail: str,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Make the answer with an RFC 9457 document; ``details`` become members of it."""
    body = {
        **(details or {}),
        "type": f"urn:unitpool:problem:{code}",
        "title": _TITLES.get(status, "Problem"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    return JSONResponse(body, status, dict(headers or {}), media_type=PROBLEM)


async def on_problem(_request: Request, error: Exception) -> Response:
    """Answer a ``ProblemError`` with its refusal."""
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this class
    return problem(error.status, error.refusal.code, error.refusal.message, error.refusal.details, error.headers)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return problem(400, "malformed", "The body is not JSON.")
    return problem(422, "invalid_request", "The request is not valid.", {"errors": list(field_errors(error))})


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer an ``HTTPException`` with its status, detail and headers."""
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _CODES.get(error.status_code, "error")
    headers = dict(error.headers or {})
    allowed = headers.get("Allow", "").split(", ")
    if "GET" in allowed and "HEAD" not in allowed:
        headers["Allow"] = ", ".join((*allowed, "HEAD"))
    return problem(error.status_code, code, str(error.detail), headers=headers)


async def on_failure(_request: Request, error: Exception) -> Response:
    """Answer any other error: 503 if it is transient, else 500."""
    if is_transient(error):
        message = "A part of the service is not answering. Try again shortly."
        return problem(503, "unavailable", message, headers={"Retry-After": RETRY_AFTER_SECONDS})
    return problem(500, "internal", "Something went wrong here. It was logged with the correlation id.")


def field_errors(error: RequestValidationError | ValidationError) -> Iterator[dict[str, str]]:
    """Yield each fault as ``{"field", "message"}``.

    The field is a dotted path, without the leading ``body``, ``query``, ``path`` or ``header``.
    """
    for one in error.errors():
        place = [str(part) for part in one["loc"]]
        if place and place[0] in {"body", "query", "path", "header"}:
            place = place[1:]
        yield {"field": ".".join(place), "message": str(one["msg"]).removeprefix("Value error, ")}


def install(api: FastAPI) -> None:
    """Register these answers as the app's error handlers."""
    api.add_exception_handler(ProblemError, on_problem)
    api.add_exception_handler(RequestValidationError, _on_invalid)
    api.add_exception_handler(HTTPException, on_http_error)
    api.add_exception_handler(Exception, on_failure)
