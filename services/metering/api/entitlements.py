"""``GET /v1/entitlements``, for the product of the ingest key: the latency that a platform's own users feel."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from fastapi import APIRouter, Request, Response

from services.metering.api.access import KeyRing
from services.metering.api.gathering import Gathering
from services.metering.domain.catalogue import ProductView, SubscriptionView
from services.metering.domain.consumption import History, snapshot
from services.metering.domain.entitlement import EntitlementReason, decide
from services.metering.store.entitlements import Asked, Standing, load_standing
from services.metering.store.projection import Projection
from shared.events.state import OveragePolicy
from shared.runtime.direct import DirectRoute
from shared.runtime.http import ProblemError
from shared.runtime.postgres import Connection, HeldConnection
from shared.units import MAX_UNITS

MAX_ID_LENGTH = 64
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
_UNITS = {"type": "integer", "minimum": 0, "maximum": MAX_UNITS, "default": 1}
_PARAMETERS = [
    {"name": "subscription", "in": "query", "required": True, "schema": _ID},
    {"name": "product", "in": "query", "required": True, "schema": _ID},
    {"name": "units", "in": "query", "schema": _UNITS, "description": "Pool units wanted on top"},
]


class EntitlementAnswer(msgspec.Struct, frozen=True):
    """The answer's body."""

    allowed: bool
    reason: EntitlementReason
    allocated: int
    consumed: int
    unused: int
    policy: OveragePolicy | None
    as_of: datetime | None


_encode = msgspec.json.Encoder().encode
_SCHEMA = msgspec.json.schema_components([EntitlementAnswer])[1]["EntitlementAnswer"]
_DESCRIPTION = {
    "parameters": _PARAMETERS,
    "responses": {"200": {"description": "The answer", "content": {"application/json": {"schema": _SCHEMA}}}},
}


class Question(NamedTuple):
    """What a request asks for."""

    subscription: str
    product: str
    units: int


def entitlement_router(
    keys: KeyRing, line: HeldConnection, projection: Projection, clock: Callable[[], datetime]
) -> APIRouter:
    """The route."""
    router = APIRouter(route_class=DirectRoute)

    async def look(asked: Sequence[Question]) -> Sequence[bytes | None]:
        return await answers(await line.get(), projection, asked, clock())

    questions = Gathering(look)

    @router.get("/v1/entitlements", openapi_extra=_DESCRIPTION)
    async def get_entitlement(request: Request) -> Response:
        key = await keys.admit(request)
        question = read(request.query_params)
        if key.product != question.product:
            raise ProblemError.of("forbidden", "The ingest key is for another product.")
        answer = await questions.ask(question)
        if answer is None:
            raise ProblemError.of("not_found", "No such subscription or product is known.")
        return Response(answer, media_type="application/json")

    return router


async def answers(
    connection: Connection, projection: Projection, asked: Sequence[Question], now: datetime
) -> list[bytes | None]:
    """The body of each answer; ``None`` where the subscription or the product is not known.

    Catalogue and consumption are of one moment, unless the projection is changing right now.
    """
    if any(None in views for views in _views(projection, asked)):
        await projection.refresh(connection)
    standing = await _load(connection, projection, asked, now)
    if standing.version != projection.catalogue.version:
        await projection.refresh(connection)
        standing = await _load(connection, projection, asked, now)
    return [
        _answer(question, known, view, history, now, as_of=standing.as_of) if known and view else None
        for question, (known, view), history in zip(asked, _views(projection, asked), standing.histories, strict=True)
    ]


def _views(
    projection: Projection, asked: Sequence[Question]
) -> list[tuple[SubscriptionView | None, ProductView | None]]:
    catalogue = projection.catalogue
    return [(catalogue.subscriptions.get(one.subscription), catalogue.products.get(one.product)) for one in asked]


async def _load(connection: Connection, projection: Projection, asked: Sequence[Question], now: datetime) -> Standing:
    return await load_standing(connection, [_needed(*views, now) for views in _views(projection, asked)])


def _needed(known: SubscriptionView | None, view: ProductView | None, now: datetime) -> Asked:
    """This window of every meter; of those that add up over the term, the term's."""
    if known is None or view is None:
        return Asked(0, {})
    window = known.state.calendar.window_at(now).start
    term = min(window, known.state.term_at(now).start)
    return Asked(known.number, {meter.number: term if meter.is_term else window for meter in view.meters.values()})


def _answer(
    question: Question,
    known: SubscriptionView,
    view: ProductView,
    history: History,
    now: datetime,
    *,
    as_of: datetime | None,
) -> bytes:
    measured = snapshot(known.state, view, now, history)
    answer = decide(known.state, question.product, measured.consumed if measured else 0, question.units)
    return _encode(
        EntitlementAnswer(
            answer.allowed, answer.reason, answer.allocated, answer.consumed, answer.unused, answer.policy, as_of
        )
    )


def read(given: Mapping[str, str]) -> Question:
    """The question that query parameters ask.

    Raises:
        ProblemError: ``invalid_request``, with every parameter that is wrong.
    """
    errors = [
        {"field": name, "message": f"must have 1 to {MAX_ID_LENGTH} characters"}
        for name in ("subscription", "product")
        if not 0 < len(given.get(name, "")) <= MAX_ID_LENGTH
    ]
    units = given.get("units", "1")
    is_number = units.isascii() and units.isdigit() and len(units) <= len(str(MAX_UNITS)) and int(units) <= MAX_UNITS
    if not is_number:
        errors.append({"field": "units", "message": f"must be a whole number from 0 to {MAX_UNITS}"})
    if errors:
        raise ProblemError.of("invalid_request", "The request is not valid.", errors=errors)
    return Question(given["subscription"], given["product"], int(units))
