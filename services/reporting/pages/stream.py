"""The page's live stream: fragments that have changed, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import Response
from sse_starlette import ServerSentEvent

from services.reporting.pages.fragments import Fragments, digest, render_fragments, swaps, with_token
from services.reporting.pages.site import SignedIn, Site
from services.reporting.pages.subscription_page import SubscriptionPage
from services.reporting.streaming import HeldStream
from shared.runtime.http.middleware import ProblemError

RENDER_GAP_SECONDS = 0.5
"""Shortest time between two renderings for one reader."""
KEEP_ALIVE_SECONDS = 10
"""Longest time between two events, so that the page recognises a lost connection."""


async def answer_live(site: Site, who: SignedIn, subscription: str, since: str) -> Response:
    """Stream one subscription. ``since``: the digest of the loaded page.

    Raises:
        ProblemError: ``not_found``, ``forbidden``; ``too_many_requests``.
    """
    give_back = site.application.streams.take(
        who.person.email, "Too many pages are open. Close one, or try again later."
    )
    try:
        await site.application.queries.subscription(who.caller, subscription)
    except BaseException:
        give_back()
        raise
    return HeldStream(_events(site, who, subscription, since), give_back, ping_seconds=3600)


async def _events(site: Site, who: SignedIn, subscription: str, since: str) -> AsyncIterator[ServerSentEvent]:
    known: Fragments | None = None
    changed = asyncio.Event()
    listening = asyncio.create_task(_listen(site, subscription, changed))
    try:
        while person := await site.sessions.find(who.session, site.clock(), renew=False):
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
                    await site.application.queries.subscription(who.caller, subscription)
                    yield ServerSentEvent("", event="alive")
                    continue
                changed.clear()
                now = render_fragments(site.templates, await SubscriptionPage(site, who, subscription).view())
            except ProblemError:
                return
            if known is None:  # the watch began before this rendering, so no change since the page is missed
                known = now if digest(now) == since else {}
            if news := with_token(swaps(known, now), site.csrf.form_token(who.session)):
                yield ServerSentEvent(news, event="leaves")
            known = now
            await asyncio.sleep(RENDER_GAP_SECONDS)
    finally:
        listening.cancel()


async def _listen(site: Site, subscription: str, changed: asyncio.Event) -> None:
    try:
        async for _ in site.application.live.changes(subscription):
            changed.set()
    finally:
        asyncio.get_running_loop().call_soon(changed.set)  # after the iterator is closed
