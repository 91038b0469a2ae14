"""The next offset of each partition, kept beside the effect: the only truth about what was applied."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.runtime.delivery import outbox
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.records import Outgoing


class Moved(NamedTuple):
    """The next offset of each partition of ``topic`` that ``reader`` has applied up to there."""

    reader: str
    topic: str
    nexts: Mapping[int, int]


class Stored(NamedTuple):
    """Where a reader is in one partition, and the id of the topic that this is an offset of."""

    next_offset: int
    topic_id: UUID | None


class Loss(NamedTuple):
    """Offsets that a reader will never read: those before ``next_offset``, from ``first_offset`` on.

    ``reason``: ``expired`` (Kafka deleted them first) or ``skipped`` (an operator stepped over them). Some of them may
    be markers of transactions, so this is how many records were lost at most.
    """

    partition: int
    first_offset: int
    next_offset: int
    reason: str

    @property
    def records(self) -> int:
        """At most."""
        return self.next_offset - self.first_offset


_LOAD = "SELECT partition, next_offset, topic_id FROM consumer_offsets WHERE reader = $1 AND topic = $2"
_PLACE = """
INSERT INTO consumer_offsets AS kept (reader, topic, partition, next_offset, topic_id)
SELECT $1, $2, partition, next_offset, $3 FROM unnest($4::int[], $5::bigint[]) AS new (partition, next_offset)
ORDER BY partition
ON CONFLICT (reader, topic, partition) DO UPDATE SET
    topic_id = excluded.topic_id,
    next_offset = CASE WHEN kept.next_offset = 0 THEN excluded.next_offset ELSE kept.next_offset END
WHERE kept.topic_id IS NULL
"""
_SKIP = """
UPDATE consumer_offsets SET next_offset = $5, updated_at = now()
WHERE reader = $1 AND topic = $2 AND partition = $3 AND next_offset = $4
"""
_LOSE = """
INSERT INTO lost_records (reader, topic, partition, first_offset, next_offset, reason) VALUES ($1, $2, $3, $4, $5, $6)
"""
_LOST = """
SELECT reason, sum(next_offset - first_offset)::bigint AS records, max(noticed_at) AS last
FROM lost_records WHERE reader = $1 AND topic = $2 GROUP BY reason
"""
_LOCK = """
SELECT partition, next_offset,
    EXISTS (SELECT FROM set_aside_keys WHERE reader = $1 AND topic = $2) AS some_are_set_aside
FROM consumer_offsets
WHERE reader = $1 AND topic = $2 AND partition = ANY($3::int[])
ORDER BY partition
FOR UPDATE
"""
_INSERT = """
INSERT INTO consumer_offsets (reader, topic, partition, next_offset)
SELECT $1, $2, partition, 0 FROM unnest($3::int[]) AS new (partition) ORDER BY partition
ON CONFLICT DO NOTHING
"""
# One statement for the offsets and the outbox (as outbox._INSERT): a round trip less in every batch.
_STORE = """
WITH moved AS (
    UPDATE consumer_offsets AS stored SET next_offset = new.next_offset, updated_at = now()
    FROM unnest($5::int[], $6::bigint[]) AS new (partition, next_offset)
    WHERE stored.reader = $7 AND stored.topic = $8 AND stored.partition = new.partition
), added AS (
    INSERT INTO outbox (topic, key, value, headers)
    SELECT topic, key, value, headers
    FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[])
        WITH ORDINALITY AS new (topic, key, value, headers, place)
    ORDER BY place
)
SELECT pg_notify('outbox', '') WHERE cardinality($1::text[]) > 0
"""
_RESTART = """
UPDATE consumer_offsets SET next_offset = 0, topic_id = NULL, updated_at = now() WHERE reader = $1 AND topic = $2
"""
_SET_BACK = """
UPDATE consumer_offsets SET next_offset = 0, topic_id = NULL, updated_at = now() WHERE topic = ANY($1::text[])
"""


async def load(pool: Pool, reader: str, topic: str) -> dict[int, int]:
    """The next offset of each partition."""
    return {partition: stored.next_offset for partition, stored in (await load_stored(pool, reader, topic)).items()}


async def load_stored(pool: Pool, reader: str, topic: str) -> dict[int, Stored]:
    """What is stored, by partition."""
    rows = await pool.fetch(_LOAD, reader, topic)
    return {row["partition"]: Stored(row["next_offset"], row["topic_id"]) for row in rows}


async def place(connection: Connection, reader: str, topic: str, topic_id: UUID, begins: Mapping[int, int]) -> None:
    """Have a row for each partition, with the topic's id; one that is new, or set back, begins where it begins now."""
    await connection.execute(_PLACE, reader, topic, topic_id, list(begins), list(begins.values()))


async def skip(connection: Connection, reader: str, topic: str, partition: int, *, stored: int, to: int) -> bool:
    """Move on without having applied anything; whether the offset was still the one that is ``stored``."""
    done: str = await connection.execute(_SKIP, reader, topic, partition, stored, to)
    return done == "UPDATE 1"


async def lose(connection: Connection, reader: str, topic: str, loss: Loss) -> bool:
    """Move on past what is lost, and note it; whether it was still to be read."""
    moved = await skip(connection, reader, topic, loss.partition, stored=loss.first_offset, to=loss.next_offset)
    if moved:
        await connection.execute(_LOSE, reader, topic, *loss)
    return moved


async def restart(connection: Connection, reader: str, topic: str) -> None:
    """Have this reader begin at the topic's beginning, whichever topic bears the name now."""
    await connection.execute(_RESTART, reader, topic)


async def lost(pool: Pool, reader: str, topic: str) -> dict[str, tuple[int, datetime]]:
    """How many records of a topic were lost so far, at most, and when the last were noticed; by reason."""
    return {row["reason"]: (row["records"], row["last"]) for row in await pool.fetch(_LOST, reader, topic)}


class Locked(NamedTuple):
    """The next offset of each locked partition, and whether records of the topic are set aside."""

    nexts: dict[int, int]
    some_are_set_aside: bool


async def lock(connection: Connection, reader: str, topic: str, partitions: Collection[int]) -> Locked:
    """Lock the rows of these partitions, in order, until the transaction ends; what they hold (0 where new)."""
    rows = await connection.fetch(_LOCK, reader, topic, list(partitions))
    if len(rows) < len(partitions):
        await connection.execute(_INSERT, reader, topic, list(partitions))
        rows = await connection.fetch(_LOCK, reader, topic, list(partitions))
    nexts = {row["partition"]: row["next_offset"] for row in rows}
    return Locked(nexts, any(row["some_are_set_aside"] for row in rows))


async def store(connection: Connection, moved: Moved, outgoing: Sequence[Outgoing]) -> None:
    """Move on, and add what was published on the way to the outbox: one statement. The rows must be locked."""
    await connection.execute(
        _STORE, *outbox.columns(outgoing), list(moved.nexts), list(moved.nexts.values()), moved.reader, moved.topic
    )


async def set_back(connection: Connection, topics: Collection[str]) -> None:
    """Have every reader of these topics begin again; running readers notice and do so at once."""
    await connection.execute(_SET_BACK, list(topics))
