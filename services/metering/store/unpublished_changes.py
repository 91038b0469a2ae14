"""Changes of the quarantine and the books that are not published yet.

Rows locked by others are skipped until the next time, so that publishing never waits.
"""

from codecs import getincrementaldecoder
from collections.abc import Sequence
from datetime import datetime

from shared.events.envelope import Payload
from shared.events.quarantine import VALUE_BYTES, BooksLine, QuarantinedRecord, UsageQuarantined, UsageSettled
from shared.runtime.postgres.pool import Connection, Row

_TAKE_QUARANTINE_CHANGES = """
WITH unpublished AS (
    SELECT id FROM quarantine q
    WHERE untold
      AND NOT EXISTS (SELECT FROM set_aside_work a WHERE a.work = $3 AND a.key = q.id::text AND a.retry_at > $4)
    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE quarantine q SET untold = false
FROM unpublished WHERE q.id = unpublished.id
RETURNING q.id, q.topic, q.kafka_partition, q.kafka_offset, q.received_at, q.quarantined_at, q.reason, q.detail,
    q.source, q.product, q.subscription, q.event_id, substring(q.value FROM 1 FOR $2) AS value,
    octet_length(q.value) AS value_bytes, q.settled_at, q.settled_as, q.version
"""
_MARK_UNPUBLISHED = "UPDATE quarantine SET untold = true WHERE id = ANY ($1)"
_TAKE_BOOK_CHANGES = """
WITH unpublished AS (
    SELECT day, kafka_partition, source, product FROM book WHERE untold ORDER BY day LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE book b SET untold = false
FROM unpublished WHERE (b.day, b.kafka_partition, b.source, b.product)
    = (unpublished.day, unpublished.kafka_partition, unpublished.source, unpublished.product)
RETURNING b.day, b.source, b.product
"""
_LOAD_LINES = """
SELECT b.day, b.source, b.product, sum(b.accepted)::bigint AS accepted, sum(b.applied)::bigint AS applied,
    sum(b.duplicate)::bigint AS duplicate, sum(b.quarantined)::bigint AS quarantined,
    sum(b.lost)::bigint AS lost, sum(b.revision)::bigint AS revision
FROM (SELECT DISTINCT * FROM unnest($1::date[], $2::text[], $3::text[])) AS wanted (day, source, product)
JOIN book b USING (day, source, product)
GROUP BY b.day, b.source, b.product
"""


async def take_quarantine_changes(connection: Connection, work: str, now: datetime, limit: int) -> list[Row]:
    """Take the oldest unpublished changes of the quarantine.

    Rows that ``work`` has set aside are left out until their next attempt is due. The others are marked as published,
    which takes effect with the transaction's commit.
    """
    rows = await connection.fetch(_TAKE_QUARANTINE_CHANGES, limit, VALUE_BYTES, work, now)
    return sorted(rows, key=lambda row: int(row["id"]))


async def mark_unpublished(connection: Connection, ids: Sequence[int]) -> None:
    """Mark rows of the quarantine as unpublished again."""
    if ids:
        await connection.execute(_MARK_UNPUBLISHED, ids)


def events_of(row: Row) -> list[Payload]:
    """Make the events of a row: quarantined, and settled if it is."""
    value: bytes | None = row["value"]
    settled_at: datetime | None = row["settled_at"]
    version: int = row["version"]
    record = QuarantinedRecord(
        id=str(row["id"]),
        topic=row["topic"],
        partition=row["kafka_partition"],
        offset=row["kafka_offset"],
        received_at=row["received_at"],
        quarantined_at=row["quarantined_at"],
        reason=row["reason"],
        detail=row["detail"],
        source=row["source"],
        product=row["product"],
        subscription=row["subscription"],
        event_id=row["event_id"],
        value=None if value is None else decode_beginning(value, row["value_bytes"]),
        value_bytes=row["value_bytes"],
        version=max(1, version - (settled_at is not None)),
    )
    events: list[Payload] = [UsageQuarantined(record=record)]
    if settled_at is not None:
        events.append(
            UsageSettled(record=record.id, settled_at=settled_at, settled_as=row["settled_as"], version=version)
        )
    return events


def decode_beginning(value: bytes, whole_bytes: int) -> str:
    """Decode the beginning of a value; a character cut at its end is left out."""
    return getincrementaldecoder("utf-8")("replace").decode(value, final=len(value) >= whole_bytes)


async def take_book_changes(connection: Connection, limit: int) -> list[BooksLine]:
    """Take changed lines of the books, and mark them as published.

    Each line is returned with its sums over all partitions.
    """
    taken = await connection.fetch(_TAKE_BOOK_CHANGES, limit)
    if not taken:
        return []
    columns = [[row[name] for row in taken] for name in ("day", "source", "product")]
    return [BooksLine(**dict(row)) for row in await connection.fetch(_LOAD_LINES, *columns)]
