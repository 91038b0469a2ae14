"""Publication of usage by day and hour, after the commit and at least once.

One process publishes at a time. A round reads the due rows, measures the days that they name, saves them and sends
them; the rows are deleted once the broker has acknowledged all. After a crash in between the days are measured and sent
again; readers ignore revisions that are not newer. A subscription whose days cannot be measured is postponed without
delaying others.

Distinct resources are counted from raw usage, so a round takes the longer the more usage a day has. The pause after it
is a multiple of its duration, which bounds what days cost the usage that is applied meanwhile.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Final

from services.metering import metrics
from services.metering.handlers.measure_days import DayMeasurement
from services.metering.handlers.publish_snapshots import Failed, SaveFailed, Send
from services.metering.handlers.single_process import Connect, repeat_in_one_process
from services.metering.store import measured_days
from services.metering.store.measured_days import Key
from services.metering.store.projection import Projection
from shared.events.daily_usage import encode_day
from shared.events.topics import DAILY_USAGE_TOPIC
from shared.runtime.postgres.pool import Connection
from shared.runtime.process.clock import Clock
from shared.runtime.records import Outgoing

POLL_SECONDS: Final = 0.25
REST_FACTOR: Final = 14
"""Pause after a round, as a multiple of the round's duration."""
BACKLOG_PAUSE_SECONDS: Final = 60.0
"""Pause after a round while usage waits to be applied."""
ROWS_AT_ONCE: Final = 2_000
DAYS_AT_ONCE: Final = 20_000
"""Number of days after which a round takes no further due row."""
FAILED_DELAY: Final = timedelta(minutes=1)
"""Delay until the days of a subscription that failed are measured again."""


class DayRelay:
    """The publisher of due days.

    It publishes each day at most once per ``interval_seconds``, and less often where that costs more.
    """

    def __init__(
        self,
        connect: Connect,
        send: Send,
        clock: Clock,
        projection: Projection,
        *,
        interval_seconds: float,
        usage_waits: Callable[[], bool],
        save_failed: SaveFailed,
    ) -> None:
        self._connect = connect
        self._send = send
        self._clock = clock
        self._projection = projection
        self._interval_seconds = interval_seconds
        self._usage_waits = usage_waits
        self._save_failed = save_failed
        self._may_have_failed = True
        self._quiet_until = 0.0

    async def run(self) -> None:
        """Publish until cancelled.

        Errors of Kafka or the database are raised; the days stay due.
        """
        await repeat_in_one_process(self._connect, measured_days.try_lock, self._publish_or_rest)

    async def _publish_or_rest(self, connection: Connection) -> float:
        """One round, or none while usage waits after one; the seconds until the next."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._quiet_until and self._usage_waits():
            return self._interval_seconds
        started = loop.time()
        if not await self.publish(connection):
            return POLL_SECONDS
        self._quiet_until = loop.time() + BACKLOG_PAUSE_SECONDS
        return max(self._interval_seconds, REST_FACTOR * (loop.time() - started))

    async def publish(self, connection: Connection) -> int:
        """Measure and publish one round of due days. Return how many due rows it settled.

        Raises:
            KafkaError: not all were acknowledged; all stay due.
        """
        now = self._clock()
        due = await measured_days.load_due(connection, ROWS_AT_ONCE, DAYS_AT_ONCE, now)
        metrics.DAYS_DUE.set(len(due.ids))
        if not due.ids:
            return 0
        measurement = DayMeasurement(connection, await self._projection.refresh(connection), now)
        async for days in measurement.run(due.days):
            await self._send([Outgoing(DAILY_USAGE_TOPIC.name, *encode_day(one, now)) for one in days])
            metrics.DAYS_PUBLISHED.inc(len(days))
        await self._postpone(connection, measurement.failed, due.days, now)
        await measured_days.delete_due(connection, due.ids)
        return len(due.ids)

    async def _postpone(self, connection: Connection, failed: Failed, due: Collection[Key], now: datetime) -> None:
        """Postpone the days that could not be measured."""
        if failed or self._may_have_failed:  # since this process began, or in another before
            left = await self._save_failed(failed, {key[0] for key in due} - failed.keys())
            self._may_have_failed = bool(left)
        await measured_days.insert_due(connection, [key for key in due if key[0] in failed], now + FAILED_DELAY)
