"""``GET /v1/entitlements``, for the product of the ingest key.

Platforms call it in their users' requests.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from fastapi import APIRouter, Request, Response

from services.metering.api.access import KeyRing
from services.metering.api.coalesced_lookup import CoalescedLookup
from services.metering.domain.catalogue import Catalogue, ProductView, SubscriptionView
from services.metering.domain.consumption import History, consumed
from services.metering.domain.entitlement import EntitlementReason, decide
from services.metering.store.entitlements import NOTHING, MeasuredState, MeterQuery, load_measured_state
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
"""Longest time for a request, including its key's lookup; then the answer is 503."""
NAMES = frozenset({"subscription", "product", "units"})
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
_UNITS = {"type": "integer", "minimum": 0, "maximum": MAX_UNITS, "default": 1}
_PARAMETERS = [
    {"name": "subscription", "in": "query", "required": True, "schema": _ID},
    {"name": "product", "in": "query", "required": True, "schema": _ID},
    {"name": "units", "in": "query", "schema": _UNITS, "description": "Pool units wanted in addition"},
]


class EntitlementAnswer(msgspec.Struct, frozen=True):
    """The body of the answer."""

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
    """The query of one request."""

    subscription: str
    product: str
    units: int


class _Subject(NamedTuple):
    """The subscription and product of a question; ``window`` is the current one."""

    subscription: SubscriptionView
    product: ProductView
    window: Window


def entitlement_router(
    keys: KeyRing, line: HeldConnection, projection: Projection, clock: Callable[[], datetime]
) -> APIRouter:
    """Make the route ``GET /v1/entitlements``.

    ``line``: the connection that all its lookups share.
    """
    router = APIRouter(route_class=DirectRoute)

    async def lookup(questions: Sequence[Question]) -> Sequence[bytes | None]:
        async with line.use(WITHIN_SECONDS) as connection:
            return await answers(connection, projection, questions, clock())

    lookups = CoalescedLookup(lookup)

    @router.get("/v1/entitlements", openapi_extra=_DESCRIPTION)
    async def get_entitlement(request: Request) -> Response:
        async with asyncio.timeout(WITHIN_SECONDS):  # includes waiting for the lookup that runs before its own
            given = query_parameters.read(request.scope["query_string"], NAMES)
            key = await keys.admit(request)
            question = read(given)
            if key.product != question.product:
                raise ProblemError.of("forbidden", "The ingest key is for another product.")
            answer = await lookups.get(question)
        if answer is None:
            raise ProblemError.of("not_found", "No such subscription or product is known.")
        return Response(answer, media_type="application/json")

    return router


async def answers(
    connection: Connection, projection: Projection, questions: Sequence[Question], now: datetime
) -> list[bytes | None]:
    """Return the body of each answer.

    It is ``None`` where the subscription or the product is unknown. Catalogue and consumption are of one instant,
    unless the projection changes during the call.
    """
    catalogue = projection.catalogue
    subjects = _find(catalogue, questions, now)
    if None in subjects:
        catalogue = await projection.refresh(connection)
        subjects = _find(catalogue, questions, now)
    measured = await _load(connection, subjects)
    if measured.version != catalogue.version:
        catalogue = await projection.refresh(connection)
        subjects = _find(catalogue, questions, now)
        measured = await _load(connection, subjects)
    return [
        _answer(question, subject, history, measured.as_of) if subject else None
        for question, subject, history in zip(questions, subjects, measured.histories, strict=True)
    ]


def _find(catalogue: Catalogue, questions: Sequence[Question], now: datetime) -> list[_Subject | None]:
    found: list[_Subject | None] = []
    for one in questions:
        subscription, product = catalogue.subscriptions.get(one.subscription), catalogue.products.get(one.product)
        if subscription is None or product is None:
            found.append(None)
        else:
            found.append(_Subject(subscription, product, subscription.state.calendar.window_at(now)))
    return found


async def _load(connection: Connection, subjects: Sequence[_Subject | None]) -> MeasuredState:
    return await load_measured_state(connection, [_needed(one) if one else NOTHING for one in subjects])


def _needed(subject: _Subject) -> MeterQuery:
    """Return which windows to read for a question.

    They are the current window of every meter, and all windows of the term up to it for meters that add up over the
    term.
    """
    subscription, product, window = subject
    term = min(window.start, subscription.state.term_at(window.start).start)
    since = {meter.number: term if meter.is_term else window.start for meter in product.meters.values()}
    return MeterQuery(subscription.number, since)


def _answer(question: Question, subject: _Subject, history: History, as_of: datetime | None) -> bytes:
    state = subject.subscription.state
    used = consumed(state, subject.product, subject.window, history)
    answer = decide(state, question.product, used, question.units)
    return _encode(
        EntitlementAnswer(
            answer.allowed, answer.reason, answer.allocated, answer.consumed, answer.unused, answer.policy, as_of
        )
    )


def read(given: Mapping[str, str]) -> Question:
    """Read the question from query parameters.

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
