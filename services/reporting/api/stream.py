"""The live stream: what changes about a subscription, as server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Response
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from services.reporting import metrics
from services.reporting.api.edge import Doors, Watching, new_router
from services.reporting.domain.caller import Caller
from shared.runtime.http import ProblemError

AT_MOST_EVERY_SECONDS = 0.25
LASTS_SECONDS = 15 * 60
"""After this a client asks anew, with a token that is still valid."""
PING_SECONDS = 15


class Streams:
    """The streams that are open here."""

    def __init__(self, doors: Doors, most: int) -> None:
        self._application = doors.application
        self._most = most
        self._open = 0

    def admit(self) -> None:
        """Raises:
        ProblemError: there are too many.
        """
        if self._open >= self._most:
            raise ProblemError.of("too_many_requests", "Too many live streams are open. Try again later.")

    async def events(self, caller: Caller, subscription: str) -> AsyncIterator[ServerSentEvent]:
        """Changes, as long as the caller may see the subscription, and not for ever."""
        ends_at = time.monotonic() + LASTS_SECONDS
        self._open += 1
        metrics.STREAMS.inc()
        try:
            async with aclosing(self._application.live.changes(subscription)) as changes:
                async for change in changes:
                    if change.what in {"subscription", "missed"}:
                        await self._application.queries.subscription(caller, subscription)
                    data = {"subscription": subscription, "what": change.what}
                    yield ServerSentEvent(data=json.dumps(data), event="change")
                    if time.monotonic() > ends_at:
                        return
                    await asyncio.sleep(AT_MOST_EVERY_SECONDS)
        except ProblemError:
            return
        finally:
            self._open -= 1
            metrics.STREAMS.dec()


def stream_router(doors: Doors, most: int) -> APIRouter:
    """``/v1/subscriptions/{id}/stream``."""
    router = new_router("subscriptions", "/subscriptions/{subscription}")
    streams = Streams(doors, most)

    @router.get("/stream", response_class=Response)
    async def stream(caller: Watching, subscription: str) -> Response:
        """Server-sent events ``change`` with ``{"subscription", "what"}``: read again what you show.

        ``what`` is subscription, consumption, alert, channel, or missed (perhaps several; also the first event).
        """
        await doors.application.queries.subscription(caller, subscription)
        streams.admit()
        return EventSourceResponse(streams.events(caller, subscription), ping=PING_SECONDS)

    return router
