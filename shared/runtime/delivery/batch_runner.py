"""The application of a batch of records in one transaction.

Effects, published events and next offsets are committed together.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NoReturn

from shared.events.topics import dead_letter_name
from shared.runtime.delivery import offsets, set_aside
from shared.runtime.delivery.offsets import Moved
from shared.runtime.delivery.set_aside import lane_of
from shared.runtime.delivery.transaction import BatchHandler, PermanentError, Transaction, TransientError
from shared.runtime.postgres.pool import (
    DATABASE_ERRORS,
    Connection,
    Pool,
    is_lock_or_timeout,
    is_transient_database_error,
)
from shared.runtime.process import logging, metrics
from shared.runtime.process.clock import Clock
from shared.runtime.records import Outgoing, Record

HANDLER_ERROR = "handler_error"
DEAD_LETTER_PREFIX = "unitpool-dead-letter-"
MESSAGE_LENGTH = 500
OTHERS_TRIED = 5
"""Most records of other keys that are tried when a record fails.

If one can be applied, the transient error concerns the failed record alone.
"""


class HaltError(Exception):
    """Halts the consumer, as too many records failed in a short time.

    The fault is probably ours. The message says what the operator does.
    """


class _UndoneError(Exception):
    """Rolls back a transaction that was only an attempt."""


def _undo() -> NoReturn:
    raise _UndoneError


class RewoundError(Exception):
    """The stored offsets were set back (by a rebuild): the consumer must seek to them."""


@asynccontextmanager
async def transaction(pool: Pool, clock: Clock, service: str) -> AsyncIterator[Transaction]:
    """A transaction with an outbox, committed at the end of the block.

    Raises:
        TransientError: no connection is available.
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


class FailureLimit:
    """Decides when so much fails that a consumer must halt.

    Then the fault is probably a bug, and not the records. Failures count by owner (customer or key), so that one owner
    never halts the others. The limit is reached by ``count`` owners that failed within the time; or by ``count``
    failures, if more owners failed than succeeded.
    """

    def __init__(self, count: int, within_seconds: float) -> None:
        self._count = count
        self._within = timedelta(seconds=within_seconds)
        self._failed: deque[tuple[datetime, bytes]] = deque()
        self._succeeded: dict[bytes, datetime] = {}

    def check(self, now: datetime) -> None:
        """Check that the limit is not reached.

        Raises:
            HaltError: it is reached.
        """
        self._expire(now)
        owners = len({owner for _, owner in self._failed})
        well = sum(at > now - self._within for at in self._succeeded.values())
        if owners >= self._count or (len(self._failed) >= self._count and owners > max(1, well)):
            raise HaltError(
                f"halted: {len(self._failed)} records of {owners} keys failed within "
                f"{self._within.total_seconds():g} seconds. See the log for why, repair it, restart the service, "
                "then run `replay`, which redrives the dead letters"
            )

    def add(self, now: datetime, record: Record) -> None:
        """Count a failed record."""
        self._failed.append((now, owner_of(record)))

    def add_success(self, now: datetime, records: Iterable[Record]) -> None:
        """Count the owners of applied records, if failures are being counted.

        Up to ``count`` of them are counted: more would change nothing.
        """
        self._expire(now)
        if self._failed:
            for record in records:
                if len(self._succeeded) >= self._count:
                    break
                self._succeeded[owner_of(record)] = now
            self._succeeded = {owner: at for owner, at in self._succeeded.items() if at > now - self._within}

    def _expire(self, now: datetime) -> None:
        while self._failed and self._failed[0][0] <= now - self._within:
            self._failed.popleft()


def owner_of(record: Record) -> bytes:
    """The owner of a record: its key up to the first ``|``.

    Longer keys begin with the subscription, followed by ``|``.
    """
    return lane_of(record).partition(b"|")[0]


class BatchRunner:
    """The runner that applies the batches of one topic for one reader.

    Transient errors are raised; the caller retries.
    """

    def __init__(
        self,
        pool: Pool,
        handler: BatchHandler,
        *,
        service: str,
        reader: str,
        topic: str,
        clock: Clock,
        limit: FailureLimit,
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
        """The next offset per partition, as last read or written.

        It is shared by all runners of the consumer.
        """

    async def run(self, records: Sequence[Record], *, isolate: bool = False) -> None:
        """Apply all records, each once.

        Those that can never be applied become dead letters.

        Records that fail for an unforeseen reason are set aside, with all that follow of their key. ``isolate``: so are
        records that meet a lock or statement timeout while others of the batch can be applied.

        Raises:
            HaltError, RewoundError, TransientError, or another error for which ``is_transient`` holds.
        """
        parts = [list(records)]
        is_some_applied = False
        while parts:
            part = parts.pop()
            try:
                await self._apply(part)
                is_some_applied = True
            except (HaltError, RewoundError, TransientError):
                raise
            except Exception as error:
                transient = is_transient_database_error(error)
                if transient and not (isolate and is_lock_or_timeout(error)):
                    raise
                if len(part) > 1:
                    parts.extend(reversed(_split(part, self._culprit)))
                elif isinstance(error, PermanentError):
                    await self._dead_letter(part[0], error)
                elif (
                    not is_transient_database_error(error)
                    or is_some_applied
                    or await self._can_apply_others(part[0], parts)
                ):
                    await self._set_aside(part[0], error)
                else:
                    raise

    async def _apply(self, records: Sequence[Record]) -> None:
        async with transaction(self._pool, self._clock, self._service) as tx:
            fresh, some_are_set_aside = await self._lock(tx.connection, records)
            ready = await self._set_aside_behind(tx.connection, fresh) if some_are_set_aside else fresh
            if ready:
                await self._handle(tx, ready)
            self._advance(tx, fresh)
            tx.after_commit(lambda: metrics.BATCH_RECORDS.labels(topic=self._topic).inc(len(fresh)))
        self._limit.add_success(self._clock(), ready)

    async def _can_apply_others(self, record: Record, parts: Sequence[Sequence[Record]]) -> bool:
        """Return whether a later record of another key could be applied.

        Up to ``OTHERS_TRIED`` records are tried, and each attempt is rolled back.
        """
        others = {other.key: other for part in parts for other in reversed(part) if other.key != record.key}
        for other in list(others.values())[:OTHERS_TRIED]:
            try:
                async with transaction(self._pool, self._clock, self._service) as tx:
                    await self._handle(tx, [other])
                    _undo()
            except _UndoneError:
                return True
            except Exception as error:
                self._log.debug("other_fails_too", error=repr(error))
        return False

    async def _set_aside_behind(self, connection: Connection, records: list[Record]) -> list[Record]:
        """Set aside records whose key has others set aside; return the rest."""
        waiting = await set_aside.find_keys(connection, self._reader, self._topic, records)
        if not waiting:
            return records
        behind = [record for record in records if record.key in waiting]
        await set_aside.add(connection, self._reader, self._topic, behind)
        return [record for record in records if record.key not in waiting]

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

    async def _set_aside(self, record: Record, error: Exception) -> None:
        log = self._log.bind(topic=record.topic, partition=record.partition, offset=record.offset)
        log.error("handler_failed", exc_info=error)
        if not is_transient_database_error(error):
            self._limit.check(self._clock())
        async with transaction(self._pool, self._clock, self._service) as tx:
            fresh, _ = await self._lock(tx.connection, [record])
            if not fresh:
                return
            await set_aside.add(tx.connection, self._reader, self._topic, fresh, error)
            self._advance(tx, fresh)
        if not is_transient_database_error(error):
            self._limit.add(self._clock(), record)
        log.warning("record_set_aside")

    async def _dead_letter(self, record: Record, failure: PermanentError) -> None:
        if not failure.hostile:
            self._limit.check(self._clock())
        async with transaction(self._pool, self._clock, self._service) as tx:
            fresh, _ = await self._lock(tx.connection, [record])
            if not fresh:
                return
            await self.add_dead_letter(tx, record, failure)
            self._advance(tx, [record])
        if not failure.hostile:
            self._limit.add(self._clock(), record)

    async def add_dead_letter(self, tx: Transaction, record: Record, failure: PermanentError) -> None:
        """Publish a dead letter and its audit record, and count it.

        All of this happens when the transaction commits.
        """
        tx.add(make_dead_letter(record, failure, self._service, tx.now))
        if failure.audit:
            await tx.audit(failure.audit)

        def count() -> None:
            metrics.DEAD_LETTERS.labels(topic=record.topic, reason=failure.reason).inc()
            self._log.warning(
                "dead_letter",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=failure.reason,
                message=str(failure)[:MESSAGE_LENGTH],
            )

        tx.after_commit(count)

    async def _lock(self, connection: Connection, records: Sequence[Record]) -> tuple[list[Record], bool]:
        """Lock the records' partitions and return the records not applied yet.

        Returns with them whether any records of the topic are set aside.

        Raises:
            RewoundError: a stored offset was set back.
        """
        partitions = {record.partition for record in records}
        stored, some_are_set_aside = await offsets.lock(connection, self._reader, self._topic, partitions)
        for partition, next_offset in stored.items():
            if next_offset < self.applied.get(partition, next_offset):
                raise RewoundError(f"{self._topic}/{partition} was set back to {next_offset}")
        self.applied.update(stored)
        return [record for record in records if record.offset >= stored[record.partition]], some_are_set_aside

    def _advance(self, tx: Transaction, records: Iterable[Record]) -> None:
        nexts = {record.partition: record.offset + 1 for record in records}
        if nexts:
            tx.advance(Moved(self._reader, self._topic, nexts))
            tx.after_commit(lambda: self.applied.update(nexts))

    async def retry(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Handle records that were set aside; the stored offsets are beyond them already."""
        await self._handle(tx, records)

    async def give_up(self, tx: Transaction, record: Record, error: Exception, is_last: bool) -> bool:
        """Make a record that was set aside a dead letter, if it cannot be applied.

        That is so if its error is permanent or ``is_last``. Returns whether it became a dead letter.
        """
        if not isinstance(error, PermanentError) and not is_last:
            return False
        await self.add_dead_letter(tx, record, as_permanent(error))
        return True


def _split(part: list[Record], culprit: Record | None) -> list[list[Record]]:
    """Split a batch in order: around the culprit if it is known, else in halves."""
    place = next((i for i, record in enumerate(part) if record is culprit), None)
    cuts = [len(part) // 2] if place is None else [place, place + 1]
    edges = [0, *cuts, len(part)]
    return [part[start:end] for start, end in pairwise(edges) if start < end]


def as_permanent(error: Exception) -> PermanentError:
    """Return the error as a ``PermanentError``.

    An error of another class gets the reason ``handler_error``.
    """
    if isinstance(error, PermanentError):
        return error
    return PermanentError(HANDLER_ERROR, f"{type(error).__name__}: {error}")


def make_dead_letter(record: Record, failure: PermanentError, service: str, now: datetime) -> Outgoing:
    """Make the dead letter of a record: as received, with the failure in its headers."""
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
