"""The transaction given to a handler of records, and its errors.

These are the errors that the handler may raise.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NoReturn
from uuid import uuid4

from shared.events.envelope import Event, Payload, event_of
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.topics import AUDIT, Topic
from shared.runtime.delivery import offsets, outbox
from shared.runtime.delivery.offsets import Moved
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import MAX_VALUE_BYTES, Outgoing, Record


class PermanentError(Exception):
    """The record can never be processed: it becomes a dead letter and is not retried.

    ``reason`` is a short code that never varies with the data (it labels a metric). ``record``: the one of the batch
    that failed, if known. ``audit`` is published together with the dead letter. ``hostile`` marks what an intruder
    could send at will: it does not count towards the limit that halts the consumer.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        record: Record | None = None,
        audit: AuditRecord | None = None,
        hostile: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.record = record
        self.audit = audit
        self.hostile = hostile


class TransientError(Exception):
    """A failure after which a retry can succeed.

    It is made after ``delay_seconds``, or with exponential backoff if that is ``None``. Records are never skipped.
    """

    def __init__(self, message: str, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class Transaction:
    """An open database transaction, and what is published when it commits.

    ``now``: the time by which everything in it is decided. ``cause``: the event or command that it handles, if one.
    """

    def __init__(
        self,
        connection: Connection,
        now: datetime,
        *,
        service: str,
        cause: Event[Any] | None = None,
        new_id: Callable[[], object] = uuid4,
    ) -> None:
        self.connection = connection
        self.now = now
        self.cause = cause
        self.record: Record | None = None
        """The record being handled, if they are handled one by one.

        It is the one to blame when the handler fails.
        """
        self.caused: list[Event[Any]] = []
        """Events emitted for the command that is being decided."""
        self.pending: list[Outgoing] = []
        """Published, and not yet inserted in the outbox."""
        self._source = f"/{service}"
        self._new_id = new_id
        self._callbacks: list[Callable[[], None]] = []
        self._moved: Moved | None = None

    async def publish(self, topic: Topic, key: str | bytes | None, event: Event[Any]) -> None:
        """Publish ``event`` when this transaction commits, and only then.

        Raises:
            PermanentError: the event is larger than Kafka takes.
        """
        self.add(Outgoing(topic.name, key.encode() if isinstance(key, str) else key, event.encode()))

    async def emit(
        self, topic: Topic, key: str | bytes | None, payload: Payload, *, subject: str | None = None
    ) -> Event[Any]:
        """Publish ``payload`` as a new event, and return the event.

        It gets a new id, the transaction's time, and the correlation and actor of the cause.
        """
        event = self._wrap(payload, subject)
        await self.publish(topic, key, event)
        if self.cause:
            self.caused.append(event)
        return event

    async def audit(self, record: AuditRecord) -> None:
        """Publish a record for the audit log."""
        await self.emit(AUDIT, record.account, DecisionRecorded(record=record))

    def add(self, outgoing: Outgoing) -> None:
        """Publish a record as it is.

        Raises:
            PermanentError: it is larger than Kafka takes.
        """
        if outgoing.value is not None and len(outgoing.value) > MAX_VALUE_BYTES and not outgoing.is_dead_letter:
            raise PermanentError("too_large", f"an event for {outgoing.topic} has {len(outgoing.value)} bytes")
        self.pending.append(outgoing)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, which must not fail, after the commit.

        It is for counters and projections in memory.
        """
        self._callbacks.append(callback)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Callable[[], NoReturn]]:
        """Roll back the block if it raises or calls the function that is yielded.

        What it published is rolled back too. That call ends the ``async with`` block at once; the code after the block
        runs on without an error.
        """
        published, caused, callbacks = len(self.pending), len(self.caused), len(self._callbacks)
        try:
            async with self.connection.transaction():
                yield _undo
        except BaseException as error:
            del self.pending[published:]
            del self.caused[caused:]
            del self._callbacks[callbacks:]
            if not isinstance(error, _UndoneError):
                raise

    def advance(self, moved: Moved) -> None:
        """Store these offsets, whose rows this transaction has locked, when it commits."""
        self._moved = moved

    async def flush(self) -> None:
        """Insert what was published in the outbox, and store the offsets.

        It is called before the commit.
        """
        if self._moved is not None:
            await offsets.store(self.connection, self._moved, self.pending)
        elif self.pending:
            await outbox.insert(self.connection, self.pending)
        self.pending, self._moved = [], None

    def committed(self) -> None:
        """Run the ``after_commit`` callbacks."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _wrap(self, payload: Payload, subject: str | None) -> Event[Any]:
        cause = self.cause
        return event_of(type(payload)).of(
            payload,
            id=str(self._new_id()),
            source=self._source,
            time=self.now,
            subject=subject,
            correlationid=(cause.correlationid or cause.id) if cause else None,
            causationid=cause.id if cause else None,
            traceparent=cause.traceparent if cause else None,
            actor=cause.actor if cause else None,
        )


class _UndoneError(Exception):
    pass


def _undo() -> NoReturn:
    raise _UndoneError


BatchHandler = Callable[[Transaction, Sequence[Record]], Awaitable[None]]
EventHandler = Callable[[Transaction, Event[Any]], Awaitable[None]]
