"""The relay, which sends the outbox to Kafka in order.

One replica at a time does so, the one with the advisory lock.

A row that Kafka refuses (it is too large, its topic does not exist or may not be written) is set aside with all others
of its key or topic, and retried beside the rest.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from shared.runtime.delivery import outbox, outbox_set_aside
from shared.runtime.delivery.outbox_set_aside import TOPIC_ERRORS, Due, concerns_row
from shared.runtime.kafka.cluster import Cluster
from shared.runtime.kafka.producer import Producer
from shared.runtime.postgres.listen import add_listener
from shared.runtime.postgres.pool import DATABASE_ERRORS, RELAY_SESSION, connect
from shared.runtime.process import logging, metrics
from shared.runtime.process.background import repeat
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.records import Outgoing

LOCK = 0x756E6974_6F757462
"""Key of the advisory lock.

The connection that reads and deletes rows holds it, so both end together.
"""
BATCH = 1000
POLL_SECONDS = 1.0
"""Pause between polls without NOTIFY.

It is also the pause between a standby's attempts to take the lock.
"""
FINISH_SECONDS = 2.0
"""Longest time for which a stopped relay finishes the rows it is sending."""
LOG_EVERY_SECONDS = 60.0
"""Shortest time between two warnings about refused rows."""
DELAY_SECONDS = 0.1
DELAY_MAX_SECONDS = 5.0

_TAKE_LOCK = "SELECT pg_try_advisory_lock($1)"


class Relay:
    """Sends the outbox; every replica runs it as a background task."""

    def __init__(self, settings: ServiceSettings, service: str) -> None:
        self._settings = settings
        self._name = f"{service}-relay"
        self._producer = Producer(settings, self._name)
        self._retry_producer = Producer(settings, f"{self._name}-retry")
        self._cluster = Cluster(settings, self._name)
        self._retrying: tuple[Due, asyncio.Task[list[BaseException | None]]] | None = None
        self._limit = BATCH
        self._logged_at = self._next_retry_at = float("-inf")
        self._log = logging.get(self._name)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = False
        self._delay = DELAY_SECONDS
        self.holds_lock = False

    async def run(self) -> None:
        """Send until cancelled.

        An error of PostgreSQL or Kafka is logged, and sending resumes on a new connection.
        """
        try:
            await repeat(self._lock_and_send, on_error=self._interrupted)
        finally:
            await self._producer.stop()
            await self._retry_producer.stop()
            await self._cluster.close()

    def _interrupted(self, error: Exception) -> float:
        """Log an error of PostgreSQL or Kafka, and return the pause in seconds.

        Any other error is raised.
        """
        if not isinstance(error, (*DATABASE_ERRORS, KafkaError)):
            raise error
        self._limit = BATCH
        delay, self._delay = self._delay, min(self._delay * 2, DELAY_MAX_SECONDS)
        self._log.warning("relay_interrupted", error=repr(error), again_in_seconds=delay)
        return delay

    async def drain(self, timeout_seconds: float) -> None:
        """Send all rows, for at most ``timeout_seconds``.

        It returns at once if another replica is the relay.
        """
        if not self.holds_lock:
            return
        self._idle.clear()
        self._draining = True
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            self._log.info("outbox_not_drained")

    async def _lock_and_send(self) -> float:
        """Take the advisory lock and send until an error; nothing else ends it."""
        connection = await connect(self._settings, self._name, session=RELAY_SESSION)
        try:
            await add_listener(connection, outbox.CHANNEL, lambda _: self._wake.set())
            while not await connection.fetchval(_TAKE_LOCK, LOCK):  # noqa: ASYNC110 - another process's lock
                await asyncio.sleep(POLL_SECONDS)
            self.holds_lock = True
            self._log.info("relay_started")
            await self._producer.start()
            await repeat(lambda: self._send_next(connection), woken=self._wake)
            return 0
        finally:
            self.holds_lock = False
            connection.terminate()
            if self._retrying:
                self._retrying[1].cancel()
                self._retrying = None

    async def _send_next(self, connection: "asyncpg.Connection[asyncpg.Record]") -> float:
        """Send one batch; the seconds to wait for NOTIFY before the next."""
        await self._retry_set_aside(connection)
        limit = self._limit
        sent = await _finish(self._send_some(connection))
        if not sent:
            self._idle.set()
        # Rows committed since the batch was read have notified: after a short batch the next one may wait for that.
        return POLL_SECONDS if not sent or (sent < limit and not self._draining) else 0

    async def _send_some(self, connection: "asyncpg.Connection[asyncpg.Record]") -> int:
        """Send the oldest rows, and return how many were read.

        Those acknowledged before the first that was not are deleted.
        """
        rows = await outbox.load(connection, self._limit)
        failures = await self._producer.send_all([outgoing for _, outgoing in rows])
        acknowledged = next((place for place, failure in enumerate(failures) if failure), len(rows))
        if acknowledged:
            await outbox.delete(connection, [row_id for row_id, _ in rows[:acknowledged]])
            _count([outgoing for _, outgoing in rows[:acknowledged]])
            self._delay = DELAY_SECONDS
        if acknowledged < len(rows):
            failure = failures[acknowledged]
            assert failure is not None  # noqa: S101 - the first that failed
            await self._set_aside(connection, *rows[acknowledged], failure, is_alone=len(rows) == 1)
        else:
            self._limit = BATCH
        return len(rows)

    async def _set_aside(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        row_id: int,
        refused: Outgoing,
        error: BaseException,
        *,
        is_alone: bool,
    ) -> None:
        """Set aside a row, or its topic, that Kafka refuses.

        A row is sent alone first, because Kafka refuses batches whole.

        Raises:
            the error: it is transient, or concerns all rows.
        """
        topic = isinstance(error, TOPIC_ERRORS) or not await self._cluster.describe([refused.topic])
        if not topic and not concerns_row(error):
            raise error
        if not topic and not is_alone:
            self._limit = 1
            self._wake.set()
            return
        self._limit = BATCH
        self._wake.set()
        await outbox_set_aside.add(connection, row_id, refused, error, topic=topic)
        self._log.error("outbox_set_aside", topic=refused.topic, whole_topic=topic, row=row_id, error=repr(error))

    async def _retry_set_aside(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Settle the running retry of a row set aside, or start one.

        A retry runs in a task, because Kafka may take long to answer.
        """
        if self._retrying is None:
            now = asyncio.get_running_loop().time()
            if now < self._next_retry_at:  # rows set aside must not slow down the others
                return
            self._next_retry_at = now + POLL_SECONDS
            due = await outbox_set_aside.find_due(connection)
            if due is None:
                return
            sending = asyncio.create_task(self._retry_producer.send_all([due.outgoing] if due.outgoing else []))
            sending.add_done_callback(lambda _: self._wake.set())
            self._retrying = due, sending
            return
        due, sending = self._retrying
        if not sending.done():
            return
        self._retrying = None
        failure = next(iter(sending.result()), None)
        if failure is None:
            await outbox_set_aside.release(connection, due)
            _count([due.outgoing] if due.outgoing else [])
            self._log.info("outbox_released", row=due.row_id)
            self._next_retry_at = float("-inf")
            self._wake.set()
            return
        await outbox_set_aside.postpone(connection, due, failure)
        await self._log_refused(connection)

    async def _log_refused(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        now = asyncio.get_running_loop().time()
        if now - self._logged_at > LOG_EVERY_SECONDS:
            self._logged_at = now
            self._log.warning("outbox_refused", detail=str(await outbox_set_aside.describe(connection)))


async def _finish(step: Coroutine[Any, Any, int]) -> int:
    """Await ``step``; when cancelled, let it finish first.

    So no row is sent without being deleted, unless that takes longer than ``FINISH_SECONDS``.
    """
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=FINISH_SECONDS)
        task.cancel()
        raise


def _count(sent: Sequence[Outgoing]) -> None:
    for outgoing in sent:
        metrics.OUTBOX_PUBLISHED.labels(topic=outgoing.topic).inc()
