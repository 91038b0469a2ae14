"""Records set aside because their handler fails for an unforeseen reason.

So only their key waits. Later records of the key are set aside behind them; all others are applied. They are retried
automatically, with growing pauses, until they succeed or become dead letters.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.runtime.delivery.headers import headers_from_json, headers_to_json
from shared.runtime.delivery.transaction import Transaction, TransientError
from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection, Pool, Row
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.records import Record

POLL_SECONDS, IDLE_SECONDS = 0.5, 2.0
"""Pause between two polls while records are set aside, and while none are."""
DELAY_SECONDS, DELAY_MAX_SECONDS = 0.5, 60.0
"""The first and the longest pause between two attempts at one key.

The pause doubles each time.
"""
RECORDS_MAX = 500
"""Most records of one key that are applied in one transaction."""
KEYS_MAX = 100
"""Most keys of one poll."""
LOG_EVERY_SECONDS = 60.0
"""Shortest time between two log lines about failed retries."""
ERROR_LENGTH = 300

_LOCK_KEYS = """
SELECT key FROM set_aside_keys WHERE reader = $1 AND topic = $2 AND key = ANY($3::bytea[]) ORDER BY key FOR KEY SHARE
"""
_ADD_KEY = """
INSERT INTO set_aside_keys (reader, topic, key, error, next_attempt_at) VALUES ($1, $2, $3, $4, now() + $5)
ON CONFLICT DO NOTHING
"""
_COLUMNS = ("reader", "topic", "lane", "partition", "record_offset", "key", "value", "headers", "appended_at")
_FIND_KEYS = """
SELECT key, next_attempt_at <= now() AS is_due FROM set_aside_keys WHERE reader = $1 AND topic = $2
ORDER BY next_attempt_at LIMIT $3
"""
_LOCK_KEY_FOR_RETRY = """
SELECT attempts, since, clock_timestamp() - since AS age FROM set_aside_keys
WHERE reader = $1 AND topic = $2 AND key = $3 FOR NO KEY UPDATE SKIP LOCKED
"""
_FIND_RECORDS = """
SELECT id, topic, partition, record_offset, key, value, headers, appended_at FROM set_aside_records
WHERE reader = $1 AND topic = $2 AND lane = $3 ORDER BY id LIMIT $4
"""
_DELETE = "DELETE FROM set_aside_records WHERE id = ANY($1::bigint[])"
_LOCK_KEY = "SELECT true FROM set_aside_keys WHERE reader = $1 AND topic = $2 AND key = $3 FOR UPDATE"
_DELETE_KEY = """
DELETE FROM set_aside_keys WHERE reader = $1 AND topic = $2 AND key = $3
AND NOT EXISTS (SELECT FROM set_aside_records WHERE reader = $1 AND topic = $2 AND lane = $3)
"""
_POSTPONE = """
UPDATE set_aside_keys SET attempts = attempts + 1, error = $4, next_attempt_at = now() + $5
WHERE reader = $1 AND topic = $2 AND key = $3
"""
_MEASURE = """
SELECT count(*) AS keys, min(since) AS since,
    (SELECT count(*) FROM (
        SELECT FROM set_aside_records WHERE reader = $1 AND topic = $2 LIMIT 10000
    ) AS counted) AS records,
    (SELECT error FROM set_aside_keys WHERE reader = $1 AND topic = $2 ORDER BY since LIMIT 1) AS error
FROM set_aside_keys WHERE reader = $1 AND topic = $2
"""


def lane_of(record: Record) -> bytes:
    """Return the key whose order a record keeps.

    For a record without a key it is the record's own offset, so that it has no order.
    """
    return b"\x00%d/%d" % (record.partition, record.offset) if record.key is None else record.key


@dataclass(frozen=True, slots=True)
class SetAsideState:
    """What is set aside of one topic.

    At most 10,000 records are counted. ``since`` is the time of the oldest key, ``error`` its error.
    """

    keys: int = 0
    records: int = 0
    since: datetime | None = None
    error: str = ""

    def __str__(self) -> str:
        """A sentence for a person; empty if nothing is set aside."""
        if self.since is None:
            return ""
        return (
            f"{self.records} records of {self.keys} keys are set aside and retried, the first since "
            f"{self.since:%Y-%m-%d %H:%M:%S}Z: {self.error}"
        )


async def find_keys(connection: Connection, reader: str, topic: str, records: Sequence[Record]) -> set[bytes]:
    """Find the keys of these records that have others set aside.

    They stay locked so until this transaction ends.
    """
    keys = sorted({record.key for record in records if record.key is not None})
    return {row["key"] for row in await connection.fetch(_LOCK_KEYS, reader, topic, keys)}


async def add(
    connection: Connection, reader: str, topic: str, records: Collection[Record], error: Exception | None = None
) -> None:
    """Set records aside.

    With ``error`` it is the one that failed, without it those behind another of their key.
    """
    if error is not None:
        for record in records:
            await connection.execute(
                _ADD_KEY, reader, topic, lane_of(record), describe(error), timedelta(seconds=DELAY_SECONDS)
            )
    rows = [
        (
            reader,
            topic,
            lane_of(record),
            record.partition,
            record.offset,
            record.key,
            record.value,
            headers_to_json(record.headers),
            record.appended_at,
        )
        for record in records
    ]
    await connection.copy_records_to_table("set_aside_records", records=rows, columns=_COLUMNS)


async def add_due(connection: Connection, reader: str, topic: str, records: Collection[Record]) -> None:
    """Set dead letters aside that are redriven: their retry is due now."""
    lanes = sorted({lane_of(record) for record in records})
    await connection.executemany(_ADD_KEY, [(reader, topic, lane, "replayed", timedelta()) for lane in lanes])
    await add(connection, reader, topic, records)


async def delete_topic(connection: Connection, topic: str) -> None:
    """Delete what is set aside of a topic that will be read from its beginning."""
    for table in ("set_aside_records", "set_aside_keys"):
        await connection.execute(f"DELETE FROM {table} WHERE topic = $1", topic)  # noqa: S608 - two names of ours


async def measure(pool: Pool, reader: str, topic: str) -> SetAsideState:
    """Measure what is set aside."""
    row = await pool.fetchrow(_MEASURE, reader, topic)
    return SetAsideState(row["keys"], row["records"], row["since"], row["error"] or "") if row else SetAsideState()


def describe(error: Exception) -> str:
    """An error as text for the table and the log."""
    return f"{type(error).__name__}: {error}"[:ERROR_LENGTH]


Handle = Callable[[Transaction, Sequence[Record]], Awaitable[None]]
DeadLetter = Callable[[Transaction, Record, Exception, bool], Awaitable[bool]]
"""Makes a record a dead letter, and returns whether it did.

It does so if the error is permanent, or the record is given up (last argument).
"""


class SetAsideRetries:
    """Retries of the records that one reader has set aside of one topic.

    One replica at a time retries a key.
    """

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        handle: Handle,
        dead_letter: DeadLetter,
        *,
        reader: str,
        topic: str,
        give_up_seconds: float | None,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._handle = handle
        self._dead_letter = dead_letter
        self._place = reader, topic
        self._give_up = None if give_up_seconds is None else timedelta(seconds=give_up_seconds)
        self._log = logging.get(reader).bind(topic=topic)
        self._logged_at = float("-inf")

    async def run(self) -> None:
        """Retry until cancelled; run it as a background task."""
        await repeat(self._retry_due)

    async def _retry_due(self) -> float:
        waiting: list[Row] = []
        try:
            waiting = await self._pool.fetch(_FIND_KEYS, *self._place, KEYS_MAX)
            for row in waiting:  # one at a time: all of them have failed before
                if row["is_due"]:
                    await self._retry(row["key"])
        except (TransientError, *DATABASE_ERRORS) as error:
            self._log.debug("set_aside_not_retried", error=repr(error))
        return POLL_SECONDS if waiting else IDLE_SECONDS

    async def _retry(self, key: bytes) -> None:
        """Apply the records of one key in order, until one fails."""
        limit = RECORDS_MAX
        while True:
            try:
                taken = await self._apply(key, limit)
            except Exception as error:
                if limit > 1:
                    limit = 1  # apply those before the one that fails
                    continue
                if not await self._handle_failure(key, error):
                    return
                continue
            if taken is None:
                return
            if taken < limit and await self._delete_if_empty(key):
                self._log.info("set_aside_applied")
                return

    async def _apply(self, key: bytes, limit: int) -> int | None:
        """Apply the first records of a key, and return how many.

        ``None`` if another process has locked the key.
        """
        async with self._transaction() as tx:
            if await tx.connection.fetchrow(_LOCK_KEY_FOR_RETRY, *self._place, key) is None:
                return None
            rows = await tx.connection.fetch(_FIND_RECORDS, *self._place, key, limit)
            if rows:
                await self._handle(tx, [record_of(row) for row in rows])
                await tx.connection.execute(_DELETE, [row["id"] for row in rows])
        return len(rows)

    async def _handle_failure(self, key: bytes, error: Exception) -> bool:
        """Make the first record of a key a dead letter, or postpone the key.

        Returns whether to go on with the next record.
        """
        async with self._transaction() as tx:
            at = await tx.connection.fetchrow(_LOCK_KEY_FOR_RETRY, *self._place, key)
            rows = await tx.connection.fetch(_FIND_RECORDS, *self._place, key, 1) if at else []
            if at is None or not rows:
                return False
            is_given_up = self._give_up is not None and at["age"] > self._give_up
            if await self._dead_letter(tx, record_of(rows[0]), error, is_given_up):
                await tx.connection.execute(_DELETE, [rows[0]["id"]])
                return True
            delay = min(DELAY_SECONDS * 2.0 ** min(at["attempts"], 16), DELAY_MAX_SECONDS)
            await tx.connection.execute(_POSTPONE, *self._place, key, describe(error), timedelta(seconds=delay))
        now = asyncio.get_running_loop().time()
        if now - self._logged_at > LOG_EVERY_SECONDS:
            self._logged_at = now
            self._log.error("set_aside_failed_again", attempts=at["attempts"] + 1, exc_info=error)
        return False

    async def _delete_if_empty(self, key: bytes) -> bool:
        """Delete a key without records; whether it is deleted."""
        async with self._transaction() as tx:
            if await tx.connection.fetchrow(_LOCK_KEY, *self._place, key) is None:
                return True
            done: str = await tx.connection.execute(_DELETE_KEY, *self._place, key)
        return done == "DELETE 1"


def record_of(row: Row) -> Record:
    """The record in a row of ``postponed_commands`` or ``set_aside_records``."""
    return Record(
        row["topic"],
        row["partition"],
        row["record_offset"],
        row["key"],
        row["value"],
        headers_from_json(row["headers"]),
        row["appended_at"],
    )
