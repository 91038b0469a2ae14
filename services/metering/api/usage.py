"""``POST /v1/usage``: usage is checked and published.

Each event is checked by itself. The answer follows once the broker has acknowledged those that are accepted.
"""

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
from services.metering.api.coalesced_lookup import CoalescedLookup
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
"""Longest wait for the catalogue; then the answer is 503."""
UNKNOWN_BYTES = 1024 * 1024
"""Bytes reserved for a body without a Content-Length."""

Headers = Sequence[tuple[str, bytes]]
"""Headers of Kafka records."""
Send = Callable[[Sequence[tuple[bytes, bytes]], Headers], Awaitable[None]]
"""A function that publishes (value, key) pairs with these headers.

It returns once the broker has acknowledged all.
"""
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
_encode = msgspec.json.Encoder().encode


class RefusedEvent(msgspec.Struct, frozen=True):
    """One event that is refused.

    ``index`` is its place in the request; ``id`` is ``None`` where it cannot be read.
    """

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
    """The broker did not acknowledge in time. Sending the same events again is safe."""


class OverloadError(Exception):
    """Too many bytes already wait for the broker."""


@dataclass(slots=True)
class SortedEvents:
    """The events of one request, by outcome. ``accepted``: (value, key) pairs."""

    accepted: list[tuple[bytes, bytes]] = field(default_factory=list)
    duplicates: int = 0
    refused: list[RefusedEvent] = field(default_factory=list)


def sort_events(texts: Sequence[bytes], product: str, catalogue: Catalogue) -> SortedEvents:
    """Sort a request's events into accepted, repeated and refused ones.

    ``product``: that of the ingest key. Each is checked by itself; the consumer checks what depends on the
    subscription.
    """
    result = SortedEvents()
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
    """Publish accepted usage within a budget of bytes.

    The budget covers bodies that are being read and usage that waits for the broker, also after its request timed out.
    """

    def __init__(self, send: Send, *, budget_bytes: int, within_seconds: float) -> None:
        self._send = send
        self._budget_bytes = budget_bytes
        self._within_seconds = within_seconds
        self._waiting_bytes = 0
        self._reading_bytes = 0

    @contextmanager
    def reading(self, size_bytes: int) -> Iterator[None]:
        """Reserve bytes of the budget for a body while it is read and checked.

        Raises:
            OverloadError: the budget is used up. A body beyond the budget is accepted if nothing else is held.
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
        """Publish events; return once the broker has acknowledged all.

        Raises:
            OverloadError: the budget is used up; nothing was sent.
            UnacknowledgedError: the broker did not acknowledge all in time; it may still do so.
        """
        size = sum(len(text) for text, _ in events)
        if self._waiting_bytes and self._waiting_bytes + size > self._budget_bytes:
            raise OverloadError
        self._waiting_bytes += size
        send = asyncio.ensure_future(self._send(events, headers))
        send.add_done_callback(lambda _: self._release(size))
        try:
            async with asyncio.timeout(self._within_seconds):
                await asyncio.shield(send)
        except (TimeoutError, KafkaError) as error:
            raise UnacknowledgedError from error
        except asyncio.CancelledError:
            if not send.cancelled():
                raise
            raise UnacknowledgedError from None  # the producer was stopped, the request was not cancelled

    def _release(self, size: int) -> None:
        self._waiting_bytes -= size


def usage_router(
    keys: KeyRing, limits: KeyLimits, publisher: Publisher, catalogue: Callable[[], Awaitable[Catalogue]]
) -> APIRouter:
    """Make the route ``POST /v1/usage``.

    ``catalogue`` loads the newest catalogue; concurrent requests share one load.
    """
    router = APIRouter(route_class=DirectRoute)

    async def lookup(requests: Sequence[None]) -> Sequence[Catalogue]:
        return [await catalogue()] * len(requests)

    async def known() -> Catalogue:
        async with asyncio.timeout(CATALOGUE_SECONDS):
            return await lookups.get(None)

    lookups = CoalescedLookup(lookup)

    async def read_events(request: Request, key: IngestKey) -> tuple[SortedEvents, bool]:
        """Return the request's events, and whether it is a batch.

        The body is released on return.
        """
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
            result, is_batch = await read_events(request, key)
            _count(result)
            if result.refused and not is_batch:
                refused = result.refused[0]
                return problem(422, refused.code, refused.message, {"id": refused.id})
            await publisher.publish(result.accepted, _origin(request))
        except BodyError as error:
            return problem(error.status, error.code, str(error))
        except OverloadError:
            message = "Too much usage waits for the broker. Send the same again after Retry-After seconds."
            return problem(429, "too_many_requests", message, headers={"Retry-After": RETRY_SECONDS})
        except UnacknowledgedError:
            message = "The broker did not acknowledge in time. Send the same again: nothing is counted twice."
            return problem(503, "unavailable", message, headers={"Retry-After": RETRY_SECONDS})
        answer = UsageAnswer(len(result.accepted), result.duplicates, result.refused)
        return Response(_encode(answer), 202, media_type="application/json")

    return router


def _origin(request: Request) -> Headers:
    """Kafka headers that correlate records with their HTTP request.

    They are not part of the event: the same event from another request is a repeat.
    """
    found: list[tuple[str, bytes]] = []
    if CORRELATION_HEADER in request.headers:
        found.append((CORRELATION_ID, str(request.scope["state"]["correlation_id"]).encode()))
    trace = request.headers.get(TRACE_PARENT, "")
    if _TRACE_PARENT.fullmatch(trace):
        found.append((TRACE_PARENT, trace.encode()))
    return found


def _length(request: Request) -> int:
    """Return the body's Content-Length in bytes, or ``UNKNOWN_BYTES``."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else UNKNOWN_BYTES


def _count(result: SortedEvents) -> None:
    for refused in result.refused:
        metrics.INGEST_REFUSED.labels(code=refused.code).inc()
