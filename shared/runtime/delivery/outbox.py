"""The outbox: records to publish, stored with the change that they publish.

The rows are inserted in the transaction of that change, and sent later by the relay.
"""

from collections.abc import Sequence
from typing import Any

from shared.runtime.delivery.headers import headers_from_json, headers_to_json
from shared.runtime.postgres.listen import wake_channel
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing

CHANNEL = wake_channel("outbox")
"""Where the relay listens for new rows."""

_ADD_AND_WAKE = """
added AS (
    INSERT INTO outbox (topic, key, value, headers)
    SELECT topic, key, value, headers
    FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[])
        WITH ORDINALITY AS new (topic, key, value, headers, place)
    ORDER BY place
)
SELECT pg_notify('outbox', '') WHERE cardinality($1::text[]) > 0
"""
_INSERT = f"WITH {_ADD_AND_WAKE}"
INSERT_AND_STORE_OFFSETS = f"""
WITH moved AS (
    UPDATE consumer_offsets AS stored SET next_offset = new.next_offset, updated_at = now()
    FROM unnest($5::int[], $6::bigint[]) AS new (partition, next_offset)
    WHERE stored.reader = $7 AND stored.topic = $8 AND stored.partition = new.partition
), {_ADD_AND_WAKE}
"""  # noqa: S608
"""Insert rows and store a reader's offsets in one statement.

That is a round trip less in every batch: see ``offsets.store``.
"""
_LOAD = """
SELECT id, topic, key, value, headers FROM outbox
WHERE NOT EXISTS (
    SELECT FROM outbox_set_aside AS aside
    WHERE aside.topic = outbox.topic
        AND (aside.key = outbox.key OR aside.row_id = outbox.id OR (aside.key IS NULL AND aside.row_id IS NULL))
)
ORDER BY id LIMIT $1
"""
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
_MEASURE = """
SELECT
    count(*) AS pending,
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest_seconds
FROM (SELECT created_at FROM outbox ORDER BY id LIMIT 100000) AS waiting
"""


async def insert(connection: Connection, outgoing: Sequence[Outgoing]) -> None:
    """Insert rows, in order, and notify the relay when this transaction commits."""
    await connection.execute(_INSERT, *columns(outgoing))


def columns(outgoing: Sequence[Outgoing]) -> tuple[list[Any], ...]:
    """Rows as arrays: topics, keys, values, headers."""
    return (
        [one.topic for one in outgoing],
        [one.key for one in outgoing],
        [one.value for one in outgoing],
        [headers_to_json(one.headers) for one in outgoing],
    )


async def load(connection: Connection, limit: int) -> list[tuple[int, Outgoing]]:
    """The oldest rows that are not set aside, in order, with their ids."""
    return [
        (row["id"], Outgoing(row["topic"], row["key"], row["value"], headers_from_json(row["headers"])))
        for row in await connection.fetch(_LOAD, limit)
    ]


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Delete rows that Kafka has acknowledged."""
    await connection.execute(_DELETE, ids)


async def measure(connection: Connection) -> tuple[int, float]:
    """Count the unsent rows, and measure the age of the oldest in seconds.

    At most 100,000 are counted.
    """
    row = await connection.fetchrow(_MEASURE)
    return (row["pending"], max(0.0, row["oldest_seconds"])) if row else (0, 0.0)
