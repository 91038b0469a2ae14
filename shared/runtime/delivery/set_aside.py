"""Records that cannot be handled for a reason that nobody has foreseen: set aside, so that only their key waits.

What comes later for the same key is set aside behind them; everything else goes on. They are tried again by themselves,
with a growing pause, until they succeed or turn out to be dead letters.
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
from shared.runtime.records import Record

LOOK_SECONDS, IDLE_SECONDS = 0.5, 2.0
"""Between two polls: while something is set aside, and while nothing is."""
DELAY_SECONDS, DELAY_MAX_SECONDS = 0.5, 60.0
"""Between two attempts at one key: the first, doubled each time, and the longest."""
TOGETHER = 500
"""Records of one key that are applied in one transaction."""
KEYS_AT_ONCE = 100
SAY_SECONDS = 60.0
ERROR_LENGTH = 300

_WAITING = """
SELECT key FROM set_aside_keys WHERE reader = $1 AND topic = $2 AND key = ANY($3::bytea[]) ORDER BY key FOR KEY SHARE
"""
_ADD_KEY = """
INSERT INTO set_aside_keys (reader, topic, key, error, next_attempt_at) VALUES ($1, $2, $3, $4, now() + $5)
ON CONFLICT DO NOTHING
"""
_COLUMNS = ("reader", "topic", "lane", "partition", "record_offset", "key", "value", "headers", "appended_at")
_DUE = """
SELECT key, next_attempt_at <= now() AS is_due FROM set_aside_keys WHERE reader = $1 AND topic = $2
ORDER BY next_attempt_at LIMIT $3
"""
_TAKE_KEY = """
SELECT attempts, since, clock_timestamp() - since AS age FROM set_aside_keys
WHERE reader = $1 AND topic = $2 AND key = $3 FOR NO KEY UPDATE SKIP LOCKED
"""
_TAKE = """
SELECT id, topic, partition, record_offset, key, value, headers, appended_at FROM set_aside_records
WHERE reader = $1 AND topic = $2 AND lane = $3 ORDER BY id LIMIT $4
"""
_DELETE = "DELETE FROM set_aside_records WHERE id = ANY($1::bigint[])"
_LOCK_KEY = "SELECT true FROM set_aside_keys WHERE reader = $1 AND topic = $2 AND key = $3 FOR UPDATE"
_DELETE_KEY = """
DELETE FROM set_aside_keys WHERE reader = $1 AND topic = $2 AND key = $3
AND NOT EXISTS (SELECT FROM set_aside_records WHERE reader = $1 AND topic = $2 AND lane = $3)
"""
_LATER = """
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
    """What keeps a record's order: its key. One without a key waits for nobody, and nobody for it."""
    return b"\x00%d/%d" % (record.partition, record.offset) if record.key is None else record.key


@dataclass(frozen=True, slots=True)
class SetAsideState:
    """How many keys of one topic wait, how many records (10,000 at most are counted), since when, and why the first."""

    keys: int = 0
    records: int = 0
    since: datetime | None = None
    error: str = ""

    def __str__(self) -> str:
        """For a person; empty where nothing waits."""
        if self.since is None:
            return ""
        return (
            f"{self.records} records of {self.keys} keys are set aside and tried again, the first since "
            f"{self.since:%Y-%m-%d %H:%M:%S}Z: {self.error}"
        )


async def find_waiting(connection: Connection, reader: str, topic: str, records: Sequence[Record]) -> set[bytes]:
    """The keys of these records of which some wait; they go on waiting until this transaction ends."""
    keys = sorted({record.key for record in records if record.key is not None})
    return {row["key"] for row in await connection.fetch(_WAITING, reader, topic, keys)}


async def add(
    connection: Connection, reader: str, topic: str, records: Collection[Record], error: Exception | None = None
) -> None:
    """Set records aside: one that failed, with its ``error``; or those whose key waits already."""
    if error is not None:
        for record in records:
            await connection.execute(
                _ADD_KEY, reader, topic, lane_of(record), described(error), timedelta(seconds=DELAY_SECONDS)
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


async def add_for_now(connection: Connection, reader: str, topic: str, records: Collection[Record]) -> None:
    """Set records aside whose turn is now: dead letters that are to be applied again."""
    lanes = sorted({lane_of(record) for record in records})
    await connection.executemany(_ADD_KEY, [(reader, topic, lane, "replayed", timedelta()) for lane in lanes])
    await add(connection, reader, topic, records)


async def forget(connection: Connection, topic: str) -> None:
    """Drop what is set aside of a topic that will be read from its beginning."""
    for table in ("set_aside_records", "set_aside_keys"):
        await connection.execute(f"DELETE FROM {table} WHERE topic = $1", topic)  # noqa: S608 - two names of ours


async def measure(pool: Pool, reader: str, topic: str) -> SetAsideState:
    """How much waits."""
    row = await pool.fetchrow(_MEASURE, reader, topic)
    return SetAsideState(row["keys"], row["records"], row["since"], row["error"] or "") if row else SetAsideState()


def described(error: Exception) -> str:
    """For the table and the log."""
    return f"{type(error).__name__}: {error}"[:ERROR_LENGTH]


Handle = Callable[[Transaction, Sequence[Record]], Awaitable[None]]
Bury = Callable[[Transaction, Record, Exception, bool], Awaitable[bool]]
"""Makes a record a dead letter, where the error says that it is one or it is to be given up; whether it did."""


class SetAsideRetries:
    """Tries again what one reader has set aside of one topic. Any replica may, each key is tried by one at a time."""

    def __init__(
        self,
        pool: Pool,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        handle: Handle,
        bury: Bury,
        *,
        reader: str,
        topic: str,
        give_up_seconds: float | None,
    ) -> None:
        self._pool = pool
        self._transaction = transaction
        self._handle = handle
        self._bury = bury
        self._place = reader, topic
        self._give_up = None if give_up_seconds is None else timedelta(seconds=give_up_seconds)
        self._log = logging.get(reader).bind(topic=topic)
        self._said_at = float("-inf")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            waiting: list[Row] = []
            try:
                waiting = await self._pool.fetch(_DUE, *self._place, KEYS_AT_ONCE)
                for row in waiting:  # one after the other: all of them have failed before
                    if row["is_due"]:
                        await self._retry(row["key"])
            except (TransientError, *DATABASE_ERRORS) as error:
                self._log.debug("set_aside_not_retried", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS if waiting else IDLE_SECONDS)

    async def _retry(self, key: bytes) -> None:
        """All records of one key in turn, until one fails."""
        together = TOGETHER
        while True:
            try:
                taken = await self._apply(key, together)
            except Exception as error:
                if together > 1:
                    together = 1  # whatever comes before the one that fails is applied
                    continue
                if not await self._failed(key, error):
                    return
                continue
            if taken is None:
                return
            if taken < together and await self._is_over(key):
                self._log.info("set_aside_applied")
                return

    async def _apply(self, key: bytes, together: int) -> int | None:
        """How many records were applied; ``None`` where another process has the key."""
        async with self._transaction() as tx:
            if await tx.connection.fetchrow(_TAKE_KEY, *self._place, key) is None:
                return None
            rows = await tx.connection.fetch(_TAKE, *self._place, key, together)
            if rows:
                await self._handle(tx, [record_of(row) for row in rows])
                await tx.connection.execute(_DELETE, [row["id"] for row in rows])
        return len(rows)

    async def _failed(self, key: bytes, error: Exception) -> bool:
        """Make the first record of the key a dead letter, or try it again later; whether the next may be tried now."""
        async with self._transaction() as tx:
            at = await tx.connection.fetchrow(_TAKE_KEY, *self._place, key)
            rows = await tx.connection.fetch(_TAKE, *self._place, key, 1) if at else []
            if at is None or not rows:
                return False
            is_given_up = self._give_up is not None and at["age"] > self._give_up
            if await self._bury(tx, record_of(rows[0]), error, is_given_up):
                await tx.connection.execute(_DELETE, [rows[0]["id"]])
                return True
            delay = min(DELAY_SECONDS * 2.0 ** min(at["attempts"], 16), DELAY_MAX_SECONDS)
            await tx.connection.execute(_LATER, *self._place, key, described(error), timedelta(seconds=delay))
        now = asyncio.get_running_loop().time()
        if now - self._said_at > SAY_SECONDS:
            self._said_at = now
            self._log.error("set_aside_failed_again", attempts=at["attempts"] + 1, exc_info=error)
        return False

    async def _is_over(self, key: bytes) -> bool:
        """Whether nothing of the key waits any more; then it is forgotten."""
        async with self._transaction() as tx:
            if await tx.connection.fetchrow(_LOCK_KEY, *self._place, key) is None:
                return True
            done: str = await tx.connection.execute(_DELETE_KEY, *self._place, key)
        return done == "DELETE 1"


def record_of(row: Row) -> Record:
    """A record as a table kept it, with the columns of ``postponed_commands``."""
    return Record(
        row["topic"],
        row["partition"],
        row["record_offset"],
        row["key"],
        row["value"],
        headers_from_json(row["headers"]),
        row["appended_at"],
    )
