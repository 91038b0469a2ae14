"""The live stream: changes of a subscription, as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from sse_starlette.event import ServerSentEvent

from services.reporting import metrics
from services.reporting.api.identifiers import SubscriptionInPath
from services.reporting.api.routing import ApiContext, StreamCaller, new_router
from services.reporting.domain.caller import Caller
from services.reporting.limited_streams import LimitedStream
from shared.runtime.http.middleware import ProblemError

EVENT_GAP_SECONDS = 0.25
MAX_STREAM_SECONDS = 15 * 60
"""Longest stream. Then the client reconnects, with a token that is still valid."""
RECHECK_SECONDS = 10
"""Longest time between two checks of access, in seconds.

Access is checked again because sessions end and roles are revoked.
"""
PING_SECONDS = 15


async def _events(
    context: ApiContext, request: Request, caller: Caller, subscription: str
) -> AsyncIterator[ServerSentEvent]:
    """Yield changes while the caller may see them, up to the time limit."""
    application = context.application
    limit = min(
        MAX_STREAM_SECONDS, caller.ends_in_seconds if caller.ends_in_seconds is not None else MAX_STREAM_SECONDS
    )
    metrics.STREAMS.inc()
    try:
        changes = application.live.changes(subscription, for_seconds=limit, at_least_every=RECHECK_SECONDS)
        async with aclosing(changes):
            async for change in changes:
                if change.what in {"subscription", "missed", "nothing"}:
                    caller = await context.recheck(request, caller)
                    await application.queries.subscription(caller, subscription)
                if change.what == "nothing":
                    continue
                yield ServerSentEvent(
                    data=json.dumps({"subscription": subscription, "what": change.what}), event="change"
                )
                await asyncio.sleep(EVENT_GAP_SECONDS)
    except ProblemError:
        return
    finally:
        metrics.STREAMS.dec()


def stream_router(context: ApiContext) -> APIRouter:
    """``/v1/subscriptions/{id}/stream``."""
    router = new_router("subscriptions", "/subscriptions/{subscription}")

    @router.get("/stream", response_class=Response)
    async def stream(request: Request, caller: StreamCaller, subscription: SubscriptionInPath) -> Response:
        """Stream server-sent events ``change`` with ``{"subscription", "what"}``.

        Each asks the client to reread. ``what`` is subscription, consumption, alert, channel, or missed (perhaps
        several; also the first event). The stream ends when its token expires, and after 15 minutes.
        """
        await context.application.queries.subscription(caller, subscription)
        release = context.application.streams.take(
            caller.email, "Too many live streams are open. Close one, or try again later."
        )
        return LimitedStream(_events(context, request, caller, subscription), release, ping_seconds=PING_SECONDS)

    return router
