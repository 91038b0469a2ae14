"""``GET /v1/entitlements``, for the product of the ingest key: the latency that a platform's own users feel."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from fastapi import APIRouter, Request, Response

from services.metering.api.access import KeyRing
from services.metering.api.coalesced_lookup import Gathering
from services.metering.domain.catalogue import Catalogue, ProductView, SubscriptionView
from services.metering.domain.consumption import History, consumed
from services.metering.domain.entitlement import EntitlementReason, decide
from services.metering.store.entitlements import NOTHING, Asked, Standing, load_standing
from services.metering.store.projection import Projection
from shared.events.state import OveragePolicy
from shared.runtime.http import query_parameters
from shared.runtime.http.fast_routes import DirectRoute
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Connection, HeldConnection
from shared.units import MAX_UNITS
from shared.windows import Window

MAX_ID_LENGTH = 64
WITHIN_SECONDS = 2.5
"""For a question, its key and all; then it is 503."""
NAMES = frozenset({"subscription", "product", "units"})
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


class _Matter(NamedTuple):
    """What is known of what is asked for. ``window`` is the present one."""

    subscription: SubscriptionView
    product: ProductView
    window: Window


def entitlement_router(
    keys: KeyRing, line: HeldConnection, projection: Projection, clock: Callable[[], datetime]
) -> APIRouter:
    """The route."""
    router = APIRouter(route_class=DirectRoute)

    async def look(asked: Sequence[Question]) -> Sequence[bytes | None]:
        async with line.use(WITHIN_SECONDS) as connection:
            return await answers(connection, projection, asked, clock())

    questions = Gathering(look)

    @router.get("/v1/entitlements", openapi_extra=_DESCRIPTION)
    async def get_entitlement(request: Request) -> Response:
        async with asyncio.timeout(WITHIN_SECONDS):  # also where it must wait for the answer before its own
            given = query_parameters.read(request.scope["query_string"], NAMES)
            key = await keys.admit(request)
            question = read(given)
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
    catalogue = projection.catalogue
    matters = _find(catalogue, asked, now)
    if None in matters:
        catalogue = await projection.refresh(connection)
        matters = _find(catalogue, asked, now)
    standing = await _load(connection, matters)
    if standing.version != catalogue.version:
        catalogue = await projection.refresh(connection)
        matters = _find(catalogue, asked, now)
        standing = await _load(connection, matters)
    return [
        _answer(question, matter, history, standing.as_of) if matter else None
        for question, matter, history in zip(asked, matters, standing.histories, strict=True)
    ]


def _find(catalogue: Catalogue, asked: Sequence[Question], now: datetime) -> list[_Matter | None]:
    found: list[_Matter | None] = []
    for one in asked:
        subscription, product = catalogue.subscriptions.get(one.subscription), catalogue.products.get(one.product)
        if subscription is None or product is None:
            found.append(None)
        else:
            found.append(_Matter(subscription, product, subscription.state.calendar.window_at(now)))
    return found


async def _load(connection: Connection, matters: Sequence[_Matter | None]) -> Standing:
    return await load_standing(connection, [_needed(one) if one else NOTHING for one in matters])


def _needed(matter: _Matter) -> Asked:
    """This window of every meter; of those that add up over the term, the term's."""
    subscription, product, window = matter
    term = min(window.start, subscription.state.term_at(window.start).start)
    since = {meter.number: term if meter.is_term else window.start for meter in product.meters.values()}
    return Asked(subscription.number, since)


def _answer(question: Question, matter: _Matter, history: History, as_of: datetime | None) -> bytes:
    state = matter.subscription.state
    used = consumed(state, matter.product, matter.window, history)
    answer = decide(state, question.product, used, question.units)
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
