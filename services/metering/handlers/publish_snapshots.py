"""Publication of snapshots of consumption, after the commit and at least once.

One process publishes at a time, and coalesces changes. A round reads the due rows, then the windows that they name, and
sends the snapshots; the rows are deleted once the broker has acknowledged all. After a crash in between they are
published again; readers ignore revisions that are not newer. A subscription whose snapshots cannot be made is postponed
without delaying others.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.domain.consumption import Snapshot, encode, snapshot
from services.metering.handlers.single_process import Connect, repeat_in_one_process
from services.metering.store import consumption
from services.metering.store.consumption import Histories
from services.metering.store.projection import Projection
from shared.events.topics import CONSUMPTION_TOPIC
from shared.runtime.postgres.pool import Connection
from shared.runtime.process.clock import Clock
from shared.runtime.records import Outgoing

POLL_SECONDS = 0.05
REST_FACTOR = 8
"""Pause after a round, as a multiple of the round's duration.

It is made while usage waits to be applied.
"""
ROWS_AT_ONCE = 2000
WINDOWS_AT_ONCE = 100_000
"""Number of windows after which a round takes no further due row.

Windows are mostly due many times over, so a larger round makes fewer snapshots of them, and a publisher that lags
catches up.
"""
KEYS_AT_ONCE = 500
"""Snapshots sent at once."""
MADE_AT_ONCE = 50
"""Snapshots made before other tasks of the process get a turn."""

FAILED_DELAY = timedelta(minutes=1)
"""Delay until the snapshots of a subscription that failed are tried again."""

T = TypeVar("T")
Failed = dict[int, Exception]
"""First error by number of the subscription whose snapshots cannot be made."""
Send = Callable[[list[Outgoing]], Awaitable[None]]
"""Send records; return once the broker has acknowledged all, and raise otherwise."""
Window = tuple[int, int, datetime]
"""Subscription number, meter number, window start."""
Key = tuple[int, str, datetime]
"""Subscription number, product, window start."""


SaveFailed = Callable[[Failed, Collection[int]], Awaitable[int]]
"""A function that saves which subscriptions failed and which succeeded.

It returns how many are failing, including those that are postponed.
"""


async def _count_failed(failed: Failed, _: Collection[int]) -> int:
    return len(failed)


class SnapshotRelay:
    """The publisher of due snapshots.

    It publishes each key at most once per ``interval_seconds``, and less often while usage has a backlog.
    """

    def __init__(
        self,
        connect: Connect,
        send: Send,
        clock: Clock,
        projection: Projection,
        *,
        interval_seconds: float,
        usage_waits: Callable[[], bool] = lambda: False,
        save_failed: SaveFailed = _count_failed,
    ) -> None:
        self._connect = connect
        self._send = send
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._usage_waits = usage_waits
        self._projection = projection
        self._note_failed = save_failed
        self._may_have_failed = True
        self._rests_until = 0.0

    async def run(self) -> None:
        """Publish until cancelled.

        Errors of Kafka or the database are raised; the snapshots stay due.
        """
        await repeat_in_one_process(self._connect, consumption.try_lock, self._publish_or_rest)

    async def _publish_or_rest(self, connection: Connection) -> float:
        """One round, or none while usage waits after one; the seconds until the next."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until and self._usage_waits():
            return self._interval_seconds
        started = self._rests_until = loop.time()
        if not await self.publish(connection):
            return POLL_SECONDS
        took = loop.time() - started
        self._rests_until = started + (1 + REST_FACTOR) * took
        return max(self._interval_seconds - took, 0)

    async def publish(self, connection: Connection) -> int:
        """Publish one round of due snapshots. Return how many.

        Raises:
            KafkaError: not all were acknowledged; all stay due.
        """
        due = await consumption.load_due(connection, ROWS_AT_ONCE, WINDOWS_AT_ONCE, self._clock())
        metrics.SNAPSHOTS_DUE.set(len(due.ids))
        if not due.ids:
            return 0
        catalogue, failed = await self._projection.refresh(connection), Failed()
        level, term = _by_kind(catalogue, due.windows)
        published = 0
        for keys in _chunks(sorted(level)):
            published += await self._publish(await load_levels(connection, catalogue, keys, failed))
        for products in _chunks(sorted(term.items())):
            published += await self._publish(await load_terms(connection, catalogue, products, failed))
        await self._postpone(connection, failed, due.windows)
        await consumption.delete_due(connection, due.ids)
        return published

    async def _postpone(self, connection: Connection, failed: Failed, due: Collection[Window]) -> None:
        """Postpone the snapshots that could not be made."""
        metrics.SNAPSHOTS_FAILING.set(len(failed))
        if failed or self._may_have_failed:  # since this process began, or in another before
            left = await self._note_failed(failed, {window[0] for window in due} - failed.keys())
            self._may_have_failed = bool(left)
        if not failed:
            return
        windows = [window for window in due if window[0] in failed]
        await consumption.postpone(connection, windows, self._clock() + FAILED_DELAY)

    async def _publish(self, snapshots: Sequence[Snapshot]) -> int:
        now = self._clock()
        outgoing: list[Outgoing] = []
        async for one in _yielding(snapshots):
            outgoing.append(Outgoing(CONSUMPTION_TOPIC.name, *encode(one, now)))
        await self._send(outgoing)
        acknowledged = self._clock()
        for one in snapshots:
            metrics.PUBLISH_TO_CONSUMPTION_SECONDS.observe((acknowledged - one.as_of).total_seconds())
        metrics.SNAPSHOTS.inc(len(snapshots))
        return len(snapshots)


Term = tuple[tuple[int, str], datetime]
"""Subscription number and product, and the earliest window that changed."""


def _by_kind(catalogue: Catalogue, windows: Collection[Window]) -> tuple[set[Key], dict[tuple[int, str], datetime]]:
    """Split windows by whether their product has a term meter.

    Return the keys of windows that are measured alone, and for each product with a term meter the start of the earliest
    window that changed.
    """
    level: set[Key] = set()
    term: dict[tuple[int, str], datetime] = {}
    adds_up = {name: view.adds_up for name, view in catalogue.products.items()}
    for subscription, meter, start in windows:
        product = catalogue.meters[meter].product
        if adds_up[product]:
            term[subscription, product] = min(start, term.get((subscription, product), start))
        else:
            level.add((subscription, product, start))
    return level, term


async def load_levels(
    connection: Connection, catalogue: Catalogue, keys: Sequence[Key], failed: Failed | None = None
) -> list[Snapshot]:
    """Make snapshots of single windows.

    Errors are added to ``failed`` if it is given, and raised otherwise.
    """
    wanted = [(key[0], number, key[2]) for key in keys for number in _numbers(catalogue, key[1])]
    histories = await consumption.load_windows(connection, wanted)
    return await _snapshots(catalogue, keys, histories, failed)


async def load_terms(
    connection: Connection, catalogue: Catalogue, products: Sequence[Term], failed: Failed | None = None
) -> list[Snapshot]:
    """Make snapshots of all measured windows from the given one on.

    Errors are added to ``failed`` if it is given, and raised otherwise.
    """
    wanted = [(key[0], number) for key, _ in products for number in _numbers(catalogue, key[1])]
    histories = await consumption.load_histories(connection, wanted)
    keys = [
        (subscription, product, start)
        for (subscription, product), since in products
        for start in sorted(
            {
                one.window_start
                for number in _numbers(catalogue, product)
                for one in histories.get(subscription, {}).get(number, ())
                if one.window_start >= since
            }
        )
    ]
    return await _snapshots(catalogue, keys, histories, failed)


async def _snapshots(
    catalogue: Catalogue, keys: Sequence[Key], histories: Histories, failed: Failed | None
) -> list[Snapshot]:
    made = []
    async for subscription, product, start in _yielding(keys):
        try:
            one = snapshot(
                catalogue.by_number[subscription].state,
                catalogue.products[product],
                start,
                histories.get(subscription, {}),
            )
        except Exception as error:
            if failed is None:
                raise
            failed.setdefault(subscription, error)
            continue
        if one is not None:
            made.append(one)
    return made


async def _yielding(items: Sequence[T]) -> AsyncIterator[T]:
    for number, item in enumerate(items):
        if number and not number % MADE_AT_ONCE:
            await asyncio.sleep(0)
        yield item


def _numbers(catalogue: Catalogue, product: str) -> list[int]:
    return [meter.number for meter in catalogue.products[product].meters.values()]


def _chunks(items: list[T]) -> Iterator[list[T]]:
    several = iter(items)
    while chunk := list(islice(several, KEYS_AT_ONCE)):
        yield chunk
