"""``POST /v1/usage``: judged alone, published, acknowledged by the broker, then answered."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Request, Response

from services.metering import metrics
from services.metering.api.access import KeyRing
from services.metering.api.coalesced_lookup import Gathering
from services.metering.api.limits import KeyLimits
from services.metering.api.request_body import BodyError, split
from services.metering.domain.catalogue import UNIQUE, Catalogue, may_report
from services.metering.domain.corrections import CorrectionEvent, Purged
from services.metering.domain.decode import UsageEvent, decode
from services.metering.domain.reasons import Reason, RejectedError
from services.metering.domain.trace_headers import CORRELATION_ID, TRACE_PARENT
from services.metering.store.keys import IngestKey
from shared.runtime.http import query_parameters
from shared.runtime.http.fast_routes import DirectRoute
from shared.runtime.http.middleware import CORRELATION_HEADER, problem

MAX_EVENT_BYTES = 900_000
RETRY_SECONDS = "1"
CATALOGUE_SECONDS = 1.4
"""For the catalogue, where the database must be asked; then it is 503."""
UNKNOWN_BYTES = 1024 * 1024
"""What is held for a body that comes without its length."""

Headers = Sequence[tuple[str, bytes]]
"""Of Kafka records."""
Send = Callable[[Sequence[tuple[bytes, bytes]], Headers], Awaitable[None]]
"""Publishes (value, key) pairs with these headers; returns once the broker has acknowledged all."""
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
_encode = msgspec.json.Encoder().encode


class RefusedEvent(msgspec.Struct, frozen=True):
    """One event that is refused. ``index`` is its place; ``id`` is ``None`` where it cannot be read."""

    index: int
    id: str | None
    code: Reason
    message: str


class UsageAnswer(msgspec.Struct, frozen=True):
    """The body of the answer 202."""

    accepted: int
    duplicates: int
    refused: list[RefusedEvent]


class UnacknowledgedError(Exception):
    """The broker has not acknowledged in time. Sending the same again is safe."""


class OverloadError(Exception):
    """Too much is waiting for the broker already."""


@dataclass(slots=True)
class Sorted:
    """The events of one request by what becomes of them."""

    accepted: list[tuple[bytes, bytes]] = field(default_factory=list)
    duplicates: int = 0
    refused: list[RefusedEvent] = field(default_factory=list)


def sort_events(texts: Sequence[bytes], product: str, catalogue: Catalogue) -> Sorted:
    """Judge each event by itself, as far as the door can, for a key of ``product``."""
    result = Sorted()
    seen: dict[tuple[str, str], UsageEvent | CorrectionEvent] = {}
    for index, text in enumerate(texts):
        try:
            event = decode(text)
            _check(text, event, product, catalogue)
        except RejectedError as error:
            result.refused.append(RefusedEvent(index, error.claim.event_id, error.reason, error.detail))
            continue
        if seen.setdefault((event.source, event.id), event) is not event and seen[event.source, event.id] == event:
            result.duplicates += 1
        else:
            result.accepted.append((text, event.subject.encode()))
    return result


def _check(text: bytes, event: UsageEvent | CorrectionEvent, product: str, catalogue: Catalogue) -> None:
    known = catalogue.products.get(product)
    allowed = known.allows(event.source) if known else may_report(event.source, product)
    if event.data.product != product or not allowed:
        raise RejectedError("source_not_allowed", "the key is for another product or source", event.claim())
    if isinstance(event, UsageEvent):
        meter = known.meters.get(event.data.meter) if known else None
        if meter and meter.kind == UNIQUE and not isinstance(event.data.resource, str):
            raise RejectedError("missing_resource", "the meter counts resources and none is named", event.claim())
    elif isinstance(event.data, Purged):
        meter = known.meters.get(event.data.meter) if known else None
        if meter and meter.kind != UNIQUE:
            raise RejectedError("unsupported_type", "the meter does not count resources", event.claim())
    if len(text) > MAX_EVENT_BYTES:
        raise RejectedError("malformed", f"an event may have {MAX_EVENT_BYTES} bytes at most", event.claim())


class Publisher:
    """Publishes accepted usage. What is being read and what waits for the broker is bounded together, whether or not
    its request still waits."""

    def __init__(self, send: Send, *, budget_bytes: int, within_seconds: float) -> None:
        self._send = send
        self._budget_bytes = budget_bytes
        self._within_seconds = within_seconds
        self._waiting_bytes = 0
        self._reading_bytes = 0

    @contextmanager
    def reading(self, size_bytes: int) -> Iterator[None]:
        """Hold room for a body while it is read and judged.

        Raises:
            OverloadError: there is none; only where nothing else is held may a body be larger than the room.
        """
        held = self._waiting_bytes + self._reading_bytes
        if held and held + size_bytes > self._budget_bytes:
            raise OverloadError
        self._reading_bytes += size_bytes
        try:
            yield
        finally:
            self._reading_bytes -= size_bytes

    async def publish(self, events: Sequence[tuple[bytes, bytes]], headers: Headers = ()) -> None:
        """Return once the broker has acknowledged all.

        Raises:
            OverloadError, UnacknowledgedError
        """
        size = sum(len(text) for text, _ in events)
        if self._waiting_bytes and self._waiting_bytes + size > self._budget_bytes:
            raise OverloadError
        self._waiting_bytes += size
        sending = asyncio.ensure_future(self._send(events, headers))
        sending.add_done_callback(lambda _: self._release(size))
        try:
            async with asyncio.timeout(self._within_seconds):
                await asyncio.shield(sending)
        except (TimeoutError, KafkaError) as error:
            raise UnacknowledgedError from error
        except asyncio.CancelledError:
            if not sending.cancelled():
                raise
            raise UnacknowledgedError from None  # the producer was stopped, not the request

    def _release(self, size: int) -> None:
        self._waiting_bytes -= size


def usage_router(
    keys: KeyRing, limits: KeyLimits, publisher: Publisher, catalogue: Callable[[], Awaitable[Catalogue]]
) -> APIRouter:
    """The route. ``catalogue`` gives what is known now; requests at the same time share what it takes."""
    router = APIRouter(route_class=DirectRoute)

    async def look(asked: Sequence[None]) -> Sequence[Catalogue]:
        return [await catalogue()] * len(asked)

    async def known() -> Catalogue:
        async with asyncio.timeout(CATALOGUE_SECONDS):
            return await looks.ask(None)

    looks = Gathering(look)

    async def judged(request: Request, key: IngestKey) -> tuple[Sorted, bool]:
        """What is in the request, and whether it is a batch. Its text is not held any longer than this."""
        size = _length(request)
        limits.check_size(key, size)
        with publisher.reading(size):
            body = await request.body()
            limits.check_size(key, len(body))
            texts, is_batch = split(request.headers.items(), body)
            limits.spend(key, len(texts))
            return sort_events(texts, key.product, await known()), is_batch

    @router.post("/v1/usage", status_code=202)
    async def post_usage(request: Request) -> Response:
        query_parameters.read(request.scope["query_string"], ())
        key = await keys.admit(request)
        limits.admit(key)
        try:
            result, is_batch = await judged(request, key)
            _count(result)
            if result.refused and not is_batch:
                refused = result.refused[0]
                return problem(422, refused.code, refused.message, {"id": refused.id})
            await publisher.publish(result.accepted, _origin(request))
        except BodyError as error:
            return problem(error.status, error.code, str(error))
        except OverloadError:
            message = "Too much usage waits for the broker. Send the same again, later."
            return problem(429, "too_many_requests", message, headers={"Retry-After": RETRY_SECONDS})
        except UnacknowledgedError:
            message = "The broker has not acknowledged in time. Send the same again: nothing is counted twice."
            return problem(503, "unavailable", message, headers={"Retry-After": RETRY_SECONDS})
        answer = UsageAnswer(len(result.accepted), result.duplicates, result.refused)
        return Response(_encode(answer), 202, media_type="application/json")

    return router


def _origin(request: Request) -> Headers:
    """What ties records to the request that brought them. It is no part of an event: a repeat from another request is
    the same event."""
    found: list[tuple[str, bytes]] = []
    if CORRELATION_HEADER in request.headers:
        found.append((CORRELATION_ID, str(request.scope["state"]["correlation_id"]).encode()))
    trace = request.headers.get(TRACE_PARENT, "")
    if _TRACE_PARENT.fullmatch(trace):
        found.append((TRACE_PARENT, trace.encode()))
    return found


def _length(request: Request) -> int:
    """How long the body says that it is."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else UNKNOWN_BYTES


def _count(result: Sorted) -> None:
    for refused in result.refused:
        metrics.INGEST_REFUSED.labels(code=refused.code).inc()
