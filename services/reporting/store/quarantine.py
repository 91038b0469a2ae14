"""Quarantined usage and its replays, as metering published them.

The newest version wins.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.reporting.store.paging import CursorError, Page, page, read_cursor, read_day
from shared.events.quarantine import QuarantinedRecord, QuarantineReplay, UsageSettled
from shared.runtime.postgres.pool import Connection, Row

_UPSERT = """
INSERT INTO quarantine AS q (id, received_at, reason, source, product, subscription, version, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, subscription = excluded.subscription,
    version = excluded.version, state = excluded.state
WHERE q.version < excluded.version
"""
_SETTLE = "UPDATE quarantine SET settled_at = $2, settled_as = $3, version = $4 WHERE id = $1 AND version < $4"
_FIND = "SELECT settled_at, settled_as, state FROM quarantine WHERE id = $1"
_LIST = """
SELECT id, settled_at, settled_as, state FROM quarantine
WHERE ($2::bigint IS NULL OR id < $2) AND ($3::text IS NULL OR reason = $3) AND ($4::text IS NULL OR source = $4)
    AND ($5::text IS NULL OR product = $5) AND ($6::text IS NULL OR subscription = $6)
    AND ($7::timestamptz IS NULL OR received_at >= $7) AND ($8::timestamptz IS NULL OR received_at < $8)
    AND ($9::boolean IS NULL OR (settled_at IS NOT NULL) = $9)
ORDER BY id DESC LIMIT $1
"""
_COUNT = """
SELECT (received_at AT TIME ZONE 'UTC')::date AS day, source, product, reason,
    count(*) FILTER (WHERE settled_at IS NULL) AS waiting, count(settled_at) AS settled
FROM quarantine
WHERE ($1::text IS NULL OR reason = $1) AND ($2::text IS NULL OR source = $2) AND ($3::text IS NULL OR product = $3)
    AND ($4::text IS NULL OR subscription = $4)
    AND ($5::timestamptz IS NULL OR received_at >= $5) AND ($6::timestamptz IS NULL OR received_at < $6)
    AND ($7::boolean IS NULL OR (settled_at IS NOT NULL) = $7)
    AND ($9::date IS NULL OR (received_at AT TIME ZONE 'UTC')::date < $9
        OR ((received_at AT TIME ZONE 'UTC')::date = $9 AND (product, source, reason) > ($10, $11, $12)))
GROUP BY 1, 2, 3, 4 ORDER BY 1 DESC, 3, 2, 4 LIMIT $8
"""
_UPSERT_REPLAY = """
INSERT INTO quarantine_replays AS r (id, requested_at, version, state) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state WHERE r.version < excluded.version
"""
_FIND_REPLAY = "SELECT state FROM quarantine_replays WHERE id = $1"
_LIST_REPLAYS = """
SELECT requested_at, id, state FROM quarantine_replays
WHERE $2::timestamptz IS NULL OR (requested_at, id) < ($2, $3)
ORDER BY requested_at DESC, id DESC LIMIT $1
"""
_DELETE_SETTLED = "DELETE FROM quarantine WHERE settled_at < $1"
_DELETE_REPLAYS = "DELETE FROM quarantine_replays WHERE requested_at < $1"
MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Filter:
    """The records to list; ``None``: no restriction.

    Times refer to the record's arrival.
    """

    reason: str | None = None
    source: str | None = None
    product: str | None = None
    subscription: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    settled: bool | None = None

    def arguments(self) -> tuple[object, ...]:
        """The values in the order of the statements' parameters."""
        return self.reason, self.source, self.product, self.subscription, self.start, self.end, self.settled


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A stored record, with when and as what it left the quarantine.

    Both are ``None`` while it is there.
    """

    record: QuarantinedRecord
    settled_at: datetime | None
    settled_as: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """Counts of the records of one kind: still in quarantine, and settled."""

    day: date
    source: str
    product: str
    reason: str
    waiting: int
    settled: int


async def upsert_record(connection: Connection, record: QuarantinedRecord) -> None:
    """Upsert the record unless the stored one is as new or newer."""
    await connection.execute(
        _UPSERT,
        int(record.id),
        record.received_at,
        record.reason,
        record.source,
        record.product,
        record.subscription,
        record.version,
        record.model_dump_json(),
    )


async def settle_record(connection: Connection, settled: UsageSettled) -> None:
    """Save that the record has left the quarantine."""
    await connection.execute(_SETTLE, int(settled.record), settled.settled_at, settled.settled_as, settled.version)


async def find_record(connection: Connection, record: str) -> StoredRecord | None:
    """Find a record."""
    row = await connection.fetchrow(_FIND, int(record)) if _is_number(record) else None
    return _stored(row) if row else None


async def list_records(connection: Connection, limit: int, cursor: str | None, wanted: Filter) -> Page[StoredRecord]:
    """List records, newest first."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST, limit + 1, _number(place[0]) if place else None, *wanted.arguments())
    return page(rows, limit, _stored, lambda row: (str(row["id"]),), "quarantine")


async def count_records(connection: Connection, limit: int, cursor: str | None, wanted: Filter) -> Page[Count]:
    """Count records per day, product, source and reason, newest day first."""
    place: list[Any] = read_cursor(cursor, 4) or [None] * 4
    if place[0] is not None:
        place[0] = read_day(place[0])
    rows = await connection.fetch(_COUNT, *wanted.arguments(), limit + 1, *place)
    return page(
        rows,
        limit,
        lambda row: Count(**dict(row)),
        lambda row: (row["day"].isoformat(), row["product"], row["source"], row["reason"]),
        "quarantine",
    )


async def prune_quarantine(connection: Connection, before: datetime) -> None:
    """Delete records settled and replays requested before ``before``.

    Records in quarantine are retained.
    """
    await connection.execute(_DELETE_SETTLED, before)
    await connection.execute(_DELETE_REPLAYS, before)


async def upsert_replay(connection: Connection, replay: QuarantineReplay) -> None:
    """Upsert the replay unless the stored one is as new or newer."""
    state = replay.model_dump_json()
    await connection.execute(_UPSERT_REPLAY, replay.id, replay.requested_at, replay.version, state)


async def find_replay(connection: Connection, replay: str) -> QuarantineReplay | None:
    """Find a replay."""
    state = await connection.fetchval(_FIND_REPLAY, replay)
    return None if state is None else QuarantineReplay.model_validate_json(state)


async def list_replays(connection: Connection, limit: int, cursor: str | None) -> Page[QuarantineReplay]:
    """List replays, newest first."""
    place: list[Any] = read_cursor(cursor, 2) or [None, None]
    if place[0] is not None:
        place[0] = _instant(place[0])
    rows = await connection.fetch(_LIST_REPLAYS, limit + 1, *place)
    return page(rows, limit, _replay, lambda row: (row["requested_at"].isoformat(), row["id"]), "quarantine_replays")


def _replay(row: Row) -> QuarantineReplay:
    return QuarantineReplay.model_validate_json(row["state"])


def _stored(row: Row) -> StoredRecord:
    return StoredRecord(QuarantinedRecord.model_validate_json(row["state"]), row["settled_at"], row["settled_as"])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _number(text: str) -> int:
    if not _is_number(text):
        raise CursorError("not a cursor of this list")
    return int(text)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CursorError("not a cursor of this list") from None
    if at.tzinfo is None:
        raise CursorError("not a cursor of this list")
    return at
