"""The quarantine: whole records that are not applied, with the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.metering.domain.reasons import RejectedError
from shared.events.quarantine import QuarantineWanted
from shared.runtime.delivery.headers import headers_from_json, headers_to_json
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.records import Record

_COLUMNS = (
    "topic",
    "kafka_partition",
    "kafka_offset",
    "received_at",
    "quarantined_at",
    "reason",
    "detail",
    "source",
    "product",
    "subscription",
    "event_id",
    "key",
    "value",
    "headers",
    "judged_version",
    "at",
)
DETAIL_LENGTH = 500

# Rows whose subscription or product has changed since they were judged. Usage after the end waits for a term that
# includes it instead: there may be much of it, and most changes of a subscription do not concern it.
_LOCK_RETRYABLE = """
SELECT q.id, q.topic, q.kafka_partition, q.kafka_offset, q.received_at, q.reason, q.source, q.product, q.subscription,
       q.key, q.value, q.headers
FROM quarantine q
LEFT JOIN subscription s ON s.id = q.subscription
LEFT JOIN product p ON p.id = q.product
WHERE q.settled_at IS NULL AND q.digest IS NULL
  AND q.reason IN ('unknown_subscription', 'unknown_product', 'unknown_meter', 'product_not_subscribed')
  AND greatest(s.projection_version, p.projection_version) > q.judged_version
  AND NOT EXISTS (SELECT FROM set_aside_work a WHERE a.work = $2 AND a.key = q.id::text AND a.retry_at > $3)
ORDER BY q.id LIMIT $1
FOR UPDATE OF q SKIP LOCKED
"""
_LOCK_AFTER_END = """
SELECT q.id, q.topic, q.kafka_partition, q.kafka_offset, q.received_at, q.reason, q.source, q.product, q.subscription,
       q.key, q.value, q.headers
FROM quarantine q
JOIN subscription s ON s.id = q.subscription
WHERE q.settled_at IS NULL AND q.digest IS NULL AND q.reason = 'after_end'
  AND q.at < s.counts_until AND s.projection_version > q.judged_version
  AND NOT EXISTS (SELECT FROM set_aside_work a WHERE a.work = $2 AND a.key = q.id::text AND a.retry_at > $3)
ORDER BY q.id LIMIT $1
FOR UPDATE OF q SKIP LOCKED
"""
_LOCK_SET_ASIDE = """
SELECT q.id, q.topic, q.kafka_partition, q.kafka_offset, q.received_at, q.reason, q.source, q.product, q.subscription,
       q.key, q.value, q.headers
FROM set_aside_work a JOIN quarantine q ON q.id = a.key::bigint
WHERE a.work = $2 AND a.retry_at <= $3 AND q.settled_at IS NULL AND q.digest IS NULL
ORDER BY q.id LIMIT $1
FOR UPDATE OF q SKIP LOCKED
"""
_LOCK_UNSETTLED = """
SELECT id, topic, kafka_partition, kafka_offset, received_at, reason, source, product, subscription, key, value,
       headers
FROM quarantine WHERE settled_at IS NULL AND digest IS NULL AND id > $1 AND id <= $2 ORDER BY id LIMIT $3 FOR UPDATE
"""
# Unsettled rows that a replay selects, in order of their id.
_LOCK_SELECTED = """
SELECT id, topic, kafka_partition, kafka_offset, received_at, reason, source, product, subscription, key, value,
       headers
FROM quarantine
WHERE settled_at IS NULL AND digest IS NULL AND id > $1 AND id <= $2
  AND ($3::bigint IS NULL OR id = $3) AND ($4::text IS NULL OR reason = $4) AND ($5::text IS NULL OR source = $5)
  AND ($6::text IS NULL OR product = $6) AND ($7::text IS NULL OR subscription = $7)
  AND ($8::timestamptz IS NULL OR received_at >= $8) AND ($9::timestamptz IS NULL OR received_at < $9)
ORDER BY id LIMIT $10 FOR UPDATE
"""
_COUNT_SELECTED = """
SELECT count(*) FROM quarantine
WHERE settled_at IS NULL AND digest IS NULL AND id > $1 AND id <= $2
  AND ($3::bigint IS NULL OR id = $3) AND ($4::text IS NULL OR reason = $4) AND ($5::text IS NULL OR source = $5)
  AND ($6::text IS NULL OR product = $6) AND ($7::text IS NULL OR subscription = $7)
  AND ($8::timestamptz IS NULL OR received_at >= $8) AND ($9::timestamptz IS NULL OR received_at < $9)
"""
_LOAD_LAST_ID = "SELECT coalesce(max(id), 0) FROM quarantine"
_HAS_RECORD = "SELECT EXISTS (SELECT FROM quarantine WHERE id = $1)"
_SETTLE = """
UPDATE quarantine q SET settled_at = $3, settled_as = moved.outcome, version = q.version + 1, untold = true
FROM unnest($1::bigint[], $2::text[]) AS moved (id, outcome) WHERE q.id = moved.id
"""
_UPDATE_REASONS = """
UPDATE quarantine q SET reason = judged.reason, detail = judged.detail, judged_version = $4, at = judged.at,
    subscription = judged.subscription, event_id = judged.event_id,
    version = q.version + judged.differs::integer, untold = q.untold OR judged.differs
FROM (
    SELECT one.id, one.reason, one.detail, one.at, coalesce(one.subscription, was.subscription) AS subscription,
        coalesce(one.event_id, was.event_id) AS event_id,
        one.reason <> was.reason OR (one.subscription IS NOT NULL AND was.subscription IS NULL) AS differs
    FROM unnest($1::bigint[], $2::text[], $3::text[], $5::timestamptz[], $6::text[], $7::text[])
        AS one (id, reason, detail, at, subscription, event_id)
    JOIN quarantine was USING (id)
) AS judged
WHERE q.id = judged.id
"""
_DELETE_SETTLED = "DELETE FROM quarantine WHERE settled_at < $1 AND NOT untold"
_LOAD_PAGE = """
SELECT id, topic, kafka_partition, kafka_offset, received_at, quarantined_at, reason, detail, source, product,
       subscription, event_id, value, settled_at, settled_as
FROM quarantine
WHERE product = $1 AND ($2::bigint IS NULL OR id < $2)
  AND ($4::text IS NULL OR reason = $4) AND ($5::text IS NULL OR source = $5)
  AND ($6::text IS NULL OR subscription = $6)
  AND ($7::timestamptz IS NULL OR received_at >= $7) AND ($8::timestamptz IS NULL OR received_at < $8)
  AND ($9::boolean IS NULL OR (settled_at IS NOT NULL) = $9)
ORDER BY id DESC LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class QuarantinedUsage:
    """A quarantined record to be judged again."""

    id: int
    reason: str
    source: str
    product: str
    subscription: str | None
    record: Record


async def insert_rejected(
    connection: Connection, rejected: Iterable[tuple[Record, RejectedError]], now: datetime, version: int
) -> None:
    """Insert rejected records as a whole, each with its reason.

    ``version`` is that of the projection by which they were judged.
    """
    rows = [
        (
            record.topic,
            record.partition,
            record.offset,
            record.appended_at,
            now,
            error.reason,
            _storable(error.detail)[:DETAIL_LENGTH],
            error.claim.source,
            error.claim.product,
            error.claim.subscription,
            error.claim.event_id,
            record.key,
            record.value,
            headers_to_json(record.headers, "hex"),
            version,
            error.at,
        )
        for record, error in rejected
    ]
    await connection.copy_records_to_table("quarantine", records=rows, columns=_COLUMNS)


def _storable(text: str) -> str:
    return text.replace("\0", "?").encode("utf-8", "replace").decode()


async def lock_retryable(connection: Connection, work: str, now: datetime, limit: int) -> list[QuarantinedUsage]:
    """Lock at most ``limit`` records that may be applied by now.

    Records whose subscription or product has changed come first; usage after the end of a subscription is returned only
    if there are none of them. Records that ``work`` has set aside are left out until their next attempt is due.
    """
    waiting = _usage_of(await connection.fetch(_LOCK_RETRYABLE, limit, work, now))
    return waiting or _usage_of(await connection.fetch(_LOCK_AFTER_END, limit, work, now))


async def lock_set_aside(connection: Connection, work: str, now: datetime, limit: int) -> list[QuarantinedUsage]:
    """Lock at most ``limit`` records whose next attempt is due.

    These are records that ``work`` has set aside.
    """
    return _usage_of(await connection.fetch(_LOCK_SET_ASIDE, limit, work, now))


async def lock_unsettled(connection: Connection, after: int, last: int, limit: int) -> list[QuarantinedUsage]:
    """Lock at most ``limit`` unsettled records, in order of their id.

    Their ids are above ``after`` and at most ``last``.
    """
    return _usage_of(await connection.fetch(_LOCK_UNSETTLED, after, last, limit))


async def delete_settled(connection: Connection, before: datetime) -> int:
    """Delete records settled before then; unsettled ones stay. Return how many."""
    return int((await connection.execute(_DELETE_SETTLED, before)).split()[-1])


def _usage_of(rows: Iterable[Row]) -> list[QuarantinedUsage]:
    return [
        QuarantinedUsage(
            row["id"],
            row["reason"],
            row["source"],
            row["product"],
            row["subscription"],
            Record(
                *(row["topic"], row["kafka_partition"], row["kafka_offset"], row["key"], row["value"]),
                headers_from_json(row["headers"], "hex"),
                row["received_at"],
            ),
        )
        for row in rows
    ]


async def settle(connection: Connection, outcomes: Sequence[tuple[int, str]], now: datetime) -> None:
    """Save that records left the quarantine, given as (id, outcome)."""
    await connection.execute(_SETTLE, [i for i, _ in outcomes], [outcome for _, outcome in outcomes], now)


async def update_reasons(connection: Connection, judged: Sequence[tuple[int, RejectedError]], version: int) -> None:
    """Save the present reasons of records that stay in quarantine.

    What can be read of the records by now, such as their subscription, is saved too. ``version`` is that of the
    projection by which they were judged.
    """
    await connection.execute(
        _UPDATE_REASONS,
        [i for i, _ in judged],
        [error.reason for _, error in judged],
        [_storable(error.detail)[:DETAIL_LENGTH] for _, error in judged],
        version,
        [error.at for _, error in judged],
        [error.claim.subscription for _, error in judged],
        [error.claim.event_id for _, error in judged],
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a product's quarantine.

    A field that is ``None`` sets no condition. ``start`` and ``end`` are arrival times.
    """

    reason: str | None = None
    source: str | None = None
    subscription: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    settled: bool | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A row of the quarantine as it is shown to the product's owner.

    ``value`` is the event as it was received.
    """

    id: int
    topic: str
    partition: int
    offset: int
    received_at: datetime
    quarantined_at: datetime
    reason: str
    detail: str
    source: str
    product: str
    subscription: str | None
    event_id: str | None
    value: bytes | None
    settled_at: datetime | None
    settled_as: str | None


async def load_page(
    connection: Connection, product: str, wanted: Filter, before: int | None, limit: int
) -> list[QuarantinedRecord]:
    """Load at most ``limit`` records of a product, newest first.

    The page begins after the record with id ``before``; with ``None`` it begins with the newest.
    """
    rows = await connection.fetch(
        _LOAD_PAGE,
        *(product, before, limit),
        *(wanted.reason, wanted.source, wanted.subscription, wanted.start, wanted.end, wanted.settled),
    )
    return [QuarantinedRecord(*row) for row in rows]


async def load_last_id(connection: Connection) -> int:
    """Load the newest record's id; 0 if there is none."""
    return int(await connection.fetchval(_LOAD_LAST_ID))


async def has_record(connection: Connection, row: int) -> bool:
    """Whether a record with this id is, or was, in quarantine."""
    return bool(await connection.fetchval(_HAS_RECORD, row))


async def lock_selected(
    connection: Connection, wanted: QuarantineWanted, after: int, last: int, limit: int
) -> list[QuarantinedUsage]:
    """Lock at most ``limit`` unsettled records that a replay selects.

    They are in order of their id; their ids are above ``after`` and at most ``last``.
    """
    return _usage_of(await connection.fetch(_LOCK_SELECTED, after, last, *_arguments(wanted), limit))


async def count_selected(connection: Connection, wanted: QuarantineWanted, after: int, last: int) -> int:
    """Count the unsettled records that a replay selects."""
    return int(await connection.fetchval(_COUNT_SELECTED, after, last, *_arguments(wanted)))


def _arguments(wanted: QuarantineWanted) -> tuple[object, ...]:
    return (
        int(wanted.id) if wanted.id else None,
        wanted.reason,
        wanted.source,
        wanted.product,
        wanted.subscription,
        wanted.start,
        wanted.end,
    )
