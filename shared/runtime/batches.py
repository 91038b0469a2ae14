"""One batch of records, one transaction: the effect, what it publishes and the next offsets, together or not at all."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise

from shared.events.topics import dead_letter_name
from shared.runtime import logging, metrics, offsets
from shared.runtime.clock import Clock
from shared.runtime.delivery import BatchHandler, PermanentError, Record, Transaction, TransientError
from shared.runtime.offsets import Moved
from shared.runtime.outbox import Outgoing
from shared.runtime.postgres import DATABASE_ERRORS, Connection, Pool, is_passing

HANDLER_ERROR = "handler_error"
DEAD_LETTER_PREFIX = "unitpool-dead-letter-"
MESSAGE_LENGTH = 500


class HaltError(Exception):
    """Too many dead letters in too short a time: more likely we are wrong than all of them. The message says so."""


class RewoundError(Exception):
    """Someone has set the stored offsets back (a rebuild): read again from there."""


@asynccontextmanager
async def transaction(pool: Pool, clock: Clock, service: str) -> AsyncIterator[Transaction]:
    """A transaction with an outbox, committed at the end of the block.

    Raises:
        TransientError: no connection can be had.
    """
    try:
        connection = await pool.acquire()
    except DATABASE_ERRORS as error:
        raise TransientError(f"no connection to the database: {error!r}") from error
    try:
        async with connection.transaction():
            tx = Transaction(connection, clock(), service=service)
            yield tx
            await tx.flush()
    finally:
        await pool.release(connection)
    tx.committed()


class DeadLetterLimit:
    """How many dead letters there may be within a time."""

    def __init__(self, count: int, within_seconds: float) -> None:
        self._count = count
        self._within = timedelta(seconds=within_seconds)
        self._times: deque[datetime] = deque()

    def check(self, now: datetime) -> None:
        """Raises:
        HaltError: there were as many as there may be.
        """
        while self._times and self._times[0] <= now - self._within:
            self._times.popleft()
        if len(self._times) >= self._count:
            raise HaltError(
                f"halted: {self._count} records became dead letters within {self._within.total_seconds():g} seconds. "
                "See the log for why, mend it, restart the service, then replay the dead letters"
            )

    def add(self, now: datetime) -> None:
        """One more."""
        self._times.append(now)


class BatchRunner:
    """Applies the batches of one topic for one reader. Errors that pass are raised: the caller tries again."""

    def __init__(
        self,
        pool: Pool,
        handler: BatchHandler,
        *,
        service: str,
        reader: str,
        topic: str,
        clock: Clock,
        limit: DeadLetterLimit,
        applied: dict[int, int] | None = None,
    ) -> None:
        self._pool = pool
        self._handler = handler
        self._service = service
        self._reader = reader
        self._topic = topic
        self._clock = clock
        self._limit = limit
        self._culprit: Record | None = None
        self._log = logging.get(service)
        self.applied = {} if applied is None else applied
        """The next offset per partition, as last read or written here, or by others of the same consumer."""

    async def run(self, records: Sequence[Record]) -> None:
        """Apply all records, each once; those that can never be applied end among the dead letters.

        Raises:
            HaltError, RewoundError, TransientError, or another error that passes (``is_passing``).
        """
        parts = [list(records)]
        while parts:
            part = parts.pop()
            try:
                await self._apply(part)
            except (HaltError, RewoundError, TransientError):
                raise
            except Exception as error:
                if is_passing(error):
                    raise
                if len(part) == 1:
                    await self._bury(part[0], error)
                else:
                    parts.extend(reversed(_split(part, self._culprit)))

    async def _apply(self, records: Sequence[Record]) -> None:
        async with transaction(self._pool, self._clock, self._service) as tx:
            fresh = await self._lock(tx.connection, records)
            if fresh:
                await self._handle(tx, fresh)
            self._advance(tx, fresh)
            tx.after_commit(lambda: metrics.BATCH_RECORDS.labels(topic=self._topic).inc(len(fresh)))

    async def _handle(self, tx: Transaction, records: Sequence[Record]) -> None:
        self._culprit = None
        try:
            await self._handler(tx, records)
        except PermanentError as error:
            self._culprit = error.record or tx.record
            raise
        except Exception:
            self._culprit = tx.record
            raise

    async def _bury(self, record: Record, error: Exception) -> None:
        failure = as_permanent(error)
        log = self._log.bind(
            topic=record.topic, partition=record.partition, offset=record.offset, reason=failure.reason
        )
        if failure.reason == HANDLER_ERROR:
            log.error("handler_failed", exc_info=error)
        if not failure.hostile:
            self._limit.check(self._clock())
        async with transaction(self._pool, self._clock, self._service) as tx:
            if not await self._lock(tx.connection, [record]):
                return
            tx.add(dead_letter(record, failure, self._service, tx.now))
            if failure.audit:
                await tx.audit(failure.audit)
            self._advance(tx, [record])
        if not failure.hostile:
            self._limit.add(self._clock())
        metrics.DEAD_LETTERS.labels(topic=record.topic, reason=failure.reason).inc()
        log.warning("dead_letter", message=str(failure)[:MESSAGE_LENGTH])

    async def _lock(self, connection: Connection, records: Sequence[Record]) -> list[Record]:
        """The records that were not applied yet, with their partitions locked until the end of the transaction."""
        stored = await offsets.lock(connection, self._reader, self._topic, {record.partition for record in records})
        for partition, next_offset in stored.items():
            if next_offset < self.applied.get(partition, next_offset):
                raise RewoundError(f"{self._topic}/{partition} was set back to {next_offset}")
        self.applied.update(stored)
        return [record for record in records if record.offset >= stored[record.partition]]

    def _advance(self, tx: Transaction, records: Iterable[Record]) -> None:
        nexts = {record.partition: record.offset + 1 for record in records}
        if nexts:
            tx.advance(Moved(self._reader, self._topic, nexts))
            tx.after_commit(lambda: self.applied.update(nexts))


def _split(part: list[Record], culprit: Record | None) -> list[list[Record]]:
    """Smaller parts in the same order: around the culprit where it is known, otherwise halves."""
    place = next((i for i, record in enumerate(part) if record is culprit), None)
    cuts = [len(part) // 2] if place is None else [place, place + 1]
    edges = [0, *cuts, len(part)]
    return [part[start:end] for start, end in pairwise(edges) if start < end]


def as_permanent(error: Exception) -> PermanentError:
    """An error that does not pass, as what a dead letter says."""
    if isinstance(error, PermanentError):
        return error
    return PermanentError(HANDLER_ERROR, f"{type(error).__name__}: {error}")


def dead_letter(record: Record, failure: PermanentError, service: str, now: datetime) -> Outgoing:
    """The record as received, and why it is here."""
    why = {
        "reason": failure.reason,
        "message": str(failure)[:MESSAGE_LENGTH],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "at": now.isoformat(),
        "service": service,
    }
    received = ((name, value or b"") for name, value in record.headers)
    headers = (*received, *((f"{DEAD_LETTER_PREFIX}{name}", text.encode()) for name, text in why.items()))
    return Outgoing(dead_letter_name(record.topic, service), record.key, record.value, headers)
