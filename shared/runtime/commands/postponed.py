"""Postponed commands, which cannot be decided yet.

They are stored, so that other keys need not wait for them.

Any replica retries them, each in a transaction of its own, until they are decided. Commands of one key keep their
order: later ones are postponed behind the first.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.events.topics import Topic
from shared.runtime.delivery.backoff import Backoff, is_transient
from shared.runtime.delivery.batch_runner import as_permanent, make_dead_letter
from shared.runtime.delivery.headers import headers_to_json
from shared.runtime.delivery.read_model_state import ReadModelState
from shared.runtime.delivery.set_aside import record_of
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection, is_lock_or_timeout
from shared.runtime.process import logging, metrics
from shared.runtime.process.background import repeat
from shared.runtime.records import Record

RETRY_SECONDS = 0.03
"""Pause between two attempts at the postponed commands."""
POLL_SECONDS = 1.0
"""Pause between two polls for commands that another process postponed."""

_INSERT = """
INSERT INTO postponed_commands (topic, partition, record_offset, key, value, headers, appended_at, give_up_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_FIND_FIRST = "SELECT DISTINCT ON (key) id FROM postponed_commands WHERE topic = $1 ORDER BY key, id"
_LOCK = """
SELECT id, topic, partition, record_offset, key, value, headers, appended_at, give_up_at
FROM postponed_commands WHERE id = $1 FOR UPDATE SKIP LOCKED
"""
_SET_GIVE_UP = "UPDATE postponed_commands SET give_up_at = $2 WHERE id = $1"
_DELETE = "DELETE FROM postponed_commands WHERE id = $1"


@dataclass(frozen=True, slots=True)
class PostponedCommand:
    """A postponed command whose row is locked.

    ``give_up_at``: ``None`` before its first attempt.
    """

    id: int
    record: Record
    give_up_at: datetime | None


class Retries(Protocol):
    """What decides postponed commands: the inbox."""

    postponed: asyncio.Event
    """Set when commands were postponed in this process."""

    async def retry(self, tx: Transaction, command: PostponedCommand) -> bool:
        """Try to decide a postponed command; whether it was decided."""


async def insert(connection: Connection, record: Record, give_up_at: datetime | None = None) -> None:
    """Insert a postponed command.

    Without ``give_up_at`` it queues behind another of its key.
    """
    await connection.execute(
        _INSERT,
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        headers_to_json(record.headers),
        record.appended_at,
        give_up_at,
    )


async def find_first(connection: Connection, topic: str) -> list[int]:
    """The id of the first postponed command of each key."""
    return [row["id"] for row in await connection.fetch(_FIND_FIRST, topic)]


async def lock(connection: Connection, id: int) -> PostponedCommand | None:
    """Lock a postponed command; ``None``: another process has locked or decided it."""
    row = await connection.fetchrow(_LOCK, id)
    if row is None:
        return None
    return PostponedCommand(row["id"], record_of(row), row["give_up_at"])


async def set_give_up(connection: Connection, command: PostponedCommand, give_up_at: datetime) -> None:
    """Set when to give up a command, after its first attempt."""
    await connection.execute(_SET_GIVE_UP, command.id, give_up_at)


async def delete(connection: Connection, command: PostponedCommand) -> None:
    """Delete a command that is decided."""
    await connection.execute(_DELETE, command.id)


class PostponedCommands:
    """Retries the postponed commands of one topic."""

    def __init__(
        self,
        retries: Retries,
        topic: Topic,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        *,
        service: str,
        delay_max_seconds: float,
        read_model_state: ReadModelState,
    ) -> None:
        self._retries = retries
        self._topic = topic.name
        self._transaction = transaction
        self._service = service
        self._read_model_state = read_model_state
        self._backoff = Backoff(delay_max_seconds)
        self._log = logging.get(service).bind(topic=topic.name)

    async def run(self) -> None:
        """Retry until cancelled; run it as a background task."""
        await repeat(
            self._retry_when_complete, woken=self._retries.postponed, on_error=self._backoff.pause_if_transient
        )

    async def _retry_when_complete(self) -> float:
        await self._read_model_state.wait_until_complete()
        found = await self.retry_all()
        self._backoff.reset()
        if not found:
            return POLL_SECONDS
        await asyncio.sleep(RETRY_SECONDS)  # not in `repeat`: more postponed commands must not shorten it
        return 0

    async def retry_all(self) -> int:
        """Try the first command of each key once.

        Returns how many keys have postponed commands.
        """
        async with self._transaction() as tx:
            first = await find_first(tx.connection, self._topic)
        for one in first:
            await self._retry(one)
        return len(first)

    async def _retry(self, id: int) -> None:
        try:
            async with self._transaction() as tx:
                command = await lock(tx.connection, id)
                if command and await self._retries.retry(tx, command):
                    await delete(tx.connection, command)
        except Exception as error:
            if is_lock_or_timeout(error):  # only this command is concerned: go on with the other keys
                self._log.warning("postponed_command_failed", id=id, error=repr(error))
            elif is_transient(error):
                raise
            else:
                await self._dead_letter(id, error)

    async def _dead_letter(self, id: int, error: Exception) -> None:
        """Dead-letter a command whose retry failed with an error that is not transient."""
        failure = as_permanent(error)
        async with self._transaction() as tx:
            command = await lock(tx.connection, id)
            if command is None:
                return
            tx.add(make_dead_letter(command.record, failure, self._service, tx.now))
            if failure.audit:
                await tx.audit(failure.audit)
            await delete(tx.connection, command)
        metrics.DEAD_LETTERS.labels(topic=self._topic, reason=failure.reason).inc()
        self._log.error("dead_letter", reason=failure.reason, exc_info=error)
