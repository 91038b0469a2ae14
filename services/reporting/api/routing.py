"""Parts that all routes share: callers, answers to writes, and problems."""

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from services.reporting.api.answers.shapes import Done, Pending, Problem
from services.reporting.api.fields import AnswerBody, invalid
from services.reporting.application import Application
from services.reporting.auth import TokenVerifier, unauthenticated
from services.reporting.commands import Answer
from services.reporting.domain.caller import Caller
from services.reporting.store.paging import CursorError
from shared.events.commands.subscriptions import SubscriptionCommand
from shared.events.envelope import Payload
from shared.runtime.delivery.transaction import PermanentError
from shared.runtime.http.middleware import ProblemError, field_errors
from shared.runtime.http.routes import ApiRoute, Handler

MAX_DIGITS = 15
"""Most digits of a version."""
NO_VERSION = 0
"""A version that no resource has.

A command that expects it is refused as ``stale_version``.
"""
MAX_TAGS_LENGTH = 1000
_OPAQUE = r'"([\x21\x23-\x7e\x80-\xff]{0,100})"'
_TAG = re.compile(rf"(W/)?{_OPAQUE}")
_TAGS = re.compile(rf"[ \t,]*(?:W/)?{_OPAQUE}[ \t]*(?:,[ \t]*(?:(?:W/)?{_OPAQUE}[ \t]*)?)*")
NEW_IDS = UUID("4be6f0a5-1b0c-5f0e-9d55-6f2b3a7c9d10")

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning, "content": {"application/problem+json": {}}}
    for status, meaning in {
        400: "`malformed`: the body is not JSON",
        401: "`unauthenticated`",
        403: "`forbidden`",
        404: "`not_found`, also for what the caller may not see",
        409: "A refusal, with its `code` and numbers; `stale_version` if `If-Match` names another version",
        413: "`too_large`",
        415: "`unsupported_media_type`",
        422: "`invalid_request`: `errors` names each field; also `If-Match` on a resource without a version",
        429: "`too_many_requests`, with `Retry-After`: by one person, or from one address",
        503: "`unavailable`, with `Retry-After`",
    }.items()
}
_PENDING: dict[int | str, dict[str, Any]] = {202: {"model": Pending, "description": "No outcome yet: poll `Location`"}}
Read = Callable[[], Awaitable[AnswerBody]]
"""Reads the resource as its GET answers it now."""


def write_answers(*shapes: type[Any]) -> dict[str, Any]:
    """Describe the answers of a write route, for its decorator.

    They are the body of the resource's GET, its id if the caller may not see it, or 202.
    """
    return {"response_model": reduce(or_, (*shapes, Done)), "responses": _PENDING}


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The dependencies of the routers: the application and the verifier of tokens."""

    application: Application
    tokens: TokenVerifier

    def install(self, api: FastAPI) -> None:
        """Store itself in the app's state, where the routes' dependencies find it."""
        api.state.api_context = self

    async def caller(self, request: Request) -> Caller:
        """Authenticate the bearer of the request's token.

        Raises:
            ProblemError: 401; 429; 503.
        """
        address, correlation = _origin(request)
        try:
            caller = await self.tokens.caller(request.headers.get("authorization", ""), address, correlation)
        except ProblemError as refused:
            if refused.refusal.code == "unauthenticated" and "authorization" in request.headers:
                self.application.count_failure(address)
            raise
        return await self.application.vendor_operators.with_current_role(caller)

    async def stream_caller(self, request: Request) -> Caller:
        """Authenticate the caller of a live stream, by token or by the page's session.

        The session is not renewed.

        Raises:
            ProblemError: 401; 429; 503.
        """
        if "authorization" in request.headers or self.application.session is None:
            return await self.caller(request)
        person = await self.application.session(request)
        if person is None:
            raise unauthenticated("Sign in, or send a token: Authorization: Bearer <token>.", None)
        return person

    async def recheck(self, request: Request, caller: Caller) -> Caller:
        """Recheck the caller of an open stream: their session and their vendor role.

        Raises:
            ProblemError: 401: the session has ended.
        """
        if "authorization" in request.headers:
            return await self.application.vendor_operators.with_current_role(caller)
        return await self.stream_caller(request)

    async def write(
        self,
        payload: Payload,
        caller: Caller,
        command_id: UUID,
        read: Read,
        *,
        key: str | None = None,
        secret: str | None = None,
        shown_as: str = "secret",
        versions: Collection[int] | None = None,
    ) -> Response:
        """Send a command and answer with its outcome.

        A ``secret`` created with it is shown once, as the member ``shown_as``. ``versions``: the versions of the
        subscription for which the command may apply; see ``expected``.
        """
        if versions is not None:
            payload = payload.model_copy(update={"expected_version": await expected(versions, read)})
        answer = await self.application.commands.submit(payload, caller, command_id, key=key, secret=secret)
        is_versioned = isinstance(payload, SubscriptionCommand)
        return await answer_write(answer, read, is_versioned=is_versioned, **{shown_as: answer.secret})


def _origin(request: Request) -> tuple[str | None, str | None]:
    return request.client.host if request.client else None, getattr(request.state, "correlation_id", None)


_STORED = ("State", "Record", "Replay", "Decided", "MeterConsumption, ...]")
"""Suffixes of the models of stored rows.

An invalid row is an error of the server, not of the request.
"""


class Route(ApiRoute):
    """A route that answers foreign cursors and invalid commands with 422."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # Members that a read does not set (``command_id``, a secret) are left out instead of null.
        super().__init__(path, endpoint, **{**options, "response_model_exclude_unset": True})

    def get_route_handler(self) -> Handler:
        """Wrap the handler."""
        inner = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await inner(request)
            except CursorError as error:
                raise invalid("cursor", "is not a cursor of this list") from error
            except ValidationError as error:
                if error.title.endswith(_STORED):  # an error of the server, not of the request
                    raise
                raise _invalid_payload(error) from error
            except PermanentError as error:
                raise invalid("", str(error)) from error

        return guarded


def _invalid_payload(error: ValidationError) -> ProblemError:
    return ProblemError.of("invalid_request", "The request is not valid.", errors=list(field_errors(error)))


def new_router(tag: str, prefix: str = "") -> APIRouter:
    """Create a router under ``/v1``."""
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], route_class=Route, responses=PROBLEMS)


async def command_id(
    idempotency_key: Annotated[
        UUID | None, Header(description="The command's id, unique per person; a repeat returns the first answer")
    ] = None,
) -> UUID:
    """Return the command's id; generate one if the request has none."""
    return idempotency_key or uuid4()


async def expected_versions(
    request: Request,
    if_match: Annotated[str | None, Header(description='The ETag of the version to change, e.g. `"17"`')] = None,
) -> Collection[int] | None:
    """Parse ``If-Match`` to the versions for which a write may apply; ``None``: any.

    ETags are compared strongly (RFC 9110, 13.1.1), so a weak or foreign tag matches no version.

    Raises:
        ProblemError: it is not a list of ETags.
    """
    if if_match is None:
        return None
    given = ",".join(request.headers.getlist("if-match")).strip()
    if given == "*":
        return None
    tags = _TAG.findall(given)
    is_long = len(given) > MAX_TAGS_LENGTH or any(tag.isdigit() and len(tag) > MAX_DIGITS for _, tag in tags)
    if is_long or not _TAGS.fullmatch(given):
        raise invalid("If-Match", 'must be * or ETags, e.g. "17"')
    return [int(tag) for weak, tag in tags if not weak and tag.isdigit()]


async def current_caller(request: Request) -> Caller:
    """Authenticate the bearer of the request's token."""
    context: ApiContext = request.app.state.api_context
    return await context.caller(request)


async def stream_caller(request: Request) -> Caller:
    """Authenticate the caller of a live stream, by token or by the page's session."""
    context: ApiContext = request.app.state.api_context
    return await context.stream_caller(request)


CurrentCaller = Annotated[Caller, Depends(current_caller)]
StreamCaller = Annotated[Caller, Depends(stream_caller)]
CommandId = Annotated[UUID, Depends(command_id)]
ExpectedVersions = Annotated[Collection[int] | None, Depends(expected_versions)]


async def expected(versions: Collection[int] | None, read: Read) -> int | None:
    """Return the version to send with the command; ``NO_VERSION`` matches none.

    Of several versions it is the current one, if it is among them. The owner compares it again.
    """
    if versions is None:
        return None
    if len(versions) < 2:  # noqa: PLR2004
        return next(iter(versions), NO_VERSION)
    present = version_of(await read())
    return present if present in versions else NO_VERSION


async def answer_write(answer: Answer, read: Read, *, is_versioned: bool = True, **shown_once: str | None) -> Response:
    """Answer 200 with the resource as its GET shows it, or 202 if no outcome arrived.

    Raises:
        ProblemError: the command was refused.
    """
    headers = {"Idempotency-Key": str(answer.command_id)}
    if answer.refusal:
        raise ProblemError(answer.refusal, headers=headers)
    if not answer.decided:
        headers["Location"] = f"/v1/commands/{answer.command_id}"
        return JSONResponse({"command_id": str(answer.command_id), "status": "pending"}, 202, headers)
    effect = await _effect(answer, read)
    content = effect.model_dump(mode="json", by_alias=True, exclude_unset=True)
    content |= {name: value for name, value in shown_once.items() if value is not None}
    content["command_id"] = str(answer.command_id)
    return JSONResponse(content, 200, headers | (etag(version_of(effect)) if is_versioned else {}))


async def _effect(answer: Answer, read: Read) -> AnswerBody:
    """Read the changed resource; if the caller may not see it, return its id only."""
    try:
        return await read()
    except ProblemError as hidden:
        if hidden.refusal.code not in {"not_found", "forbidden"}:
            raise
        return Done(id=answer.resource)


def version_of(shown: BaseModel) -> int | None:
    """Return the version of an answer, if it has one."""
    version: int | None = getattr(shown, "version", None)
    return version


def etag(version: int | None) -> dict[str, str]:
    """Build the ``ETag`` header of a version."""
    return {} if version is None else {"ETag": f'"{version}"'}


def derive_id(caller: Caller, command_id: UUID) -> str:
    """Derive the id of a new resource; a repeat of the command derives the same."""
    return str(uuid5(NEW_IDS, f"{caller.email}:{command_id}"))
