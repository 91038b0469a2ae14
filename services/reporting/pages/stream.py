"""The live stream: when something changes, the pieces of the page that now read differently (server-sent events)."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from services.reporting.pages.desk import Desk
from services.reporting.pages.leaves import Leaves, digest, render_leaves, swaps
from services.reporting.pages.site import SignedIn, Site
from shared.runtime.http import ProblemError

BREATH_SECONDS = 0.5
"""At most so often is the page written anew for one reader."""
ALIVE_SECONDS = 10
"""So often at least a reader hears something, so that silence means a lost connection."""


async def answer_live(site: Site, who: SignedIn, subscription: str, since: str) -> Response:
    """Follow one subscription for one reader. ``since`` is the digest of what the page says already.

    Raises:
        ProblemError: ``not_found``, ``forbidden``.
    """
    if site.open_streams >= site.max_streams:
        return Response(status_code=503, headers={"Retry-After": "10"})
    desk = Desk(site, who, subscription)
    first = await desk.view()
    seen = render_leaves(site.templates, first, "")
    known: Leaves = seen if digest(seen) == since else {}
    return EventSourceResponse(_events(site, who, subscription, known), ping=3600)


async def _events(site: Site, who: SignedIn, subscription: str, known: Leaves) -> AsyncIterator[ServerSentEvent]:
    site.open_streams += 1
    changed = asyncio.Event()
    listening = asyncio.create_task(_listen(site, subscription, changed))
    try:
        while await site.sessions.find(who.session, site.clock()):
            try:
                await asyncio.wait_for(changed.wait(), ALIVE_SECONDS)
            except TimeoutError:
                if listening.done():
                    return
                yield ServerSentEvent("", event="alive")
                continue
            changed.clear()
            try:
                now = render_leaves(site.templates, await Desk(site, who, subscription).view(), "")
            except ProblemError:
                return
            if told := _told(site, who, known, now):
                yield ServerSentEvent(told, event="leaves")
            known = now
            await asyncio.sleep(BREATH_SECONDS)
    finally:
        listening.cancel()
        site.open_streams -= 1


def _told(site: Site, who: SignedIn, known: Leaves, now: Leaves) -> str:
    """What to swap; forms get their token only here, since it differs each time."""
    token = site.secrecy.form_token(who.session)
    return swaps(known, now).replace('name="csrf" value=""', f'name="csrf" value="{token}"')


async def _listen(site: Site, subscription: str, changed: asyncio.Event) -> None:
    async for _ in site.application.live.changes(subscription):
        changed.set()
