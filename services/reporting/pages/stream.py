"""The page's live stream: fragments that have changed, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import Response
from sse_starlette import ServerSentEvent

from services.reporting.limited_streams import LimitedStream
from services.reporting.pages.fragments import Fragments, digest, render_fragments, swaps, with_token
from services.reporting.pages.responder import PageResponder, SignedIn
from services.reporting.pages.subscription_page import SubscriptionPage
from shared.runtime.http.middleware import ProblemError

RENDER_GAP_SECONDS = 0.5
"""Shortest time between two renderings for one reader."""
KEEP_ALIVE_SECONDS = 10
"""Longest time between two events, so that the page recognises a lost connection."""


async def stream_fragments(responder: PageResponder, who: SignedIn, subscription: str, since: str) -> Response:
    """Stream one subscription. ``since``: the digest of the loaded page.

    Raises:
        ProblemError: ``not_found``, ``forbidden``; ``too_many_requests``.
    """
    release = responder.application.streams.take(
        who.person.email, "Too many pages are open. Close one, or try again later."
    )
    try:
        await responder.application.queries.subscription(who.caller, subscription)
    except BaseException:
        release()
        raise
    return LimitedStream(_events(responder, who, subscription, since), release, ping_seconds=3600)


async def _events(
    responder: PageResponder, who: SignedIn, subscription: str, since: str
) -> AsyncIterator[ServerSentEvent]:
    known: Fragments | None = None
    changed = asyncio.Event()
    listening = asyncio.create_task(_listen(responder, subscription, changed))
    try:
        while person := await responder.sessions.find(who.session, responder.clock(), renew=False):
            who = replace(who, person=person, caller=replace(who.caller, vendor=person.vendor))
            is_quiet = False
            try:
                async with asyncio.timeout(min(KEEP_ALIVE_SECONDS, person.ends_in_seconds)):
                    await changed.wait()
            except TimeoutError:
                is_quiet = True
            if listening.done():
                return
            try:
                if is_quiet:  # access may end without a change of the subscription
                    await responder.application.queries.subscription(who.caller, subscription)
                    yield ServerSentEvent("", event="alive")
                    continue
                changed.clear()
                now = render_fragments(responder.templates, await SubscriptionPage(responder, who, subscription).view())
            except ProblemError:
                return
            if known is None:  # the watch began before this rendering, so no change since the page is missed
                known = now if digest(now) == since else {}
            if news := with_token(swaps(known, now), responder.csrf.form_token(who.session)):
                yield ServerSentEvent(news, event="leaves")
            known = now
            await asyncio.sleep(RENDER_GAP_SECONDS)
    finally:
        listening.cancel()


async def _listen(responder: PageResponder, subscription: str, changed: asyncio.Event) -> None:
    try:
        async for _ in responder.application.live.changes(subscription):
            changed.set()
    finally:
        asyncio.get_running_loop().call_soon(changed.set)  # after the iterator is closed
