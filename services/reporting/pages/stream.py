"""The live stream: when something changes, the pieces of the page that now read differently (server-sent events)."""

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

BREATH_SECONDS = 0.5
"""At most so often is the page written anew for one reader."""
ALIVE_SECONDS = 10
"""So often at least a reader hears something, so that silence means a lost connection."""


async def answer_live(site: Site, who: SignedIn, subscription: str, since: str) -> Response:
    """Follow one subscription for one reader. ``since`` is the digest of what the page says already.

    Raises:
        ProblemError: ``not_found``, ``forbidden``.
    """
    give_back = site.application.streams.take(who.person.email, "You have too many pages open at once, or all have.")
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
                async with asyncio.timeout(min(ALIVE_SECONDS, person.ends_in_seconds)):
                    await changed.wait()
            except TimeoutError:
                is_quiet = True
            if listening.done():
                return
            try:
                if is_quiet:  # roles are taken back without a change of the subscription
                    await site.application.queries.subscription(who.caller, subscription)
                    yield ServerSentEvent("", event="alive")
                    continue
                changed.clear()
                now = render_fragments(site.templates, await SubscriptionPage(site, who, subscription).view())
            except ProblemError:
                return
            if known is None:  # the watch has begun: nothing was missed between the page and this reading
                known = now if digest(now) == since else {}
            if news := with_token(swaps(known, now), site.csrf.form_token(who.session)):
                yield ServerSentEvent(news, event="leaves")
            known = now
            await asyncio.sleep(BREATH_SECONDS)
    finally:
        listening.cancel()


async def _listen(site: Site, subscription: str, changed: asyncio.Event) -> None:
    try:
        async for _ in site.application.live.changes(subscription):
            changed.set()
    finally:
        asyncio.get_running_loop().call_soon(changed.set)  # when this is over
