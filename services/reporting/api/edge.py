"""What all routes share: who calls, how writes are answered, and how failures look."""

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
from services.reporting.api.fields import Shown, invalid
from services.reporting.application import Application
from services.reporting.auth import Tokens, unauthenticated
from services.reporting.commands import Answer
from services.reporting.domain.caller import Caller
from services.reporting.store.paging import CursorError
from shared.events.commands.subscriptions import SubscriptionCommand
from shared.events.envelope import Payload
from shared.runtime.delivery.transaction import PermanentError
from shared.runtime.http.middleware import ProblemError, field_errors
from shared.runtime.http.routes import ApiRoute, Handler

MAX_DIGITS = 15
"""Of a version."""
NO_VERSION = 0
MAX_TAGS_LENGTH = 1000
_OPAQUE = r'"([\x21\x23-\x7e\x80-\xff]{0,100})"'
_TAG = re.compile(rf"(W/)?{_OPAQUE}")
_TAGS = re.compile(rf"[ \t,]*(?:W/)?{_OPAQUE}[ \t]*(?:,[ \t]*(?:(?:W/)?{_OPAQUE}[ \t]*)?)*")
NEW_THINGS = UUID("4be6f0a5-1b0c-5f0e-9d55-6f2b3a7c9d10")

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning, "content": {"application/problem+json": {}}}
    for status, meaning in {
        400: "`malformed`: the body is not JSON",
        401: "`unauthenticated`",
        403: "`forbidden`",
        404: "`not_found`, also for what the caller may not know exists",
        409: "A refusal, with its `code` and numbers; `stale_version` where `If-Match` names another version",
        413: "`too_large`",
        415: "`unsupported_media_type`",
        422: "`invalid_request`: `errors` names each field; also `If-Match` on what has no version to judge",
        429: "`too_many_requests`, with `Retry-After`: of one person, or from one address",
        503: "`unavailable`, with `Retry-After`",
    }.items()
}
_PENDING: dict[int | str, dict[str, Any]] = {202: {"model": Pending, "description": "No outcome yet: ask `Location`"}}
Read = Callable[[], Awaitable[Shown]]
"""What the resource's GET gives now."""


def write_answers(*shapes: type[Any]) -> dict[str, Any]:
    """How a write's route is described: what the resource's GET gives, its id where one does not see it, or 202."""
    return {"response_model": reduce(or_, (*shapes, Done)), "responses": _PENDING}


@dataclass(frozen=True, slots=True)
class Doors:
    """What the routers are given."""

    application: Application
    tokens: Tokens

    def install(self, api: FastAPI) -> None:
        """Where the routes' dependencies find it."""
        api.state.doors = self

    async def caller(self, request: Request) -> Caller:
        """The bearer of the request's token.

        Raises:
            ProblemError: 401; 503.
        """
        address, correlation = _origin(request)
        try:
            caller = await self.tokens.caller(request.headers.get("authorization", ""), address, correlation)
        except ProblemError as refused:
            if refused.refusal.code == "unauthenticated" and "authorization" in request.headers:
                self.application.check_failures(address)
            raise
        return await self.application.words.judged(caller)

    async def watcher(self, request: Request) -> Caller:
        """The same, or the person of the page's session, which that does not keep alive: for live streams only."""
        if "authorization" in request.headers or self.application.session is None:
            return await self.caller(request)
        person = await self.application.session(request)
        if person is None:
            raise unauthenticated("Sign in, or send a token: Authorization: Bearer <token>.", None)
        return person

    async def still(self, request: Request, caller: Caller) -> Caller:
        """Who it is that still watches, judged by what is known now.

        Raises:
            ProblemError: 401: the session has ended.
        """
        if "authorization" in request.headers:
            return await self.application.words.judged(caller)
        return await self.watcher(request)

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
        """Send a command and answer with its outcome. A ``secret`` made with it is shown once, as ``shown_as``.

        ``versions``: of its subscription, as the asker may have seen it; see ``expected``.
        """
        if versions is not None:
            payload = payload.model_copy(update={"expected_version": await expected(versions, read)})
        answer = await self.application.commands.submit(payload, caller, command_id, key=key, secret=secret)
        is_versioned = isinstance(payload, SubscriptionCommand)
        return await answer_write(answer, read, is_versioned=is_versioned, **{shown_as: answer.secret})


def _origin(request: Request) -> tuple[str | None, str | None]:
    return request.client.host if request.client else None, getattr(request.state, "correlation_id", None)


_STORED = ("State", "Record", "Replay", "Decided", "MeterConsumption, ...]")
"""How the models end in which rows are read: a row that cannot be read says nothing of the request."""


class Route(ApiRoute):
    """A cursor that is none of ours, and what only the command's own model refuses, is the asker's mistake."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # What a read does not give (``command_id``, a secret) is left out, not shown as null.
        super().__init__(path, endpoint, **{**options, "response_model_exclude_unset": True})

    def get_route_handler(self) -> Handler:
        """The handler, guarded."""
        inner = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await inner(request)
            except CursorError as error:
                raise invalid("cursor", "is not a cursor of this list") from error
            except ValidationError as error:
                if error.title.endswith(_STORED):  # a fault of ours, not of the request
                    raise
                raise _invalid_payload(error) from error
            except PermanentError as error:
                raise invalid("", str(error)) from error

        return guarded


def _invalid_payload(error: ValidationError) -> ProblemError:
    return ProblemError.of("invalid_request", "The request is not valid.", errors=list(field_errors(error)))


def new_router(tag: str, prefix: str = "") -> APIRouter:
    """A router of the API."""
    return APIRouter(prefix=f"/v1{prefix}", tags=[tag], route_class=Route, responses=PROBLEMS)


async def command_id(
    idempotency_key: Annotated[
        UUID | None, Header(description="The command's id, unique per person; a repeat gets the first answer")
    ] = None,
) -> UUID:
    """What names the command; made up where the request does not."""
    return idempotency_key or uuid4()


async def expected_versions(
    request: Request,
    if_match: Annotated[str | None, Header(description='The ETag that was seen, e.g. `"17"`')] = None,
) -> Collection[int] | None:
    """The versions that the asker may have seen; ``None``: any. Compared strongly (RFC 9110, 13.1.1), so a weak tag,
    like one that is none of ours, is that of no version.

    Raises:
        ProblemError: it is no list of ETags.
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


async def asking(request: Request) -> Caller:
    """The bearer of the request's token."""
    doors: Doors = request.app.state.doors
    return await doors.caller(request)


async def watching(request: Request) -> Caller:
    """The same, or the person of the page's session."""
    doors: Doors = request.app.state.doors
    return await doors.watcher(request)


Asking = Annotated[Caller, Depends(asking)]
Watching = Annotated[Caller, Depends(watching)]
CommandId = Annotated[UUID, Depends(command_id)]
ExpectedVersions = Annotated[Collection[int] | None, Depends(expected_versions)]


async def expected(versions: Collection[int] | None, read: Read) -> int | None:
    """The version that the command is for: the present one, where it is among several; the owner judges in the end."""
    if versions is None:
        return None
    if len(versions) < 2:  # noqa: PLR2004
        return next(iter(versions), NO_VERSION)
    present = version_of(await read())
    return present if present in versions else NO_VERSION


async def answer_write(answer: Answer, read: Read, *, is_versioned: bool = True, **shown_once: str | None) -> Response:
    """200 with what the resource's GET now gives; the refusal; or 202 where no outcome came."""
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


async def _effect(answer: Answer, read: Read) -> Shown:
    """What was changed, as the caller sees it; who may change a thing without seeing it gets its id."""
    try:
        return await read()
    except ProblemError as hidden:
        if hidden.refusal.code not in {"not_found", "forbidden"}:
            raise
        return Done(id=answer.resource)


def version_of(shown: BaseModel) -> int | None:
    """The version of what has one."""
    version: int | None = getattr(shown, "version", None)
    return version


def etag(version: int | None) -> dict[str, str]:
    """The ETag of what has a version."""
    return {} if version is None else {"ETag": f'"{version}"'}


def chosen_id(caller: Caller, command_id: UUID) -> str:
    """The id of something new: a repeat of the command chooses the same."""
    return str(uuid5(NEW_THINGS, f"{caller.email}:{command_id}"))
