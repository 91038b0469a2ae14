"""Usage that is not applied, whole, with its reason."""

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

# Rows whose missing part has become known since they were judged. What came after the end waits for a term that holds
# it: there may be much of it, and it is not judged again whenever something else of the subscription changes.
_FIND_WAITING = """
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
_FIND_AFTER_END = """
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
_FIND_SET_ASIDE = """
SELECT q.id, q.topic, q.kafka_partition, q.kafka_offset, q.received_at, q.reason, q.source, q.product, q.subscription,
       q.key, q.value, q.headers
FROM set_aside_work a JOIN quarantine q ON q.id = a.key::bigint
WHERE a.work = $2 AND a.retry_at <= $3 AND q.settled_at IS NULL AND q.digest IS NULL
ORDER BY q.id LIMIT $1
FOR UPDATE OF q SKIP LOCKED
"""
_FIND_UNSETTLED = """
SELECT id, topic, kafka_partition, kafka_offset, received_at, reason, source, product, subscription, key, value,
       headers
FROM quarantine WHERE settled_at IS NULL AND digest IS NULL AND id > $1 AND id <= $2 ORDER BY id LIMIT $3 FOR UPDATE
"""
# Of what is wanted, what nobody has replayed yet, in order of its id.
_FIND_WANTED = """
SELECT id, topic, kafka_partition, kafka_offset, received_at, reason, source, product, subscription, key, value,
       headers
FROM quarantine
WHERE settled_at IS NULL AND digest IS NULL AND id > $1 AND id <= $2
  AND ($3::bigint IS NULL OR id = $3) AND ($4::text IS NULL OR reason = $4) AND ($5::text IS NULL OR source = $5)
  AND ($6::text IS NULL OR product = $6) AND ($7::text IS NULL OR subscription = $7)
  AND ($8::timestamptz IS NULL OR received_at >= $8) AND ($9::timestamptz IS NULL OR received_at < $9)
ORDER BY id LIMIT $10 FOR UPDATE
"""
_COUNT_WANTED = """
SELECT count(*) FROM quarantine
WHERE settled_at IS NULL AND digest IS NULL AND id > $1 AND id <= $2
  AND ($3::bigint IS NULL OR id = $3) AND ($4::text IS NULL OR reason = $4) AND ($5::text IS NULL OR source = $5)
  AND ($6::text IS NULL OR product = $6) AND ($7::text IS NULL OR subscription = $7)
  AND ($8::timestamptz IS NULL OR received_at >= $8) AND ($9::timestamptz IS NULL OR received_at < $9)
"""
_LAST = "SELECT coalesce(max(id), 0) FROM quarantine"
_EXISTS = "SELECT EXISTS (SELECT FROM quarantine WHERE id = $1)"
_SETTLE = """
UPDATE quarantine q SET settled_at = $3, settled_as = moved.outcome, version = q.version + 1, untold = true
FROM unnest($1::bigint[], $2::text[]) AS moved (id, outcome) WHERE q.id = moved.id
"""
_JUDGE_AGAIN = """
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
_FORGET = "DELETE FROM quarantine WHERE settled_at < $1 AND NOT untold"
_PAGE = """
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
class Waiting:
    """A quarantined record that may be applied now."""

    id: int
    reason: str
    source: str
    product: str
    subscription: str | None
    record: Record


async def insert_rejected(
    connection: Connection, rejected: Iterable[tuple[Record, RejectedError]], now: datetime, version: int
) -> None:
    """Keep records whole. ``version`` is that of the projection that they were judged by."""
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


async def lock_waiting(connection: Connection, work: str, now: datetime, limit: int) -> list[Waiting]:
    """Some records that may be applied now, but those that ``work`` has set aside; nobody else takes them until the end
    of the transaction."""
    waiting = _waiting(await connection.fetch(_FIND_WAITING, limit, work, now))
    return waiting or _waiting(await connection.fetch(_FIND_AFTER_END, limit, work, now))


async def lock_set_aside(connection: Connection, work: str, now: datetime, limit: int) -> list[Waiting]:
    """Some records that ``work`` has set aside and that are to be tried again now."""
    return _waiting(await connection.fetch(_FIND_SET_ASIDE, limit, work, now))


async def lock_unsettled(connection: Connection, after: int, last: int, limit: int) -> list[Waiting]:
    """Records in quarantine up to the ``last``, whatever the reason, in order of their id."""
    return _waiting(await connection.fetch(_FIND_UNSETTLED, after, last, limit))


async def forget_settled(connection: Connection, before: datetime) -> int:
    """Forget what left the quarantine before then; how much that was. What is still in it stays, however old."""
    return int((await connection.execute(_FORGET, before)).split()[-1])


def _waiting(rows: Iterable[Row]) -> list[Waiting]:
    return [
        Waiting(
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
    """Note that records have left the quarantine, and as what."""
    await connection.execute(_SETTLE, [i for i, _ in outcomes], [outcome for _, outcome in outcomes], now)


async def judge_again(connection: Connection, judged: Sequence[tuple[int, RejectedError]], version: int) -> None:
    """Note the reason that records have now, and what can be read of them by now."""
    await connection.execute(
        _JUDGE_AGAIN,
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
    """What of a product's quarantine to show; ``None``: all. Times are of the record's arrival."""

    reason: str | None = None
    source: str | None = None
    subscription: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    settled: bool | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A row as it is shown to the product's owner. ``value`` is the event as it was received."""

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
    """Load at most ``limit`` records of a product, newest first; ``before`` is the id after which the page begins."""
    rows = await connection.fetch(
        _PAGE,
        *(product, before, limit),
        *(wanted.reason, wanted.source, wanted.subscription, wanted.start, wanted.end, wanted.settled),
    )
    return [QuarantinedRecord(*row) for row in rows]


async def last_row(connection: Connection) -> int:
    """The newest record's id; 0 where there is none."""
    return int(await connection.fetchval(_LAST))


async def exists(connection: Connection, row: int) -> bool:
    """Whether there is, or was, a record with this id in quarantine."""
    return bool(await connection.fetchval(_EXISTS, row))


async def lock_wanted(
    connection: Connection, wanted: QuarantineWanted, after: int, last: int, limit: int
) -> list[Waiting]:
    """Some of the records that are wanted, in order of their id; nobody else changes them until the end of the
    transaction."""
    return _waiting(await connection.fetch(_FIND_WANTED, after, last, *_arguments(wanted), limit))


async def count_wanted(connection: Connection, wanted: QuarantineWanted, after: int, last: int) -> int:
    """How many records are wanted."""
    return int(await connection.fetchval(_COUNT_WANTED, after, last, *_arguments(wanted)))


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
