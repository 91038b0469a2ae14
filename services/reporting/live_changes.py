"""Changes of the read models, delivered to every replica by NOTIFY."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

T = TypeVar("T")
What = Literal["subscription", "consumption", "alert", "channel", "missed", "nothing"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a subscription, which must be reread.

    ``missed``: several things may have changed. ``nothing``: only time passed.
    """

    subscription: str
    what: What


class _Watch:
    """The changes that one watcher has not taken yet: each kind once, in order."""

    def __init__(self) -> None:
        self.waiting: dict[What, None] = {}
        self.woken = asyncio.Event()

    def add(self, what: What) -> None:
        self.waiting[what] = None
        self.woken.set()


class LiveChanges:
    """Passes changes to watchers, and outcomes to the requests that wait for them."""

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[_Watch]] = defaultdict(set)
        self._outcomes: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_stopped = False

    async def changes(
        self, subscription: str, *, for_seconds: float | None = None, at_least_every: float | None = None
    ) -> AsyncGenerator[Change, None]:
        """Yield the changes of a subscription.

        Ends when the iterator is closed, ``for_seconds`` are over, or the process stops.

        Several changes of one kind in a row are yielded as one. The first is ``missed``, at once: a change before the
        watch began may not have been read. With ``at_least_every`` seconds, ``nothing`` is yielded when no change came
        for so long.
        """
        loop = asyncio.get_running_loop()
        until = None if for_seconds is None else loop.time() + for_seconds
        watch = _Watch()
        watch.add("missed")
        self._watches[subscription].add(watch)
        try:
            while not self.is_stopped:
                next_at = None if at_least_every is None else loop.time() + at_least_every
                try:
                    async with asyncio.timeout_at(min((at for at in (until, next_at) if at is not None), default=None)):
                        await watch.woken.wait()
                except TimeoutError:
                    if until is not None and loop.time() >= until:
                        return
                    watch.add("nothing")
                watch.woken.clear()
                waiting, watch.waiting = watch.waiting, {}
                for what in waiting:
                    yield Change(subscription, what)
                    if self.is_stopped or (until is not None and loop.time() >= until):
                        return
        finally:
            _discard(self._watches, subscription, watch)

    @contextmanager
    def outcome(self, command_id: object) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the command's outcome may be known.

        Clear it, then check.
        """
        event = asyncio.Event()
        name = str(command_id)
        self._outcomes[name].add(event)
        try:
            yield event
        finally:
            _discard(self._outcomes, name, event)

    def apply_notification(self, notification: str) -> None:
        """Apply a notification that ``store.notifications`` sent."""
        match notification.split(" "):
            case ["subscription", subscription, what]:
                self._notify_watchers(subscription, cast(What, what))
            case ["consumption", *subscriptions]:
                for subscription in subscriptions:
                    self._notify_watchers(subscription, "consumption")
            case ["outcome", command_id]:
                for event in self._outcomes.get(command_id, ()):
                    event.set()

    def _notify_watchers(self, subscription: str, what: What) -> None:
        for watch in self._watches.get(subscription, ()):
            watch.add(what)

    def stop(self) -> None:
        """End streams, and let waiting requests check for their outcome a last time."""
        self.is_stopped = True
        self.recheck_all()

    def recheck_all(self) -> None:
        """Make every watcher and waiting request recheck.

        Notifications may have been missed.
        """
        for watches in self._watches.values():
            for watch in watches:
                watch.add("missed")
        for events in self._outcomes.values():
            for event in events:
                event.set()


def _discard(table: "defaultdict[str, set[T]]", key: str, value: T) -> None:
    table[key].discard(value)
    if not table[key]:
        del table[key]
