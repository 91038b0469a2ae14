"""Snapshots of consumption are published: after the commit, by one process, coalesced, and never lost.

What is due is read, then the state that it names, then the snapshots are sent; only when the broker has acknowledged
all of them are the rows that were read removed. A crash in between publishes again: readers ignore what is not newer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from uuid import uuid4

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.domain.consumption import snapshot
from services.metering.store import consumption
from services.metering.store.consumption import Due, Histories
from services.metering.store.projection import Projection
from shared.events.envelope import Event
from shared.events.metering import ConsumptionSnapshot
from shared.events.topics import CONSUMPTION_TOPIC
from shared.runtime.clock import Clock
from shared.runtime.outbox import Outgoing
from shared.runtime.postgres import Connection

POLL_SECONDS = 0.05
STANDBY_SECONDS = 1.0
SHARE = 4
"""After a round it rests this many times as long as the round took: applying usage comes first."""
BATCHES_AT_ONCE = 64

Send = Callable[[list[Outgoing]], Awaitable[list[BaseException | None]]]
Key = tuple[int, str, datetime]
"""Subscription number, product, window start."""


class SnapshotRelay:
    """Publishes what is due, at most once per key within ``interval_seconds``."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], send: Send, clock: Clock, interval_seconds: float
    ) -> None:
        self._connect = connect
        self._send = send
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._projection = Projection()

    async def run(self) -> None:
        """Until cancelled. A failure of either side raises; nothing is lost by that."""
        connection = await self._connect()
        try:
            while not await consumption.try_lock(connection):  # noqa: ASYNC110  # another process holds it
                await asyncio.sleep(STANDBY_SECONDS)
            loop = asyncio.get_running_loop()
            while True:
                started = loop.time()
                if not await self.publish(connection):
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                took = loop.time() - started
                await asyncio.sleep(max(self._interval_seconds - took, SHARE * took))
        finally:
            connection.terminate()

    async def publish(self, connection: Connection) -> int:
        """Publish some of what is due; how many snapshots.

        Raises:
            KafkaError: not all were acknowledged; they stay due.
        """
        due = await consumption.load_due(connection, BATCHES_AT_ONCE)
        metrics.SNAPSHOTS_DUE.set(len(due.ids))
        if not due.ids:
            return 0
        await self._projection.refresh(connection)
        snapshots = await load_snapshots(connection, self._projection.catalogue, due)
        now = self._clock()
        for failure in await self._send([_outgoing(one, now) for one in snapshots]):
            if failure:
                raise failure
        await consumption.delete_due(connection, due.ids)
        acknowledged = self._clock()
        for one in snapshots:
            metrics.PUBLISH_TO_CONSUMPTION_SECONDS.observe((acknowledged - one.as_of).total_seconds())
        metrics.SNAPSHOTS.inc(len(snapshots))
        return len(snapshots)


async def load_snapshots(connection: Connection, catalogue: Catalogue, due: Due) -> list[ConsumptionSnapshot]:
    """The present state of everything that is due, and of the later windows that a change of a term meter reaches."""
    level: set[Key] = set()
    term: dict[tuple[int, str], datetime] = {}
    for subscription, meter, start in due.windows:
        product = catalogue.meters[meter].product
        if any(one.is_term for one in catalogue.products[product].meters.values()):
            term[subscription, product] = min(start, term.get((subscription, product), start))
        else:
            level.add((subscription, product, start))
    windows = await consumption.load_windows(
        connection,
        {
            (subscription, number, start)
            for subscription, product, start in level
            for number in _numbers(catalogue, product)
        },
    )
    histories = await consumption.load_histories(
        connection,
        {(subscription, number) for subscription, product in term for number in _numbers(catalogue, product)},
    )
    keys = [*level, *_later(catalogue, term, histories)]
    made = [
        snapshot(
            catalogue.by_number[subscription].state,
            catalogue.products[product],
            start,
            (histories if (subscription, product) in term else windows).get(subscription, {}),
        )
        for subscription, product, start in keys
    ]
    return [one for one in made if one is not None]


def _numbers(catalogue: Catalogue, product: str) -> list[int]:
    return [meter.number for meter in catalogue.products[product].meters.values()]


def _later(catalogue: Catalogue, term: dict[tuple[int, str], datetime], histories: Histories) -> Iterator[Key]:
    for (subscription, product), since in term.items():
        measured = histories.get(subscription, {})
        starts = {one.window_start for number in _numbers(catalogue, product) for one in measured.get(number, ())}
        for start in sorted(start for start in starts if start >= since):
            yield subscription, product, start


def _outgoing(one: ConsumptionSnapshot, now: datetime) -> Outgoing:
    event = Event[ConsumptionSnapshot].of(one, id=str(uuid4()), source="/metering", time=now, subject=one.subscription)
    return Outgoing(CONSUMPTION_TOPIC.name, one.key.encode(), event.encode())
