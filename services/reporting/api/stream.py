"""The live stream: what changes about a subscription, as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from sse_starlette.event import ServerSentEvent

from services.reporting import metrics
from services.reporting.api.edge import Doors, Watching, new_router
from services.reporting.api.names import InSubscription
from services.reporting.domain.caller import Caller
from services.reporting.streaming import HeldStream
from shared.runtime.http.middleware import ProblemError

AT_MOST_EVERY_SECONDS = 0.25
LASTS_SECONDS = 15 * 60
"""After this a client asks anew, with a token that is still valid."""
JUDGED_EVERY_SECONDS = 10
"""So often at least it is asked whether the caller may still watch: sessions end, roles are taken back."""
PING_SECONDS = 15


async def _events(doors: Doors, request: Request, caller: Caller, subscription: str) -> AsyncIterator[ServerSentEvent]:
    """Changes, as long as the caller's token or session is good and shows the subscription, and not for ever."""
    application = doors.application
    lasts = min(LASTS_SECONDS, caller.ends_in_seconds if caller.ends_in_seconds is not None else LASTS_SECONDS)
    metrics.STREAMS.inc()
    try:
        changes = application.live.changes(subscription, for_seconds=lasts, at_least_every=JUDGED_EVERY_SECONDS)
        async with aclosing(changes):
            async for change in changes:
                if change.what in {"subscription", "missed", "nothing"}:
                    caller = await doors.still(request, caller)
                    await application.queries.subscription(caller, subscription)
                if change.what == "nothing":
                    continue
                yield ServerSentEvent(
                    data=json.dumps({"subscription": subscription, "what": change.what}), event="change"
                )
                await asyncio.sleep(AT_MOST_EVERY_SECONDS)
    except ProblemError:
        return
    finally:
        metrics.STREAMS.dec()


def stream_router(doors: Doors) -> APIRouter:
    """``/v1/subscriptions/{id}/stream``."""
    router = new_router("subscriptions", "/subscriptions/{subscription}")

    @router.get("/stream", response_class=Response)
    async def stream(request: Request, caller: Watching, subscription: InSubscription) -> Response:
        """Server-sent events ``change`` with ``{"subscription", "what"}``: read again what you show.

        ``what`` is subscription, consumption, alert, channel, or missed (perhaps several; also the first event). It
        ends with the token that it was asked with, and after 15 minutes.
        """
        await doors.application.queries.subscription(caller, subscription)
        give_back = doors.application.streams.take(caller.email, "You have too many live streams open, or all have.")
        return HeldStream(_events(doors, request, caller, subscription), give_back, ping_seconds=PING_SECONDS)

    return router
