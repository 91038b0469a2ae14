"""What changes, as it changes: woken by NOTIFY from the transactions that change the read models, in every replica."""

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
    """Something about a subscription is different now; read again. ``missed``: perhaps more than one thing is.

    ``nothing``: only time went by.
    """

    subscription: str
    what: What


class _Watch:
    """What a watcher has not been told yet: each kind once, in order."""

    def __init__(self) -> None:
        self.waiting: dict[What, None] = {}
        self.woken = asyncio.Event()

    def add(self, what: What) -> None:
        self.waiting[what] = None
        self.woken.set()


class Live:
    """Hands changes to whoever watches, and outcomes to whoever waits."""

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[_Watch]] = defaultdict(set)
        self._outcomes: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_stopped = False

    async def changes(
        self, subscription: str, *, for_seconds: float | None = None, at_least_every: float | None = None
    ) -> AsyncGenerator[Change, None]:
        """Changes from now on, until the iterator is closed, the time is over, or the process stops. Several in a row
        of one kind come as one.

        The first is ``missed``, at once: what changed before the watch began may not have been read.
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
            _forget(self._watches, subscription, watch)

    @contextmanager
    def outcome(self, command_id: object) -> Iterator[asyncio.Event]:
        """An event that is set when the outcome of a command may be known: look, and clear it to wait on."""
        event = asyncio.Event()
        name = str(command_id)
        self._outcomes[name].add(event)
        try:
            yield event
        finally:
            _forget(self._outcomes, name, event)

    def hear(self, notice: str) -> None:
        """A notice of ``store.notices``."""
        match notice.split(" "):
            case ["subscription", subscription, what]:
                self._tell(subscription, cast(What, what))
            case ["consumption", *subscriptions]:
                for subscription in subscriptions:
                    self._tell(subscription, "consumption")
            case ["outcome", command_id]:
                for event in self._outcomes.get(command_id, ()):
                    event.set()

    def _tell(self, subscription: str, what: What) -> None:
        for watch in self._watches.get(subscription, ()):
            watch.add(what)

    def stop(self) -> None:
        """The process takes no more requests: streams end, and who waits for an outcome looks a last time."""
        self.is_stopped = True
        self.look_again()

    def look_again(self) -> None:
        """Notices may have been missed: everybody looks for themselves."""
        for watches in self._watches.values():
            for watch in watches:
                watch.add("missed")
        for events in self._outcomes.values():
            for event in events:
                event.set()


def _forget(table: "defaultdict[str, set[T]]", key: str, value: T) -> None:
    table[key].discard(value)
    if not table[key]:
        del table[key]
