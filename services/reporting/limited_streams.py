"""Server-sent events that count against the limit of live streams."""

from collections.abc import AsyncIterator, Callable

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send


class LimitedStream(EventSourceResponse):
    """A live stream that occupies a place under the limit.

    The place is released when the response ends or fails to begin.
    """

    def __init__(
        self, events: AsyncIterator[ServerSentEvent], release: Callable[[], None], *, ping_seconds: int
    ) -> None:
        super().__init__(events, ping=ping_seconds)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, then release its place."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()
