"""Server-sent events that hold one of the places for live streams."""

from collections.abc import AsyncIterator, Callable

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send


class HeldStream(EventSourceResponse):
    """The place is given back when the answer is over, also where it never began."""

    def __init__(
        self, events: AsyncIterator[ServerSentEvent], give_back: Callable[[], None], *, ping_seconds: int
    ) -> None:
        super().__init__(events, ping=ping_seconds)
        self._give_back = give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._give_back()
