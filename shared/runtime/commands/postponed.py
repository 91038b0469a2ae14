"""Commands that could not be decided yet, put aside so that nobody else's have to wait for them.

They are tried again in transactions of their own, by whichever replica comes first, until they are decided. Those of
one key keep their order: what comes after one that waits stands behind it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.events.topics import Topic
from shared.runtime.delivery.backoff import Trouble, passes
from shared.runtime.delivery.batch_runner import as_permanent, dead_letter
from shared.runtime.delivery.headers import headers_to_json
from shared.runtime.delivery.set_aside import record_of
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.delivery.wholeness import Wholeness
from shared.runtime.postgres.pool import Connection, is_own
from shared.runtime.process import logging, metrics
from shared.runtime.records import Record

AGAIN_SECONDS = 0.03
"""Between two attempts at what waits."""
LOOK_SECONDS = 1.0
"""How often to look for what another process has put aside."""

_INSERT = """
INSERT INTO postponed_commands (topic, partition, record_offset, key, value, headers, appended_at, give_up_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
KEYS = "SELECT DISTINCT key FROM postponed_commands WHERE topic = $1"
"""The keys of which commands of a topic wait."""
_FIND_FIRST = "SELECT DISTINCT ON (key) id FROM postponed_commands WHERE topic = $1 ORDER BY key, id"
_TAKE = """
SELECT id, topic, partition, record_offset, key, value, headers, appended_at, give_up_at
FROM postponed_commands WHERE id = $1 FOR UPDATE SKIP LOCKED
"""
_SET_GIVE_UP = "UPDATE postponed_commands SET give_up_at = $2 WHERE id = $1"
_DELETE = "DELETE FROM postponed_commands WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One that was put aside; it is ours until the transaction ends."""

    id: int
    record: Record
    give_up_at: datetime | None


class Retries(Protocol):
    """What tries again: the inbox."""

    put_aside: asyncio.Event
    """Set when something was put aside."""

    async def retry(self, tx: Transaction, waiting: Waiting) -> bool:
        """Whether it was decided."""


async def insert(connection: Connection, record: Record, give_up_at: datetime | None = None) -> None:
    """Put a command aside."""
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
    """The first of each key."""
    return [row["id"] for row in await connection.fetch(_FIND_FIRST, topic)]


async def take(connection: Connection, id: int) -> Waiting | None:
    """One of them; ``None`` where somebody else has it, or it is decided."""
    row = await connection.fetchrow(_TAKE, id)
    if row is None:
        return None
    return Waiting(row["id"], record_of(row), row["give_up_at"])


async def set_give_up(connection: Connection, waiting: Waiting, give_up_at: datetime) -> None:
    """It was tried for the first time."""
    await connection.execute(_SET_GIVE_UP, waiting.id, give_up_at)


async def delete(connection: Connection, waiting: Waiting) -> None:
    """It is decided."""
    await connection.execute(_DELETE, waiting.id)


class PostponedCommands:
    """Tries again what the inbox of one topic has put aside."""

    def __init__(
        self,
        retries: Retries,
        topic: Topic,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        *,
        service: str,
        delay_max_seconds: float,
        wholeness: Wholeness,
    ) -> None:
        self._retries = retries
        self._topic = topic.name
        self._transaction = transaction
        self._service = service
        self._wholeness = wholeness
        self._trouble = Trouble(delay_max_seconds)
        self._log = logging.get(service).bind(topic=topic.name)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wholeness.wait()
            self._retries.put_aside.clear()
            try:
                left = await self.retry_all()
                self._trouble.over()
            except Exception as error:
                if not passes(error):
                    raise
                await asyncio.sleep(self._trouble.add(error))
                continue
            if left:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                await self._until_called()

    async def retry_all(self) -> int:
        """Try the first of each key once; how many commands of how many keys were found waiting."""
        async with self._transaction() as tx:
            first = await find_first(tx.connection, self._topic)
        for one in first:
            await self._retry(one)
        return len(first)

    async def _retry(self, id: int) -> None:
        try:
            async with self._transaction() as tx:
                waiting = await take(tx.connection, id)
                if waiting and await self._retries.retry(tx, waiting):
                    await delete(tx.connection, waiting)
        except Exception as error:
            if is_own(error):  # those of other keys are tried all the same
                self._log.warning("postponed_command_failed", id=id, error=repr(error))
            elif passes(error):
                raise
            else:
                await self._bury(id, error)

    async def _bury(self, id: int, error: Exception) -> None:
        """It can never be decided: a dead letter, like any other record."""
        failure = as_permanent(error)
        async with self._transaction() as tx:
            waiting = await take(tx.connection, id)
            if waiting is None:
                return
            tx.add(dead_letter(waiting.record, failure, self._service, tx.now))
            if failure.audit:
                await tx.audit(failure.audit)
            await delete(tx.connection, waiting)
        metrics.DEAD_LETTERS.labels(topic=self._topic, reason=failure.reason).inc()
        self._log.error("dead_letter", reason=failure.reason, exc_info=error)

    async def _until_called(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._retries.put_aside.wait()
        except TimeoutError:
            pass
