"""Work that fails for one key, set aside in a table and retried.

It is retried until it succeeds.

A consumer sets aside the newest record of a key, which carries the key's whole state (``SetAside.apply``);
``SetAsideWorkRetries`` retries it in a transaction of its own. A task sets rows aside (``SetAside.add``), leaves them
out until ``retry_at``, and clears them when they succeed.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import Counter

from shared.runtime.delivery.batch_runner import HaltError
from shared.runtime.delivery.headers import headers_from_json, headers_to_json
from shared.runtime.delivery.isolation import Failed, isolate
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.process import logging
from shared.runtime.records import Record

T = TypeVar("T")

PAUSE_MAX_SECONDS = 30
"""Longest pause between two attempts; the first is two seconds, and it doubles."""
LOCK_SECONDS = 2
"""Longest wait for a locked row before its key is set aside.

It limits work for many keys.
"""

LOG_EVERY_SECONDS = 60
"""Shortest time between two log lines with a stack trace.

So one key cannot fill the log.
"""

FAILURES = Counter("unitpool_set_aside_failures_total", "Attempts at the work for one key that failed", ["work"])

_BEGIN = f"""
SELECT
    set_config('lock_timeout', '{LOCK_SECONDS}s', true),
    ARRAY(SELECT DISTINCT whose FROM set_aside_work WHERE work = $1) AS whose
"""  # noqa: S608 - put together from constants
_COUNT = "SELECT count(DISTINCT whose) FROM set_aside_work WHERE work = $1"
_ADD = f"""
INSERT INTO set_aside_work AS old
    (work, key, whose, failures, error, since, retry_at, partition, record_offset, record_key, value, headers,
    appended_at)
VALUES ($1, $2, $3, $4::integer, $5, $6::timestamptz, $6 + make_interval(secs => 2 * $4), $7, $8, $9, $10, $11, $12)
ON CONFLICT (work, key) DO UPDATE SET
    failures = old.failures + excluded.failures,
    error = CASE WHEN excluded.failures > 0 THEN excluded.error ELSE old.error END,
    retry_at = CASE
        WHEN excluded.failures > 0
            THEN $6 + make_interval(secs => least({PAUSE_MAX_SECONDS}, power(2, least(old.failures + 1, 30))))
        ELSE old.retry_at
    END,
    partition = excluded.partition, record_offset = excluded.record_offset, record_key = excluded.record_key,
    value = excluded.value, headers = excluded.headers, appended_at = excluded.appended_at
"""  # noqa: S608 - put together from constants
_LOAD = "SELECT key, retry_at > $2 AS waits FROM set_aside_work WHERE work = $1"
_CLEAR = "DELETE FROM set_aside_work WHERE work = $1 AND key = ANY($2::text[])"
_MAKE_DUE = "UPDATE set_aside_work SET retry_at = $3 WHERE work = $1 AND whose = $2 AND retry_at > $3"
_FIND_DUE = """
SELECT key FROM set_aside_work WHERE work = $1 AND retry_at <= $2 AND value IS NOT NULL ORDER BY retry_at LIMIT 100
"""
_LOCK = """
SELECT whose, partition, record_offset, record_key, value, headers, appended_at
FROM set_aside_work WHERE work = $1 AND key = $2 AND retry_at <= $3 FOR UPDATE SKIP LOCKED
"""


class Item(NamedTuple, Generic[T]):
    """Work for one owner (``whose``), such as a subscription or an account.

    ``key`` names the state that ``value`` and ``record`` carry whole; of one key only the newest record counts.
    """

    value: T
    whose: str
    record: Record
    key_of: Callable[[T], str] | None = None

    @property
    def key(self) -> str:
        """The key, which is needed only when the item is set aside; by default the owner."""
        return self.whose if self.key_of is None else self.key_of(self.value)


@dataclass(frozen=True, slots=True)
class SetAsideKeys:
    """The keys of a task that wait for their next attempt, and those due now."""

    waiting: list[str]
    due: frozenset[str]


class SetAside:
    """What one consumer or task sets aside.

    ``work`` names it: a consumer's topic, or a task.
    """

    def __init__(self, work: str, *, keys_max: int | None = None) -> None:
        """Make the list of the work named ``work``.

        ``keys_max``: most owners with work set aside; a consumer halts at more, as the fault is probably ours.
        """
        self.work = work
        self._keys_max = keys_max
        self._logged_at = -float(LOG_EVERY_SECONDS)
        self._log = logging.get("set_aside")
        FAILURES.labels(work=work)

    async def apply(
        self, tx: Transaction, items: Sequence[Item[T]], work: Callable[[Sequence[Item[T]]], Awaitable[None]]
    ) -> None:
        """Do ``work`` for all items; set aside those for which it fails.

        All items of an owner for whom it fails are set aside, and all of one who has others set aside already.

        Raises:
            HaltError: work of more than ``keys_max`` owners would be set aside.
        """
        row = await tx.connection.fetchrow(_BEGIN, self.work)
        waiting = frozenset(row["whose"] if row else ())
        for item in {item.key: item for item in items if item.whose in waiting}.values():
            await self._insert(tx, item.key, item.whose, None, item.record)
        fresh = [item for item in items if item.whose not in waiting]
        for failed in await isolate(tx, fresh, lambda item: item.whose, work, failures_max=self._keys_max):
            await self._check_limit(tx.connection, failed)
            for item in {item.key: item for item in failed.items}.values():
                await self.add(tx, item.key, item.whose, failed.error, item.record)

    async def add(self, tx: Transaction, key: str, whose: str, error: Exception, record: Record | None = None) -> None:
        """Set a key aside, or save another failure of it.

        Its next attempt is saved too, and the failure is counted after the commit.
        """
        await self._insert(tx, key, whose, error, record)
        tx.after_commit(lambda: self.count(whose, error))

    def count(self, whose: str, error: Exception) -> None:
        """Count a failure and log it.

        It is not logged if another was within a minute. The line has the stack trace.
        """
        FAILURES.labels(work=self.work).inc()
        if time.monotonic() - self._logged_at >= LOG_EVERY_SECONDS:
            self._logged_at = time.monotonic()
            self._log.warning("work_set_aside", work=self.work, whose=whose, exc_info=error)

    async def begin(self, connection: Connection) -> None:
        """Limit the lock waits of a task's transaction to ``LOCK_SECONDS``."""
        await connection.fetchrow(_BEGIN, self.work)

    async def load(self, connection: Connection, now: datetime) -> "SetAsideKeys":
        """Load the keys that a task leaves out now, and those that it retries."""
        rows = await connection.fetch(_LOAD, self.work, now)
        return SetAsideKeys(
            [row["key"] for row in rows if row["waits"]], frozenset(row["key"] for row in rows if not row["waits"])
        )

    async def clear(self, connection: Connection, keys: Sequence[str]) -> None:
        """Delete keys that succeeded."""
        await connection.execute(_CLEAR, self.work, keys)

    async def find_due(self, connection: Connection, now: datetime) -> list[str]:
        """Find keys whose record is due for a retry."""
        return [row["key"] for row in await connection.fetch(_FIND_DUE, self.work, now)]

    async def retry(
        self, tx: Transaction, key: str, handler: Callable[[Transaction, Sequence[Record]], Awaitable[None]]
    ) -> None:
        """Handle a record that is set aside, in the caller's transaction.

        On success its key is cleared, and other keys of its owner are due now; on failure its next pause is longer.
        Nothing happens if another process has locked it.
        """
        row = await tx.connection.fetchrow(_LOCK, self.work, key, tx.now)
        if row is None:
            return  # another process has locked it, or it succeeded
        headers = headers_from_json(row["headers"])
        place = self.work, row["partition"], row["record_offset"], row["record_key"], row["value"]
        record = Record(*place, headers, row["appended_at"])
        await tx.connection.fetchrow(_BEGIN, self.work)
        for failed in await isolate(tx, [record], lambda _: row["whose"], lambda some: handler(tx, some)):
            await self.add(tx, key, failed.whose, failed.error, record)
            return
        await self.clear(tx.connection, [key])
        await tx.connection.execute(_MAKE_DUE, self.work, row["whose"], tx.now)

    async def _insert(
        self, tx: Transaction, key: str, whose: str, error: Exception | None, record: Record | None
    ) -> None:
        """Insert or update a key.

        Without ``error`` it was not tried, because its owner has others set aside.
        """
        columns = (
            (None,) * 6
            if record is None
            else (
                record.partition,
                record.offset,
                record.key,
                record.value,
                headers_to_json(record.headers),
                record.appended_at,
            )
        )
        error_name = "" if error is None else type(error).__name__
        await tx.connection.execute(_ADD, self.work, key, whose, int(error is not None), error_name, tx.now, *columns)

    async def _check_limit(self, connection: Connection, failed: Failed[Item[T]]) -> None:
        if self._keys_max is None or await connection.fetchval(_COUNT, self.work) < self._keys_max:
            return
        raise HaltError(
            f"halted: the work for {self._keys_max} keys of {self.work} is set aside, and now fails for another with "
            f"{type(failed.error).__name__}. See the log for why, repair it, restart the service"
        ) from failed.error
